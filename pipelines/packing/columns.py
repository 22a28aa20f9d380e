"""Which column of a table holds the image, and which the caption."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.errors import ConfigError
from pipelines.packing.rows import PackingProblem, Row

_IMAGE = (
    *("imagepath", "filepath", "path", "filename", "image", "file", "img", "imgpath", "imagefile"),
    *("imagename", "imagefilename", "jpg", "jpeg", "png", "webp", "imagebytes", "bytes"),
)
_CAPTION = (
    *("caption", "text", "title", "alttext", "alt", "description", "prompt", "txt", "captions", "sentence"),
)


@dataclass(frozen=True)
class Columns:
    """The names of the columns of images (paths or bytes) and captions; all others are metadata."""

    image: str
    caption: str

    def row(self, table: str, number: int, values: dict[str, Any]) -> Row:
        """Return the sample of a row, given by column; `number` counts from 1."""
        image, caption = values.pop(self.image, None), values.pop(self.caption, None)
        if isinstance(image, dict):  # Hugging Face's images: the bytes, or else a path
            image = image.get("bytes") or image.get("path")
        if isinstance(caption, list) and caption:
            caption = caption[0]
        known: dict[str, Any] = {
            # A missing caption is looked for nowhere else: the table is what was asked for.
            "caption": caption if isinstance(caption, str) else "",
            "metadata": {
                name: value
                for name, value in values.items()
                if name and value is not None and not isinstance(value, bytes)
            },
        }
        if isinstance(image, bytes):
            return Row(f"{table}#{number}", image=image, **known)
        if isinstance(image, str) and image:
            return Row(f"{table}#{number} {image}", path=image, **known)
        return bad_row(table, number, "no_image", f"nothing stands in the column {self.image!r}")


def bad_row(table: str, number: int, reason: str, detail: str) -> Row:
    """Return a row that will be set aside."""
    return Row(f"{table}#{number}", problem=PackingProblem(reason, detail))


def guess(names: Sequence[str], table: str, image: str | None = None, caption: str | None = None) -> Columns:
    """Return which columns are meant, by the usual names, unless they are given.

    Raises
    ------
    ConfigError
        When a given column is not there, or none has a usual name.
    """
    listed = ", ".join(map(repr, names)) or "none"
    for option, given in (("--image-column", image), ("--caption-column", caption)):
        if given is not None and given not in names:
            raise ConfigError(f"{option}: {table} has no column {given!r}; its columns are {listed}")
    found = image or usual(names, _IMAGE), caption or usual(names, _CAPTION)
    for option, what, name in zip(
        ("--image-column", "--caption-column"), ("image paths", "captions"), found, strict=True
    ):
        if name is None:
            hint = _downloads(names) if option == "--image-column" else ""
            raise ConfigError(
                f"which column of {table} holds the {what}? Say so by {option}; "
                f"its columns are {listed}{hint}"
            )
    return Columns(str(found[0]), str(found[1]))


def _downloads(names: Sequence[str]) -> str:
    url = usual(names, ("url", "imageurl"))
    return f". It has URLs: img2dataset downloads them (--url_col {url})" if url else ""


def usual(names: Sequence[str], wanted: Sequence[str]) -> str | None:
    """Return the first column by the order of wanted names; letters and digits count, case doesn't."""
    plain = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in reversed(names)}
    return next((plain[name] for name in wanted if name in plain), None)


def holds_images(names: Sequence[str]) -> bool:
    """Tell whether a table's columns look like those of images."""
    return usual(names, _IMAGE) is not None

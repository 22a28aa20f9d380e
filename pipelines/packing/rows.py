"""A sample before it is packed: where its image is, and what is known of it already."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

Captions = Literal["beside", "folder", "name"]
"""Where captions come from: a file beside the image, its folder's name, or its own name."""


class PackingProblem(Exception):  # noqa: N818 - it is the sample that has the problem
    """Why a sample can't be packed: a reason in one word, and what was found."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason

    def __reduce__(self) -> tuple[type[PackingProblem], tuple[str, str]]:
        return type(self), (self.reason, str(self))


def spelled(path: str) -> str:
    """Return a path in valid Unicode, whatever bytes a file's name has."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


@dataclass(frozen=True, slots=True)
class Row:
    """One sample of the source.

    Attributes
    ----------
    place
        What tells it from all others of the source, wherever that lies: a path below it, or a row of a table.
    path
        The image's path, relative to the folder of images or absolute; None where `image` holds its bytes.
    image
        The image's bytes, where a table holds them.
    caption
        What a table says; None where the caption is still to be found beside the image.
    metadata
        Further values, for the sample's JSON.
    problem
        Why it can't be packed, where that is known already.
    """

    place: str
    path: str | None = None
    image: bytes | None = None
    caption: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    problem: PackingProblem | None = None

    @property
    def spelled(self) -> str:
        """The place in valid Unicode, whatever bytes a file's name has."""
        return spelled(self.place)


@dataclass(frozen=True, slots=True)
class ListedRows:
    """The rows of a shard, one by one."""

    listed: tuple[Row, ...]

    def rows(self) -> Iterator[Row]:
        """Yield them."""
        yield from self.listed

    def identity(self) -> list[Any]:
        """Return what they are, as JSON values; the files they name are not looked at."""
        return [
            [ascii(row.place), ascii(row.path), ascii(row.caption), ascii(row.metadata), row.problem is None]
            for row in self.listed
        ]

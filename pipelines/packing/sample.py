"""Read one sample safely: its image's bytes as they are, its caption and its metadata."""

from __future__ import annotations

import hashlib
import os
import posixpath
import stat
from dataclasses import dataclass
from typing import Any

from pipelines.packing.rows import Captions, PackingProblem, Row, spelled
from pipelines.pool.ingest import Limits
from pipelines.pool.samples import CAPTION_SUFFIXES, METADATA_SUFFIX, parse_json, uid_of
from scoring.images import ImageProblem, read_header

_SUFFIX = {"jpeg": "jpg", "png": "png", "webp": "webp"}
_URL = ("http://", "https://", "s3://", "gs://")


@dataclass(frozen=True)
class Sample:
    """What goes into a shard: `facts` is the sample's JSON but for its key."""

    image: bytes
    suffix: str
    caption: str
    facts: dict[str, Any]


@dataclass(frozen=True)
class SampleReader:
    """Reads samples whose images lie in a folder.

    Attributes
    ----------
    root
        The folder where relative paths start, and which all files lie in unless `outside` is set.
    outside
        Whether files may lie elsewhere: by absolute paths, by `..`, by links.
    captions
        Where the captions of images come from that no table gives one.
    limits
        Sizes beyond which a sample is set aside.
    """

    root: str
    outside: bool
    captions: Captions
    limits: Limits

    def read(self, row: Row) -> Sample:
        """Return a sample; `PackingProblem` when it can't be packed, whatever is wrong."""
        if row.problem:
            raise row.problem
        image = row.image if row.path is None else self._image(row.path)
        if image is None:
            raise PackingProblem("no_image", "the row names no image")
        try:
            header = read_header(image, max_pixels=self.limits.pixels)
        except ImageProblem as problem:
            raise PackingProblem(problem.reason, str(problem)) from None
        metadata = row.metadata if row.path is None or row.caption is not None else self._beside(row.path)
        caption = self._caption(row, metadata)
        size = {"width": header.width, "height": header.height}
        digest = hashlib.sha256(image).hexdigest()
        facts = {
            **metadata,
            "uid": uid_of(digest, row.place, metadata),  # two packed folders may be made one pool
            "caption": caption,
            "status": "success",
            **{f"original_{name}": metadata.get(f"original_{name}", pixels) for name, pixels in size.items()},
            **size,
            "sha256": digest,
            "source": row.spelled,
        }
        return Sample(image, _SUFFIX[header.format], caption, facts)

    def files(self, row: Row) -> list[str]:
        """Return the paths of the files that a row's sample is made of, there or not."""
        if row.path is None:
            return []
        stem = posixpath.splitext(row.path)[0]
        sides = () if row.caption is not None else (*CAPTION_SUFFIXES, METADATA_SUFFIX)
        return [posixpath.join(self.root, path) for path in (row.path, *(f"{stem}.{side}" for side in sides))]

    def _image(self, path: str) -> bytes:
        return self._file(path, self.limits.member_bytes, "image_too_large")

    def _caption(self, row: Row, metadata: dict[str, Any]) -> str:
        if row.caption is not None or row.path is None:
            found = row.caption
        elif self.captions == "beside":
            found = self._caption_beside(row.path) or _text(metadata)
        else:
            parts = posixpath.splitext(row.path)[0].replace("_", " ").replace("-", " ").split("/")
            found = parts[-1] if self.captions == "name" else (parts[-2] if len(parts) > 1 else None)
        found = (found or "").strip()
        try:
            n_bytes = len(found.encode())
        except UnicodeEncodeError:
            raise PackingProblem("caption_not_utf8", ascii(found[:80])) from None
        if not found:
            raise PackingProblem("no_caption", "there is none, or it is empty")
        if n_bytes > self.limits.caption_bytes:
            raise PackingProblem("caption_too_long", f"{n_bytes:,} bytes")
        return found

    def _caption_beside(self, path: str) -> str | None:
        stem = posixpath.splitext(path)[0]
        for suffix in CAPTION_SUFFIXES:
            data = self._side(f"{stem}.{suffix}", self.limits.caption_bytes, "caption_too_long")
            if data is not None:
                return data.decode("utf-8-sig", "surrogateescape")
        return None

    def _beside(self, path: str) -> dict[str, Any]:
        name = f"{posixpath.splitext(path)[0]}.{METADATA_SUFFIX}"
        data = self._side(name, self.limits.metadata_bytes, "metadata_too_long")
        if data is None:
            return {}
        try:
            found = parse_json(data)
        except (ValueError, TypeError, RecursionError) as error:
            raise PackingProblem("bad_metadata", f"{spelled(name)}: {error}"[:500]) from None
        if not isinstance(found, dict):
            raise PackingProblem("bad_metadata", f"{spelled(name)} holds no JSON object")
        return found

    def _side(self, path: str, limit: int, too_large: str) -> bytes | None:
        return (
            self._file(path, limit, too_large) if os.path.lexists(posixpath.join(self.root, path)) else None
        )

    def _file(self, path: str, limit: int, too_large: str) -> bytes:
        """Return a file's bytes; never those of a device, a pipe, or a file that may not be read."""
        if path.startswith(_URL):
            raise PackingProblem("is_a_url", path[:200])
        try:
            real = os.path.realpath(posixpath.join(self.root, path))
            if not self.outside and os.path.commonpath([real, self.root]) != self.root:
                raise PackingProblem("outside_source", f"{spelled(path)} leads out of the folder")
            # Without O_NONBLOCK, opening a pipe waits for somebody to write into it.
            handle = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            reason = "missing_file" if isinstance(error, FileNotFoundError) else "unreadable_file"
            raise PackingProblem(reason, f"{spelled(path)}: {_why(error)}") from None
        with os.fdopen(handle, "rb", buffering=0) as stream:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode):
                raise PackingProblem("unreadable_file", f"{spelled(path)} is no ordinary file")
            if found.st_size > limit:
                raise PackingProblem(too_large, f"{spelled(path)}: {found.st_size:,} bytes")
            try:
                return stream.readall()
            except OSError as error:
                raise PackingProblem("unreadable_file", f"{spelled(path)}: {_why(error)}") from None


def _text(metadata: dict[str, Any]) -> str | None:
    found = [metadata.get(name) for name in ("caption", "text")]
    return next((text for text in found if isinstance(text, str)), None)


def _why(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)

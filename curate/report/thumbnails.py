"""Small pictures of samples as base64, read from the shards by byte range."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping

from PIL import Image

from pipelines.storage import read_ranges
from scoring.images import ImageProblem, decode_rgb

SIDE = 144  # pixels of the longer side
_QUALITY = 62


def thumbnails(url: str, ranges: Mapping[int, tuple[int, int]], max_pixels: int) -> dict[int, str]:
    """Return WebP pictures as base64 by row; those that can't be read or decoded are left out.

    Parameters
    ----------
    url
        The shard.
    ranges
        For each row offset and size of its image in the shard.
    max_pixels
        Larger images are not decoded.
    """
    rows = sorted(ranges, key=lambda row: ranges[row])
    try:
        found = read_ranges(url, [ranges[row] for row in rows])
    except (OSError, EOFError):  # the pool has changed or gone since the run
        return {}
    small = {row: thumbnail(data, max_pixels) for row, data in zip(rows, found, strict=True)}
    return {row: base64.b64encode(data).decode() for row, data in small.items() if data is not None}


def thumbnail(data: bytes, max_pixels: int, side: int = SIDE, quality: int = _QUALITY) -> bytes | None:
    """Return an image as a WebP of at most `side` pixels a side; None where it can't be decoded."""
    try:
        picture = Image.fromarray(decode_rgb(data, max_pixels=max_pixels, min_side=side))
    except (ImageProblem, ValueError):
        return None
    picture.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=3.0)
    sink = io.BytesIO()
    picture.save(sink, "WEBP", quality=quality, method=2)
    return sink.getvalue()

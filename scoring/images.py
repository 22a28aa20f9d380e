"""Hostile bytes in, pixels out: every way in which an image can be wrong is an `ImageProblem`."""

from __future__ import annotations

import io
import warnings
from typing import Any, NamedTuple

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP")  # no other decoder is ever started
MAX_PIXELS = 100_000_000


class ImageProblem(ValueError):  # noqa: N818 - a problem is set aside, not an error
    """An image that can't be used.

    `reason` is one of `empty_image`, `not_an_image`, `too_many_pixels`, `broken_image`; the message says more
    and depends on nothing but the bytes.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class ImageHeader(NamedTuple):
    """What the first bytes say: the format by content (jpeg, png, webp), and the size in pixels."""

    format: str
    width: int
    height: int


def read_header(data: bytes, *, max_pixels: int = MAX_PIXELS) -> ImageHeader:
    """Return an image's format and size without decoding it.

    Raises
    ------
    ImageProblem
        When it is empty, not an image, or larger than `max_pixels`.
    """
    if not data:
        raise ImageProblem("empty_image", "0 bytes")
    header = _jpeg_header(data) or _pillow_header(data)
    if header.width * header.height > max_pixels:
        raise ImageProblem("too_many_pixels", f"{header.width} x {header.height}, at most {max_pixels:,}")
    return header


def decode_rgb(
    data: bytes, *, max_pixels: int = MAX_PIXELS, min_side: int | None = None
) -> NDArray[np.uint8]:
    """Return an image's pixels, uint8, shape (height, width, 3).

    The first frame of an animation; palettes, grey, alpha and 16 bits become RGB as Pillow's `convert("RGB")`
    makes them, which is what open_clip does.

    Parameters
    ----------
    data
        A JPEG, PNG or WebP file.
    max_pixels
        A larger image is refused before anything is decoded.
    min_side
        Decode a JPEG at an eighth to the full size, the least whose shorter side is no less than this.

    Raises
    ------
    ImageProblem
        When it can't be decoded whole.
    """
    header = read_header(data, max_pixels=max_pixels)
    if header.format == "jpeg":
        side = min_side or 0
        try:
            pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(
                data, "RGB", min_height=side, min_width=side, min_factor=1
            )
            return pixels
        except Exception:  # noqa: S110
            pass  # CMYK, or a flaw that libjpeg calls out: Pillow decides whether the image is whole
    return _pillow_pixels(data, header, min_side)


def _jpeg_header(data: bytes) -> ImageHeader | None:
    if data[:2] != b"\xff\xd8":
        return None
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data, strict=False)
    except Exception:  # ValueError, and KeyError for colour spaces it has no name for
        return None
    return ImageHeader("jpeg", width, height)


def _pillow_header(data: bytes) -> ImageHeader:
    with _open(data) as image:
        assert image.format is not None
        return ImageHeader(image.format.lower(), image.width, image.height)


def _open(data: bytes) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the limit on pixels is our own, and is checked next
        try:
            return Image.open(io.BytesIO(data), formats=FORMATS)
        except Image.DecompressionBombError:
            raise ImageProblem("too_many_pixels", "more than Pillow opens") from None
        except Exception:
            raise ImageProblem("not_an_image", f"no JPEG, PNG or WebP: starts with {data[:8]!r}") from None


def _pillow_pixels(data: bytes, header: ImageHeader, min_side: int | None) -> NDArray[np.uint8]:
    with _open(data) as image:
        try:
            if min_side and header.format == "jpeg":
                scale = min(header.width, header.height) // min_side
                image.draft("RGB", (header.width // max(1, scale), header.height // max(1, scale)))
            return np.asarray(image.convert("RGB"))
        except Exception as error:  # Pillow's decoders raise whatever comes to them
            raise ImageProblem("broken_image", _what(error)) from None


def _what(error: Any) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if " at 0x" not in text else type(error).__name__

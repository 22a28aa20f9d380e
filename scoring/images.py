"""Hostile bytes in, pixels out: every image that cannot be read whole is an `ImageProblem`, nothing else."""

from __future__ import annotations

import io
import re
import warnings
from typing import Literal, NamedTuple

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

MAX_PIXELS = 100_000_000
MAX_SIDE = 65_535  # pixels, as in JPEG: a PNG of one row could have a billion

Reason = Literal["empty_image", "not_an_image", "too_many_pixels", "broken_image"]

_ADDRESS = re.compile(r" ?<[^<>]* at 0x[0-9a-fA-F]+>")
_PIL_FORMATS = ("JPEG", "PNG", "WEBP")
_MOST_SCANS = 100  # a progressive JPEG has about ten; each takes as long as the whole image once more
# The limit here is `max_pixels`, and whatever else is odd about an image is its `ImageProblem` or harmless.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
_BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)


class ImageProblem(ValueError):  # noqa: N818 - it is the image that has the problem
    """An image that can't be used.

    Attributes
    ----------
    reason
        `empty_image` (no bytes), `not_an_image` (no JPEG, PNG or WebP), `too_many_pixels`, or
        `broken_image` (cut short, damaged, or made to keep a decoder busy).
    """

    # The message depends on nothing but the bytes: it is stored, and runs are compared to the byte.
    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason: Reason = reason

    def __reduce__(self) -> tuple[type[ImageProblem], tuple[Reason, str]]:
        return type(self), (self.reason, str(self))


class ImageHeader(NamedTuple):
    """What an image says about itself, before its pixels are decoded; width and height in pixels."""

    format: str
    width: int
    height: int


def read_header(data: bytes, *, max_pixels: int = MAX_PIXELS) -> ImageHeader:
    """Return the format (`jpeg`, `png` or `webp`, told by the content) and the size of an image.

    Raises
    ------
    ImageProblem
        Also when the image has more than `max_pixels` pixels, or more than `MAX_SIDE` on a side.
    """
    format = _sniff(data)
    if format == "jpeg":
        _refuse_endless(data)
    size = _jpeg_size(data) if format == "jpeg" else None
    if size is None:
        with _open(data) as image:
            size = image.size
    if size[0] * size[1] > max_pixels:
        raise ImageProblem("too_many_pixels", f"{size[0]}x{size[1]} is more than {max_pixels:,} pixels")
    if max(size) > MAX_SIDE:
        raise ImageProblem("too_many_pixels", f"{size[0]}x{size[1]} is more than {MAX_SIDE:,} on a side")
    return ImageHeader(format, *size)


def decode_rgb(
    data: bytes, *, max_pixels: int = MAX_PIXELS, min_side: int | None = None
) -> NDArray[np.uint8]:
    """Return the pixels of an image, uint8 of shape (height, width, 3).

    Transparency is dropped, not composed with a background, as in PIL's `convert("RGB")`, which open_clip
    uses; 16-bit grey keeps its upper eight bits. The EXIF orientation is left alone; of an animation, the
    first frame is returned.

    Parameters
    ----------
    data
        A whole JPEG, PNG or WebP file.
    max_pixels
        Largest width times height that is decoded.
    min_side
        A JPEG may be decoded at 1/2, 1/4 or 1/8 of its size, so far as its shorter side, in pixels, stays
        at least this long. Without it, every image has its full size.

    Raises
    ------
    ImageProblem
        Whatever is wrong. A truncated image is `broken_image`, however much of it could be seen.
    """
    header = read_header(data, max_pixels=max_pixels)
    if header.format == "jpeg":
        pixels = _decode_jpeg(data, header, min_side)
        if pixels is not None:
            return pixels
    return np.array(decode_pil(data, max_pixels=max_pixels))


def decode_pil(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Return an image as PIL decodes it, in mode RGB; for the rest see `decode_rgb`.

    Raises
    ------
    ImageProblem
        Whatever is wrong.
    """
    read_header(data, max_pixels=max_pixels)
    with _open(data) as image:
        try:
            image.load()
            return _to_rgb(image)
        except Exception as error:  # decoders raise whatever they like, MemoryError and SyntaxError too
            raise ImageProblem("broken_image", _first_line(error)) from error


def _sniff(data: bytes) -> str:
    if not data:
        raise ImageProblem("empty_image", "no bytes")
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "webp"
    raise ImageProblem("not_an_image", f"neither JPEG, PNG nor WebP; starts with {data[:12]!r}")


def _refuse_endless(data: bytes) -> None:
    """Raise where a small JPEG repeats its scans, and so would take minutes or hours to decode."""
    if (n := _scans(data)) > _MOST_SCANS:
        raise ImageProblem("broken_image", f"{n:,} scans, and no JPEG needs more than {_MOST_SCANS}")


def _scans(data: bytes) -> int:
    """Count a JPEG's scans up to its end marker, segment by segment (ITU-T T.81, annex B)."""
    place, scans, components = 2, 0, 0
    while (place := data.find(b"\xff", place)) >= 0 and place + 10 < len(data) and data[place + 1] != 0xD9:
        marker = data[place + 1]
        if marker == 0xFF:  # padding
            place += 1
            continue
        if marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:  # has no length: a byte of data, a restart
            place += 2
            continue
        if marker in (0xC0, 0xC1):  # not progressive
            components = data[place + 9]
        if marker == 0xDA:
            scans += 1
            if data[place + 4] == components:  # all at once, as in most: decoders take no second one
                break
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return scans


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data, strict=False)
    except Exception:  # PIL knows some headers that libjpeg-turbo's wrapper refuses
        return None
    return width, height


def _decode_jpeg(data: bytes, header: ImageHeader, min_side: int | None) -> NDArray[np.uint8] | None:
    """Return the pixels, or None where simplejpeg refuses: it does so for flaws that PIL passes over."""
    factor = 1
    # Only these factors have a fast inverse transform in libjpeg-turbo; 5/8 takes longer than all of it.
    while min_side and factor < 8 and min(header.width, header.height) >= 2 * factor * min_side:
        factor *= 2
    height, width = -(-header.height // factor), -(-header.width // factor)
    try:
        if simplejpeg.decode_jpeg_header(data)[2] == "CMYK":
            return None  # printers' inks: PIL knows Adobe's inverted ones, and is the reference
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(
            data, "RGB", min_height=height, min_width=width, min_factor=factor
        )
    except Exception:
        return None
    return pixels


def _open(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=_PIL_FORMATS)
    except _BOMBS as error:
        raise ImageProblem("too_many_pixels", _first_line(error)) from error
    except Exception as error:
        raise ImageProblem("broken_image", _first_line(error)) from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # PIL's own conversion would make all but the darkest pixels white
        levels = np.asarray(image) >> 8
        return Image.fromarray(levels.clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def _first_line(error: BaseException) -> str:
    # PIL names the buffer by its address, which no two runs share.
    text = _ADDRESS.sub("", str(error)).strip()
    return (text or type(error).__name__).splitlines()[0][:200]

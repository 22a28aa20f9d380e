"""Pictures that somebody tampered with, and those that are made to be expensive."""

from __future__ import annotations

import io
import random
import struct
import zlib
from functools import cache

import numpy as np
from PIL import Image

_PNG = b"\x89PNG\r\n\x1a\n"


def _picture(mode: str = "RGB", side: int = 40) -> Image.Image:
    rng = np.random.default_rng(len(mode))
    return Image.fromarray(rng.integers(0, 255, (side, side + 7, 3), np.uint8)).convert(mode)


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    """Return the bytes of a file."""
    sink = io.BytesIO()
    image.save(sink, format, **options)
    return sink.getvalue()


def rotated() -> bytes:
    """Return a JPEG whose EXIF says that it lies on its side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(_picture(), "JPEG", exif=exif)


@cache
def corpus() -> tuple[bytes, ...]:
    """Return whole files of every kind that pools hold."""
    deep = Image.fromarray((np.arange(40 * 47).reshape(40, 47) * 30).astype(np.uint16))
    frames = [_picture("RGB", 30 + n).resize((30, 30)) for n in range(3)]
    animated = {"save_all": True, "append_images": frames[1:]}
    return (
        encoded(_picture(), "JPEG"),
        encoded(_picture(), "JPEG", progressive=True, quality=60),
        encoded(_picture("L"), "JPEG"),
        encoded(_picture("CMYK"), "JPEG"),
        encoded(_picture(), "JPEG", icc_profile=b"\0\0\0\x10broken profile"),
        rotated(),
        encoded(_picture("RGBA"), "PNG"),
        encoded(_picture("P"), "PNG", transparency=3),
        encoded(_picture("1"), "PNG"),
        encoded(deep, "PNG"),
        encoded(_picture(), "PNG", icc_profile=b"broken profile"),
        encoded(frames[0], "PNG", **animated),
        encoded(_picture(), "WEBP", lossless=True),
        encoded(_picture("RGBA"), "WEBP", quality=50),
        encoded(frames[0], "WEBP", **animated),
        encoded(frames[0], "GIF", **animated),
        encoded(_picture(), "BMP"),
        encoded(_picture(), "TIFF"),
    )


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk with the right check sum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _chunks(png: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], len(_PNG)
    while at + 8 <= len(png):
        n = int.from_bytes(png[at : at + 4], "big")
        found.append((png[at + 4 : at + 8], png[at + 8 : at + 8 + n]))
        at += 12 + n
    return found


def _lie(data: bytes, chance: random.Random) -> bytes:
    """Change what a header says and put its check sum right, so that the lie is believed."""
    image = bytearray(data)
    size = chance.choice([0, 1, 3, 999, 65_535, 1 << 24, (1 << 31) - 1, (1 << 32) - 1])
    if data.startswith(_PNG):
        chunks = _chunks(data) or [(b"IEND", b"")]
        n = chance.randrange(len(chunks))
        kind, content = chunks[n][0], bytearray(chunks[n][1])
        if kind == b"IHDR":
            field = chance.choice([0, 4, 8, 9, 12])
            content[field : field + 4] = struct.pack(">I", size) if field < 8 else chance.randbytes(1)
        elif content:
            content[chance.randrange(len(content))] = chance.randrange(256)
        chunks[n] = (kind, bytes(content))
        if chance.random() < 0.2:
            chunks.insert(chance.randrange(len(chunks)), chance.choice(chunks))
        return _PNG + b"".join(png_chunk(*chunk) for chunk in chunks)
    for marker in (b"\xff\xc0", b"\xff\xc2"):  # height and width stand behind the length and the depth
        if (at := data.find(marker)) >= 0:
            at += chance.choice([4, 5, 7, 9, 10, 11])
            image[at : at + 2] = struct.pack(">I", size)[2:]
    if (at := max(data.find(b"VP8X"), data.find(b"VP8L"), data.find(b"VP8 "))) >= 0:
        at += chance.choice([4, 8, 9, 12, 15])
        image[at : at + 3] = struct.pack("<I", size)[:3]
    return bytes(image)


def mutated(seed: int) -> bytes:
    """Return a picture with bytes flipped, cut, lost or spliced, or with a header that lies."""
    chance = random.Random(seed)
    data = chance.choice(corpus())
    for _ in range(chance.randint(1, 3)):
        image = bytearray(data)
        place = chance.randrange(len(image))
        match chance.randrange(7):
            case 0 | 1:
                for _ in range(chance.choice([1, 1, 10, 100])):
                    image[chance.randrange(len(image))] ^= 1 << chance.randrange(8)
            case 2:
                del image[place:]
            case 3:
                del image[place : place + chance.choice([1, 10, 100])]
            case 4:
                other = chance.choice(corpus())
                image[place:place] = other[chance.randrange(len(other)) :][: chance.choice([4, 50, 2000])]
            case _:
                image = bytearray(_lie(data, chance))
        data = bytes(image) or b"\0"
    return data


def bomb(width: int, height: int, depth: int = 8, colour: int = 0, channels: int = 1) -> bytes:
    """Return a small PNG whose picture has so many pixels, all black."""
    line = b"\0" + bytes(-(-width * channels * depth // 8))
    packer = zlib.compressobj(1)
    body = b"".join(packer.compress(line) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return _PNG + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", body) + png_chunk(b"IEND", b"")


def text_bomb() -> bytes:
    """Return a PNG of one pixel with a compressed text and a colour profile of 100 MB each."""
    packed = zlib.compress(bytes(100 << 20), 1)
    chunks = _chunks(encoded(Image.new("RGB", (1, 1)), "PNG"))
    chunks[1:1] = [(b"zTXt", b"a\0\0" + packed), (b"iCCP", b"a\0\0" + packed)]
    return _PNG + b"".join(png_chunk(*chunk) for chunk in chunks)


def scan_bomb(scans: int, side: int = 400) -> bytes:
    """Return a progressive JPEG that repeats its last scan so often."""
    image = encoded(Image.new("L", (side, side), 99), "JPEG", progressive=True)
    again = image[image.rfind(b"\xff\xc4") : -2]
    return image[:-2] + again * scans + image[-2:]

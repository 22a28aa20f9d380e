"""Tars that somebody tampered with: flips, cuts, splices, and headers that lie with a good checksum."""

from __future__ import annotations

import io
import json
import random
import tarfile
from collections.abc import Callable, Sequence
from functools import cache

from tests.making import picture

BLOCK = 512
_NAMES = (
    "/etc/passwd.jpg",
    "../../up.txt",
    "..",
    ".hidden",
    "a" * 99 + ".jpg",
    "CON.jpg",
    "a\nb.txt",
    "\x1b[31m.json",
    "\u202egpj.txt",
    "0.JPG",
    "0.jpg",
    "",
    "/",
    "__meta__",
    "0.",
    "0.\x00jpg",
)
_SIZES = (b"77777777777\0", b"00000000000\0", b"-0000000001\0", b"\x80" + b"\xff" * 11, b"\xff" * 12)
_RECORDS = (
    b"30 path=../../../etc/passwd.jpg",
    b"22 GNU.sparse.major=1",
    b"33 GNU.sparse.realsize=999999999",
    b"31 size=99999999999999999999999",
    b"17 size=-1",
    b"13 path=0.jpg",
    b"99999999 path=x",
    b"0 path=x",
    b"14 path=0\0.jpg",
    b"12 path=\xff\xfe",
)


def whole(n: int = 4, format: int = tarfile.PAX_FORMAT, start: int = 0, depth: int = 0) -> bytes:
    """Return a tar of samples with picture, caption and JSON, their names long where `depth` says so."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=format) as tar:
        for seed in range(start, start + n):
            key = "d/" * depth + f"{seed:09d}"
            metadata = json.dumps({"uid": f"{seed:032x}", "url": "http://example.org/ä"}).encode()
            parts = {"jpg": picture(seed, 24), "json": metadata, "txt": f"caption {seed}".encode()}
            for suffix, data in parts.items():
                info = tarfile.TarInfo(f"{key}.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return sink.getvalue()


@cache
def corpus() -> tuple[bytes, ...]:
    """Return whole tars of every format, some with long names, links, devices and sparse files."""
    special = bytearray()
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
        info = tarfile.TarInfo("000000000.jpg")
        info.type, info.linkname = kind, "/etc/passwd"
        special += info.tobuf(tarfile.GNU_FORMAT)
    sparse = tarfile.TarInfo("sparse.jpg")
    sparse.type, sparse.size = tarfile.GNUTYPE_SPARSE, 700
    special += sparse.tobuf(tarfile.GNU_FORMAT) + bytes(1024)
    return (
        whole(format=tarfile.USTAR_FORMAT),
        whole(format=tarfile.GNU_FORMAT, depth=60),
        whole(format=tarfile.PAX_FORMAT, depth=70),
        bytes(special) + whole(2, tarfile.GNU_FORMAT),
        whole(3, tarfile.GNU_FORMAT)[:-1024] + whole(3, tarfile.PAX_FORMAT),  # the same keys twice
    )


def checksummed(header: bytes) -> bytes:
    """Return a header block whose checksum is right."""
    total = sum(header[:148]) + 8 * ord(" ") + sum(header[156:BLOCK])
    return header[:148] + b"%06o\0 " % total + header[156:]


def headers(tar: bytes) -> list[int]:
    """Return where the headers of a tar start."""
    return [at for at in range(0, len(tar), BLOCK) if tar[at + 257 : at + 262] == b"ustar"]


def _flip(tar: bytearray, chance: random.Random) -> None:
    for _ in range(chance.choice([1, 1, 1, 5, 50])):
        tar[chance.randrange(len(tar))] ^= 1 << chance.randrange(8)


def _cut(tar: bytearray, chance: random.Random) -> None:
    del tar[chance.randrange(len(tar)) :]


def _lose(tar: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(tar))
    del tar[at : at + chance.choice([1, 100, BLOCK, 3 * BLOCK, 5000])]


def _overwrite(tar: bytearray, chance: random.Random) -> None:
    at, n = chance.randrange(len(tar)), chance.choice([1, 20, BLOCK, 4000])
    tar[at : at + n] = chance.randbytes(n) if chance.random() < 0.5 else bytes(n)


def _splice(tar: bytearray, chance: random.Random) -> None:
    other = chance.choice(corpus())
    at, start = chance.randrange(len(tar)), chance.choice(headers(other))
    if chance.random() < 0.7:
        at -= at % BLOCK
    tar[at:at] = other[start : start + chance.choice([BLOCK, 2 * BLOCK, 10 * BLOCK])]


def _lie(tar: bytearray, chance: random.Random) -> None:
    """Change a field of a header and put its checksum right, so that the lie is believed."""
    if not (found := headers(bytes(tar))):
        return
    at = chance.choice(found)
    header = bytearray(tar[at : at + BLOCK])
    if len(header) < BLOCK:
        return
    match chance.randrange(5):
        case 0:
            header[124:136] = chance.choice([*_SIZES, b"%011o\0" % chance.randrange(1 << 20)])
        case 1:
            header[156] = chance.choice(b"0\x001234567LKxgSVMND\xff")
        case 2:
            name = chance.choice(_NAMES).encode()[:100]
            header[:100] = name.ljust(100, b"\0")
        case 3:
            header[345:500] = chance.choice([b"p" * 155, bytes(155), b"../".ljust(155, b"\0")])
        case 4:
            field = chance.randrange(BLOCK)
            header[field] = chance.randrange(256)
    tar[at : at + BLOCK] = checksummed(bytes(header))


def _speak(tar: bytearray, chance: random.Random) -> None:
    """Put a long name or PAX records in front of a member."""
    kind = chance.choice(b"LKxg")
    if kind in b"LK":
        text = chance.choice(_NAMES).encode() * chance.choice([1, 1, 40]) + b"\0"
    else:
        text = b"\n".join(chance.sample(_RECORDS, chance.randint(1, 3))) + b"\n"
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = bytes([kind]), len(text)
    block = info.tobuf(tarfile.GNU_FORMAT) + text + bytes(-len(text) % BLOCK)
    at = chance.choice(headers(bytes(tar)) or [0])
    tar[at:at] = block


_MUTATIONS: Sequence[Callable[[bytearray, random.Random], None]] = (
    _flip,
    _cut,
    _lose,
    _overwrite,
    _splice,
    _lie,
    _lie,
    _lie,
    _speak,
)


def mutated(seed: int) -> tuple[bytes, bytes]:
    """Return a whole tar, and what one to four mutations make of it."""
    chance = random.Random(seed)
    original = chance.choice(corpus())
    tar = bytearray(original)
    for _ in range(chance.randint(1, 4)):
        if tar:
            chance.choice(_MUTATIONS)(tar, chance)
    return original, bytes(tar)

"""Read a tar as a stream: USTAR, GNU and PAX names and sizes, the good prefix of a cut file.

Reading goes on behind damage at the next header whose checksum holds, at whatever byte it starts, so that
what stands after a bad stretch is not lost with it. Nothing is unpacked, no link is followed, and no name
is used as a path.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import IO, NamedTuple

BLOCK = 512
REGULAR = frozenset(b"0\x007")
MAX_HEADER_TEXT = 1 << 20  # a long name or a PAX record is never longer than this in good faith
_SKIP_BYTES = 1 << 20
_MOST_AT_ONCE = 32 << 20  # a file makes room for all that it is asked for, whether it has that much or not
_WINDOW = 1 << 16  # how much is searched at a time for the next header
_MAGIC_AT = 257  # where in a header `ustar` stands
_ZEROS = bytes(BLOCK)


class Member(NamedTuple):
    """A regular file of the tar: where its bytes lie, and the bytes unless it was too large to read."""

    name: str
    offset: int
    size: int
    data: bytes | None


class Damage(NamedTuple):
    """A stretch that could not be read; `name` is the member it belongs to, where that is known."""

    offset: int
    name: str | None
    detail: str


class _CutError(Exception):
    """The file ends inside a member."""


class _Header(NamedTuple):
    name: str
    size: int
    kind: int


def read_members(stream: IO[bytes], *, max_member_bytes: int = 1 << 28) -> Iterator[Member | Damage]:
    """Yield every regular file of a tar in order, and a `Damage` for every stretch that can't be read.

    Parameters
    ----------
    stream
        A binary file, read once from front to back in pieces of a member at most.
    max_member_bytes
        A larger member is passed over and comes without its data.
    """
    tar = _Stream(stream)
    try:
        yield from _members(tar, max_member_bytes)
    except _CutError as cut:
        yield Damage(tar.position, cut.args[0], "the tar ends inside this member")


def _members(tar: _Stream, max_member_bytes: int) -> Iterator[Member | Damage]:
    overrides: dict[str, str] = {}
    while block := tar.read_up_to(BLOCK):
        if block == _ZEROS[: len(block)]:
            continue
        start = tar.position - len(block)
        header = _parse(block)
        if header is None:
            yield Damage(start, overrides.get("path"), "no valid tar header here")
            overrides = {}
            tar.seek_header(block)
            continue
        if header.kind in b"xLK":
            overrides |= _extension(tar, header)
            continue
        if header.kind in b"g":
            _extension(tar, header)
            continue
        name, size = overrides.get("path", header.name), _size(overrides, header)
        overrides = {}
        if header.kind in REGULAR and not name.endswith("/"):
            offset = tar.position
            yield Member(name, offset, size, tar.data(name, size, max_member_bytes))
        elif header.kind not in b"123456":  # links, devices and folders carry no data
            tar.skip(name, size)
    if overrides:
        raise _CutError(overrides.get("path"))


def _size(overrides: dict[str, str], header: _Header) -> int:
    size = overrides.get("size", "")
    return int(size) if size.isascii() and size.isdigit() and len(size) < 20 else header.size


def _parse(block: bytes) -> _Header | None:
    """Return what a header block says, or None when it is not one."""
    if len(block) < BLOCK:
        return None
    stored = _number(block[148:156])
    if stored is None or not (_checks(block, stored) or _checks_signed(block, stored)):
        return None
    size = _number(block[124:136])
    if size is None or size < 0:
        return None
    name = block[:100].split(b"\0", 1)[0]
    if block[257:263] == b"ustar\0" and block[345]:
        name = block[345:500].split(b"\0", 1)[0] + b"/" + name
    return _Header(_text(name), size, block[156])


def _checks(block: bytes, stored: int) -> bool:
    """Tell whether a header's bytes, its own field taken as blank, add up to what it says."""
    # The low half of Adler-32 is 1 + the sum of the bytes modulo 65521, forty times as fast as `sum`.
    blanked = block[:148] + b"        " + block[156:]
    return zlib.adler32(blanked) & 0xFFFF == (1 + stored) % 65521


def _checks_signed(block: bytes, stored: int) -> bool:
    """Tell the same of old tars, which add the bytes up as signed numbers."""
    rest = block[:148] + block[156:]
    return stored == sum(rest) + 8 * ord(" ") - 256 * sum(byte > 127 for byte in rest)


def _number(field: bytes) -> int | None:
    """Return a tar number: octal digits, or base 256 behind a byte 0x80 (sizes past 8 GiB)."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.partition(b"\0")[0].strip()
    try:
        return int(digits, 8) if digits else 0
    except ValueError:
        return None


def _text(raw: bytes) -> str:
    # Two different names must stay different, so bad bytes are spelled out, not replaced. A zero byte would
    # end the name for whoever reads it next, though it does not in a PAX record.
    return raw.decode("utf-8", "backslashreplace").replace("\0", "\\x00")


def _extension(tar: _Stream, header: _Header) -> dict[str, str]:
    """Return what a GNU long name or a PAX header says of the member behind it."""
    if header.size > MAX_HEADER_TEXT:
        tar.skip(header.name, header.size)
        return {}
    data = tar.data(header.name, header.size, MAX_HEADER_TEXT) or b""
    if header.kind == ord("L"):
        return {"path": _text(data.split(b"\0", 1)[0])}
    return _pax(data) if header.kind == ord("x") else {}


def _pax(data: bytes) -> dict[str, str]:
    """Parse PAX records (POSIX.1-2001): length, key, value, newline; stops at the first malformed one."""
    records: dict[str, str] = {}
    while data:
        length, space, _ = data[:24].partition(b" ")
        if not space or not length.isdigit() or not len(length) + 1 < int(length) <= len(data):
            break
        key, _, value = data[len(length) + 1 : int(length) - 1].partition(b"=")
        records[_text(key)] = _text(value)
        data = data[int(length) :]
    return records


class _Stream:
    """A file read forward, with its position kept, so that object stores need no seek."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._read: Callable[[int], bytes] = stream.read
        self._ahead = b""  # read already, and still to come
        self.position = 0

    def read_up_to(self, size: int) -> bytes:
        data = b""
        if self._ahead:
            data, self._ahead = self._ahead[:size], self._ahead[size:]
        while len(data) < size and (more := self._read(min(size - len(data), _MOST_AT_ONCE))):
            data = data + more if data else more  # most often all comes at once: no copy
        self.position += len(data)
        return data

    def data(self, name: str, size: int, limit: int) -> bytes | None:
        """Return a member's bytes and pass its padding; None, passed over, above the limit."""
        if size > limit:
            self.skip(name, size)
            return None
        padded = -(-size // BLOCK) * BLOCK
        data = self.read_up_to(padded)
        if len(data) < size:
            raise _CutError(name)
        return data[:size]

    def skip(self, name: str, size: int) -> None:
        left = -(-size // BLOCK) * BLOCK
        while left:
            got = len(self.read_up_to(min(left, _SKIP_BYTES)))
            if not got:
                raise _CutError(name)
            left -= got

    def seek_header(self, bad: bytes) -> None:
        """Move from a bad block to the next header with a good checksum and magic, wherever it starts."""
        window, magic = bad[1:] + self.read_up_to(_WINDOW), _MAGIC_AT - 1
        while len(window) >= BLOCK:
            while (magic := window.find(b"ustar", magic + 1)) >= 0:
                start = magic - _MAGIC_AT
                if _parse(window[start : start + BLOCK]) is not None:
                    self._ahead = window[start:] + self._ahead
                    self.position -= len(window) - start
                    return
            # A header may begin in this window and end in the next.
            more = self.read_up_to(_WINDOW)
            window, magic = (window[1 - BLOCK :] + more, _MAGIC_AT - 1) if more else (b"", 0)

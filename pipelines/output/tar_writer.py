"""Write tars whose bytes depend on nothing but their members' names and bytes."""

from __future__ import annotations

import tarfile
from types import TracebackType
from typing import Protocol, Self

from pipelines.pool.tar_reader import BLOCK

_BUFFER_BYTES = 1 << 20
_RECORD = 20 * BLOCK  # what tar pads a whole file to
_MAX_OCTAL_SIZE = 8**11 - 1


def _template() -> tuple[bytes, bytes, bytes, int]:
    """Return the parts of a USTAR header between its name, size and checksum, and their byte sum."""
    info = tarfile.TarInfo("")
    info.mode = 0o444
    block = info.tobuf(tarfile.USTAR_FORMAT)
    before_size, after_size, after_checksum = block[100:124], block[136:148], block[156:]
    total = sum(before_size) + sum(after_size) + sum(after_checksum) + 8 * ord(" ")
    return before_size, after_size, after_checksum, total


_BEFORE_SIZE, _AFTER_SIZE, _AFTER_CHECKSUM, _TEMPLATE_SUM = _template()


def header(name: str, size: int) -> bytes:
    """Return the header of a regular file: no owner, no time, mode 0444; PAX where USTAR can't say it."""
    raw = name.encode()
    if len(raw) > 100 or not name.isascii() or size > _MAX_OCTAL_SIZE:
        info = tarfile.TarInfo(name)
        info.mode, info.size = 0o444, size
        return info.tobuf(tarfile.PAX_FORMAT, "utf-8")
    field = b"%011o\0" % size
    checksum = _TEMPLATE_SUM + sum(raw) + sum(field)
    return b"%b%b%b%b%06o\0 %b" % (
        raw.ljust(100, b"\0"),
        _BEFORE_SIZE,
        field,
        _AFTER_SIZE,
        checksum,
        _AFTER_CHECKSUM,
    )


class Writable(Protocol):
    """Anything that takes bytes."""

    def write(self, data: bytes, /) -> object:
        """Take bytes."""


class TarWriter:
    """Write members to a binary stream in large pieces; use it as a context or call `close`."""

    def __init__(self, stream: Writable) -> None:
        self._stream = stream
        self._parts: list[bytes] = []
        self._buffered = 0
        self._written = 0

    def add(self, name: str, data: bytes) -> None:
        """Append one file."""
        head = header(name, len(data))
        self._parts += (head, data, bytes(-len(data) % BLOCK))
        self._buffered += len(head) + len(data) + -len(data) % BLOCK
        if self._buffered >= _BUFFER_BYTES:
            self._flush()

    def close(self) -> None:
        """Write the end marker; the stream stays open."""
        total = self._written + self._buffered + 2 * BLOCK
        end = 2 * BLOCK + -total % _RECORD
        self._parts.append(bytes(end))
        self._buffered += end
        self._flush()

    def _flush(self) -> None:
        self._stream.write(b"".join(self._parts))
        self._written += self._buffered
        self._parts, self._buffered = [], 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()

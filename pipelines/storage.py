"""Files by path or URL: read a range, list a folder, and let a file appear under its name only when whole."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem

from pipelines import object_store
from pipelines.errors import ConfigError
from pipelines.failures import HINTS

COPY_BYTES = 8 << 20
_PARTIAL = ".curate-partial"
_WASTE = 4  # times as much as is wanted may be fetched to save requests


def filesystem(url: str) -> tuple[Any, str]:
    """Return the fsspec filesystem of a path or URL, and the path inside it."""
    object_store.refuse_credentials(url)  # first: other messages show the address
    if "::" in url:  # fsspec would open the second by what the first names, which some ways run templates in
        raise ConfigError(
            f"{url}: chained addresses (a::b) are not read here; name the file or folder itself"
        )
    try:
        fs, path = fsspec.url_to_fs(url, **object_store.options(url))
    except (ImportError, ValueError, TypeError) as error:  # none of this name, or no package for it
        raise ConfigError(f"{url} can't be opened: {error}") from None
    return object_store.opened(fs, url), cast(str, path)


def is_local(url: str) -> bool:
    """Tell whether a path or URL lies on this machine's disks."""
    return isinstance(filesystem(url)[0], LocalFileSystem)


def resolve(path: str, base: str | Path) -> str:
    """Return `path` as a URL or an absolute local path; a relative one starts at `base`."""
    path = path.removeprefix("file://")
    if "://" in path:
        object_store.refuse_credentials(path)
        return path
    return os.path.normpath(Path(base).absolute() / Path(path).expanduser())


@dataclass(frozen=True)
class Folder:
    """A folder, local or on an object store; cheap to send to a worker."""

    url: str

    def __truediv__(self, name: str) -> Folder:
        return Folder(self.path(name))

    def path(self, name: str) -> str:
        """Return the path or URL of a file in this folder."""
        return f"{self.url.rstrip('/')}/{name}"

    def read(self, name: str) -> bytes:
        """Return a whole file; `FileNotFoundError` when there is none."""
        fs, path = filesystem(self.path(name))
        return cast(bytes, fs.cat_file(path))

    def open(self, name: str) -> IO[bytes]:
        """Open a file for reading."""
        fs, path = filesystem(self.path(name))
        return cast(IO[bytes], fs.open(path, "rb"))

    def write(self, name: str, data: bytes) -> None:
        """Write a whole file at once: it appears complete or not at all."""
        with self.create(name) as stream:
            stream.write(data)

    @contextlib.contextmanager
    def create(self, name: str) -> Iterator[IO[bytes]]:
        """Open a file for writing that appears under its name when the block ends without an error."""
        fs, path = filesystem(self.path(name))
        if isinstance(fs, LocalFileSystem):
            with _create_local(Path(path)) as stream:
                yield stream
            return
        # Many stores show a file from its first byte on, so it goes there in one put when it is whole.
        with tempfile.NamedTemporaryFile() as whole:
            yield whole
            whole.flush()
            fs.put_file(whole.name, path, **object_store.put_options(self.url))

    def put_copy(self, name: str, source: str) -> None:
        """Let a file appear that holds the bytes of another, by a link or the store's own copy if it can be.

        Nothing here ever changes a file in place, so two names may share one file.
        """
        (fs, path), (source_fs, source_path) = filesystem(self.path(name)), filesystem(source)
        if isinstance(fs, LocalFileSystem) and isinstance(source_fs, LocalFileSystem):
            with _partial(Path(path)) as partial:
                try:
                    os.link(source_path, partial)
                except OSError:  # another disk, or one without links
                    shutil.copyfile(source_path, partial)
        elif type(fs) is type(source_fs):
            fs.cp_file(source_path, path)
        else:
            with open_stream(source) as stream, self.create(name) as copy:
                shutil.copyfileobj(stream, copy, COPY_BYTES)

    def exists(self, name: str) -> bool:
        """Tell whether a file is there."""
        fs, path = filesystem(self.path(name))
        return bool(fs.exists(path))

    def size(self, name: str) -> int | None:
        """Return a file's size in bytes, or None when it is not there."""
        fs, path = filesystem(self.path(name))
        try:
            return int(fs.info(path)["size"])
        except FileNotFoundError:
            return None

    def remove(self, name: str) -> None:
        """Remove a file; no error when it is not there."""
        fs, path = filesystem(self.path(name))
        with contextlib.suppress(FileNotFoundError):
            fs.rm_file(path)

    def sweep(self) -> None:
        """Remove what writers that were killed left half-written; only for the owner of the folder."""
        if is_local(self.url):
            for partial in Path(self.url).rglob(f"*{_PARTIAL}"):
                partial.unlink(missing_ok=True)

    def files(self) -> list[str]:
        """Return the names of all files below this folder, sorted; half-written ones are left out."""
        fs, root = filesystem(self.url)
        with contextlib.suppress(FileNotFoundError):
            found = fs.find(root)
            names = (str(path)[len(root.rstrip("/")) + 1 :] for path in found)
            return sorted(name for name in names if not name.endswith(_PARTIAL))
        return []


@contextlib.contextmanager
def _create_local(path: Path) -> Iterator[IO[bytes]]:
    with _partial(path) as partial, partial.open("wb") as stream:
        yield stream


@contextlib.contextmanager
def _partial(path: Path) -> Iterator[Path]:
    """Yield the name under which a file is made; it gets its own when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}{_PARTIAL}")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        if error.errno in HINTS and error.filename is None:  # a write does not say of which file it is
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        partial.unlink(missing_ok=True)  # there after an error, and where both names are one file already


class RangeReader:
    """Read byte ranges of one file; best when they come in rising order."""

    def __init__(self, url: str) -> None:
        fs, path = filesystem(url)
        if isinstance(fs, LocalFileSystem):
            self._stream: IO[bytes] = Path(path).open("rb")  # noqa: SIM115 - closed by __exit__
        else:
            self._stream = fs.open(path, "rb", block_size=COPY_BYTES, cache_type="readahead")

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset`; `EOFError` when the file is shorter."""
        self._stream.seek(offset)
        data = self._stream.read(size)
        if len(data) != size:
            raise EOFError(f"expected {size} bytes at {offset}, found {len(data)}: the file was cut")
        return data

    def __enter__(self) -> RangeReader:
        return self

    def __exit__(self, *error: object) -> None:
        self._stream.close()


def open_stream(url: str) -> IO[bytes]:
    """Open a file for one pass from front to back."""
    fs, path = filesystem(url)
    if isinstance(fs, LocalFileSystem):
        return Path(path).open("rb", buffering=1 << 20)
    return cast(IO[bytes], fs.open(path, "rb", block_size=COPY_BYTES, cache_type="readahead"))


def read_ranges(url: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    """Return stretches of one file, given as (offset, size); `EOFError` when the file is shorter.

    Neighbours are fetched in one request where the file is far away.
    """
    if not ranges:
        return []
    fs, path = filesystem(url)
    if isinstance(fs, LocalFileSystem):
        with RangeReader(url) as reader:
            return [reader.read(offset, size) for offset, size in ranges]
    first = min(offset for offset, _ in ranges)
    last = max(offset + size for offset, size in ranges)
    wanted = sum(size for _, size in ranges)
    if last - first > _WASTE * wanted:
        starts, ends = zip(*((offset, offset + size) for offset, size in ranges), strict=True)
        found: list[bytes] = fs.cat_ranges([path] * len(ranges), starts, ends)
    else:
        stretch = fs.cat_file(path, start=first, end=last)
        found = [stretch[offset - first : offset - first + size] for offset, size in ranges]
    for data, (offset, size) in zip(found, ranges, strict=True):
        if len(data) != size:
            raise EOFError(f"expected {size} bytes at {offset}, found {len(data)}: the file was cut")
    return found

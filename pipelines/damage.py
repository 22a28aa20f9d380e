"""Say which of the user's files can't be read, whatever its reader raises."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.errors import CurateError, StoppedError
from pipelines.failures import what_failed
from pipelines.storage import filesystem


def is_damage(error: Exception) -> bool:
    """Tell whether a reader raised this for bytes that make no sense, not for a disk or a store that fails.

    Readers of Parquet, zip and numpy raise some ten kinds, MemoryError among them where a header lies.
    """
    # pyarrow raises plain OSErrors for broken pages; a place before a file's start is the file's fault.
    of_bytes = type(error) is OSError and error.errno in (None, errno.EINVAL)
    of_bytes |= type(error) is EOFError or isinstance(error, pa.ArrowException)
    return of_bytes or not (isinstance(error, CurateError) or what_failed(error) is not None)


@contextlib.contextmanager
def reading(file: str, error: type[CurateError] = StoppedError) -> Iterator[None]:
    """Turn what a reader raises inside the block, for bytes that make no sense, into one error with a name.

    What a disk or a store has to say passes as it is.
    """
    try:
        yield
    except Exception as found:
        if not is_damage(found):
            raise
        what = (str(found).strip() or type(found).__name__).splitlines()[0][:200]
        raise error(f"{file} can't be read: {what}; fetch it again, or leave it out") from found


@contextlib.contextmanager
def open_parquet(url: str) -> Iterator[pq.ParquetFile]:
    """Open one of the user's Parquet files; errors as `reading`, also for what is read of it in the block."""
    fs, path = filesystem(url)
    with reading(url), fs.open(path, "rb") as stream, pq.ParquetFile(stream) as file:
        yield file

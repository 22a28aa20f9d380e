"""Say which of the user's files can't be read, whatever its reader raises."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

from pipelines.errors import CurateError, StoppedError
from pipelines.object_store import is_store_error


@contextlib.contextmanager
def reading(file: str, error: type[CurateError] = StoppedError) -> Iterator[None]:
    """Turn what a reader raises inside the block, for bytes that make no sense, into one error with a name.

    Readers of Parquet, zip and numpy raise some ten kinds, MemoryError among them where a header lies. What a
    disk or a store has to say passes as it is.
    """
    try:
        yield
    except CurateError:
        raise
    except Exception as found:
        # A place before the start of the file is the file's fault, though the system finds it.
        of_disk = isinstance(found, OSError) and found.errno not in (None, errno.EINVAL)
        if of_disk or is_store_error(found):
            raise
        what = (str(found).strip() or type(found).__name__).splitlines()[0][:200]
        raise error(f"{file} can't be read: {what}; fetch it again, or leave it out") from found

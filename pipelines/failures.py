"""What to say when a disk or an object store fails, whatever the kind of its error."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

from pipelines.errors import StoppedError

HINTS = {errno.ENOSPC: "make room there", errno.EDQUOT: "make room there", errno.EROFS: "make it writable"}
# Packages that speak to object stores; many of their errors are no `OSError`.
_S3 = ("s3fs", "botocore", "aiobotocore")
_CLIENTS = (*_S3, "gcsfs", "google", "adlfs", "azure", "aiohttp", "requests", "urllib3", "http")


@contextlib.contextmanager
def stop_when_files_fail() -> Iterator[None]:
    """Raise `StoppedError` with what to do when a disk or a store fails inside the block."""
    try:
        yield
    except Exception as error:
        if (what := what_failed(error)) is None:
            raise
        raise StoppedError(f"{what} and run again to go on from here") from error


def what_failed(error: BaseException) -> str | None:
    """Return what to say of an error of a disk or an object store, and what to do; None for any other."""
    if isinstance(error, OSError | EOFError) or _packages(error) & {*_CLIENTS, "pyarrow"}:
        shown = error
    elif _raised_in(error) in _CLIENTS:
        shown = error.__context__ or error  # a client that stumbled over the error of a request: say that one
    else:
        return None
    hint = HINTS.get(getattr(shown, "errno", None) or 0, "put it right")
    return f"{_words(shown)}; {hint}"


def _words(error: BaseException) -> str:
    if isinstance(error, OSError) and type(error).__module__ == "builtins" and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return f"{type(error).__name__}: {str(error) or 'no answer in time'}"


def _packages(error: BaseException) -> set[str]:
    return {kind.__module__.partition(".")[0] for kind in type(error).__mro__}


def _raised_in(error: BaseException) -> str:
    """Return the package whose code raised an error."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0] if trace else ""

"""^C while worker processes start, and where a library would take it over."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from multiprocessing import forkserver, resource_tracker


@contextlib.contextmanager
def interrupts_wait() -> Iterator[None]:
    """Let a ^C wait until the block ends; processes that the block starts or forks never get one.

    A cluster that is interrupted while it starts can't be closed. And a terminal sends ^C to all processes,
    of which each would end with a stack trace of its own: it is this one that ends the workers.
    """
    resource_tracker.ensure_running()  # which `forkserver` would start, and which lifts the mask
    came: list[int] = []
    in_main_thread = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, lambda number, _: came.append(number)) if in_main_thread else None
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # processes and threads inherit it
    try:
        forkserver.ensure_running()
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if handler is not None:
            signal.signal(signal.SIGINT, handler)
    if came:
        raise KeyboardInterrupt


@contextlib.contextmanager
def interrupts_stay() -> Iterator[None]:
    """Take ^C back from a block that takes it over, as the import of dask-jobqueue does, to exit with 0."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread() and handler is not None:
            signal.signal(signal.SIGINT, handler)

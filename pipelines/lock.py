"""One run at a time may own a run folder, or write an output."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from pipelines.errors import ConfigError, StoppedError
from pipelines.storage import Folder, is_local

_BEAT_SECONDS = 20.0
_ATTEMPTS, _ATTEMPT_SECONDS = 4, 0.1
_LOST_SECONDS = 120.0  # an owner that has not been heard of for so long is gone


@contextlib.contextmanager
def own(*folders: Folder) -> Iterator[Callable[[], None]]:
    """Own a run folder, and its output, for the block; yields what raises once one is lost to another run.

    On a disk the system's file lock does it, which ends with the process however that ends. On an object
    store, which has no locks, the owner signs every 20 seconds. One that has not signed for two minutes is
    void, by the clock, and when it doesn't sign while it is watched: clocks of two machines may differ.

    Raises
    ------
    ConfigError
        When another run owns a folder.
    StoppedError
        When another run took a folder over.
    """
    with contextlib.ExitStack() as stack:
        refusals = [stack.enter_context(_own(folder)) for folder in dict.fromkeys(folders)]

        def refuse_lost() -> None:
            for refuse in refusals:
                refuse()

        yield refuse_lost


def _own(folder: Folder) -> contextlib.AbstractContextManager[Callable[[], None]]:
    return _own_local(Path(folder.url)) if is_local(folder.url) else _own_remote(folder)


def is_owned(run: Folder) -> bool:
    """Tell whether a run works in a folder now; nothing is written."""
    if not is_local(run.url):
        return _lately(_signature_in(run)) is not None
    try:
        with (Path(run.url) / ".lock").open() as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


@contextlib.contextmanager
def _own_local(folder: Path) -> Iterator[Callable[[], None]]:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ".lock"
    for attempt in range(_ATTEMPTS):
        with path.open("a+") as stream:
            if _lock(stream, path):
                stream.truncate(0)
                stream.write(_signature())
                stream.flush()
                try:
                    yield lambda: None
                finally:
                    with contextlib.suppress(OSError):
                        path.unlink()
                return
            stream.seek(0)
            who = stream.read().strip() or "unknown"
        if attempt + 1 < _ATTEMPTS:
            time.sleep(_ATTEMPT_SECONDS)  # `is_owned` holds the lock for a moment
    raise ConfigError(f"another run works in {folder} ({who})")


def _lock(stream: IO[str], path: Path) -> bool:
    """Lock a file, and tell whether it is ours: an owner that ends removes it, and then it counts no more."""
    with contextlib.suppress(BlockingIOError, FileNotFoundError):
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    return False


@contextlib.contextmanager
def _own_remote(folder: Folder) -> Iterator[Callable[[], None]]:
    owner = uuid.uuid4().hex
    _take(folder, owner)
    stop, lost = threading.Event(), threading.Event()

    def beat() -> None:
        while not (stop.wait(_BEAT_SECONDS) or lost.is_set()):
            with contextlib.suppress(Exception):  # the store fails at times; the next beat may reach it
                if _signature_in(folder).get("owner", owner) == owner:
                    _sign(folder, owner)
                else:
                    lost.set()

    def refuse_lost() -> None:
        if lost.is_set():
            raise StoppedError(
                f"another run works in {folder.url} now, since this one was not heard of for "
                f"{_LOST_SECONDS:.0f} s; run again to go on from here when that one has ended"
            )

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield refuse_lost
    finally:
        stop.set()
        thread.join()
        if not lost.is_set():
            folder.remove(".lock")
    refuse_lost()


def _take(folder: Folder, owner: str) -> None:
    before = _signature_in(folder)
    if who := _lately(before):
        raise ConfigError(
            f"another run works in {folder.url} ({who}); if that one was killed, its lock is void "
            f"{_LOST_SECONDS:.0f} s after it last signed"
        )
    if before:  # it seems to be gone, but for that our clocks would have to agree: does it sign again?
        time.sleep(1.5 * _BEAT_SECONDS)
        if (now := _signature_in(folder)) and now != before:
            raise ConfigError(f"another run works in {folder.url} ({now.get('who', 'unknown')})")
    _sign(folder, owner)
    if _signature_in(folder).get("owner") != owner:
        raise ConfigError(f"another run started in {folder.url} at the same moment")


def _sign(folder: Folder, owner: str) -> None:
    folder.write(".lock", json.dumps({"owner": owner, "who": _signature(), "at": time.time()}).encode())


def _signature_in(folder: Folder) -> dict[str, Any]:
    """Return who signed last and when; empty when nobody did, or nothing that can be read."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        found = json.loads(folder.read(".lock"))
        return found if isinstance(found, dict) and "owner" in found else {}
    return {}


def _lately(signature: Mapping[str, Any]) -> str | None:
    """Return who signed lately by this machine's clock, if anybody did."""
    with contextlib.suppress(KeyError, TypeError):
        if abs(time.time() - signature["at"]) < _LOST_SECONDS:
            return str(signature["who"])
    return None


def _signature() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"

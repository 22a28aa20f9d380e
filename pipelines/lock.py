"""One run at a time may own a run folder."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pipelines.errors import ConfigError
from pipelines.storage import Folder, is_local

_BEAT_SECONDS = 20.0
_ATTEMPTS, _ATTEMPT_SECONDS = 4, 0.1
_LOST_SECONDS = 120.0  # an owner that has not been heard of for so long is gone


@contextlib.contextmanager
def own(run: Folder) -> Iterator[None]:
    """Own a run folder for the length of the block.

    On a disk the system's file lock does it, which ends with the process however that ends. On an object
    store, which has no locks, the owner signs every 20 seconds; one older than two minutes is void.

    Raises
    ------
    ConfigError
        When another run owns the folder.
    """
    with _own_local(Path(run.url)) if is_local(run.url) else _own_remote(run):
        yield


def is_owned(run: Folder) -> bool:
    """Tell whether a run works in a folder now; nothing is written."""
    if not is_local(run.url):
        return _other(run) is not None
    try:
        with (Path(run.url) / ".lock").open() as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


@contextlib.contextmanager
def _own_local(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+") as stream:
        if not _lock(stream):
            stream.seek(0)
            raise ConfigError(f"another run works in {folder} ({stream.read().strip() or 'unknown'})")
        stream.truncate(0)
        stream.write(_signature())
        stream.flush()
        yield


def _lock(stream: IO[str]) -> bool:
    for attempt in range(_ATTEMPTS):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        if attempt + 1 < _ATTEMPTS:
            time.sleep(_ATTEMPT_SECONDS)  # `is_owned` holds the lock for a moment
    return False


@contextlib.contextmanager
def _own_remote(folder: Folder) -> Iterator[None]:
    owner = uuid.uuid4().hex
    _sign(folder, owner, first=True)
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(_BEAT_SECONDS):
            _sign(folder, owner, first=False)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        folder.remove(".lock")


def _sign(folder: Folder, owner: str, *, first: bool) -> None:
    if first and (other := _other(folder)):
        raise ConfigError(f"another run works in {folder.url} ({other})")
    folder.write(".lock", json.dumps({"owner": owner, "who": _signature(), "at": time.time()}).encode())
    if first and json.loads(folder.read(".lock"))["owner"] != owner:
        raise ConfigError(f"another run started in {folder.url} at the same moment")


def _other(folder: Folder) -> str | None:
    """Return who signed lately, if anybody did."""
    with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
        other = json.loads(folder.read(".lock"))
        if time.time() - other["at"] < _LOST_SECONDS:
            return str(other["who"])
    return None


def _signature() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"

"""What became of a run's ticks: a small file each, in the run folder, and the logs of failed attempts."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from pipelines.storage import Folder

FOLDER = "ticks"
_RECORD = ".json"
NEWEST = 20  # records that are looked at, each of which may be a request
_KEPT = 100  # records of a run, the newest; a tick that finds nothing new leaves none

Outcome = Literal["running", "done", "failed", "skipped", "stopped", "died"]


@dataclass(frozen=True)
class Attempt:
    """One try of a tick that failed: when, how it ended, the last line of its log, and where that lies."""

    started: str
    ended: str
    code: int
    message: str
    log: str | None


@dataclass(frozen=True)
class Tick:
    """One tick: when it was due, what became of it, and its failed attempts. Times are in UTC, ISO 8601."""

    due: str
    started: str
    outcome: Outcome
    ended: str | None = None
    message: str = ""
    attempts: tuple[Attempt, ...] = ()
    process: int = field(default_factory=os.getpid)
    host: str = field(default_factory=socket.gethostname)

    @property
    def name(self) -> str:
        """The stem of its files; by time, also when many ticks were due at once."""
        return f"{self.started}-{self.process}".replace(":", "").replace("+0000", "Z")

    def log(self, attempt: int) -> str:
        """Return where, in the run folder, the log of an attempt lies."""
        return f"{FOLDER}/{self.name}.{attempt}.log"


def stamp(when: datetime) -> str:
    """Return a time as records have it."""
    return when.astimezone(UTC).isoformat(timespec="milliseconds")


def write(run: Folder, tick: Tick) -> None:
    """Write a record, in place of what was known of this tick before."""
    run.write(f"{FOLDER}/{tick.name}{_RECORD}", json.dumps(asdict(tick), indent=1).encode())


def forget(run: Folder) -> None:
    """Remove the records and logs of all but the newest ticks."""
    names = (run / FOLDER).files()
    old = {_stem(name) for name in [name for name in names if name.endswith(_RECORD)][:-_KEPT]}
    for name in names:
        if _stem(name) in old:
            run.remove(f"{FOLDER}/{name}")


def _stem(name: str) -> str:
    """Return which tick a record or a log belongs to."""
    return name.removesuffix(_RECORD) if name.endswith(_RECORD) else name.rsplit(".", 2)[0]


def read(run: Folder, n: int | None = None) -> list[Tick]:
    """Return the newest ticks of a run, the oldest first; those whose process is gone have died."""
    names = [name for name in (run / FOLDER).files() if name.endswith(_RECORD)]
    found = (_read(run, name) for name in names[-n if n else None :])
    return [_as_it_is(tick) for tick in found if tick is not None]


def _read(run: Folder, name: str) -> Tick | None:
    try:
        content: dict[str, Any] = json.loads(run.read(f"{FOLDER}/{name}"))
        attempts = tuple(Attempt(**each) for each in content.pop("attempts"))
        return Tick(**content, attempts=attempts)
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None  # removed just now, or not ours


def _as_it_is(tick: Tick) -> Tick:
    if tick.outcome == "running" and tick.host == socket.gethostname() and not _lives(tick.process):
        return replace(tick, outcome="died", message="its process was killed")
    return tick


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

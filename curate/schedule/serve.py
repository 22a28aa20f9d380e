"""A process that does the ticks of a store's schedules when they are due, each in a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Protocol

from curate.schedule import records
from curate.schedule.entry import Entry, Store
from curate.schedule.records import Tick, stamp
from curate.schedule.tick import tick_command
from curate.schedule.times import last_before, next_after
from pipelines.errors import ConfigError
from pipelines.storage import Folder

_LOOK_SECONDS = 0.5  # between looks at processes that are at work
_IDLE_SECONDS = 5.0  # between looks at the store otherwise
_GRACE_SECONDS = 45.0  # for ticks to end by themselves; they give their runs 30
_TAIL = 4096


class Process(Protocol):
    """A tick at work, as far as the server knows it."""

    def poll(self) -> int | None:
        """Return the exit code, None while it is at work."""

    def said(self) -> str:
        """Return the last line of what it wrote."""

    def stop(self) -> None:
        """Ask it to end."""

    def kill(self) -> None:
        """End it."""


@dataclass
class _Line:
    """What the server knows of one entry: the last time that was dealt with, and what is at work or waits."""

    entry: Entry
    dealt_with: datetime
    process: Process | None = None
    due: datetime | None = None
    waiting: datetime | None = None
    removed: bool = False


@dataclass
class Server:
    """Starts ticks that are due. It holds nothing that a restart would lose.

    What was dealt with is in the records of the runs. After a time in which nobody served, each entry gets
    one tick, for the last time that was missed. A tick that finds nothing new leaves no record, so a restart
    does it again, and it finds nothing new again.
    """

    store: Store
    start: Callable[[Entry, datetime], Process]
    say: Callable[[str], None]
    at_once: int = 1
    _lines: dict[str, _Line] = field(default_factory=dict)
    _trouble: str = ""

    def step(self, now: datetime) -> float:
        """Do what is due; return after how many seconds to look again."""
        for line in self._lines.values():
            self._reap(line, now)
        self._reload()
        for line in self._lines.values():
            self._note_due(line, now)
        for line in sorted(self._lines.values(), key=lambda line: (line.waiting or now, line.entry.name)):
            if line.waiting and not line.process and self._n_at_work() < self.at_once:
                line.due, line.waiting = line.waiting, None
                self.say(f"{line.entry.name}: tick of {stamp(line.due)}")
                line.process = self.start(line.entry, line.due)
        if self._n_at_work():
            return _LOOK_SECONDS
        times = (next_after(line.entry.cron, line.entry.timezone, now) for line in self._lines.values())
        return min((max(0.0, (due - now).total_seconds()) for due in times), default=_IDLE_SECONDS)

    def stop(self) -> list[Process]:
        """Ask all ticks to end; return those that were at work."""
        at_work = [line.process for line in self._lines.values() if line.process]
        for process in at_work:
            process.stop()
        return at_work

    def _n_at_work(self) -> int:
        return sum(line.process is not None for line in self._lines.values())

    def _reload(self) -> None:
        try:
            entries = {entry.name: entry for entry in self.store.read()}
        except ConfigError as error:  # half-edited by hand, say: what was there before goes on
            if str(error) != self._trouble:
                self._trouble = str(error)
                self.say(self._trouble)
            return
        self._trouble = ""
        for name, line in list(self._lines.items()):
            line.removed, line.waiting = name not in entries, line.waiting if name in entries else None
            if line.removed and not line.process:  # a tick at work ends first
                del self._lines[name]
        for name, entry in entries.items():
            if name not in self._lines:
                self._lines[name] = _Line(entry, _dealt_with(entry))
            self._lines[name].entry = entry

    def _note_due(self, line: _Line, now: datetime) -> None:
        """Let the last time that has come and was not dealt with wait for its turn."""
        due = last_before(line.entry.cron, line.entry.timezone, now)
        if line.removed or due <= line.dealt_with:
            return
        line.dealt_with = due
        if line.process and line.entry.overlap == "skip":
            self.say(f"{line.entry.name}: the last tick is still at work, so that of {stamp(due)} is skipped")
            why = "the last tick was still at work"
            self._record(line.entry, Tick(stamp(due), stamp(now), "skipped", stamp(now), why))
        else:
            line.waiting = due

    def _reap(self, line: _Line, now: datetime) -> None:
        if line.process is None or (code := line.process.poll()) is None:
            return
        said, due = line.process.said(), line.due
        line.process = line.due = None
        if code == 0:
            return
        self.say(f"{line.entry.name}: failed ({said or f'ended with code {code}'})")
        assert due is not None
        known = [tick for tick in _ticks(line.entry) if tick.due == stamp(due)]
        tick = known[-1] if known else Tick(stamp(due), stamp(now), "running")
        if tick.outcome in ("running", "died"):  # it could not say so itself
            message = said or f"ended with code {code}"
            self._record(line.entry, replace(tick, outcome="failed", ended=stamp(now), message=message))

    def _record(self, entry: Entry, tick: Tick) -> None:
        try:
            records.write(Folder(entry.run), tick)
        except Exception as error:  # a full disk, a store out of reach: the other entries go on
            self.say(f"{entry.name}: can't record its tick: {error}")


def _ticks(entry: Entry) -> list[Tick]:
    try:
        return records.read(Folder(entry.run), records.NEWEST)
    except Exception:  # the run folder is out of reach: the tick will say so
        return []


def _dealt_with(entry: Entry) -> datetime:
    """Return the last time of an entry that needs no tick any more."""
    return max([entry.since, *(datetime.fromisoformat(tick.due) for tick in _ticks(entry))])


class TickProcess:
    """A tick in a process of its own, which ends with the server when that is asked to end."""

    def __init__(self, entry: Entry, due: datetime) -> None:
        self._out: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed when its last line was read
        command = tick_command(entry)
        place = command.index("tick") + 1
        self._process = subprocess.Popen(
            [*command[:place], "--due", due.isoformat(), *command[place:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._out,
            start_new_session=True,
            cwd=Path(entry.config).parent,
        )

    def poll(self) -> int | None:
        """Return the exit code, None while it is at work."""
        return self._process.poll()

    def said(self) -> str:
        """Return the last line of what it wrote, once."""
        with self._out as out:
            out.seek(max(0, out.seek(0, os.SEEK_END) - _TAIL))
            lines = out.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1].removeprefix("curate: ") if lines else ""

    def stop(self) -> None:
        """Ask it to end, and its run with it."""
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it, should it not have ended within its time."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_SECONDS)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def serve(store: Store, say: Callable[[str], None], at_once: int = 1) -> None:
    """Do ticks when they are due until SIGTERM or SIGINT comes, which stops those at work and ends.

    Raises
    ------
    ConfigError
        When another process serves this store, or it can't be read.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with store.served():
        store.read()  # said at once, not at the first look
        server = Server(store, TickProcess, say, at_once)
        while not stop.is_set():
            seconds = server.step(datetime.now(UTC))
            stop.wait(min(seconds, _IDLE_SECONDS))
        for process in server.stop():
            process.kill()

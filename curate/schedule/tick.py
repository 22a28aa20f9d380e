"""One tick: look whether there is anything new, and if so run, again and again if need be, and tell of it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from curate.config import load
from curate.schedule import records
from curate.schedule.entry import Work
from curate.schedule.notify import notify
from curate.schedule.records import Attempt, Outcome, Tick, stamp
from pipelines.config import RunConfig
from pipelines.finished import is_up_to_date
from pipelines.lock import is_owned
from pipelines.storage import Folder, is_local, resolve

_CURATE = (sys.executable, "-P", "-m", "curate")  # -P: nothing is imported from the folder it starts in
_LONGEST_BACKOFF = 3600.0
_LOOK_SECONDS = 5.0  # between looks whether another run has ended
_GRACE_SECONDS = 30.0  # for a run to end by itself when it is stopped
_TAIL = 1 << 16

Start = Callable[[Sequence[str], IO[bytes] | int], int]


class Ticker:
    """Does ticks. What it does with time and processes can be replaced, so that tests need neither."""

    def __init__(
        self,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], None] = time.sleep,
        start: Start | None = None,
        jitter: Callable[[], float] = lambda: random.uniform(0.5, 1.5),  # noqa: S311 - no secret
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._start = start or run_process
        self._jitter = jitter

    def tick(self, work: Work, due: datetime | None = None) -> Tick | None:
        """Do one tick and return its record; None when there was nothing new, and nothing was written.

        Raises
        ------
        ConfigError
            When the configuration can't be read.
        """
        config, base = load(work.config, work.overrides, allow_plugin=work.allow_plugin)
        run = Folder(resolve(config.run, base))
        started = stamp(self._clock())
        tick = Tick(stamp(due) if due else started, started, "running")
        if _nothing_new(config, base):
            return None
        if is_owned(run):
            if (why := self._wait(work, run)) is not None:
                return self._end(run, replace(tick, message=why), "skipped")
            if _nothing_new(config, base):
                return None
        tick = self._attempts(work, run, _note(run, tick))
        with contextlib.suppress(Exception):  # the next tick does it
            records.forget(run)
        if said := notify(work, config.name, run, tick):
            tick = _note(run, replace(tick, message=f"{tick.message}; {said}"))
        return tick

    def _wait(self, work: Work, run: Folder) -> str | None:
        """Wait until a run that is at work has ended; return why not, if this tick is to be skipped."""
        if work.overlap == "skip":
            return "the run was still at work"
        with _the_one_that_waits(run) as alone:
            if not alone:
                return "the run was still at work, and another tick waits for it already"
            while is_owned(run):
                self._sleep(_LOOK_SECONDS)
        return None

    def _attempts(self, work: Work, run: Folder, tick: Tick) -> Tick:
        try:
            for number in range(1, work.retries + 2):
                began = stamp(self._clock())
                code, message, log = self._attempt(work, run, tick.log(number))
                tick = replace(tick, message=message)
                if code == 0:
                    return self._end(run, tick, "done")
                failed = Attempt(began, stamp(self._clock()), code, message, log)
                tick = _note(run, replace(tick, attempts=(*tick.attempts, failed)))
                if number <= work.retries:
                    self._sleep(min(_LONGEST_BACKOFF, work.backoff * 2.0 ** (number - 1)) * self._jitter())
        except BaseException:
            self._end(run, replace(tick, message="was stopped"), "stopped")
            raise
        return self._end(run, tick, "failed")

    def _end(self, run: Folder, tick: Tick, outcome: Outcome) -> Tick:
        return _note(run, replace(tick, outcome=outcome, ended=stamp(self._clock())))

    def _attempt(self, work: Work, run: Folder, log: str) -> tuple[int, str, str | None]:
        """Run once; return the exit code, what was said last, and where the log lies if it is kept."""
        with _log(run, log) as stream:
            code = self._start(run_command(work), stream)
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - _TAIL))
            message = _last_words(stream.read().decode("utf-8", "replace"), code)
            kept = code != 0 and _keep(run, log, stream)
        if not kept and is_local(run.url):
            with contextlib.suppress(OSError):
                Path(run.path(log)).unlink(missing_ok=True)
        return code, message, run.path(log) if kept else None


def run_command(work: Work) -> list[str]:
    """Return the command that does the work of a tick."""
    return [*_CURATE, "run", "--json", *_options(work), "--", work.config]


def tick_command(work: Work) -> list[str]:
    """Return the command that does a tick, all of it, wherever it is started."""
    options = [*_options(work), "--overlap", work.overlap]
    options += ["--retries", str(work.retries), "--backoff", f"{work.backoff:g}"]
    if work.notify_url is not None:
        options += ["--notify-url", work.notify_url]
    if work.notify_command is not None:
        options += ["--notify-command", work.notify_command]
    return [*_CURATE, "schedule", "tick", *options, "--", work.config]


def _options(work: Work) -> list[str]:
    changes = [word for override in work.overrides for word in ("--set", override)]
    changes += [word for name in work.allow_class for word in ("--allow-class", name)]
    return changes + [word for file in work.allow_plugin for word in ("--allow-plugin", file)]


def run_process(command: Sequence[str], log: IO[bytes] | int) -> int:
    """Run a command with its output in a log; when this process is stopped, all that it started ends too."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        code = process.wait()
    except BaseException:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_SECONDS)
        _kill_group(process)
        raise
    if code:
        _kill_group(process)  # workers whose driver was killed, say
    return code


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _nothing_new(config: RunConfig, base: Path) -> bool:
    try:
        return is_up_to_date(config, base)
    except Exception:  # whatever it is, the run meets it too, says it, and may be tried again
        return False


def _note(run: Folder, tick: Tick) -> Tick:
    """Write a record; on a full disk say so and go on, as the work matters more."""
    try:
        records.write(run, tick)
    except Exception as error:  # a store has kinds of its own
        print(f"curate: can't record this tick in {run.url}: {error}", file=sys.stderr)
    return tick


@contextlib.contextmanager
def _log(run: Folder, name: str) -> Iterator[IO[bytes]]:
    """Open a log in the run folder; elsewhere, to be brought there later, where that can't be."""
    try:
        if not is_local(run.url):
            raise OSError("no file can grow there")
        Path(run.path(name)).parent.mkdir(parents=True, exist_ok=True)
        stream: IO[bytes] = Path(run.path(name)).open("w+b")  # noqa: SIM115 - closed below
    except OSError:
        stream = tempfile.TemporaryFile()  # noqa: SIM115
    with stream:
        yield stream


def _keep(run: Folder, name: str, stream: IO[bytes]) -> bool:
    """See to it that a log lies in the run folder; tell whether it does."""
    try:
        if run.exists(name):
            return True
        stream.seek(0)
        run.write(name, stream.read())
    except Exception as error:  # the failure that the log tells of is what counts
        print(f"curate: can't keep a log in {run.url}: {error}", file=sys.stderr)
        return False
    return True


def _last_words(log: str, code: int) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    if code == 0:
        with contextlib.suppress(ValueError, KeyError, IndexError, TypeError):
            found = json.loads(lines[-1])
            return f"kept {found['kept']:,} of {found['samples']:,} samples"
        return "done"
    if code < 0:
        return f"killed by signal {-code} ({signal.strsignal(-code)})"
    said = [line.removeprefix("curate: ") for line in lines if line.startswith("curate: ")]
    words = [line for line in lines if not line.startswith("{")]
    return (said or words or [f"ended with code {code} and said nothing"])[-1][:500]


@contextlib.contextmanager
def _the_one_that_waits(run: Folder) -> Iterator[bool]:
    """Hold the place of the one tick of this machine that may wait for a run; yield whether it was free."""
    name = f"curate-{os.getuid()}-{hashlib.sha256(run.url.encode()).hexdigest()[:16]}.waiting"
    path = Path(tempfile.gettempdir()) / name
    flags = os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError:
        yield False
        return
    alone = False
    try:
        with contextlib.suppress(BlockingIOError, FileNotFoundError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = os.path.samestat(os.fstat(descriptor), path.stat())  # else its owner took it away
        yield alone
    finally:
        if alone:
            path.unlink(missing_ok=True)
        os.close(descriptor)

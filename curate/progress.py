"""How far a command is: a bar for people at a terminal, a line for each stage in a log, JSON for programs."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.text import Text

from curate.show import counted, duration, size

Show = Callable[[dict[str, Any]], None]
_STEADY_SECONDS = 2.0  # a pace that was taken over less says little
_NARROW = 64  # columns of a terminal below which the bar gives way to the figures


class Pace:
    """How fast a stage goes, and how long it still takes: of shards done in this sitting.

    The first round of shards, one for each worker, pays for what workers load, and comes in at once. So the
    pace is that since the end of the first round, as soon as there was a second one and some seconds have
    passed; before the end of the first there is no time left to tell.
    """

    def __init__(self, workers: int, now: float) -> None:
        self._workers = max(1, workers)
        # Marks of the time, shards and samples: the start, and the ends of the shards of the last few rounds.
        self._start = (now, 0, 0)
        self._marks: deque[tuple[float, int, int]] = deque([self._start], maxlen=4 * self._workers + 1)

    def add(self, samples: int, now: float) -> None:
        """Take note of a shard that was done."""
        _, done, before = self._marks[-1]
        self._marks.append((now, done + 1, before + samples))
        while done + 1 >= 2 * self._workers and self._marks[0][1] < self._workers:
            self._marks.popleft()

    def _since(self) -> tuple[float, int, int]:
        """Return the seconds, shards and samples that the pace is taken from."""
        first, last = self._marks[0], self._marks[-1]
        if last[0] - first[0] < _STEADY_SECONDS:
            first = self._start
        return last[0] - first[0], last[1] - first[1], last[2] - first[2]

    @property
    def samples_per_second(self) -> float | None:
        """Samples a second; None before the first shard."""
        seconds, shards, samples = self._since()
        return samples / max(1e-6, seconds) if shards else None

    def seconds_left(self, shards: int, now: float) -> float | None:
        """Return how long so many more shards will take; None before the first round is over."""
        seconds, done, _ = self._since()
        if self._marks[-1][1] < self._workers or not done:
            return None
        return max(0.0, shards * seconds / done - (now - self._marks[-1][0]))


class JsonProgress:
    """One line of JSON per event, for programs."""

    def __call__(self, event: dict[str, Any]) -> None:
        """Print an event."""
        print(json.dumps(event), file=sys.stderr, flush=True)


class LineProgress:
    """A line for each stage when it is done, and nothing else but what matters: for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._before: dict[str, tuple[int, int | None]] = {}
        self._trainings = [0, 0]

    def __call__(self, event: dict[str, Any]) -> None:
        """Print what an event has to say."""
        match event["event"]:
            case "pool":
                self.say(f"pool: {counted(event['shards'], 'shard')}, {size(event['bytes'])}")
            case "stage":
                self._before[event["stage"]] = event["done"], event["shards"]
            case "stage_done":
                self.say(self._done(event))
            case "proxies":
                self._trainings = [0, event["proxies"]]
            case "proxy":
                self._trainings[0] += 1
                if self._trainings[0] == self._trainings[1]:
                    self.say(f"proxies: {self._trainings[1]:,} trained")
            case "note":
                self.say(f"{event['stage']}: {event['message']}")
            case "warning":
                self.say(f"note: {event['message']}", "yellow")

    def say(self, text: str, style: str = "") -> None:
        """Print a line."""
        self._console.print(Text(text, style=style), soft_wrap=not self._console.is_terminal)

    def _done(self, event: dict[str, Any]) -> str:
        """Return the line of a stage that is done: what came in, what goes on, and the time it took."""
        before, shards = self._before.get(event["stage"], (0, None))
        came, left, took = f"{event['samples']:,}", f"{event['kept']:,}", f"{event['seconds']:.1f} s"
        if self._console.width < _NARROW:
            return f"{event['stage']}: {came} → {left}, " + (took if event["new"] else "done before")
        line = f"{event['stage']:<14}{came:>13} → {left:>13}{took:>11}"
        if not event["new"]:
            return f"{line}  done before"
        return f"{line}  {before:,} of {shards:,} done before" if before and shards else line


class TerminalProgress(LineProgress):
    """Those lines, and below them a bar for the stage under way."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(console)
        self._clock = clock
        self._workers = 1
        bar = [BarColumn(bar_width=min(24, console.width - 56))] if console.width >= _NARROW else []
        columns: list[ProgressColumn] = [
            SpinnerColumn(finished_text="⠿"),
            TextColumn("{task.description}"),
            *bar,
            TextColumn("{task.fields[count]}"),
            TextColumn("{task.fields[rate]}"),
            _TimeLeft(clock),
        ]
        self._bars = Progress(*columns, console=console, transient=True)
        self._task: Any = None
        self._total: int | None = None
        self._n = 0
        self._pace = Pace(1, clock())

    def __call__(self, event: dict[str, Any]) -> None:
        """Show an event."""
        match event["event"]:
            case "summary":
                self._begin(event["stage"], None, 0, "looks at the whole pool")
            case "stage":
                self._begin(event["stage"], event["shards"], event["done"])
            case "proxies":
                self._begin("proxies", event["proxies"], 0)
            case "engine":
                self._workers = event.get("workers") or 1
                self._pace = Pace(self._workers, self._clock())  # of the work, not of the workers' start
            case "shard" if event.get("new", True):
                self._advance(event["samples"])
            case "proxy":
                self._advance(0)
            case "stage_done" | "done":
                self._end()
        super().__call__(event)

    def _begin(self, name: str, total: int | None, done: int, note: str = "") -> None:
        self._end()
        self._total, self._n = total, done
        self._pace = Pace(self._workers, self._clock())
        self._task = self._bars.add_task(
            name, total=total, completed=done, count=note or self._count(), rate="", pace=self._pace
        )

    def _advance(self, samples: int) -> None:
        self._n += 1
        self._pace.add(samples, self._clock())
        rate = self._pace.samples_per_second
        shown = f"{rate:,.0f} samples/s" if rate and samples else ""
        self._bars.update(self._task, completed=self._n, count=self._count(), rate=shown, pace=self._pace)

    def _end(self) -> None:
        if self._task is not None:
            self._bars.remove_task(self._task)
        self._task = None

    def _count(self) -> str:
        return f"{self._n:,}" if self._total is None else f"{self._n:,}/{self._total:,}"

    def __enter__(self) -> TerminalProgress:
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end()
        self._bars.stop()


class _TimeLeft(ProgressColumn):
    """The time left, or as long as that can't be told, the time that a stage has taken."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock

    def render(self, task: Task) -> Text:
        """Return the cell."""
        if task.remaining:
            left = task.fields["pace"].seconds_left(int(task.remaining), self._clock())
            if left is not None:
                return Text(f"{duration(left)} left", no_wrap=True)
        return Text(duration(task.elapsed) if task.elapsed and task.elapsed >= 1 else "", no_wrap=True)


def watched(console: Console) -> bool:
    """Tell whether somebody looks at a terminal that can draw over what it drew."""
    return console.is_terminal and console.file.isatty() and not console.is_dumb_terminal


def progress(console: Console) -> AbstractContextManager[Show]:
    """Return what shows events: bars where somebody watches, else a line for each stage."""
    return TerminalProgress(console) if watched(console) else contextlib.nullcontext(LineProgress(console))


@contextlib.contextmanager
def shown(as_json: bool) -> Iterator[Show]:
    """Show events on stderr: as JSON where the result is asked for in JSON, else for people."""
    if as_json:
        yield JsonProgress()
        return
    with progress(Console(stderr=True)) as show:
        yield show

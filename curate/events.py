"""What happens during a run: kept in the run folder, and shown to whoever is there."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from pipelines.machine import describe_machine
from pipelines.storage import Folder, is_local


class EventLog:
    """Adds a run's events, but not those of single shards, to `events.jsonl` in its folder."""

    def __init__(self, run: Folder) -> None:
        self.run = run
        self._lines: list[str] = []

    def write(self, event: dict[str, Any]) -> None:
        """Add one event, with the time."""
        if event["event"] == "shard":
            return
        stamped = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **event}
        line = json.dumps(stamped) + "\n"
        if is_local(self.run.url):
            with (Path(self.run.url) / "events.jsonl").open("a") as stream:
                stream.write(line)
        else:
            self._lines.append(line)  # an object store has no append: put when the run ends

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lines:
            before = self.run.read("events.jsonl") if self.run.exists("events.jsonl") else b""
            self.run.write("events.jsonl", before + "".join(self._lines).encode())


def machine() -> dict[str, Any]:
    """Return the event that says where a run is started; workers may be elsewhere."""
    return {"event": "machine", **describe_machine()}


class JsonProgress:
    """One line of JSON per event, for logs and pipes."""

    def __call__(self, event: dict[str, Any]) -> None:
        """Print an event."""
        print(json.dumps(event), file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        return None


class TerminalProgress:
    """A bar per stage with its rate and the time left, for people."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Progress(
            TextColumn("{task.description:<12}"),
            BarColumn(bar_width=14),
            TextColumn("{task.completed:>3}/{task.total}"),
            TextColumn("{task.fields[rate]:>9}"),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            TextColumn("{task.fields[note]}"),
            console=console,
        )
        self._task = TaskID(0)
        self._started = 0.0
        self._samples = 0

    def __call__(self, event: dict[str, Any]) -> None:
        """Show an event."""
        match event["event"]:
            case "pool":
                size = event["bytes"] / 1e6
                self._console.print(f"pool: {event['shards']:,} shards, {size:,.1f} MB")
            case "stage":
                self._started, self._samples = time.monotonic(), 0
                fields = {"rate": "", "note": "", "total": event["shards"], "completed": event["done"]}
                self._task = self._bars.add_task(event["stage"], **fields)
            case "shard":
                self._samples += event["samples"]
                rate = self._samples / max(1e-9, time.monotonic() - self._started)
                self._bars.update(self._task, advance=1, rate=f"{rate:,.0f} /s")
            case "stage_done":
                note = f"{event['kept']:,} of {event['samples']:,} samples go on"
                self._bars.update(self._task, note=note)
            case "proxies":
                self._started = time.monotonic()
                fields = {"rate": "", "note": f"{event['budgets']} budgets each", "total": event["proxies"]}
                self._task = self._bars.add_task("proxies", **fields)
            case "proxy":
                self._bars.update(self._task, advance=1, note=f"{event['pool']}, seed {event['seed']}")
            case "engine":
                self._started = time.monotonic()  # the rate is of the work, not of the workers' start
                team = f"{event['gpus']} GPU workers" if "gpus" in event else f"{event['workers']} workers"
                self._console.print(f"{team} started in {event['seconds']:.1f} s")
            case "note":
                self._console.print(f"{event['stage']}: {event['message']}", highlight=False)
            case "warning":
                self._console.print(f"[yellow]note:[/yellow] {event['message']}", highlight=False)

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()


def progress(console: Console) -> TerminalProgress | JsonProgress:
    """Return bars on a terminal, JSON lines elsewhere."""
    return TerminalProgress(console) if console.is_terminal else JsonProgress()

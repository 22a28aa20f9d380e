"""What a person sees of schedules and their ticks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from curate.schedule import records
from curate.schedule.entry import Entry
from curate.schedule.records import Tick
from curate.schedule.times import next_after
from pipelines.storage import Folder

_TROUBLE = ("failed", "died", "stopped")


def described(entry: Entry, now: datetime) -> dict[str, Any]:
    """Return an entry as JSON values, with when it is due next and what became of its last tick."""
    ticks, trouble_there = _read(entry)
    worked = [tick for tick in ticks if tick.outcome != "skipped"]
    trouble = [tick for tick in ticks[len(ticks) - since_done(ticks) :] if tick.outcome in _TROUBLE]
    return {
        **entry.model_dump(mode="json", exclude={"notify_url"}),
        "next": next_after(entry.cron, entry.timezone, now).isoformat(),
        "last": asdict(worked[-1]) if worked else None,
        "failed": len(trouble),
        "out_of_reach": trouble_there,
    }


def _read(entry: Entry) -> tuple[list[Tick], str | None]:
    """Return an entry's newest ticks, or why its run folder can't be read."""
    try:
        return records.read(Folder(entry.run), records.NEWEST), None
    except Exception as error:  # a store's own kinds; the other entries are shown all the same
        return [], f"{type(error).__name__}: {error}"


def since_done(ticks: Sequence[Tick]) -> int:
    """Return how many ticks there were since one was done."""
    done = (n for n, tick in enumerate(reversed(ticks)) if tick.outcome == "done")
    return next(done, len(ticks))


def print_entries(
    console: Console, entries: Sequence[Mapping[str, Any]], *, served: bool, store: str
) -> None:
    """Print schedules as a table, with the failures below it."""
    if not entries:
        console.print(f"no schedules in {store}", highlight=False, soft_wrap=True)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("schedule", "cron", "zone", "next", "last tick that had work"):
        table.add_column(name)
    for entry in entries:
        last = said(entry["last"]) if entry["last"] else entry["out_of_reach"] or "none yet"
        due = datetime.fromisoformat(entry["next"])
        row = (entry["name"], entry["cron"], entry["timezone"], f"{due:%Y-%m-%d %H:%M}", last)
        table.add_row(*map(Text, row))
    console.print(table)
    for entry in entries:
        for attempt in (entry["last"] or {}).get("attempts", ()) if entry["failed"] else ():
            log = f"; {attempt['log']}" if attempt["log"] else ""
            words = f"  {entry['name']}, {attempt['started'][:19]}: {attempt['message']}{log}"
            console.print(Text(words, style="red"), soft_wrap=True)
    if not served:
        console.print("nobody serves them: curate schedule serve", highlight=False)


def of_status(ticks: Sequence[Tick]) -> list[tuple[str, str]]:
    """Return what a run's status says of its schedule: the last tick, and what failed since one was done."""
    if not ticks:
        return []
    rows = [("last tick", said(asdict(ticks[-1])))]
    for tick in ticks[len(ticks) - since_done(ticks) :]:
        for attempt in tick.attempts:
            log = f"; {attempt.log}" if attempt.log else ""
            rows.append(("failed", f"{attempt.started[:16].replace('T', ' ')}: {attempt.message}{log}"))
    return rows


def said(tick: Mapping[str, Any]) -> str:
    """Return one line on a tick."""
    when = (tick["ended"] or tick["started"])[:16].replace("T", " ")
    tries = f" after {len(tick['attempts'])} failed attempts" if tick["attempts"] else ""
    return f"{when} {tick['outcome']}{tries}" + (f": {tick['message']}" if tick["message"] else "")

"""`curate doctor`: whether this machine and what is installed on it can do a run."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from curate.commands.options import AsJson

if TYPE_CHECKING:
    from curate.doctor import Finding

_STYLES = {"ok": "green", "warn": "yellow", "wrong": "bold red"}


def doctor(
    folder: Annotated[str, typer.Argument(help="Where a run is going to lie; its disk is tried.")] = ".",
    as_json: AsJson = False,
) -> None:
    """Look at what a run depends on: versions that fit each other, GPUs, FAISS, cores, memory, disk, extras.

    Each line says ok, warn or wrong, and what to do. Exit code 2 if something is wrong. It takes some
    seconds, as torch is loaded, and leaves nothing behind.
    """
    from curate.doctor import examine
    from curate.progress import watched

    waiting = Console(stderr=True)
    if not watched(waiting):
        found = examine(folder)
    else:
        with waiting.status("torch is being loaded"):
            found = examine(folder)
    counts = Counter(each.state for each in found)
    if as_json:
        print(json.dumps({"ok": not counts["wrong"], "checks": [asdict(each) for each in found]}))
    else:
        _print(Console(highlight=False), found)
        told = ", ".join(f"{counts[state]} {state}" for state in ("wrong", "warn") if counts[state])
        print(told or "all is well")
    if counts["wrong"]:
        raise typer.Exit(2)


def _print(console: Console, found: list[Finding]) -> None:
    width = max(len(each.name) for each in found)
    for each in found:
        said = [each.found, *([f"→ {each.todo}"] if each.todo else [])]
        if console.is_terminal:  # long lines are broken below themselves
            table = Table.grid(padding=(0, 2, 0, 0))
            table.add_column(width=5, style=_STYLES[each.state])
            table.add_column(width=width)
            table.add_column()
            table.add_row(each.state, each.name, Text("\n".join(said)))
            console.print(table)
            continue
        console.print(Text(f"{each.state:<5}  {each.name:<{width}}  {said[0]}"), soft_wrap=True)
        for line in said[1:]:
            console.print(Text(f"{'':<{width + 9}}{line}"), soft_wrap=True)

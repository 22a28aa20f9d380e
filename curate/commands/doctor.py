"""`curate doctor`: whether this machine and what is installed on it can do a run."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

_STYLES = {"ok": "green", "warn": "yellow", "wrong": "bold red"}


def doctor(
    folder: Annotated[str, typer.Argument(help="Where a run is going to lie; its disk is tried.")] = ".",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Look at what a run depends on: versions that fit each other, GPUs, FAISS, cores, memory, disk, extras.

    Each line says ok, warn or wrong, and what to do. Exit code 2 if something is wrong. It takes a few
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
        console = Console(highlight=False)
        wrap = not console.is_terminal
        width = max(len(each.name) for each in found)
        for each in found:
            line = Text(f"{each.state:<5}", style=_STYLES[each.state])
            console.print(line.append(f"  {each.name:<{width}}  {each.found}", style="none"), soft_wrap=wrap)
            if each.todo:
                console.print(Text(f"{'':<{width + 9}}→ {each.todo}"), soft_wrap=wrap)
        told = ", ".join(f"{counts[state]} {state}" for state in ("wrong", "warn") if counts[state])
        console.print(told or "all is well")
    if counts["wrong"]:
        raise typer.Exit(2)

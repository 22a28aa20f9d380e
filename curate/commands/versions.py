"""`curate versions`, `verify`, `diff` and `rollback`: what an output was, is, and can be again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from curate.commands.options import AsJson
from pipelines.errors import ConfigError, StoppedError

if TYPE_CHECKING:
    from collections import Counter

    from pipelines.output.version_diff import Place

Output = Annotated[str, typer.Argument(help="The output: a folder or URL with a MANIFEST.json.")]
_SHOWN = 10  # problems, before they are just counted


def versions(output: Output, as_json: AsJson = False) -> None:
    """List the versions of an output, the oldest first."""
    from dataclasses import asdict

    from pipelines.output.versions import history, manifest_of, version_of
    from pipelines.storage import Folder, resolve

    folder = Folder(resolve(output, "."))
    version_of(folder)  # there is one
    found = [(each, manifest_of(folder, each)["counts"]) for each in history(folder)]
    if as_json:
        print(json.dumps([{**asdict(each), "counts": counts} for each, counts in found]))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("version", "parent", "samples", "kept"):
        table.add_column(name, justify="right")
    table.add_column("")
    for each, counts in found:
        note = f"brought back from {each.restores}" if each.restores else ""
        numbers = (f"{counts[name]:,}" for name in ("samples", "kept"))
        table.add_row(str(each.number), str(each.parent or "-"), *numbers, note)
    Console().print(table)


def verify(output: Output, as_json: AsJson = False) -> None:
    """Check every file of an output against the size and the hash in its manifest."""
    from pipelines.output.rollback import verify as find_problems
    from pipelines.storage import Folder, resolve

    n, problems = find_problems(Folder(resolve(output, ".")))
    if as_json:
        print(json.dumps({"files": n, "problems": problems}))
    if problems:
        shown = problems[:_SHOWN] + ["…"] * (len(problems) > _SHOWN)
        hint = "remove such files and `curate run` again: just they are written anew"
        raise StoppedError("\n  ".join([f"{len(problems):,} problems in {output}; {hint}", *shown]))
    if not as_json:
        print(f"{n:,} files are what the manifest says")


def diff(
    a: Annotated[str, typer.Argument(help="An output, or a version of it: curated@1.")],
    b: Annotated[str, typer.Argument(help="Another, or another version of the same.")],
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="Write every changed sample into this CSV.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say which samples entered between two versions, which left, and why."""
    from pipelines.output.version_diff import changes, count

    found = changes(_place(a), _place(b))
    entered, left, repeats = count(found if output is None else _noted(found, output))
    if as_json:
        print(json.dumps({"entered": dict(entered), "left": dict(left), "repeats": repeats}))
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for title, counts, was in (("entered", entered, "was: "), ("left", left, "now: ")):
        table.add_row(title, f"{sum(counts.values()):,}", style="bold")
        for why, n in _most(counts):
            table.add_row(Text(f"  {was if '.' in why else ''}{why}"), f"{n:,}")
    table.add_row("repeated more or less often", f"{repeats:,}", style="bold")
    Console().print(table)


def rollback(
    run: Annotated[str, typer.Argument(help="The run folder whose output it is.")],
    to: Annotated[
        int | None, typer.Option(help="The version to bring back; without it the newest one's parent.")
    ] = None,
) -> None:
    """Bring an earlier version of a run's output back, to the byte, as its newest version."""
    from curate.status import read_run
    from pipelines.output.rollback import roll_back
    from pipelines.storage import Folder

    config, folder = read_run(run)
    output = Folder(config.output.folder)
    made = roll_back(folder, output, to, config.output.versions)
    print(f"{output.url} is version {made.restores} again, as its version {made.number}")


def _place(text: str) -> Place:
    """Return an output and a version of it, from `output` or `output@number`."""
    from pipelines.output.versions import version_of
    from pipelines.storage import Folder, resolve

    place, at, number = text.rpartition("@")
    if not at or not number.isdigit():
        place, number = text, ""
    folder = Folder(resolve(place, "."))
    return folder, version_of(folder, int(number) if number else None)


def _noted(tables: Any, path: str) -> Any:
    """Pass tables on, and write them into one CSV."""
    from pathlib import Path

    file = Path(path)
    if not file.parent.is_dir():
        raise ConfigError(f"there is no folder {file.parent} for {path}")
    with file.open("w", encoding="utf-8") as stream:
        header = True
        for table in tables:
            table.to_csv(stream, index=False, header=header)
            header = False
            yield table


def _most(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))

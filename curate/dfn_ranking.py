"""What `curate dfn rank` shows: how far it is, and the filters from best to worst."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.table import Table

from curate.progress import JsonProgress
from pipelines.proxies.rank import Ranking
from pipelines.proxies.rank_table import Standing


@contextmanager
def said(as_json: bool) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Say how far it is: a line for each filter and training, or JSON if that is asked for."""
    if as_json:
        yield JsonProgress()
        return
    console = Console(stderr=True)
    todo = {"trainings": 0, "done": 0}

    def say(event: dict[str, Any]) -> None:
        match event["event"]:
            case "filtered":
                console.print(
                    f"{event['filter']} keeps {event['kept']:,} of {event['of']:,}", highlight=False
                )
            case "rank":
                todo["trainings"] = event["trainings"]
            case "proxy":
                todo["done"] += 1
                line = (
                    f"training {todo['done']} of {todo['trainings']}: {event['filter']}, seed {event['seed']}"
                )
                console.print(line, highlight=False)

    yield say


def print_ranking(ranking: Ranking, as_json: bool) -> None:
    """Print the filters from best to worst."""
    if as_json:
        rows = [standing.as_dict() for standing in ranking.standings]
        print(json.dumps({"measure": ranking.measure, "output": ranking.output, "ranking": rows}))
        return
    table = Table(title=ranking.measure, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name in ("", "filter", "kept", "induced", "behind the first", "its own"):
        table.add_column(name, justify="left" if name == "filter" else "right")
    for standing in ranking.standings:
        table.add_row(*_cells(standing))
    console = Console()
    console.print(table)
    console.print("induced: by the models trained on what it keeps; ±: 95 % intervals over the seeds")
    alike = [s.filter for s in ranking.standings[1:] if not s.told_apart and not s.diverged]
    if alike:
        console.print(f"not told apart from the first: {', '.join(alike)}", highlight=False)
    console.print(f"every measure of every training: {ranking.output}", highlight=False, soft_wrap=True)


def _cells(standing: Standing) -> list[str]:
    behind = "" if standing.rank == 1 else _number(standing.behind, standing.behind_margin)
    own = "–" if standing.own is None else f"{standing.own:.3f}"
    induced = _number(standing.induced, standing.margin)
    if standing.diverged:
        induced += f" ({standing.diverged} diverged)"
    return [str(standing.rank), standing.filter, f"{standing.kept:,}", induced, behind, own]


def _number(mean: float, margin: float) -> str:
    if math.isnan(mean):
        return "–"
    return f"{mean:.3f}" + ("" if math.isnan(margin) else f" ± {margin:.3f}")

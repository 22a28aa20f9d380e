"""`curate dfn`: filter networks of one's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from curate.commands.options import AllowClass, AsJson, Overrides
from curate.config import load_as
from curate.show import duration
from pipelines.proxies.rank_config import RankPlan
from pipelines.training.config import TrainConfig

app = typer.Typer(
    name="dfn",
    help="Data-filtering networks: small CLIPs, trained on good samples, whose similarity filters the rest.",
    no_args_is_help=True,
)


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="The training's configuration, YAML.")],
    set_: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Train a filter network on good shards, or go on with a training that was stopped."""
    checked = load_train_config(config, set_ or ())
    from pipelines.training.team import join
    from pipelines.training.train import (
        train_filter,  # torch is imported here, after the configuration is known good
    )

    with _shown(as_json) as show:
        folder = train_filter(checked, on_event=show)
    if join().leads:  # of the processes that torchrun starts, the first one speaks
        _print_network("trained", folder, as_json)


@app.command("interpolate")
def interpolate_networks(
    first: Annotated[Path, typer.Argument(help="Folder of a network.")],
    second: Annotated[Path, typer.Argument(help="Folder of what was fine-tuned from it.")],
    weight: Annotated[float, typer.Option(min=0, max=1, help="a in (1 - a) first + a second.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the new network.")],
    as_json: AsJson = False,
) -> None:
    """Mix the weights of two networks: WiSE-FT, for a weight that the training did not take."""
    from pipelines.training.interpolate import interpolate

    interpolate(first, second, weight, output.absolute())
    _print_network("mixed", output.absolute(), as_json)


@app.command()
def rank(
    plan: Annotated[Path, typer.Argument(help="What to compare, YAML.")],
    set_: Overrides = None,
    allow: Annotated[
        list[str] | None, typer.Option("--allow", help="A call of the plan that may run; may be repeated.")
    ] = None,
    allow_class: AllowClass = None,
    as_json: AsJson = False,
) -> None:
    """Rank filter networks by the models that they induce, or go on with a comparison that was stopped."""
    from curate.dfn_ranking import print_ranking, said

    checked, base = load_as(RankPlan, plan, set_ or ())
    from pipelines.proxies.rank import rank_filters

    with said(as_json) as say:
        ranking = rank_filters(checked.at(base), allow=allow or (), allow_class=allow_class or (), emit=say)
    print_ranking(ranking, as_json)


def _print_network(done: str, folder: Path, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"output": str(folder)}))
    else:
        print(f'{done}: use it as encoder: {{model: "local-dir:{folder}"}}')


def load_train_config(source: Path, overrides: list[str] | tuple[str, ...] = ()) -> TrainConfig:
    """Return a checked configuration, its relative paths starting at the folder of its file.

    Raises
    ------
    ConfigError
        With one line for everything that is wrong.
    """
    config, base = load_as(TrainConfig, source, overrides)
    return config.at(base)


@contextmanager
def _shown(as_json: bool) -> Iterator[Any]:
    """Show events: a bar to those who watch, else a line for what matters; JSON if that is asked for."""
    from curate.progress import JsonProgress, watched

    console = Console(stderr=True)
    if as_json:
        yield JsonProgress()
        return
    if not watched(console):
        yield _Training(None, console)
        return
    columns = (
        TextColumn("step {task.completed:,}/{task.total:,}"),
        BarColumn(bar_width=min(24, max(6, console.width - 60))),
        TextColumn("{task.fields[state]}"),
        TextColumn("{task.fields[left]}"),
    )
    with Progress(*columns, console=console) as bars:
        yield _Training(bars, console)


class _Training:
    """Shows a training: its data, its steps on the bars if there are any, and what it ends with."""

    def __init__(self, bars: Progress | None, console: Console) -> None:
        self._bars, self._console = bars, console
        self._task: TaskID | None = None
        self._phase: str | None = None

    def __call__(self, event: dict[str, Any]) -> None:
        """Show an event."""
        match event["event"]:
            case "data":
                skipped = sum(event["skipped"].values())
                note = f", {skipped:,} left out" if skipped else ""
                self._console.print(f"data: {event['samples']:,} samples{note}", highlight=False)
            case "note":
                self._console.print(f"[yellow]note:[/yellow] {event['message']}", highlight=False)
            case "step":
                self._step(event)
            case "trained" if not event["new"]:
                which = "this network" if "phase" not in event else f"the network `{event['phase']}`"
                self._console.print(f"{which} is already trained", highlight=False)

    def _step(self, event: dict[str, Any]) -> None:
        state = f"loss {event['loss']:.3f}  {event['samples_per_second']:,.0f} samples/s"
        if self._bars is None:
            if event["step"] == event["steps"]:
                self._console.print(f"{event['steps']:,} steps, {state}", highlight=False, soft_wrap=True)
            return
        if self._task is None or self._phase != event.get("phase"):
            self._phase = event.get("phase")
            self._task = self._bars.add_task("", total=event["steps"], state="", left="")
        left = f"{duration(event['seconds_left'])} left" if event["step"] < event["steps"] else ""
        self._bars.update(self._task, completed=event["step"], state=state, left=left)

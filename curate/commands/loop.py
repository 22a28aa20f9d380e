"""`curate buckets`, `proxy`, `advise` and `autopilot`: from a scored run and a budget to the pool that wins.

What is heavy is imported when a command runs: the root of the command line imports this module.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from curate.commands.options import Allow, AllowClass, AllowPlugin, AsJson, Overrides
from pipelines.errors import ConfigError

if TYPE_CHECKING:
    from curate.advice import Advice
    from pipelines.proxies.buckets import Buckets
    from pipelines.proxies.run import Proxies

Budget = Annotated[str, typer.Option(help="Samples seen that the pool is meant for: 128e6 or 128M.")]


def buckets(
    source: Annotated[str, typer.Argument(help="The folder of a run that makes a score, or its YAML.")],
    by: Annotated[str, typer.Option(help="The score, as the run names it; a fused one too.")],
    n: Annotated[int, typer.Option("--n", min=2, max=20, help="Buckets of one size.")] = 4,
    cut: Annotated[
        list[float] | None,
        typer.Option(help="Instead: a share at which to cut, from the best; may be repeated."),
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="Folder; default: buckets/ in the run folder.")
    ] = None,
    allow_class: AllowClass = None,
    allow_plugin: AllowPlugin = None,
    set_: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Cut what a run keeps into quality buckets: subset files, with what is in each; no image is copied."""
    from curate.loop import buckets_of

    with _progress(as_json) as shown:
        found, folder = buckets_of(
            source,
            by,
            cut or _even_cuts(n),
            output,
            overrides=set_ or (),
            allow_class=allow_class or (),
            allow_plugin=allow_plugin or (),
            emit=shown,
        )
    if as_json:
        print(json.dumps({"output": folder, **asdict(found)}))
        return
    _print_buckets(found)
    print(f"written to {folder}")


def proxy(
    plan: Annotated[Path, typer.Argument(help="What to train: YAML, described in docs/closed_loop.md.")],
    allow: Allow = None,
    allow_class: AllowClass = None,
    set_: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Train small CLIPs on buckets and mixtures at several budgets, or go on; write down their errors."""
    from curate.loop import load_plan
    from pipelines.proxies.run import run_proxies

    checked = load_plan(plan, set_ or ())
    with _progress(as_json) as shown:
        found = run_proxies(checked, allow=allow or (), allow_class=allow_class or (), emit=shown)
    if as_json:
        print(json.dumps({"runs": found.path, "rows": len(found.rows), "diverged": len(found.diverged)}))
        return
    _print_proxies(found)


def advise(
    source: Annotated[Path, typer.Argument(help="A table of runs, or the plan that `curate proxy` ran.")],
    budget: Budget,
    buckets: Annotated[
        str | None, typer.Option(help="Folder of `curate buckets`; a plan names it, a table doesn't.")
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="Folder; default: where the table lies.")
    ] = None,
    force: Annotated[bool, typer.Option(help="Let the law answer outside what was measured.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say which pool to train on at a budget, how sure that is, and write the configuration that makes it."""
    from curate.advice import advise as find
    from curate.advice import told
    from curate.loop import CONFIG, load_plan, write_advice
    from pipelines.proxies.buckets import Buckets
    from pipelines.proxies.run import RUNS
    from pipelines.storage import Folder, resolve

    table = source
    if source.suffix in (".yaml", ".yml"):
        plan = load_plan(source)
        table, buckets = Path(plan.output) / RUNS, buckets or plan.buckets
    found = find(table, samples(budget), force=force)
    cut = None if buckets is None else Buckets.read(Folder(resolve(buckets, ".")))
    folder = Folder(resolve(output or str(table.parent), "."))
    name = str(cut.run.get("name", "")) if cut else table.stem
    written = write_advice(folder, name, found, cut, None)
    if as_json:
        print(json.dumps({**found.to_json(), "files": [folder.path(file) for file in written]}))
        return
    _print_advice(found, told(found))
    print(f"written to {folder.url}: {', '.join(written)}")
    if CONFIG in written:
        print(f"make it: curate run {folder.path(CONFIG)}")


def autopilot(
    config: Annotated[Path, typer.Argument(help="A run's YAML that makes a score.")],
    budget: Budget,
    share: Annotated[
        float, typer.Option(min=0.0, help="What all proxies may see, as a share of the budget.")
    ] = 0.02,
    held_out: Annotated[
        str | None, typer.Option(help="Shards never trained on, on which retrieval is measured.")
    ] = None,
    plan: Annotated[
        Path | None, typer.Option(help="YAML with evaluations, seeds, train … as for `curate proxy`.")
    ] = None,
    n: Annotated[int, typer.Option("--n", min=2, max=12, help="Buckets of one size.")] = 4,
    allow: Allow = None,
    allow_class: AllowClass = None,
    allow_plugin: AllowPlugin = None,
    set_: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Score, cut, train proxies, fit, choose, and write the shards to train on: from raw shards in one go."""
    from curate.advice import told
    from curate.loop import autopilot as fly

    with _progress(as_json) as shown:
        found = fly(
            config,
            round(samples(budget)),
            share=share,
            held_out=held_out,
            plan=plan,
            n_buckets=n,
            overrides=set_ or (),
            allow=allow or (),
            allow_class=allow_class or (),
            allow_plugin=allow_plugin or (),
            emit=shown,
        )
    if as_json:
        result = {"result": found.result.as_dict(), "page": found.page, "runs": found.proxies.path}
        print(json.dumps({**found.advice.to_json(), **result}))
        return
    _print_buckets(found.buckets)
    _print_proxies(found.proxies)
    _print_advice(found.advice, told(found.advice))
    kept = f"{found.result.kept:,} of {found.result.samples:,} samples"
    print(f"kept {kept}, written to {found.result.output}\nlook at {found.page}")


def samples(budget: str) -> float:
    """Return a budget in samples: 128e6, 128M."""
    from scaling_laws import Compute

    try:
        return float(Compute().parse(budget))
    except ValueError as error:
        raise ConfigError(f"--budget: {error}") from None


def _even_cuts(n: int) -> list[float]:
    return [number / n for number in range(1, n)]


@contextmanager
def _progress(as_json: bool) -> Iterator[Any]:
    from curate.progress import shown
    from pipelines.failures import stop_when_files_fail

    with stop_when_files_fail(), shown(as_json) as show:
        yield show


def _print_buckets(found: Buckets) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("bucket")
    for name in ("samples", found.by, "mean", "words", "characters", "pixels"):
        table.add_column(name, justify="right")
    for bucket in found.buckets:
        table.add_row(
            bucket.name,
            f"{bucket.samples:,}",
            f"{bucket.score_low:.4g} to {bucket.score_high:.4g}",
            f"{bucket.score_mean:.4g}",
            f"{bucket.caption_words:.1f}",
            f"{bucket.caption_chars:.1f}",
            f"{bucket.width:.0f} x {bucket.height:.0f}",
        )
    console = Console()
    console.print(table)
    if found.unscored:
        console.print(f"{found.unscored:,} samples have no score and are in no bucket", highlight=False)


def _print_proxies(found: Proxies) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for row in found.diverged:
        text = f"warning: {row['pool']} with seed {row['seed']} diverged by {row['samples_seen']:,} samples"
        console.print(Text(text + "; it is left out of the fit"), style="yellow")
    console.print(f"{len(found.rows)} measurements in {found.path}")


def _print_advice(advice: Advice, lines: list[str]) -> None:
    from curate.advice import brief

    console = Console(highlight=False, soft_wrap=True)
    console.print(Text(f"at {advice.budget:,.0f} samples seen, train on {brief(advice.pool)}"), style="bold")
    for line in lines:
        console.print(Text(line))
    if advice.choice is None:
        return
    table = Table(box=None, pad_edge=False)
    for name in ("rule", "would train on"):
        table.add_column(name)
    table.add_column("worse by", justify="right")
    for row in advice.choice.baselines.itertuples():
        table.add_row(Text(str(row.rule)), Text(brief(str(row.choice))), f"{row.regret:.4f}")
    Console().print(table)

"""``curate scaling``: fit laws to training runs and choose a pool for a budget."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
import typer
from rich.console import Console
from rich.table import Table

from scaling_laws import (
    Choice,
    Compute,
    FitWarning,
    OutsideRangeError,
    RangeLimits,
    RepetitionFit,
    Rollout,
    Study,
    choice_to_json,
    compare_laws,
    default_laws,
    plan_next_run,
    read_openclip_run,
    read_runs,
    refusal_to_json,
    rollout,
    rollout_to_json,
    study_runs,
    table_to_json,
)

app = typer.Typer(help="Which pool for which budget, from your own training runs.", no_args_is_help=True)

FormName = Literal["paper", "code", "effective_data", "saturating"]
CandidatesName = Literal["subsets", "prefixes", "pools"]
MetricName = Literal["error", "loss"]

Runs = Annotated[
    Path, typer.Argument(help="Runs: .csv, .parquet or .jsonl with pool, pool_size, samples_seen, error.")
]
Law = Annotated[Path, typer.Argument(help="A law written by `curate scaling fit`.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Write JSON here as well.")]
LawOutput = Annotated[Path, typer.Option("--output", "-o", help="Where to write the law.")]
RunsOutput = Annotated[Path, typer.Option("--output", "-o", help="CSV to write or extend.")]
MaxEpochs = Annotated[float, typer.Option(help="Repetitions allowed, times the most measured.")]
MaxBudget = Annotated[float, typer.Option(help="Budget allowed, times the most measured.")]
Metric = Annotated[MetricName, typer.Option(help="'error' is 1 - accuracy; 'loss' may exceed 1.")]
Model = Annotated[str | None, typer.Option(help="Use the runs of this model only.")]
Form = Annotated[FormName, typer.Option(help="The law's form; 'paper' is the repetition-aware law.")]
Anchor = Annotated[float | None, typer.Option(help="Hold the anchor at this many samples.")]
Irreducible = Annotated[float | None, typer.Option(help="Hold the irreducible error at this value.")]
ShareExponent = Annotated[bool, typer.Option(help="One exponent for all pools (same quality, other sizes).")]
ShareHalfLife = Annotated[bool, typer.Option(help="One half-life for all pools.")]
NoDecay = Annotated[bool, typer.Option("--no-decay", help="Fit without repetition decay.")]
Draws = Annotated[int, typer.Option(min=10, help="Bootstrap draws.")]
NoiseSd = Annotated[float | None, typer.Option(help="Run-to-run standard deviation of the error, if known.")]
BootstrapName = Literal["residual", "parametric", "seed"]
Kind = Annotated[BootstrapName | None, typer.Option("--bootstrap", help="Default: by what tells the noise.")]
Seed = Annotated[int, typer.Option(help="Seed of the bootstrap.")]
Budgets = Annotated[
    list[str] | None,
    typer.Option("--budget", help="128e6, 128M, '2e19 flops' or '512 gpu-hours'; may be given many times."),
]
Candidates = Annotated[CandidatesName, typer.Option(help="Mixtures to choose from.")]
KeepRatios = Annotated[list[float] | None, typer.Option("--keep-ratio", help="Also consider random parts.")]
FlopsPerSample = Annotated[
    float | None, typer.Option(help="Training FLOPs of one pair; default: from the runs.")
]
GpuFlops = Annotated[float | None, typer.Option(help="FLOPs per second that one GPU sustains.")]
Force = Annotated[bool, typer.Option("--force", help="Answer outside the measured range, with a warning.")]


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Turn what a user can mend into one line and exit code 2."""
    try:
        yield
    except OutsideRangeError as refusal:
        typer.echo(json.dumps(refusal_to_json(refusal), indent=1))
        typer.echo(f"refused: {refusal}. Use --force to answer all the same", err=True)
        raise typer.Exit(2) from None
    except (ValueError, OSError) as reason:
        typer.echo(f"error: {reason}", err=True)
        raise typer.Exit(2) from None


@app.command()
def fit(
    runs: Runs,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the law.")] = Path(
        "law.json"
    ),
    metric: Metric = "error",
    model: Model = None,
    form: Form = "paper",
    anchor: Anchor = None,
    irreducible: Irreducible = None,
    share_exponent: ShareExponent = False,
    share_half_life: ShareHalfLife = False,
    no_decay: NoDecay = False,
    draws: Draws = 1000,
    bootstrap: Kind = None,
    noise_sd: NoiseSd = None,
    seed: Seed = 0,
) -> None:
    """Fit one law per pool, with intervals, and write it as JSON."""
    with _plain_errors():
        law = RepetitionFit(
            form=form,
            anchor=anchor,
            irreducible=irreducible,
            half_life=float("inf") if no_decay else None,
            share_exponent=share_exponent,
            share_half_life=share_half_life,
            metric=metric,
        )
        table = _read(runs, metric, model)
        study = study_runs(table, law, n_draws=draws, kind=bootstrap, noise_sd=noise_sd, random_state=seed)
        study.save(output)
    _print_study(study)
    typer.echo(f"wrote {output}")


@app.command()
def choose(
    law: Law,
    budget: Budgets = None,
    candidates: Candidates = "subsets",
    keep_ratio: KeepRatios = None,
    flops_per_sample: FlopsPerSample = None,
    gpu_flops: GpuFlops = None,
    force: Force = False,
    max_epoch_factor: MaxEpochs = 1.5,
    max_extrapolation: MaxBudget = 10.0,
    output: Output = None,
) -> None:
    """Name the best pool or mixture for each budget, with its probability and the switch budgets."""
    with _plain_errors():
        limits = RangeLimits(max_epoch_factor, max_extrapolation)
        choice = _choose(law, budget, candidates, keep_ratio, (flops_per_sample, gpu_flops), limits, force)
        _write(output, choice_to_json(choice))
    _print_choice(choice)


@app.command("test")
def rollout_test(
    runs: Runs,
    metric: Metric = "error",
    model: Model = None,
    form: Form = "paper",
    share_exponent: ShareExponent = False,
    share_half_life: ShareHalfLife = False,
    noise_sd: NoiseSd = None,
    output: Output = None,
) -> None:
    """Fit up to each budget, predict beyond it, and say whether a law beats doing without one."""
    with _plain_errors():
        law = RepetitionFit(
            form=form, share_exponent=share_exponent, share_half_life=share_half_life, metric=metric
        )
        table = _read_models(runs, metric, model)
        result = rollout(table, default_laws(law), metric=metric, noise_sd=noise_sd)
        one_model = "model" not in table or table["model"].nunique() == 1
        laws = compare_laws(table, default_laws(law), metric=metric) if one_model else None
        _write(output, rollout_to_json(result, laws))
    _print_rollout(result, laws)


@app.command()
def plan(
    law: Law,
    candidates: Candidates = "prefixes",
    top: Annotated[int, typer.Option(min=1, help="Runs to show.")] = 10,
    output: Output = None,
) -> None:
    """Say which next training run narrows the first switch budget most."""
    with _plain_errors():
        study = Study.load(law)
        measured = [float(study.runs["samples_seen"].max())]
        choice = study.choose(measured, candidates, force=True)
        table = plan_next_run(choice, study.draws, study.noise_sd)
        _write(output, table_to_json(table))
    first = next((s for s in choice.switches if not s.extrapolated), choice.switches[0])
    typer.echo(f"switch {first.before} -> {first.after} at {first.budget} samples")
    names = ["samples seen", "epochs", "width now", "expected width", "narrowing"]
    _print_table("pool", names, [_numbers(row) for row in table.head(top).itertuples(index=False)])


@app.command()
def plot(
    law: Law,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the plots.")] = Path("plots"),
    budget: Budgets = None,
    candidates: Candidates = "subsets",
    file_format: Annotated[Literal["png", "pdf", "svg"], typer.Option("--format", help="File type.")] = "png",
) -> None:
    """Draw the frontier with its bands and switches, the curves over epochs, and the residuals."""
    from scaling_laws.plots import plot_epochs, plot_frontier, plot_residuals

    with _plain_errors():
        study = Study.load(law)
        budgets = [Compute().parse(text) for text in budget or []]
        choice = study.choose(budgets, candidates, force=True) if budgets else None
        output.mkdir(parents=True, exist_ok=True)
        figures: dict[str, Callable[[], Any]] = {
            "frontier": lambda: plot_frontier(study, candidates, choice),
            "epochs": lambda: plot_epochs(study),
            "residuals": lambda: plot_residuals(study),
        }
        for name, draw in figures.items():
            file = output / f"{name}.{file_format}"
            draw().savefig(file)
            typer.echo(f"wrote {file}")


@app.command()
def collect(
    folders: Annotated[list[Path], typer.Argument(help="open_clip training folders.")],
    pool: Annotated[str, typer.Option(help="The pool they trained on.")],
    pool_size: Annotated[float, typer.Option(help="Its unique samples.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="CSV to write or extend.")] = Path(
        "runs.csv"
    ),
    metric: Annotated[str, typer.Option(help="Accuracy to read.")] = "imagenet-zeroshot-val-top1",
) -> None:
    """Read open_clip training folders into a table of runs."""
    with _plain_errors():
        tables = [read_openclip_run(folder, pool, pool_size, metric) for folder in folders]
        if output.exists():
            tables.insert(0, pd.read_csv(output))
        table = pd.concat(tables, ignore_index=True).drop_duplicates(ignore_index=True)
        table.to_csv(output, index=False)
    typer.echo(f"wrote {output}: {len(table)} runs")


def _choose(
    law: Path,
    budget: list[str] | None,
    candidates: CandidatesName,
    keep_ratio: list[float] | None,
    cost: tuple[float | None, float | None],
    limits: RangeLimits,
    force: bool,
) -> Choice:
    if not budget:
        raise ValueError("give at least one --budget, for example --budget 128M")
    study = Study.load(law)
    compute = Compute(cost[0] or study.flops_per_sample, cost[1])
    budgets = [compute.parse(text) for text in budget]
    ratios = sorted({1.0, *(keep_ratio or [])}, reverse=True)
    return study.choose(budgets, candidates, keep_ratios=ratios, limits=limits, force=force)


def _read_models(runs: Path, metric: MetricName, model: str | None) -> pd.DataFrame:
    """Read runs of one model or, for a rollout, of each in turn."""
    return _read(runs, metric, model, one_model=model is not None)


def _read(runs: Path, metric: MetricName, model: str | None, *, one_model: bool = True) -> pd.DataFrame:
    """Read runs, and say which are left out."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FitWarning)
        table = read_runs(runs, metric, model, one_model=one_model)
    for message in dict.fromkeys(str(warning.message) for warning in caught):
        typer.echo(f"warning: {message}", err=True)
    return table


def _print_study(study: Study) -> None:
    rows = [(name, str(interval)) for name, interval in study.intervals.items()]
    _print_table("parameter", ["95 % bootstrap interval"], rows)
    for name, interval in study.profiles.items():
        typer.echo(f"profile likelihood: {name} {interval}")
    figures = study.statistics
    typer.echo(f"rmse {figures['rmse']:.4g}, noise {figures['noise_sd']:.4g}, {int(figures['n_runs'])} runs")
    for message in study.warnings:
        typer.echo(f"warning: {message}")


def _print_choice(choice: Choice) -> None:
    for message in choice.warnings:
        typer.echo(f"warning: {message}")
    names = ["error", "95 %", "P(best)", "margin", "beyond noise", "contenders", "best"]
    _print_table("budget", names, [_choice_row(row) for row in choice.table().to_dict("records")])
    for switch in choice.switches:
        where = switch.budget
        tail = " (extrapolated)" if switch.extrapolated else ""
        typer.echo(f"switch at {where} samples{tail}: {switch.before} -> {switch.after}")
    rules = choice.baselines.assign(budget=choice.baselines["budget"].map("{:.4g}".format))
    for column in ("error", "regret"):
        rules[column] = rules[column].map("{:.4f}".format)
    rules = rules[["budget", "rule", "error", "regret", "choice"]]
    names = ["rule", "error", "regret", "would choose"]
    _print_table("budget", names, list(rules.itertuples(index=False)))


def _print_rollout(result: Rollout, laws: pd.DataFrame | None) -> None:
    typer.echo(result.verdict)
    summary = result.summary().reset_index()
    rows = [_numbers(row) for row in summary.itertuples(index=False)]
    _print_table("method", list(summary.columns[1:]), rows)
    for reason in dict.fromkeys(result.table.loc[result.table["note"] != "", "note"]):
        typer.echo(f"left out: {reason}")
    if laws is not None:
        shown = laws.drop(columns="note")
        _print_table("law", list(shown.columns[1:]), [_numbers(row) for row in shown.itertuples(index=False)])


def _choice_row(row: dict[Any, Any]) -> tuple[str, ...]:
    beyond = {True: "yes", False: "no", None: "unknown"}[row["beyond_noise"]]
    interval = f"{row['low']:.4f} to {row['high']:.4f}"
    return (
        f"{row['budget']:.4g}",
        f"{row['error']:.4f}",
        interval,
        f"{row['p_best']:.2f}",
        f"{row['margin']:.4f}",
        beyond,
        str(row["n_contenders"]),
        row["best"],
    )


def _numbers(row: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(f"{value:.4g}" if isinstance(value, float) else str(value) for value in row)


def _print_table(first: str, others: list[str], rows: list[Any]) -> None:
    """Print rows under headings; only the last column may wrap, as names of mixtures grow long."""
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console.width = 160
    table = Table(box=None, pad_edge=False)
    names = [first, *others]
    for name in names:
        table.add_column(name, no_wrap=name != names[-1], overflow="fold")
    for row in rows:
        table.add_row(*map(str, row))
    console.print(table)


def _write(output: Path | None, document: object) -> None:
    if output is not None:
        output.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")

"""`curate duplicates`: what a threshold for semantic duplicates would keep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow.compute as pc
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from pipelines.columns import ColumnStore
from pipelines.errors import ConfigError
from pipelines.storage import Folder, resolve

app = typer.Typer(name="duplicates", help="Semantic duplicates of a run.", no_args_is_help=True)

_THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.925, 0.95, 0.96, 0.97, 0.98, 0.99, 0.995, 0.999)
_BINS = 1 << 16


@app.callback()
def _group() -> None:
    """Keep `sweep` a command of its own while it is the only one."""


@app.command()
def sweep(
    run: Annotated[str, typer.Argument(help="A run folder whose stages compared vectors.")],
    stage: Annotated[str, typer.Option(help="The stage that holds the similarities.")] = "similar",
    threshold: Annotated[
        list[float] | None, typer.Option(help="A cosine to look at; may be given many times.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Also draw the curve into this file, PNG or SVG.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """Print the share that each threshold would keep, from stored similarities: nothing is compared again.

    By the published rule: what is more similar than the threshold to any earlier sample goes. `hidden` is the
    share of samples that stay although a neighbouring cluster holds an earlier one that is as similar,
    estimated from the samples that were looked into; `across: 2` in the configuration finds those.
    """
    counts = similarity_counts(Folder(resolve(run, ".")), stage)
    rows = [row_of(counts, each) for each in sorted(threshold or _THRESHOLDS)]
    if plot is not None:
        _draw(counts, plot)
    if as_json:
        print(json.dumps({"stage": stage, "samples": int(counts["all"].sum()), "thresholds": rows}))
        return
    table = Table(title=f"{int(counts['all'].sum()):,} samples", title_justify="left", box=None)
    for name in ("threshold", "kept", "share", "hidden"):
        table.add_column(name, justify="right")
    for row in rows:
        hidden = "-" if row["hidden"] is None else f"{row['hidden']:.2%}"
        table.add_row(f"{row['threshold']:g}", f"{row['kept']:,}", f"{row['share']:.1%}", hidden)
    Console().print(table)


def similarity_counts(run: Folder, stage: str) -> dict[str, NDArray[np.int64]]:
    """Return histograms over cosines from -1 to 1: of all samples, and of those looked into, twice.

    `looked` counts their similarity in their own cluster, `found` the greater of that and of what
    neighbouring clusters hold.
    """
    store, total = ColumnStore(run), {name: np.zeros(_BINS, np.int64) for name in ("all", "looked", "found")}
    names = [name for name in (run / f"columns/{stage}").files() if name.endswith(".parquet")]
    if not names:
        raise ConfigError(f"{run.url} holds no stage {stage!r}: it is made by `duplicates: {{semantic: …}}`")
    for name in names:
        table = store.read(stage, name.removesuffix(".parquet"), ["max_similarity", "beyond"])
        own = table["max_similarity"].to_numpy()
        looked = pc.is_valid(table["beyond"]).to_numpy()
        beyond = table["beyond"].to_numpy()[looked]
        total["all"] += _histogram(own)
        total["looked"] += _histogram(own[looked])
        total["found"] += _histogram(np.maximum(own[looked], beyond))
    return total


def row_of(counts: dict[str, NDArray[np.int64]], threshold: float) -> dict[str, Any]:
    """Return what a threshold keeps, to a 30,000th of a cosine."""
    place = _bin(np.array([threshold]))[0] + 1
    kept, n = int(counts["all"][:place].sum()), int(counts["all"].sum())
    looked = int(counts["looked"].sum())
    hidden = counts["looked"][:place].sum() - counts["found"][:place].sum()
    return {
        "threshold": threshold,
        "kept": kept,
        "share": kept / max(1, n),
        "hidden": float(hidden / looked) if looked else None,
    }


def _histogram(cosine: NDArray[Any]) -> NDArray[np.int64]:
    return np.bincount(_bin(cosine), minlength=_BINS)


def _bin(cosine: NDArray[Any]) -> NDArray[np.int64]:
    return np.clip(np.floor((cosine + 1) / 2 * (_BINS - 1)), 0, _BINS - 1).astype(np.int64)


def _draw(counts: dict[str, NDArray[np.int64]], path: Path) -> None:
    import matplotlib.pyplot as plt

    share = np.cumsum(counts["all"]) / max(1, counts["all"].sum())
    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    axes.plot(np.linspace(-1, 1, _BINS), 100 * share)
    axes.set(xlim=(0, 1), ylim=(0, 102), xlabel="threshold (cosine)", ylabel="kept, %")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=130)
    plt.close(figure)

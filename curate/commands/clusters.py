"""`curate clusters`: the account of a pruning, cluster by cluster, with what its samples say."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.columns import ColumnStore
from pipelines.errors import ConfigError
from pipelines.stages.prune import account_path
from pipelines.storage import Folder, resolve

app = typer.Typer(name="clusters", help="Concept clusters of a run.", no_args_is_help=True)

_CAPTION = 48


@app.callback()
def _group() -> None:
    """Keep `show` a command of its own while it is the only one."""


@app.command()
def show(
    run: Annotated[str, typer.Argument(help="A run folder whose stages pruned clusters.")],
    stage: Annotated[str, typer.Option(help="The stage that pruned.")] = "prune",
    top: Annotated[int, typer.Option(min=1, help="How many of the most and of the least complex.")] = 5,
    plot: Annotated[Path | None, typer.Option(help="Also draw quotas against sizes, PNG or SVG.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all clusters as JSON.")] = False,
) -> None:
    """Print size, distances, complexity, target and quota of clusters, and their most typical captions."""
    folder = Folder(resolve(run, "."))
    account, facts = read_account(folder, stage)
    if plot is not None:
        from curate.clusters_plot import draw

        plot.write_bytes(draw(account, plot.suffix.removeprefix(".") or "png"))
    if as_json:
        print(json.dumps({**facts, "clusters": account.to_dict("records")}))
        return
    ordered = account[account["size"] > 0].sort_values("complexity", ascending=False)
    chosen = ordered if len(ordered) <= 2 * top else pd.concat([ordered[:top], ordered[-top:]])
    examples = nearest_captions(folder, facts["clusters_stage"], chosen.cluster.tolist())
    table = Table(title=_title(account, facts), title_justify="left", box=None)
    for name in ("cluster", "size", "d_inter", "d_intra", "complexity", "target", "quota"):
        table.add_column(name, justify="right")
    table.add_column("nearest captions")
    for row in chosen.to_dict("records"):
        numbers = [f"{row[name]:.3f}" for name in ("d_inter", "d_intra", "complexity")]
        quota = f"{row['quota']:,}{' (all)' if row['full'] else ''}"
        captions = Text(" · ".join(examples[row["cluster"]]))  # as text: captions may hold anything
        size, target = f"{row['size']:,}", f"{row['target']:,.1f}"
        table.add_row(str(row["cluster"]), size, *numbers, target, quota, captions)
    Console().print(table)


def read_account(run: Folder, stage: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return a row per cluster, and what holds for all of them."""
    try:
        table = pq.read_table(io.BytesIO(run.read(account_path(stage))))
    except FileNotFoundError:
        raise ConfigError(f"{run.url} holds no account of a stage {stage!r}: is it a pruning?") from None
    metadata = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    facts = {
        "samples": int(np.sum(table["size"].to_numpy())),
        "kept": int(np.sum(table["quota"].to_numpy())),
        "fill": metadata["fill"],
        "moved": float(metadata["moved"]),
        "clusters_stage": metadata["clusters"],
    }
    return table.to_pandas(), facts


def nearest_captions(run: Folder, stage: str, clusters: list[int], count: int = 2) -> dict[int, list[str]]:
    """Return the captions of the samples nearest to some centroids."""
    store = ColumnStore(run)
    best: dict[int, list[Any]] = {cluster: [] for cluster in clusters}
    for name in (run / f"columns/{stage}").files():
        shard = name.removesuffix(".parquet")
        table = store.read(stage, shard, ["row", "cluster", "similarity"])
        table = table.filter(pc.is_in(table["cluster"], pa.array(clusters, pa.int32())))
        captions = store.read("ingest", shard, ["caption"])["caption"]
        for row, cluster, similarity in zip(*(table[c].to_pylist() for c in table.column_names), strict=True):
            best[cluster].append((-similarity, shard, row, captions[row].as_py()))
            best[cluster] = sorted(best[cluster])[:count]
    return {cluster: [_short(caption) for *_, caption in found] for cluster, found in best.items()}


def _short(caption: str) -> str:
    line = " ".join(caption.split())
    return line if len(line) <= _CAPTION else line[: _CAPTION - 1] + "…"


def _title(account: pd.DataFrame, facts: dict[str, Any]) -> str:
    full = int(account.full.sum())
    moved = (
        f"λ = {facts['moved']:,.1f} samples" if facts["fill"] == "additive" else f"α = {facts['moved']:.3g}"
    )
    return (
        f"{len(account):,} clusters, {facts['kept']:,} of {facts['samples']:,} samples kept; "
        f"{full:,} clusters keep all they have; {moved}"
    )

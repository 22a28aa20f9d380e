"""Quotas of concept clusters against their sizes, as a picture: one lies in the run folder."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from pipelines.output.publish import put_if_changed
from pipelines.storage import Folder

if TYPE_CHECKING:
    import pandas as pd


def draw(account: pd.DataFrame, kind: str = "png") -> bytes:
    """Return a picture of the account of a pruning, a row per cluster; `kind` is png or svg."""
    from matplotlib.figure import Figure

    own = account[account["size"] > 0]
    figure = Figure(figsize=(6, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.set(xscale="log", yscale="log")
    quota = own.quota.clip(lower=0.5)
    points = axes.scatter(own["size"], quota, c=own.complexity, s=14, cmap="viridis")
    most = own["size"].max()
    axes.plot([1, most], [1, most], color="grey", lw=0.8, ls=":")
    axes.set_xlim(own["size"].min() / 1.5, most * 1.5)
    axes.set_ylim(quota.min() / 1.5, quota.max() * 1.5)
    axes.set(
        xlabel="samples in the cluster",
        ylabel="samples kept (dotted: all; 0.5: none)",
        title=f"{int(own.quota.sum()):,} of {int(own['size'].sum()):,} samples stay",
    )
    figure.colorbar(points, label="complexity")
    sink = io.BytesIO()
    figure.savefig(sink, dpi=130, format=kind)
    return sink.getvalue()


def draw_accounts(run: Folder) -> None:
    """Draw every account of a run folder beside it."""
    for name in (run / "clusters").files():
        if name.endswith(".parquet"):
            account = pq.read_table(io.BytesIO(run.read(f"clusters/{name}"))).to_pandas()
            put_if_changed(run / "clusters", f"{name.removesuffix('.parquet')}.png", draw(account))

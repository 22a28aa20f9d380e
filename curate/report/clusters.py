"""Concept clusters as tiles: how large, how complex, how much may stay, and what is in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.commands.clusters import read_account
from curate.report.choice import Place
from curate.report.finished import Finished
from pipelines.columns import DECISIONS
from pipelines.stage import ShardColumns
from pipelines.stages.cluster import ClusterStage
from pipelines.stages.prune import PruneStage

_TILES = 160
_EXAMPLES = 4


@dataclass
class Clustering:
    """The clusters of one stage; `tiles` are those that are shown, `pruning` the stage with their quotas."""

    stage: str
    pruning: str | None
    clusters: int
    tiles: list[dict[str, Any]]
    kept: NDArray[np.int64]
    examples: dict[int, list[Place]] = field(default_factory=dict)
    _best: NDArray[Any] | None = None

    def add(self, number: int, columns: ShardColumns, draw: NDArray[np.uint64]) -> None:
        """Look at a shard: how many of each cluster are kept in the end, which are nearest to centroids."""
        table = columns.read(self.stage, ("row", "cluster", "similarity"))
        rows, cluster = table["row"].to_numpy(), table["cluster"].to_numpy()
        kept = columns.read(DECISIONS, ("kept",))["kept"].to_numpy()[rows]
        np.add.at(self.kept, cluster[kept], 1)
        shown = np.isin(cluster, [tile["cluster"] for tile in self.tiles])
        new = np.empty(
            int(shown.sum()),
            [("cluster", "i4"), ("far", "f4"), ("draw", "u8"), ("shard", "i4"), ("row", "i4")],
        )
        new["cluster"], new["far"] = cluster[shown], -table["similarity"].to_numpy()[shown]
        new["draw"], new["shard"], new["row"] = draw[rows[shown]], number, rows[shown]
        whole = new if self._best is None else np.concatenate([self._best, new])
        whole = whole[np.lexsort((whole["draw"], whole["far"], whole["cluster"]))]
        first = np.searchsorted(whole["cluster"], whole["cluster"])
        self._best = whole[np.arange(len(whole)) - first < _EXAMPLES]
        self._settle()

    def _settle(self) -> None:
        self.examples = {}
        for each in self._best if self._best is not None else ():
            place = Place(int(each["shard"]), int(each["row"]))
            self.examples.setdefault(int(each["cluster"]), []).append(place)


def clusterings(run: Finished) -> list[Clustering]:
    """Return the clusterings that were pruned by, else those that were asked for, else any."""
    by_pruning = {stage.cluster: stage.name for stage in run.stages if isinstance(stage, PruneStage)}
    all_of = [stage for stage in run.stages if isinstance(stage, ClusterStage)]
    asked = [stage for stage in all_of if stage.name in by_pruning]
    asked = asked or [stage for stage in all_of if stage.purpose == "pruning"] or all_of
    return [_open(run, stage.name, by_pruning.get(stage.name)) for stage in asked]


def _open(run: Finished, stage: str, pruning: str | None) -> Clustering:
    rows, n = tiles_of(run, stage, pruning)
    half = _TILES // 2
    ends = rows[:_TILES] if pruning is None or len(rows) <= _TILES else [*rows[:half], *rows[-half:]]
    return Clustering(stage, pruning, len(rows), ends, np.zeros(n, np.int64))


def tiles_of(run: Finished, stage: str, pruning: str | None) -> tuple[list[dict[Any, Any]], int]:
    """Return a row for each cluster that has samples, and how many clusters there are with the empty ones.

    The most complex come first, or the largest where nothing pruned.
    """
    if pruning is None:
        sizes = _sizes(run, stage)
        rows = [{"cluster": n, "size": int(size)} for n, size in enumerate(sizes) if size]
        return sorted(rows, key=lambda row: (-row["size"], row["cluster"])), len(sizes)
    account: list[dict[Any, Any]] = read_account(run.folder, pruning)[0].to_dict("records")
    there = [row for row in account if row["size"]]
    return sorted(there, key=lambda row: (-row["complexity"], row["cluster"])), len(account)


def _sizes(run: Finished, stage: str) -> NDArray[np.int64]:
    total = np.zeros(0, np.int64)
    for _, columns in run.columns():
        cluster: pa.ChunkedArray = columns.read(stage, ("cluster",))["cluster"]
        here = np.bincount(cluster.to_numpy(), minlength=len(total))
        here[: len(total)] += total
        total = here
    return total

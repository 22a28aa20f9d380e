"""Density-based pruning over a pool: distances, quotas, then the exact best of every cluster."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from numpy.typing import NDArray

from filters.base import drop_first_reason
from filters.clusters import Clusters
from filters.density import Allocation, allocate, between_clusters
from filters.grouped_select import Boundaries, count, digits_for, keeps, merge, narrow, start
from filters.prune import Prune
from pipelines.errors import StoppedError
from pipelines.plan import Plan
from pipelines.stage import NamedStage, Pool, ShardColumns
from pipelines.stages.cluster import ClusterStage, add_clusters, clusters_of, read_summary_centroids

_UNIT = 1 << 30  # distances are added up as whole multiples of its inverse: in any order, with the same sum


@dataclass(frozen=True)
class PruneStage(NamedStage):
    """Drops what is beyond its cluster's quota. `cluster` is the stage that made the clusters."""

    config: Prune
    gate: str
    cluster: str
    seed: int

    @property
    def reads(self) -> tuple[str, ...]:
        """The gate, the clusters, and the uids that ties go by."""
        return tuple(dict.fromkeys([self.gate, self.cluster, "ingest"]))

    def settings(self) -> Mapping[str, Any]:
        """Return the parameters, and the seed where it matters."""
        parameters = self.config.model_dump(mode="json", exclude={"clusters", "encoder", "preset"})
        return {**parameters, "seed": self.seed if self.config.order == "random" else None}

    def summarize(self, pool: Pool) -> Any:
        """Return the quota and the boundary of every cluster; leave the account of it in the run folder."""
        centroids = read_summary_centroids(pool.run, self.cluster)
        totals = sum(pool.map_shards(partial(self._totals, k=len(centroids))))
        sizes, sums = totals[0], totals[1]
        d_intra = sums / _UNIT / np.maximum(sizes, 1)
        d_inter = between_clusters(centroids, sizes, neighbours=self.config.inter_neighbours or 20)
        n_kept = self.config.n_kept(int(sizes.sum()))
        try:
            allocation = allocate(
                d_inter,
                d_intra,
                sizes,
                n_kept,
                temperature=self.config.temperature or 0.1,
                floor=self.config.least(n_kept, int((sizes > 0).sum())),
                fill=self.config.fill,
            )
        except ValueError as error:
            raise StoppedError(f"{self.name}: {error}") from error
        self._write_account(pool, sizes, d_inter, d_intra, allocation)
        boundaries = self._boundaries(pool, allocation.quota)
        return {"quota": allocation.quota.tolist(), "boundaries": boundaries.model_dump()}

    def _boundaries(self, pool: Pool, quota: NDArray[np.int64]) -> Boundaries:
        boundaries = start(quota)
        while not boundaries.finished:
            parts = pool.map_shards(partial(self._counts, boundaries=boundaries))
            boundaries = narrow(boundaries, reduce(merge, parts))
        return boundaries

    def _table(self, columns: ShardColumns) -> tuple[pa.Table, NDArray[np.int32], NDArray[np.float32]]:
        table = columns.survivors(self.gate, dict.fromkeys(["cluster", "similarity"], self.cluster))
        return table, table["cluster"].to_numpy(), table["similarity"].to_numpy()

    def _totals(self, columns: ShardColumns, *, k: int) -> NDArray[np.int64]:
        """Return each cluster's size and sum of distances in whole units, shape (2, k)."""
        _, cluster, similarity = self._table(columns)
        distance = np.maximum(1 - similarity.astype(np.float64), 0)  # rounding may leave it below 0
        sums = np.zeros(k, np.int64)
        np.add.at(sums, cluster, np.rint(distance * _UNIT).astype(np.int64))
        return np.stack([np.bincount(cluster, minlength=k), sums])

    def _counts(self, columns: ShardColumns, *, boundaries: Boundaries) -> NDArray[np.int64]:
        _, cluster, digits = self._digits(columns, boundaries)
        return count(digits, cluster, boundaries)

    def _digits(
        self, columns: ShardColumns, boundaries: Boundaries
    ) -> tuple[pa.Table, NDArray[np.int32], NDArray[np.uint16]]:
        table, cluster, similarity = self._table(columns)
        uids = _uids(columns, table)
        random = _drawn(uids(), self.seed) if self.config.order == "random" else None
        return table, cluster, digits_for(self.config.rank(similarity, random), uids, boundaries)

    def compute(self, columns: ShardColumns, summary: Any) -> pa.Table:
        """Return weight and reason of every sample that comes through the gate."""
        boundaries = Boundaries(**summary["boundaries"])
        table, cluster, digits = self._digits(columns, boundaries)
        keep = keeps(digits, cluster, boundaries, np.array(summary["quota"]))
        decision = drop_first_reason([("beyond_quota", ~keep)], len(table))
        return pa.table(
            {"row": table["row"], "weight": pa.array(decision.weight, pa.int32()), "reason": decision.reason}
        )

    def _write_account(
        self,
        pool: Pool,
        sizes: NDArray[np.int64],
        d_inter: NDArray[np.float64],
        d_intra: NDArray[np.float64],
        allocation: Allocation,
    ) -> None:
        table = pa.table(
            {
                "cluster": np.arange(len(sizes)),
                "size": sizes,
                "d_inter": d_inter,
                "d_intra": d_intra,
                "complexity": allocation.complexity,
                "target": allocation.target,
                "quota": allocation.quota,
                "full": allocation.full,
            }
        ).replace_schema_metadata(
            {"moved": repr(allocation.moved), "fill": self.config.fill, "clusters": self.cluster}
        )
        sink = io.BytesIO()
        pq.write_table(table, sink)
        pool.run.write(account_path(self.name), sink.getvalue())


def account_path(stage: str) -> str:
    """Return where the account of a pruning's clusters lies in the run folder."""
    return f"clusters/{stage}.parquet"


def _uids(columns: ShardColumns, table: pa.Table) -> Callable[[], list[str]]:
    def read() -> list[str]:
        found: list[str] = columns.rows(table["row"].to_numpy(), {"uid": "ingest"})["uid"].to_pylist()
        return found

    return read


def _drawn(uids: list[str], seed: int) -> NDArray[np.float32]:
    """Return a random number for each uid; of 24 bits, which float32 holds exactly."""
    return np.array([xxhash.xxh3_64_intdigest(uid.encode(), seed) >> 40 for uid in uids], np.float32)


def plan_prune(plan: Plan, parameters: Prune, where: str) -> None:
    """Add a pruning to a plan, on the latest clustering or one of its own."""
    default = Clusters(clusters=parameters.clusters or "auto", encoder=parameters.encoder)
    if parameters.clusters is None:
        clustering: ClusterStage = clusters_of(plan, default, where, "pruning")
    else:
        clustering = add_clusters(plan, default, where, "pruning")
    name = plan.unused_name("prune")
    plan.add(PruneStage(name, parameters, plan.last, clustering.name, plan.config.seed))

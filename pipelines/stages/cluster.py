"""Concept clusters of a pool: centroids from a sample of it, then every sample to its nearest."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from filters.clusters import Clusters, assign, lloyd_sums, normalised, number_of_clusters, spherical_kmeans
from pipelines.columns import bytes_digest
from pipelines.errors import StoppedError
from pipelines.permutation import Permutation
from pipelines.plan import Plan
from pipelines.stage import NamedStage, Pool, ShardColumns
from pipelines.stages.score import matrix
from pipelines.storage import Folder
from pipelines.summaries import read_summary

_SAMPLE_BYTES = 2 << 30  # of vectors in float32 that the training holds

Purpose = Literal["pruning", "duplicates"]


@dataclass(frozen=True)
class ClusterStage(NamedStage):
    """Writes each sample's `cluster`, and its `similarity` to that cluster's centroid.

    The training sample is drawn by the seed and a sample's place in the pool, shards sorted by name, and has
    exactly the size that is stated.
    """

    config: Clusters
    gate: str
    vectors: str
    seed: int
    purpose: Purpose = "pruning"

    @property
    def reads(self) -> tuple[str, ...]:
        """The gate, and the stage with the vectors."""
        return tuple(dict.fromkeys([self.gate, self.vectors]))

    def settings(self) -> Mapping[str, Any]:
        """Return the parameters; the name of the encoder is not one of them."""
        parameters = self.config.model_dump(mode="json", exclude={"encoder"})
        return {**parameters, "seed": self.seed, "purpose": self.purpose}

    def summarize(self, pool: Pool) -> Any:
        """Train the centroids; return where they lie, a hash of them, and how they came about."""
        found = dict(pool.map_shards(self._count))
        sizes = [found[shard.name][0] for shard in pool.shards]
        n, width = sum(sizes), max(size for _, size in found.values())
        k, reason = self._how_many(n)
        wanted = min(n, self.config.points_per_centroid * k, max(k, _SAMPLE_BYTES // (4 * max(1, width))))
        starts = dict(zip((s.name for s in pool.shards), np.cumsum([0, *sizes]).tolist(), strict=False))
        names = [f"{shard.name}.npy" for shard in pool.shards]
        draw = partial(
            self._draw, starts=starts, order=Permutation(n, self.seed), n=wanted, out=pool.workspace
        )
        list(pool.map_shards(draw))
        train = partial(self._train, names=names, out=pool.workspace)
        (similarity,) = pool.run_tasks(train, [k])
        for name in names:
            pool.workspace.remove(name)
        for number in range(self.config.full_passes):
            similarity.append(self._full_pass(pool, number, n))
        return {
            "centroids": pool.place,
            "digest": bytes_digest(pool.workspace.read("centroids.npy")),
            "clusters": k,
            "reason": reason,
            "trained_on": wanted,
            "of": n,
            "mean_similarity": similarity,
        }

    def note(self, summary: Any) -> str:
        """Return why there are so many clusters, and on how many samples they were trained."""
        trained, n = summary["trained_on"], summary["of"]
        sample = f"{trained:,} of {n:,} samples" if trained < n else f"all {n:,} samples"
        asked = f"points_per_centroid: {self.config.points_per_centroid}"
        return f"{summary['reason']}; trained on {sample} ({asked})"

    def _how_many(self, n: int) -> tuple[int, str]:
        if self.config.clusters == "auto":
            return number_of_clusters(n, self.purpose)
        k = self.config.clusters
        if not 1 <= k <= n:
            raise StoppedError(f"{self.name}: can't make {k:,} clusters of {n:,} samples: ask for fewer")
        return k, f"{k:,} clusters, as configured"

    def _vectors(self, columns: ShardColumns) -> tuple[pa.Table, NDArray[Any], NDArray[np.bool_]]:
        """Return rows, vectors and which of them are numbers."""
        table = columns.survivors(self.gate, {self.config.of: self.vectors})
        vectors = matrix(table[self.config.of])
        return table, vectors, np.isfinite(vectors).all(1)

    def _count(self, columns: ShardColumns) -> tuple[str, tuple[int, int]]:
        _, vectors, whole = self._vectors(columns)
        return columns.shard.name, (int(whole.sum()), vectors.shape[1])

    def _draw(
        self, columns: ShardColumns, *, starts: dict[str, int], order: Permutation, n: int, out: Folder
    ) -> None:
        _, vectors, whole = self._vectors(columns)
        start = starts[columns.shard.name]
        chosen = order(np.arange(start, start + int(whole.sum()))) < n
        _save(out, f"{columns.shard.name}.npy", vectors[whole][chosen])

    def _train(self, k: int, *, names: list[str], out: Folder) -> list[float]:
        sample = np.concatenate([_load(out, name) for name in names], dtype=np.float32)
        try:
            found = spherical_kmeans(sample, k, iterations=self.config.iterations, seed=self.seed)
        except ValueError as error:
            raise StoppedError(f"{self.name}: {error}") from error
        _save(out, "centroids.npy", found.centroids)
        return found.similarity

    def _full_pass(self, pool: Pool, number: int, n: int) -> float:
        """Move the centroids to the means of all their samples; return the mean similarity before."""
        folder = pool.workspace / f"pass-{number}"
        done = dict(pool.map_shards(partial(self._sums, centroids=pool.workspace, out=folder)))
        total = np.zeros_like(_load(pool.workspace, "centroids.npy"), np.float64)
        for shard in pool.shards:  # in one order, so that the rounding is always the same
            total += _load(folder, f"{shard.name}.npy")
            folder.remove(f"{shard.name}.npy")
        before = _load(pool.workspace, "centroids.npy")
        moved = np.where(total.any(1, keepdims=True), normalised(total), before)  # an empty one stays
        _save(pool.workspace, "centroids.npy", moved.astype(np.float32))
        return float(sum(done[shard.name] for shard in pool.shards) / n)

    def _sums(self, columns: ShardColumns, *, centroids: Folder, out: Folder) -> tuple[str, float]:
        _, vectors, whole = self._vectors(columns)
        here = _load(centroids, "centroids.npy")
        nearest, similarity = assign(vectors[whole], here)
        _save(out, f"{columns.shard.name}.npy", lloyd_sums(vectors[whole], nearest, len(here)))
        return columns.shard.name, float(similarity.sum(dtype=np.float64))

    def compute(self, columns: ShardColumns, summary: Any) -> pa.Table:
        """Return `cluster`, `similarity`, and the problem of samples whose vectors are no numbers."""
        table, vectors, whole = self._vectors(columns)
        centroids = read_centroids(columns.run, summary)
        nearest, similarity = assign(np.where(whole[:, None], vectors, 0), centroids)
        problem = pa.array(np.where(whole, "", "vector_not_finite"), pa.string(), mask=whole)
        return pa.table(
            {
                "row": table["row"],
                "cluster": pa.array(nearest, pa.int32()),
                "similarity": pa.array(similarity, pa.float32()),
                "problem": problem,
            }
        )


def read_centroids(run: Folder, summary: Mapping[str, Any]) -> NDArray[np.float32]:
    """Return the centroids of a cluster stage's summary, float32 of shape (k, d)."""
    return _centroids(run.path(summary["centroids"]), summary["digest"])


def read_summary_centroids(run: Folder, stage: str) -> NDArray[np.float32]:
    """Return the centroids that a cluster stage left in the run folder."""
    return read_centroids(run, read_summary(run, stage)[1])


@lru_cache(maxsize=2)
def _centroids(folder: str, digest: str) -> NDArray[np.float32]:
    return _load(Folder(folder), "centroids.npy")


def _save(folder: Folder, name: str, array: NDArray[Any]) -> None:
    sink = io.BytesIO()
    np.save(sink, array, allow_pickle=False)
    folder.write(name, sink.getvalue())


def _load(folder: Folder, name: str) -> NDArray[Any]:
    loaded: NDArray[Any] = np.load(io.BytesIO(folder.read(name)), allow_pickle=False)
    return loaded


def plan_cluster(plan: Plan, parameters: Clusters, where: str) -> None:
    """Add a clustering, and the vectors that it is made from, to a plan."""
    add_clusters(plan, parameters, where, "pruning")


def add_clusters(plan: Plan, parameters: Clusters, where: str, purpose: Purpose) -> ClusterStage:
    """Add a clustering to a plan and return its stage."""
    vectors = plan.vectors(parameters.encoder, where, [parameters.of])
    name = plan.unused_name("cluster")
    stage = ClusterStage(name, parameters, plan.last, vectors, plan.config.seed, purpose)
    plan.add(stage, columns=("cluster", "similarity"))
    return stage


def clusters_of(plan: Plan, default: Clusters, where: str, purpose: Purpose) -> ClusterStage:
    """Return the latest clustering of a plan that serves; one is added when there is none.

    Pruning wants few clusters, of what the search for duplicates left: it never takes that search's own.
    """
    found = [
        stage
        for stage in plan.stages
        if isinstance(stage, ClusterStage) and (purpose == "duplicates" or stage.purpose == "pruning")
    ]
    return found[-1] if found else add_clusters(plan, default, where, purpose)

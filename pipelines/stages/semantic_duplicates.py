"""Semantic duplicates over a pool: similarities once, inside clusters; any threshold afterwards is cheap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

from filters.base import drop_first_reason
from filters.clusters import Clusters, nearest_others
from filters.duplicates import Semantic
from pipelines.blocks import Blocks
from pipelines.plan import Plan
from pipelines.regroup import read_group, write_groups
from pipelines.stage import NamedStage, Pool, ShardColumns
from pipelines.stages.cluster import ClusterStage, add_clusters, clusters_of, read_summary_centroids
from pipelines.stages.score import matrix
from pipelines.storage import Folder

_BUNDLE_BYTES = 256 << 20  # of float16 vectors that a worker holds at once
_CHECKED = 0.01  # share of the samples whose neighbouring clusters are looked into, to know what is missed
_CHECKED_CLUSTERS = 2
_CAME, _RANK, _UID = "generation", "rank", "uid"  # in this order samples are preferred, the lowest first


@dataclass(frozen=True)
class SimilarStage(NamedStage):
    """Writes each sample's greatest similarity to an earlier one of its cluster, and whose that is.

    Earlier means more worth keeping. Clusters are brought together in bundles that fit into memory. A share
    of the samples is also compared with two neighbouring clusters, so that `beyond` tells what borders hide.
    """

    anew: ClassVar[bool] = True

    config: Semantic
    gate: str
    cluster: str
    vectors: str
    of: str
    scores: Mapping[str, str]

    @property
    def reads(self) -> tuple[str, ...]:
        """The gate, the clusters, the vectors, the uids and, where it counts, the score."""
        return tuple(dict.fromkeys([self.gate, self.cluster, self.vectors, "ingest", *self.scores.values()]))

    @property
    def version(self) -> int:
        """2: samples to look into are drawn by a hash of the uid; 3: what was found lies in blocks."""
        return 3

    def settings(self) -> Mapping[str, Any]:
        """Return the parameters that decide similarities; the published rule needs no threshold."""
        parameters = self.config.model_dump(mode="json", exclude={"clusters", "encoder", "threshold"})
        threshold = None if self.config.rule == "published" else self.config.threshold
        return {**parameters, "of": self.of, "threshold": threshold}

    def summarize(self, pool: Pool) -> Any:
        """Compare inside every cluster; return where the results lie, with a hash of each block's."""
        centroids = read_summary_centroids(pool.run, self.cluster)
        sizes = sum(pool.map_shards(partial(self._sizes, k=len(centroids))))
        row_bytes = 2 * centroids.shape[1] * (1 + self.config.across)  # it stands in other clusters too
        bundles = bundle_clusters(sizes, _BUNDLE_BYTES // row_bytes)
        n_bundles = int(bundles.max(initial=0)) + 1
        folder, shuffle = pool.workspace, pool.workspace / "vectors"
        names = [f"{shard.name}.arrow" for shard in pool.shards]
        blocks = Blocks.of(folder, pool.n_survivors[self.gate])
        digests = blocks.hashes(pool.run_tasks)
        if digests is None:
            missing = [n for n in range(n_bundles) if not folder.exists(_bundle(n))]
            if missing:
                deal = partial(self._deal_out, bundles=bundles, later=pool.later, folder=shuffle)
                list(pool.map_shards(deal))
                compare = partial(self._compare, names=names, shuffle=shuffle, blocks=blocks)
                list(pool.run_tasks(compare, missing))
                for name in names:
                    shuffle.remove(name)
            digests = blocks.gather([_bundle(n) for n in range(n_bundles)], pool.run_tasks)
        return {"similarities": pool.place, "digests": digests}

    def _sizes(self, columns: ShardColumns, *, k: int) -> NDArray[np.int64]:
        table = columns.survivors(self.gate, {"cluster": self.cluster})
        return np.bincount(table["cluster"].to_numpy(), minlength=k)

    def _deal_out(
        self, columns: ShardColumns, *, bundles: NDArray[np.int64], later: Mapping[str, int], folder: Folder
    ) -> None:
        """Write a shard's samples by bundle: each in its own cluster, and as a query in neighbouring ones."""
        sources = {
            "cluster": self.cluster,
            "similarity": self.cluster,
            "uid": "ingest",
            self.of: self.vectors,
        }
        table = columns.survivors(self.gate, {**sources, **self.scores})
        own = table["cluster"].to_numpy()
        rank = self._rank(table)
        parts = [(np.arange(len(table)), own, np.zeros(len(table), np.int8))]
        parts += self._queries(table, own, read_summary_centroids(columns.run, self.cluster))
        places, clusters, kinds = (np.concatenate(each) for each in zip(*parts, strict=True))
        chosen = table.select(["row", "uid", self.of]).take(pa.array(places))
        chosen = chosen.append_column("shard", pa.repeat(columns.shard.name, len(chosen)))
        generation = np.full(len(chosen), later.get(columns.shard.name, 0), np.int32)
        chosen = chosen.append_column(_CAME, pa.array(generation))
        chosen = chosen.append_column(_RANK, pa.array(rank[places]))
        chosen = chosen.append_column("cluster", pa.array(clusters, pa.int32()))
        chosen = chosen.append_column("kind", pa.array(kinds))
        write_groups(folder, f"{columns.shard.name}.arrow", chosen, bundles[clusters], int(bundles.max()) + 1)

    def _rank(self, table: pa.Table) -> NDArray[np.float32]:
        """Return the number by which samples are preferred, the lowest first."""
        if self.config.keep == "farthest":
            return np.asarray(table["similarity"].to_numpy(), np.float32)
        if self.config.keep == "first":
            return np.zeros(len(table), np.float32)
        return -np.asarray(table[self.config.by].to_numpy(), np.float32)

    def _queries(
        self, table: pa.Table, own: NDArray[Any], centroids: NDArray[Any]
    ) -> list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int8]]]:
        """Return (places, clusters, kinds) of samples that are compared with other clusters than their own.

        Kind 1 counts, because it was asked for; kind 2 is only looked at.
        """
        count, kind, places = self.config.across, 1, np.arange(len(table))
        if not count:
            count, kind = _CHECKED_CLUSTERS, 2
            places = np.flatnonzero(_sampled(table["uid"].to_pylist()))
        count = min(count, len(centroids) - 1)
        if count < 1 or not len(places):
            return []
        clusters = nearest_others(matrix(table[self.of])[places], centroids, own[places], count).ravel()
        return [(np.repeat(places, count), clusters, np.full(len(clusters), kind, np.int8))]

    def _compare(self, bundle: int, *, names: Sequence[str], shuffle: Folder, blocks: Blocks) -> None:
        table = pa.concat_tables(part for _, part in read_group(shuffle, names, [bundle])).combine_chunks()
        cluster = table["cluster"].to_numpy()
        order = pc.sort_indices(
            table,
            [(name, "ascending") for name in ("cluster", "kind", _CAME, _RANK, _UID)],
        ).to_numpy()
        ends = np.cumsum(np.unique(cluster, return_counts=True)[1])
        results = [self._within(table, rows) for rows in np.split(order, ends[:-1])] if len(order) else []
        result = pa.concat_tables(results) if results else self._within(table, order)
        blocks.write(_bundle(bundle), result)
        del table, results, result
        pa.default_memory_pool().release_unused()  # or each bundle adds to what the last one left

    def _within(self, table: pa.Table, rows: NDArray[np.int64]) -> pa.Table:
        """Return what one cluster says: its members in order of preference stand first in `rows`."""
        from filters.semantic_duplicates import first_of_components, greedy, nearest_earlier, nearest_of

        part = table.take(pa.array(rows))
        kind, vectors = part["kind"].to_numpy(), matrix(part[self.of])
        n = int((kind == 0).sum())
        own = nearest_earlier(vectors[:n])
        other = nearest_of(vectors[n:], vectors[:n], _places_before(part, n))
        place = np.concatenate([own.place, other.place])
        removed = np.zeros(len(part), bool)
        if self.config.rule == "greedy":
            removed[:n] = ~greedy(vectors[:n], self.config.threshold)
        elif self.config.rule == "component":
            came = part[_CAME].to_numpy()[:n]
            start = 0
            for end in (np.flatnonzero(np.diff(came, append=np.iinfo(np.int32).max)) + 1).tolist():
                first = first_of_components(vectors[:end], self.config.threshold)
                removed[start:end] = ~first[start:]  # what an earlier generation kept stays
                start = end
        return pa.table(
            {
                "shard": part["shard"],
                "row": part["row"],
                "kind": part["kind"],
                "similarity": np.concatenate([own.similarity, other.similarity]),
                "of": part["uid"].take(pa.array(place, mask=place < 0)),
                "removed": removed,
            }
        )

    def compute(self, columns: ShardColumns, summary: Any) -> pa.Table:
        """Return `max_similarity`, `duplicate_of`, `beyond` and, for rules that remove by themselves,
        `removed`.

        Samples with no earlier one have -1; `beyond` is null but for the samples that were looked into.
        """
        rows = columns.survivors(self.gate, {})["row"].to_numpy()
        blocks = Blocks(columns.run / summary["similarities"], len(summary["digests"]))
        own = blocks.read(columns.shard.name)
        counts, looked = own.filter(pc.less(own["kind"], 2)), own.filter(pc.equal(own["kind"], 2))
        best = counts.sort_by([("row", "ascending"), ("similarity", "descending"), ("of", "ascending")])
        _, first = np.unique(best["row"].to_numpy(), return_index=True)
        best = best.take(pa.array(first))
        assert np.array_equal(best["row"].to_numpy(), rows)
        beyond = np.full(len(rows), np.nan, np.float32)
        seen = np.searchsorted(rows, looked["row"].to_numpy())
        np.fmax.at(beyond, seen, np.maximum(looked["similarity"].to_numpy(), -1))
        return pa.table(
            {
                "row": pa.array(rows, pa.int32()),
                "max_similarity": np.maximum(best["similarity"].to_numpy(), -1),
                "duplicate_of": best["of"],
                "beyond": pa.array(beyond, mask=np.isnan(beyond)),
                "removed": best["removed"],
            }
        )


@dataclass(frozen=True)
class SemanticStage(NamedStage):
    """Drops samples that are more similar to an earlier one than the threshold allows."""

    config: Semantic
    similar: str

    @property
    def reads(self) -> tuple[str, ...]:
        """The similarities, which are its gate too."""
        return (self.similar,)

    def settings(self) -> Mapping[str, Any]:
        """Return the threshold and the rule."""
        return {"threshold": self.config.threshold, "rule": self.config.rule}

    def compute(self, columns: ShardColumns, summary: Any) -> pa.Table:
        """Return weight, reason and `duplicate_of` of every sample."""
        table = columns.survivors(
            self.similar, dict.fromkeys(["max_similarity", "duplicate_of", "removed"], self.similar)
        )
        if self.config.rule == "published":
            dropped = table["max_similarity"].to_numpy() > np.float32(self.config.threshold)
        else:
            dropped = table["removed"].to_numpy()
        decision = drop_first_reason([("similar", dropped)], len(table))
        return pa.table(
            {
                "row": table["row"],
                "weight": pa.array(decision.weight, pa.int32()),
                "reason": decision.reason,
                "duplicate_of": pc.if_else(pa.array(dropped), table["duplicate_of"], None),
            }
        )


def bundle_clusters(sizes: NDArray[np.int64], largest: int) -> NDArray[np.int64]:
    """Return the bundle of each cluster, (k,): neighbours in number, together at most `largest` samples.

    A cluster that is larger than that is a bundle by itself.
    """
    bundle = np.zeros(len(sizes), np.int64)
    number, held = 0, 0
    for cluster, size in enumerate(sizes.tolist()):
        if held and held + size > largest:
            number, held = number + 1, 0
        bundle[cluster] = number
        held += size
    return bundle


def _places_before(part: pa.Table, n: int) -> NDArray[np.int64]:
    """Return for each query, behind the n members, how many of them are preferred to it."""
    key = np.empty(len(part), [(_CAME, np.int32), (_RANK, np.float32), (_UID, "S32")])
    key[_CAME], key[_RANK] = part[_CAME].to_numpy(), part[_RANK].to_numpy()
    key[_UID] = np.array(part[_UID].to_pylist(), "S32")
    return np.searchsorted(key[:n], key[n:])


def _sampled(uids: list[str]) -> NDArray[np.bool_]:
    """Return which samples are looked into: a share of them, by a hash of the uid, which may be a number."""
    limit = _CHECKED * (1 << 64)
    return np.array([xxhash.xxh3_64_intdigest(uid.encode()) < limit for uid in uids], bool)


def _bundle(number: int) -> str:
    return f"found/{number:06d}.arrow"


def plan_semantic(plan: Plan, parameters: Semantic, where: str) -> None:
    """Add the search for semantic duplicates to a plan, on the latest clustering or one of its own."""
    scores = {parameters.by: plan.sources.get(parameters.by, "")} if parameters.by else {}
    plan.require_scores(list(scores), where)
    default = Clusters(clusters=parameters.clusters or "auto", encoder=parameters.encoder)
    if parameters.clusters is None:
        clustering: ClusterStage = clusters_of(plan, default, where, "duplicates")
    else:
        clustering = add_clusters(plan, default, where, "duplicates")
    similar = plan.unused_name("similar")
    made_from = (clustering.name, clustering.vectors, clustering.config.of, scores)
    plan.add(SimilarStage(similar, parameters, plan.last, *made_from))
    plan.add(SemanticStage(plan.unused_name("duplicates"), parameters, similar))

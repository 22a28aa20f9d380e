"""Pictures that look alike, over a whole pool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from filters.duplicates import Perceptual
from filters.groups import join, with_earlier
from filters.perceptual import alike, like_earlier, search_parts
from pipelines.columns import digest
from pipelines.plan import Plan
from pipelines.stage import NamedStage, Pool, ShardColumns
from pipelines.storage import Folder

_PARTS_PER_TASK = 64
_MATCHES = "matches.parquet"
_LARGE = 50  # members of a group, above which a person should have a look


@dataclass(frozen=True)
class PerceptualStage(NamedStage):
    """Drops all but the first, by uid, of each group of pictures that look alike.

    Groups are chains of like pictures, across all shards. The search holds 80 bytes per sample. Where fits
    are held, groups are of one generation, and all of a group goes that is like a picture of an earlier one.
    """

    anew: ClassVar[bool] = True

    config: Perceptual
    gate: str

    @property
    def reads(self) -> tuple[str, ...]:
        """The gate, and the stage that looked at the pictures."""
        return tuple(dict.fromkeys([self.gate, "ingest"]))

    @property
    def version(self) -> int:
        """2: the summary counts groups."""
        return 2

    def settings(self) -> Mapping[str, Any]:
        """Return the parameters."""
        return self.config.model_dump()

    def summarize(self, pool: Pool) -> Any:
        """Find the groups and write who is a copy of whom; return where that lies, and a hash of it."""
        names = [f"{shard.name}.parquet" for shard in pool.shards]
        sizes = dict(pool.map_shards(partial(self._gather, later=pool.later, out=pool.workspace)))
        parts = search_parts(self.config.radius)
        tasks = [parts[n : n + _PARTS_PER_TASK] for n in range(0, len(parts), _PARTS_PER_TASK)]
        n = sum(sizes.values())
        group = np.arange(n)
        earlier = np.full(n if pool.later else 0, n)
        search = partial(self._search, names=names, held=bool(pool.later), out=pool.workspace)
        for pairs, like in pool.run_tasks(search, tasks if n else []):
            group = join(group, pairs)
            np.minimum.at(earlier, like[:, 0], like[:, 1])
        matches = self._matches(group, earlier, names, pool.workspace)
        with pool.workspace.create(_MATCHES) as stream:
            pq.write_table(matches, stream, row_group_size=10_000)
        for name in names:
            pool.workspace.remove(name)
        members = np.bincount(group)
        facts = {"groups": int((members > 1).sum()), "largest": int(members.max(initial=0))}
        return {"matches": pool.place, "digest": digest(matches), **facts}

    def note(self, summary: Any) -> str:
        """Return how many groups there are and how large they get: large ones are rarely copies."""
        found = f"{summary['groups']:,} groups of like pictures, the largest of {summary['largest']:,}"
        if summary["largest"] <= _LARGE:
            return found
        return (
            f"{found}: groups are chains, and plain backgrounds or placeholders link what is not alike; "
            "look at it, and raise similarity, to 0.99 say"
        )

    def _gather(self, columns: ShardColumns, *, later: Mapping[str, int], out: Folder) -> tuple[str, int]:
        """Write what a shard's pictures look like, where there is something to see."""
        table = columns.survivors(self.gate, dict.fromkeys(["looks_hash", "looks", "uid"], "ingest"))
        table = table.filter(pc.is_valid(table["looks_hash"]))
        table = table.append_column("shard", pa.repeat(columns.shard.name, len(table)))
        generation = np.full(len(table), later.get(columns.shard.name, 0), np.int32)
        table = table.append_column("generation", pa.array(generation))
        with out.create(f"{columns.shard.name}.parquet") as stream:
            pq.write_table(table, stream)
        return columns.shard.name, len(table)

    def _search(
        self, parts: list[tuple[int, int]], *, names: list[str], held: bool, out: Folder
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return pairs that hold groups together, and which pictures are like earlier ones."""
        table = _read(out, names, ["looks_hash", "looks", *(["generation"] if held else [])])
        hashes = table["looks_hash"].to_numpy()
        waves = _waves(table["looks"])
        limits: dict[str, Any] = {"radius": self.config.radius, "similarity": self.config.similarity}
        if not held:
            return alike(hashes, waves, parts, **limits), np.zeros((0, 2), np.int64)
        generation = table["generation"].to_numpy()
        pairs = alike(hashes, waves, parts, **limits, generation=generation)
        return pairs, like_earlier(hashes, waves, parts, **limits, generation=generation)

    def _matches(
        self, group: NDArray[np.int64], earlier: NDArray[np.int64], names: list[str], out: Folder
    ) -> pa.Table:
        """Return shard, row and `duplicate_of` of every copy, by shard and row."""
        sizes = np.bincount(group, minlength=len(group))
        members = np.flatnonzero(sizes[group] > 1) if len(group) else np.zeros(0, np.int64)
        whole = _read(out, names, ["shard", "row", "uid", *(["generation"] if len(earlier) else [])])
        table = whole.take(pa.array(members)).append_column("group", pa.array(group[members]))
        table = table.append_column("position", pa.array(members))
        ordered = table.sort_by([(name, "ascending") for name in ("group", "uid", "shard", "row")])
        position = ordered["position"].to_numpy()
        _, first, place = np.unique(ordered["group"].to_numpy(), return_index=True, return_inverse=True)
        survivor = np.arange(len(group))
        survivor[position] = position[first][place]
        if len(earlier):
            survivor = with_earlier(survivor, group, earlier, whole["generation"].to_numpy())
        copies = np.flatnonzero(survivor != np.arange(len(group)))
        found = whole.select(["shard", "row"]).take(pa.array(copies))
        found = found.append_column("duplicate_of", whole["uid"].take(pa.array(survivor[copies])))
        return found.sort_by([("shard", "ascending"), ("row", "ascending")])

    def compute(self, columns: ShardColumns, summary: Any) -> pa.Table:
        """Return weight, reason and `duplicate_of` of every sample that comes through the gate."""
        rows = columns.survivors(self.gate, {})["row"].combine_chunks()
        with (columns.run / summary["matches"]).open(_MATCHES) as stream:
            matches = pq.read_table(stream, filters=[("shard", "==", columns.shard.name)])
        found = pc.index_in(rows, matches["row"].combine_chunks())
        return pa.table(
            {
                "row": rows,
                "weight": pc.cast(pc.is_null(found), pa.int32()),
                "reason": pc.if_else(pc.is_null(found), None, "looks_alike"),
                "duplicate_of": matches["duplicate_of"].take(found),
            }
        )


def _read(folder: Folder, names: list[str], columns: list[str]) -> pa.Table:
    tables = []
    for name in names:
        with folder.open(name) as stream:
            tables.append(pq.read_table(stream, columns=columns))
    return pa.concat_tables(tables)


def _waves(column: pa.ChunkedArray) -> NDArray[np.int8]:
    joined = b"".join(column.to_pylist())
    return (
        np.frombuffer(joined, np.int8).reshape(len(column), -1) if len(column) else np.zeros((0, 1), np.int8)
    )


def plan_perceptual(plan: Plan, parameters: Perceptual, where: str) -> None:
    """Add the search for pictures that look alike to a plan."""
    plan.require_images(where, "to look at")
    plan.pixels = "looks"
    plan.add(PerceptualStage(plan.unused_name("duplicates"), parameters, plan.last))

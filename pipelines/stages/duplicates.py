"""Exact duplicates over the whole pool, in memory that does not grow with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from filters.duplicates import Duplicates, find_copies
from pipelines.columns import digest
from pipelines.pool.shards import Shard
from pipelines.stage import NamedStage, Pool, ShardColumns
from pipelines.stages.perceptual_duplicates import plan_perceptual
from pipelines.stages.semantic_duplicates import plan_semantic
from pipelines.storage import Folder

if TYPE_CHECKING:
    from pipelines.plan import Plan

SAMPLES_PER_PART = 1_000_000
_KEY_DIGITS = 8  # of a key's hex digits, enough to spread the pool evenly over parts


@dataclass(frozen=True)
class DuplicatesStage(NamedStage):
    """Drops every sample whose image is a copy of an earlier one's, by uid, and says of which.

    Where fits are held, shards of an earlier generation come first: a new copy of an old sample goes, and the
    old one stays.

    The pool is cut by key into parts of about a million samples, so that all copies of an image fall into the
    same part. A part's matches are written to the run folder, sorted by shard, and each shard picks its own.
    """

    anew: ClassVar[bool] = True

    config: Duplicates
    gate: str
    source: str
    samples_per_part: int = SAMPLES_PER_PART

    @property
    def reads(self) -> tuple[str, ...]:
        """The gate, and the stage that made the hashes."""
        return tuple(dict.fromkeys([self.gate, self.source]))

    @property
    def _columns(self) -> dict[str, str]:
        return dict.fromkeys([self.config.key, "sha256", "uid"], self.source)

    def settings(self) -> Mapping[str, Any]:
        """Return which duplicates are looked for."""
        return self.config.model_dump()

    def summarize(self, pool: Pool) -> Any:
        """Write the matches of every part; return where they are and a hash of what is in them."""
        n_parts = max(1, -(-pool.n_survivors[self.gate] // self.samples_per_part))
        match = partial(
            self._match_part,
            n_parts=n_parts,
            shards=pool.shards,
            later=pool.later,
            run=pool.run,
            out=pool.workspace,
        )
        digests = dict(pool.run_tasks(match, range(n_parts)))
        return {"matches": pool.place, "digests": [digests[part] for part in range(n_parts)]}

    def _match_part(
        self,
        part: int,
        *,
        n_parts: int,
        shards: Sequence[Shard],
        later: Mapping[str, int],
        run: Folder,
        out: Folder,
    ) -> tuple[int, str]:
        table = pa.concat_tables(
            self._in_part(ShardColumns(s, run), part, n_parts, later.get(s.name, 0)) for s in shards
        )
        key, order = table[self.config.key].combine_chunks(), table["order"].combine_chunks()
        copies = find_copies(key, order, pa.array(np.arange(len(table))))
        copy, survivor = table.take(pa.array(copies.copy)), table.take(pa.array(copies.survivor))
        same_bytes = pc.equal(copy["sha256"], survivor["sha256"])
        matches = pa.table(
            {
                "shard": copy["shard"],
                "row": copy["row"],
                "reason": pc.if_else(same_bytes, "same_bytes", "same_pixels"),
                "duplicate_of": survivor["uid"],
            }
        ).sort_by([("shard", "ascending"), ("row", "ascending")])
        with out.create(_matches(part)) as stream:
            pq.write_table(matches, stream, row_group_size=10_000)
        return part, digest(matches)

    def _in_part(self, columns: ShardColumns, part: int, n_parts: int, generation: int) -> pa.Table:
        table = columns.survivors(self.gate, self._columns)
        if n_parts > 1:
            digits = pc.fill_null(pc.utf8_slice_codeunits(table[self.config.key], 0, _KEY_DIGITS), "0")
            values = np.array([int(text, 16) for text in digits.to_pylist()], np.int64)
            table = table.filter(pa.array(values % n_parts == part))
        order = pc.binary_join_element_wise(f"{generation:08x}", table["uid"], "")
        table = table.append_column("order", order)
        return table.append_column("shard", pa.repeat(columns.shard.name, len(table)))

    def compute(self, columns: ShardColumns, summary: Any) -> pa.Table:
        """Return weight, reason and `duplicate_of` of every sample that comes through the gate."""
        rows = columns.survivors(self.gate, {"row": self.gate})["row"].combine_chunks()
        matches = self._matches_of(columns, summary)
        found = pc.index_in(rows, matches["row"].combine_chunks())
        return pa.table(
            {
                "row": rows,
                "weight": pc.cast(pc.is_null(found), pa.int32()),
                "reason": matches["reason"].take(found),
                "duplicate_of": matches["duplicate_of"].take(found),
            }
        )

    def _matches_of(self, columns: ShardColumns, summary: Any) -> pa.Table:
        folder = columns.run / summary["matches"]
        tables = []
        for part in range(len(summary["digests"])):
            with folder.open(_matches(part)) as stream:
                tables.append(pq.read_table(stream, filters=[("shard", "==", columns.shard.name)]))
        return pa.concat_tables(tables)


def _matches(part: int) -> str:
    return f"{part:05d}.parquet"


def plan_duplicates(plan: Plan, parameters: Duplicates, where: str) -> None:
    """Add the search for duplicates, of whichever kind, to a plan."""
    if parameters.semantic is not None:
        plan_semantic(plan, parameters.semantic, where)
        return
    if parameters.perceptual is not None:
        plan_perceptual(plan, parameters.perceptual, where)
        return
    if parameters.key == "pixels":
        plan.require_images(where, "to compare pixel by pixel; exact: bytes goes by the column sha256")
        plan.pixels = plan.pixels or "hash"
    plan.require_columns([parameters.key, "sha256"], where)
    plan.add(DuplicatesStage(plan.unused_name("duplicates"), parameters, plan.last, source="ingest"))

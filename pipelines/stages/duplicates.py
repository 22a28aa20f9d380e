"""Exact duplicates over the whole pool, in memory that does not grow with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from filters.duplicates import Copies, Duplicates, find_copies
from pipelines.blocks import Blocks
from pipelines.plan import Plan
from pipelines.pool.placeholders import MOST, Often, Placeholder, often_repeated, shortened
from pipelines.regroup import keys_of, read_group, write_groups
from pipelines.stage import NamedStage, Pool, ShardColumns
from pipelines.stages.perceptual_duplicates import plan_perceptual
from pipelines.stages.semantic_duplicates import plan_semantic
from pipelines.storage import Folder

SAMPLES_PER_PART = 1_000_000
_IMAGES = ("pixels", "sha256")


@dataclass(frozen=True)
class DuplicatesStage(NamedStage):
    """Drops every sample whose image is a copy of an earlier one's, by uid, and says of which.

    Where fits are held, shards of an earlier generation come first: a new copy of an old sample goes, and the
    old one stays.

    The pool is shuffled by key into parts of about a million samples, so that all copies of an image meet in
    one part. What is found there goes back to the shards by blocks. Pictures that stand under many captions,
    however few of them in each shard, are found on the way.
    """

    anew: ClassVar[bool] = True

    config: Duplicates
    gate: str
    sources: Mapping[str, str]
    samples_per_part: int = SAMPLES_PER_PART

    @property
    def reads(self) -> tuple[str, ...]:
        """The gate, and the stages that made the columns."""
        return tuple(dict.fromkeys([self.gate, *self.sources.values()]))

    @property
    def version(self) -> int:
        """2: the summary tells of placeholders, and matches lie in blocks."""
        return 2

    def settings(self) -> Mapping[str, Any]:
        """Return which duplicates are looked for."""
        return self.config.model_dump()

    def summarize(self, pool: Pool) -> Any:
        """Write the matches of every part; return where they are, a hash of each, and the placeholders."""
        n_parts = max(1, -(-pool.n_survivors[self.gate] // self.samples_per_part))
        names, folder = [shard.name for shard in pool.shards], pool.workspace
        for _ in pool.map_shards(partial(self._shuffle, folder=folder, n_parts=n_parts)):
            pass
        blocks = Blocks(folder, n_parts)
        match = partial(self._match, folder=folder, names=names, later=pool.later, blocks=blocks)
        often = [each for found in pool.run_tasks(match, range(n_parts)) for each in found]
        for name in names:
            folder.remove(_shuffled(name))
        most_often = sorted(often, key=lambda each: (-each.samples, each.key))[:MOST]
        return {
            "matches": pool.place,
            "digests": blocks.gather([_matched(part) for part in range(n_parts)], pool.run_tasks),
            "placeholders": [self._placeholder(each, pool) for each in most_often],
        }

    def _shuffle(self, columns: ShardColumns, *, folder: Folder, n_parts: int) -> None:
        """Write what tells a shard's samples apart, in parts; 52 bytes for each."""
        wanted = (self.config.key, "sha256", "uid", "caption")
        there = {name: self.sources[name] for name in wanted if name in self.sources}
        table = columns.survivors(self.gate, there)
        table = table.filter(pc.is_valid(table[self.config.key]))
        key = b"".join(xxhash.xxh3_128_digest(text) for text in _bytes(table[self.config.key]))
        none = pa.nulls(len(table), pa.string())
        rows = pa.table(
            {
                "row": table["row"],
                "key": keys_of(key),
                "bytes": _hashes(table["sha256"]),
                "caption": _hashes(table["caption"] if "caption" in there else none),
                "uid": keys_of(bytes.fromhex("".join(table["uid"].to_pylist()))),
            }
        )
        part = np.frombuffer(key, "<u8")[::2] % np.uint64(n_parts)
        write_groups(folder, _shuffled(columns.shard.name), rows, part.astype(np.int64), n_parts)

    def _match(
        self, part: int, *, folder: Folder, names: Sequence[str], later: Mapping[str, int], blocks: Blocks
    ) -> list[Often]:
        """Write the matches of a part; return the pictures that stand there most often."""
        tables = [rows for _, rows in read_group(folder, [_shuffled(name) for name in names], [part])]
        table = pa.concat_tables(tables).combine_chunks()
        shard = np.repeat(np.arange(len(names)), [len(rows) for rows in tables])
        order = table["uid"].combine_chunks()
        if later:
            generation = pa.array([later.get(name, 0).to_bytes(4) for name in names], pa.binary())
            order = pc.binary_join_element_wise(
                generation.take(pa.array(shard)), order.cast(pa.binary()), b""
            )
        copies = find_copies(table["key"].combine_chunks(), order, pa.array(np.arange(len(table))))
        table = table.append_column("shard", pa.array(shard))
        blocks.write(_matched(part), _matches_of(table, copies, names))
        members = np.union1d(copies.copy, copies.survivor)
        return often_repeated(table.take(pa.array(members)), names)

    def _placeholder(self, often: Often, pool: Pool) -> list[Any]:
        """Return image, samples and captions, read where the shuffle says that they stand."""
        wanted = {name: self.sources[name] for name in ("caption", *_IMAGES) if name in self.sources}
        seen: list[dict[str, Any]] = []
        for name, row in often.places:
            (shard,) = (each for each in pool.shards if each.name == name)
            columns = ShardColumns(shard, pool.run, pool.digests[name])
            seen += columns.rows(np.array([row]), wanted).to_pylist()
        image = next(seen[0][name] for name in _IMAGES if seen[0].get(name) is not None)
        return [*Placeholder(image, often.samples, shortened(each["caption"] for each in seen))]

    def compute(self, columns: ShardColumns, summary: Any) -> pa.Table:
        """Return weight, reason and `duplicate_of` of every sample that comes through the gate."""
        rows = columns.survivors(self.gate, {"row": self.gate})["row"].combine_chunks()
        blocks = Blocks(columns.run / summary["matches"], len(summary["digests"]))
        matches = blocks.read(columns.shard.name)
        found = pc.index_in(rows, matches["row"].combine_chunks())
        return pa.table(
            {
                "row": rows,
                "weight": pc.cast(pc.is_null(found), pa.int32()),
                "reason": matches["reason"].take(found),
                "duplicate_of": matches["duplicate_of"].take(found),
            }
        )


def _matches_of(table: pa.Table, copies: Copies, names: Sequence[str]) -> pa.Table:
    """Return of each copy its shard, its row, why it is one, and of whom."""
    copy, survivor = table.take(pa.array(copies.copy)), table.take(pa.array(copies.survivor))
    return pa.table(
        {
            "shard": pa.array(names, pa.string()).take(copy["shard"]),
            "row": copy["row"],
            "reason": pc.if_else(pc.equal(copy["bytes"], survivor["bytes"]), "same_bytes", "same_pixels"),
            "duplicate_of": pa.array([uid.hex() for uid in survivor["uid"].to_pylist()], pa.string()),
        }
    )


def _bytes(texts: pa.ChunkedArray | pa.Array) -> list[bytes]:
    """Return texts in UTF-8; the empty one for none."""
    found: list[bytes] = pc.fill_null(texts, "").cast(pa.binary()).to_pylist()
    return found


def _hashes(texts: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Return 64-bit hashes of texts, shape (n,)."""
    return pa.array([xxhash.xxh3_64_intdigest(text) for text in _bytes(texts)], pa.uint64())


def _shuffled(shard: str) -> str:
    return f"keys/{shard}.arrow"


def _matched(part: int) -> str:
    return f"matched/{part:05d}.arrow"


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
    names = ("uid", "caption", *_IMAGES)
    sources = {name: plan.sources[name] for name in names if name in plan.sources}
    plan.add(DuplicatesStage(plan.unused_name("duplicates"), parameters, plan.last, sources))

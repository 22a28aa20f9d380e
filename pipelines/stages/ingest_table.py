"""The first stage of a pool of tables: every row as a sample."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.damage import reading
from pipelines.pool.shards import Shard, unchanged
from pipelines.pool.tables import Layout, checked_uids
from pipelines.pool.vectors import read_rows
from pipelines.stage import ShardColumns, Stage

_SIZES = ("width", "height", "original_width", "original_height")


@dataclass(frozen=True)
class IngestTable(Stage):
    """Reads rows of a Parquet file as samples: identity, caption, sizes, scores, and what is wrong."""

    layout: Layout
    caption_bytes: int

    @property
    def name(self) -> str:
        """That of every first stage."""
        return "ingest"

    @property
    def reads(self) -> tuple[str, ...]:
        """Nothing: the file itself stands in for it."""
        return ()

    def files(self, shard: Shard) -> list[Any]:
        """Return what identifies the rows."""
        return [shard.name, shard.size, shard.version, shard.rows]

    def settings(self) -> Mapping[str, Any]:
        """Return which column is what, and the limit."""
        layout = [self.layout.samples, self.layout.scores, self.layout.further]
        return {"layout": layout, "caption_bytes": self.caption_bytes}

    @property
    def columns(self) -> tuple[str, ...]:
        """What it makes beside scores: what the table has, all four sizes if it has any, and an identity."""
        there = dict(self.layout.samples)
        sizes = _SIZES if any(name in there for name in _SIZES) else ()
        names = ["uid", "key", *there, *sizes, *dict(self.layout.further)]
        return tuple(dict.fromkeys(names))

    def compute(self, columns: ShardColumns, summary: Any) -> pa.Table:
        """Return the shard's samples."""
        with unchanged(columns.shard), reading(columns.shard.url):
            return self._samples(columns.shard)

    def _samples(self, shard: Shard) -> pa.Table:
        assert shard.rows is not None
        table = read_rows(shard.url, self.layout.theirs, shard.rows)
        theirs = {ours: table[name].combine_chunks() for ours, name in self.layout.samples}
        n = len(table)
        made: dict[str, Any] = {"row": pa.array(np.arange(n), pa.int32())}
        made["key"] = theirs["key"].cast(pa.string()) if "key" in theirs else _numbers(shard)
        if "uid" in theirs:
            made["uid"] = checked_uids(theirs["uid"], shard.url, shard.rows[0])
        else:
            made["uid"] = _made_uids(made["key"], shard)
        for name in ("caption", "url", "sha256"):
            if name in theirs:
                made[name] = theirs[name].cast(pa.string())
        made |= _sizes(theirs)
        made |= {ours: table[name].cast(pa.float32(), safe=False) for ours, name in self.layout.scores}
        made |= {ours: table[name] for ours, name in self.layout.further}
        return pa.table({**made, "problem": self._problems(made.get("caption"), n)})

    def _problems(self, caption: pa.Array | None, n: int) -> pa.Array:
        if caption is None:
            return pa.nulls(n, pa.string())
        long = pc.greater(pc.fill_null(pc.binary_length(caption), 0), self.caption_bytes)
        problem = pc.if_else(long, "caption_too_long", pa.scalar(None, pa.string()))
        return pc.if_else(pc.is_null(caption), "no_caption", problem)


def _numbers(shard: Shard) -> pa.Array:
    """Return the numbers of a shard's rows in its file, as keys."""
    assert shard.rows is not None
    return pa.array([str(row) for row in range(*shard.rows)], pa.string())


def _made_uids(key: pa.Array, shard: Shard) -> pa.Array:
    """Return a hash of where each sample lies."""
    places = zip(_numbers(shard).to_pylist(), key.to_pylist(), strict=True)
    texts = (f"{shard.name}\0{row}\0{own}".encode("utf-8", "surrogatepass") for row, own in places)
    return pa.array([hashlib.blake2b(text, digest_size=16).hexdigest() for text in texts], pa.string())


def _sizes(theirs: Mapping[str, pa.Array]) -> dict[str, pa.Array]:
    """Return all four sizes where the table has any; with no stored image, its size is the original's."""
    known = {name: _whole(theirs[name]) for name in _SIZES if name in theirs}
    if not known:
        return {}
    empty = pa.nulls(len(next(iter(known.values()))), pa.int32())
    original = {name: known.get(name, empty) for name in _SIZES[2:]}
    return {name: known.get(name, original[f"original_{name}"]) for name in _SIZES[:2]} | original


def _whole(size: pa.Array) -> pa.Array:
    """Return sizes as int32; null where a number is no size."""
    numbers = size.cast(pa.float64())
    good = pc.and_(pc.greater(numbers, 0), pc.less(numbers, float(1 << 31)))
    return pc.if_else(good, numbers, None).cast(pa.int32(), safe=False)

"""Captions and images that stand too often, over the whole pool, in memory that does not grow with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from filters.base import drop_first_reason
from filters.repeats import Repeats, repeat_keys, too_frequent
from pipelines.columns import digest
from pipelines.plan import Plan
from pipelines.regroup import read_group, write_groups
from pipelines.stage import NamedStage, Pool, ShardColumns
from pipelines.storage import Folder

KEYS_PER_PART = 1_000_000
_FREQUENT = "frequent.parquet"


@dataclass(frozen=True)
class RepeatsStage(NamedStage):
    """Drops every sample whose caption or image stands too often.

    The keys of the pool are shuffled into parts of about a million, so that equal ones meet in one part.
    Those that stand too often go into one file, and a shard looks its own up there, part by part.
    """

    config: Repeats
    gate: str
    sources: Mapping[str, str]
    keys_per_part: int = KEYS_PER_PART

    @property
    def reads(self) -> tuple[str, ...]:
        """The gate, and the stages that made the columns."""
        return tuple(dict.fromkeys([self.gate, *self.sources.values()]))

    @property
    def version(self) -> int:
        """2: the keys of all parts lie in one file."""
        return 2

    def settings(self) -> Mapping[str, Any]:
        """Return how often captions and images may stand."""
        return self.config.model_dump()

    def summarize(self, pool: Pool) -> Any:
        """Write the keys that stand too often, part by part; return where, and a hash of each part."""
        n_parts = max(1, -(-pool.n_survivors[self.gate] // self.keys_per_part))
        shuffle = partial(self._shuffle, folder=pool.workspace, n_parts=n_parts)
        for _ in pool.map_shards(shuffle):
            pass
        names = [_shuffled(shard.name) for shard in pool.shards]
        count = partial(self._count, folder=pool.workspace, names=names)
        digests = dict(pool.run_tasks(count, range(n_parts)))
        _join(pool.workspace, n_parts)
        for name in [*names, *map(_counted, range(n_parts))]:
            pool.workspace.remove(name)
        return {"keys": pool.place, "digests": [digests[part] for part in range(n_parts)]}

    def _keys(self, columns: ShardColumns) -> tuple[NDArray[np.int32], dict[str, NDArray[np.uint64]]]:
        table = columns.survivors(self.gate, self.sources)
        keys = {reason: repeat_keys(table, reason) for reason in self.config.limits}
        return table["row"].to_numpy(), keys

    def _shuffle(self, columns: ShardColumns, *, folder: Folder, n_parts: int) -> None:
        _, keys = self._keys(columns)
        kinds = [np.full(len(own), kind, np.int8) for kind, own in enumerate(keys.values())]
        key = np.concatenate(list(keys.values()))
        table = pa.table({"key": key, "kind": np.concatenate(kinds)})
        write_groups(folder, _shuffled(columns.shard.name), table, _part_of(key, n_parts), n_parts)

    def _count(self, part: int, *, folder: Folder, names: Sequence[str]) -> tuple[int, str]:
        table = pa.concat_tables(rows for _, rows in read_group(folder, names, [part]))
        key, kind = table["key"].to_numpy(), table["kind"].to_numpy()
        limits = enumerate(self.config.limits.values())
        found = [too_frequent(key[kind == number], most) for number, most in limits]
        kinds = [np.full(len(keys), number, np.int8) for number, keys in enumerate(found)]
        frequent = pa.table({"key": np.concatenate(found), "kind": np.concatenate(kinds)})
        with folder.create(_counted(part)) as stream:
            pq.write_table(frequent, stream)
        return part, digest(frequent)

    def compute(self, columns: ShardColumns, summary: Any) -> pa.Table:
        """Return the weight and the reason of every sample that comes through the gate."""
        rows, keys = self._keys(columns)
        masks = [(reason, np.zeros(len(rows), bool)) for reason in keys]
        with (
            (columns.run / summary["keys"]).open(_FREQUENT) as stream,
            pq.ParquetFile(stream) as file,
        ):
            for part in map(file.read_row_group, range(file.num_row_groups)):
                for kind, (reason, mask) in enumerate(masks):
                    mask |= np.isin(keys[reason], part["key"].to_numpy()[part["kind"].to_numpy() == kind])
        decision = drop_first_reason(masks, len(rows))
        weight = pa.array(decision.weight, pa.int32())
        return pa.table({"row": pa.array(rows, pa.int32()), "weight": weight, "reason": decision.reason})


def plan_repeats(plan: Plan, parameters: Repeats, where: str) -> None:
    """Add the search for what stands too often to a plan."""
    columns = ("uid", *parameters.columns)
    plan.require_columns(columns, where)
    sources = {name: plan.sources[name] for name in columns}
    plan.add(RepeatsStage(plan.unused_name("repeats"), parameters, plan.last, sources))


def _part_of(key: NDArray[np.uint64], n_parts: int) -> NDArray[np.int64]:
    return (key % np.uint64(n_parts)).astype(np.int64)


def _shuffled(shard: str) -> str:
    return f"keys/{shard}.arrow"


def _counted(part: int) -> str:
    return f"counted/{part:05d}.parquet"


def _join(folder: Folder, n_parts: int) -> None:
    """Write all parts into one file, a row group each: a shard opens one, however large the pool is."""
    schema = pa.schema([("key", pa.uint64()), ("kind", pa.int8())])
    with folder.create(_FREQUENT) as sink, pq.ParquetWriter(sink, schema) as writer:
        for part in range(n_parts):
            with folder.open(_counted(part)) as stream:
                writer.write_table(pq.read_table(stream))

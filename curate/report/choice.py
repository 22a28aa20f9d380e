"""Which samples of a pool are shown: the nearest to a threshold, else drawn, in memory that stays small."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_DIGITS = 32


class Place(NamedTuple):
    """A sample: the number of its shard, and its row there."""

    shard: int
    row: int


@dataclass
class Nearest:
    """The first few samples of each group by (distance, draw), whatever order the shards come in."""

    most: int
    _groups: dict[str, NDArray[Any]] = field(default_factory=dict)

    def add(
        self,
        group: str,
        shard: int,
        rows: NDArray[Any],
        distance: NDArray[np.float64],
        draw: NDArray[np.uint64],
    ) -> None:
        """Let samples of a shard take part; all arrays have shape (n,)."""
        if len(rows) > self.most:
            limit = np.partition(distance, self.most)[self.most]
            near = distance <= limit
            rows, distance, draw = rows[near], distance[near], draw[near]
        new = np.empty(len(rows), [("distance", "f8"), ("draw", "u8"), ("shard", "i4"), ("row", "i4")])
        new["distance"], new["draw"], new["shard"], new["row"] = distance, draw, shard, rows
        whole = np.concatenate([self._groups.get(group, new[:0]), new])
        order = np.lexsort((whole["row"], whole["shard"], whole["draw"], whole["distance"]))
        self._groups[group] = whole[order[: self.most]]

    def chosen(self, group: str) -> list[Place]:
        """Return the samples of a group, the nearest first."""
        found = self._groups.get(group, ())
        return [Place(int(each["shard"]), int(each["row"])) for each in found]

    @property
    def groups(self) -> list[str]:
        """The groups that any sample came for."""
        return sorted(self._groups)


def uid_bytes(uid: pa.ChunkedArray) -> NDArray[np.uint8]:
    """Return uids, 32 hex digits each, as bytes (n, 32)."""
    column = uid.combine_chunks().cast(pa.binary())
    n = len(column)
    start = pa.Array.from_buffers(pa.int32(), n + 1, [None, column.buffers()[1]], offset=column.offset)[0]
    data = np.frombuffer(column.buffers()[2] or b"", np.uint8)
    return data[start.as_py() : start.as_py() + _DIGITS * n].reshape(n, _DIGITS)


def identity(uid: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return 64 bits that stand for a uid, shape (n,); also where uids are just numbered."""
    parts = np.ascontiguousarray(uid).view(np.uint64)
    mixed = np.zeros(len(parts), np.uint64)
    for n in range(parts.shape[1]):
        mixed = _mix(mixed ^ parts[:, n])
    return mixed


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread every bit over all: two multiplications by odd numbers, shifts between them."""
    x = (x ^ (x >> np.uint64(31))) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(29))) * np.uint64(0xD6E8FEB86659FD93)
    return x ^ (x >> np.uint64(32))

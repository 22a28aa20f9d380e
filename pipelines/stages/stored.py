"""Image and text vectors that a pool brings along."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.pool.shards import Shard, VectorFile, unchanged
from pipelines.pool.vectors import StoredVectors, read_vectors
from pipelines.stage import NamedStage, ShardColumns

_PROBLEMS = (None, "no_vector", "vector_is_zero", "vector_not_finite")
_OFF = 0.01  # how far from 1 the length of a vector may be that is taken as it is


@dataclass(frozen=True)
class Stored(NamedStage):
    """Copies the vectors of the survivors into the column store, as float16 of length 1."""

    spec: StoredVectors
    gate: str

    @property
    def reads(self) -> tuple[str, ...]:
        """The gate."""
        return (self.gate,)

    def settings(self) -> Mapping[str, Any]:
        """Return what the pool calls the vectors."""
        return self.spec.model_dump()

    def files(self, shard: Shard) -> list[Any]:
        """Return what identifies the files with the vectors."""
        used = {name: _file(shard, name) for name in self.spec.names.values()}
        return [[name, file.kind, file.size, file.version] for name, file in sorted(used.items())]

    def compute(self, columns: ShardColumns, summary: Any) -> pa.Table:
        """Return the vectors of every sample, and the problem of those that are no directions."""
        shard = columns.shard
        assert shard.rows is not None
        rows = columns.survivors(self.gate, {})["row"]
        made: dict[str, Any] = {"row": rows}
        problem = np.zeros(len(rows), np.int8)
        for kind, name in self.spec.names.items():
            file = _file(shard, name)
            with unchanged(file):
                found, there = read_vectors(file, shard.rows)
            places = rows.to_numpy()
            vectors, wrong = unit(found[places])
            wrong[~there[places]] = _PROBLEMS.index("no_vector")
            problem = np.where(problem, problem, wrong)
            made[kind] = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
        return pa.table({**made, "problem": pa.array(_PROBLEMS, pa.string()).take(pa.array(problem))})


def _file(shard: Shard, name: str) -> VectorFile:
    return next(file for file in shard.vectors if file.name == name)


def unit(vectors: NDArray[Any]) -> tuple[NDArray[np.float16], NDArray[np.int8]]:
    """Return vectors as float16 of length 1, (n, width), and what is wrong with each, a place in `_PROBLEMS`.

    Those whose length is within a hundredth of 1 stay as they are: rounding to float16 moves it that far.
    """
    exact = vectors.astype(np.float32)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        length = np.linalg.norm(exact, axis=1)
        off = np.abs(length - 1) > _OFF
        exact[off] /= length[off, None]
        result = vectors if vectors.dtype == np.float16 and not off.any() else exact.astype(np.float16)
    wrong = np.zeros(len(vectors), np.int8)
    wrong[length == 0] = _PROBLEMS.index("vector_is_zero")
    wrong[~np.isfinite(length)] = _PROBLEMS.index("vector_not_finite")
    return result, wrong

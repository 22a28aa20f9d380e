"""Look a subset file over: is it sorted, what repeats, and does the pool have what it asks for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.columns import ColumnStore
from pipelines.damage import open_parquet
from pipelines.errors import ConfigError
from pipelines.output.subset import halves, places_of, uids_of
from pipelines.pool.shards import Shard, expand
from pipelines.pool.tables import checked_uids
from pipelines.storage import Folder

_AT_ONCE = 4_000_000
_EXAMPLES = 3


@dataclass(frozen=True)
class Contents:
    """What a sorted subset holds: uids, how many different ones, and how often the most frequent stands."""

    uids: int
    distinct: int
    most_copies: int


@dataclass(frozen=True)
class Coverage:
    """What a pool has of a subset: its samples, those that the subset wants, and uids that it lacks."""

    samples: int
    wanted: int
    missing: int
    examples: list[str]


def contents(subset: NDArray[np.void]) -> Contents:
    """Return what a sorted subset holds."""
    distinct, most, begun = 0, 0, 0
    for start, first in _first_copies(subset):
        begins = np.flatnonzero(first) + start
        ends = np.diff(np.concatenate([[begun], begins, [start + len(first)]]))
        distinct += len(begins)
        most = max(most, int(ends.max(initial=0)))
        begun = int(begins[-1]) if len(begins) else begun
    return Contents(len(subset), distinct, most)


def coverage(subset: NDArray[np.void], pool: Iterable[NDArray[np.void]]) -> Coverage:
    """Return what a pool, given as uids in pieces, has of a sorted subset."""
    found = np.zeros(len(subset), bool)
    samples = wanted = 0
    for uids in pool:
        before, behind = places_of(subset, uids)
        there = behind > before
        found[before[there]] = True
        samples += len(uids)
        wanted += int(there.sum())
    missing = 0
    examples: list[str] = []
    for start, first in _first_copies(subset):
        lacking = np.flatnonzero(first & ~found[start : start + len(first)]) + start
        missing += len(lacking)
        examples += uids_of(subset[lacking[: _EXAMPLES - len(examples)]])
    return Coverage(samples, wanted, missing, examples)


def _first_copies(subset: NDArray[np.void]) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Yield a place and, for the uids from there on, whether each differs from the one before it."""
    for start in range(0, len(subset), _AT_ONCE):
        part = subset[max(0, start - 1) : start + _AT_ONCE]
        differs = (part["f0"][1:] != part["f0"][:-1]) | (part["f1"][1:] != part["f1"][:-1])
        yield start, differs if start else np.concatenate([[True], differs])


def uids_of_run(run: Folder, shards: Iterable[Shard]) -> Iterator[NDArray[np.void]]:
    """Yield the uids of all samples that a run has read and not set aside at once, shard by shard."""
    for shard in shards:
        try:
            table = ColumnStore(run).read("ingest", shard.name, ["uid", "problem"])
        except FileNotFoundError:
            raise ConfigError(f"the run {run.url} has not read {shard.name} yet: run it first") from None
        yield halves(table["uid"].filter(table["problem"].is_null()))


def uids_of_tables(spec: str | list[str], column: str = "uid") -> Iterator[NDArray[np.void]]:
    """Yield the uids of Parquet files in pieces; img2dataset's rows without an image are left out."""
    for table in expand(spec, suffix=".parquet"):
        with open_parquet(table.url) as file:
            names = file.schema_arrow.names
            if column not in names:
                raise ConfigError(f"{table.url} has no column {column!r}; its columns are {', '.join(names)}")
            first = 0
            read = [name for name in (column, "status") if name in names]
            for batch in file.iter_batches(_AT_ONCE, columns=read):
                uids = checked_uids(batch[column], table.url, first)
                first += len(batch)
                if "status" in read:
                    uids = uids.filter(pc.equal(batch["status"].cast(pa.string()), "success"))
                yield halves(uids)

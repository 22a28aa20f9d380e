"""Bring samples of many shards together: an external shuffle, in memory that does not grow with the pool.

Every shard writes one file with its rows sorted by group; whoever works on a group reads that group's stretch
of every file. A pool is read once and written once, however many groups there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.storage import Folder


def write_groups(
    folder: Folder, name: str, table: pa.Table, group: NDArray[np.integer[Any]], n_groups: int
) -> NDArray[np.int64]:
    """Write a shard's rows so that each group can be read alone; return the groups' sizes, shape (n_groups,).

    Parameters
    ----------
    folder
        Where the shuffle lies; a pool's workspace.
    name
        Of the file, unique for the shard.
    table
        The rows.
    group
        Shape (n_rows,), from 0 to n_groups - 1; rows of one group keep their order.
    n_groups
        Number of groups.
    """
    sizes = np.bincount(group, minlength=n_groups)
    ordered = table.take(pa.array(np.argsort(group, kind="stable"))).combine_chunks()
    ends = np.cumsum(sizes)
    with folder.create(name) as stream, pa.ipc.new_file(stream, table.schema) as writer:
        for first, last in zip(ends - sizes, ends, strict=True):
            # A record batch for each group, maybe empty: a group is found by its number.
            writer.write_batch(_batch(ordered.slice(first, last - first)))
    return sizes


def read_group(folder: Folder, names: Sequence[str], groups: Iterable[int]) -> Iterator[tuple[str, pa.Table]]:
    """Yield (name, rows) of some groups from every file, in the order of `names` and then of `groups`."""
    wanted = list(groups)
    for name in names:
        with folder.open(name) as stream, pa.ipc.open_file(stream) as file:
            yield name, pa.Table.from_batches([file.get_batch(n) for n in wanted], file.schema)


def keys_of(joined: bytes) -> pa.FixedSizeBinaryArray:
    """Return keys of 16 bytes each, such as uids or hashes, that lie one behind another."""
    return pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(16), len(joined) // 16, [None, pa.py_buffer(joined)]
    )


def _batch(table: pa.Table) -> pa.RecordBatch:
    batches = table.to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], table.schema)

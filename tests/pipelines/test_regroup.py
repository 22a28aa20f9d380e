"""A shuffle loses no row, invents none, and keeps the order inside a group."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipelines.regroup import read_group, write_groups
from pipelines.storage import Folder


@given(shards=st.lists(st.lists(st.integers(0, 4), max_size=12), min_size=1, max_size=4))
def test_every_row_comes_back_in_its_group_and_in_order(
    shards: list[list[int]], tmp_path_factory: object
) -> None:
    folder = Folder(str(tmp_path_factory.mktemp("shuffle")))  # type: ignore[attr-defined]
    names = [f"{n}.arrow" for n in range(len(shards))]
    for name, groups in zip(names, shards, strict=True):
        table = pa.table({"row": pa.array(range(len(groups)), pa.int32())})
        sizes = write_groups(folder, name, table, np.array(groups, np.int64), 5)
        assert sizes.tolist() == [groups.count(group) for group in range(5)]
    for group in range(5):
        found = {name: rows["row"].to_pylist() for name, rows in read_group(folder, names, [group])}
        expected = [[row for row, of in enumerate(groups) if of == group] for groups in shards]
        assert list(found.values()) == expected


def test_vectors_keep_their_width_and_groups_come_as_asked(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    flat = pa.array(np.arange(12, dtype=np.float16))
    table = pa.table({"vector": pa.FixedSizeListArray.from_arrays(flat, 2)})
    write_groups(folder, "a", table, np.array([1, 0, 1, 0, 3, 3]), 4)
    ((_, rows),) = read_group(folder, ["a"], [3, 2, 0])
    assert rows["vector"].to_pylist() == [[8, 9], [10, 11], [2, 3], [6, 7]]
    assert rows.schema == table.schema


def test_an_empty_shard_is_a_file_of_empty_groups(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    empty = pa.table({"row": pa.array([], pa.int32())})
    assert write_groups(folder, "a", empty, np.zeros(0, np.int64), 3).tolist() == [0, 0, 0]
    ((name, rows),) = read_group(folder, ["a"], range(3))
    assert (name, len(rows)) == ("a", 0)

"""Blocks: what parts find of samples comes back to their shards, whole and in the same order."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.blocks import Blocks
from pipelines.errors import StoppedError
from pipelines.storage import Folder

Found = list[tuple[int, int, int]]  # shard, row, what was found

parts = st.lists(st.lists(st.tuples(*[st.integers(0, 5)] * 3), max_size=12), min_size=1, max_size=5)


def run_tasks(function, items):
    """Yield results in another order than the items'."""
    return map(function, reversed([*items]))


def written(blocks: Blocks, parts: list[Found]) -> list[str]:
    names = [f"found/{number}.arrow" for number in range(len(parts))]
    for name, found in zip(names, parts, strict=True):
        shard, row, what = ([each[n] for each in found] for n in range(3))
        columns = {"shard": pa.array([f"s{n}" for n in shard], pa.string()), "row": pa.array(row, pa.int32())}
        blocks.write(name, pa.table({**columns, "what": pa.array(what, pa.int32())}))
    return names


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("blocks")


@given(parts, st.integers(1, 4))
def test_each_shard_gets_its_own_by_row_and_then_in_the_order_of_the_parts(home, parts, n) -> None:
    folder = Folder(str(home / f"{abs(hash(str((parts, n))))}"))
    blocks = Blocks(folder, n)
    names = written(blocks, parts)
    first = blocks.gather(names, run_tasks)
    for shard in range(6):
        own = blocks.read(f"s{shard}")
        assert list(zip(own["row"].to_pylist(), own["what"].to_pylist(), strict=True)) == sorted(
            ((row, what) for found in parts for own_shard, row, what in found if own_shard == shard),
            key=lambda each: each[0],
        )
    assert not set(names) & set(folder.files())
    assert blocks.gather(written(blocks, parts), run_tasks) == first


def test_whether_all_blocks_are_there_and_whole_is_known(tmp_path: Path) -> None:
    blocks = Blocks(Folder(str(tmp_path)), 3)
    found: list[Found] = [[(n, n, n) for n in range(6)], [(n, 0, 9) for n in range(6)]]
    assert blocks.hashes(run_tasks) is None
    whole = blocks.gather(written(blocks, found), run_tasks)
    assert blocks.hashes(run_tasks) == whole
    block = tmp_path / "000001.parquet"
    content = block.read_bytes()
    for damaged in (b"", content[:-9], content[:40] + b"x" + content[41:]):
        block.write_bytes(damaged)
        assert blocks.hashes(run_tasks) is None
        with pytest.raises(StoppedError, match=r"000001\.parquet is damaged .* run again"):
            list(map(blocks.read, [f"s{shard}" for shard in range(6)]))
    block.unlink()
    assert blocks.hashes(run_tasks) is None
    assert blocks.gather(written(blocks, found), run_tasks) == whole


def test_as_many_blocks_as_samples_ask_for() -> None:
    folder = Folder("somewhere")
    assert [Blocks.of(folder, n, 100).n for n in (0, 1, 100, 101, 1000)] == [1, 1, 1, 2, 10]

"""Subset files are DataComp's to the byte, and one that would mislead its readers is refused."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.columns import DECISIONS, ColumnStore
from pipelines.errors import ConfigError
from pipelines.output import subset
from pipelines.output.subset import (
    SUBSET_DTYPE,
    UnsortedSubsetError,
    halves,
    read_subset,
    read_unchecked,
    subset_file,
    subset_of_run,
    uids_of,
    weights_of,
)
from pipelines.pool.shards import Shard
from pipelines.storage import Folder

VECTORS = Path(__file__).parent / "vectors"  # of the published program, see reference/vectors/filters
Weights = Sequence[tuple[str, int]]

uids = st.integers(0, (1 << 128) - 1).map(lambda n: f"{n:032x}")
pools = st.lists(st.lists(st.tuples(uids, st.integers(0, 3)), max_size=6), min_size=1, max_size=4)


def decided(pool: Sequence[Weights]) -> tuple[Folder, list[Shard]]:
    """Return a run over a pool whose samples have these uids and weights."""
    run = Folder(f"memory://{hashlib.sha256(repr(pool).encode()).hexdigest()}")
    shards = [Shard(f"{n:05d}", "", 0, "") for n in range(len(pool))]
    for shard, samples in zip(shards, pool, strict=True):
        table = pa.table(
            {
                "uid": pa.array([uid for uid, _ in samples], pa.string()),
                "weight": pa.array([weight for _, weight in samples], pa.int32()),
            }
        )
        ColumnStore(run).write(DECISIONS, shard.name, table, "")
    return run, shards


def written(pool: Sequence[Weights]) -> bytes:
    n_kept = sum(weight for samples in pool for _, weight in samples)
    return b"".join(subset_of_run(*decided(pool), n_kept))


def saved(pool: Sequence[Weights]) -> bytes:
    """Return what numpy writes of the same uids, sorted as text, which is how uids sort."""
    kept = sorted(uid for samples in pool for uid, weight in samples for _ in range(weight))
    halves = np.array([(int(uid[:16], 16), int(uid[16:], 16)) for uid in kept], np.dtype("u8,u8"))
    sink = io.BytesIO()
    np.save(sink, halves)
    return sink.getvalue()


@given(pools)
def test_the_subset_file_is_what_numpy_would_save(pool: Sequence[Weights]) -> None:
    assert written(pool) == saved(pool)


@given(pools, st.integers(1, 5))
def test_it_is_the_same_in_any_number_of_passes(pool: Sequence[Weights], per_pass: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subset, "_AT_ONCE", per_pass)
        assert written(pool) == saved(pool)


@pytest.mark.parametrize("name", ["no_filter", "basic_filter", "mixed", "empty", "readme"])
def test_it_is_what_datacomp_writes(name: str) -> None:
    wanted = (VECTORS / f"{name}.npy").read_bytes()
    copies = Counter(f"{high:016x}{low:016x}" for high, low in np.load(io.BytesIO(wanted)).tolist())
    samples = [*copies.items(), ("5" * 32, 0)]
    samples.sort(key=lambda sample: hashlib.sha256(sample[0].encode()).hexdigest())
    assert written([samples[::2], samples[1::2]]) == wanted


@pytest.mark.parametrize("n", [0, 1, 9, 10, 999_999, 12_800_000, 1_400_000_000, 12_800_000_000])
def test_the_header_is_numpys_for_any_number(n: int) -> None:
    sink = io.BytesIO()
    facts = {"descr": SUBSET_DTYPE.descr, "fortran_order": False, "shape": (n,)}
    np.lib.format.write_array_header_1_0(sink, facts)
    assert next(subset_file(n, list)) == sink.getvalue()


def test_datacomps_resharder_finds_each_sample_as_often_as_its_weight() -> None:
    pool = [[("0" * 31 + "1", 2), ("f" * 32, 1), ("8" * 32, 0)], [("7" + "f" * 31, 3)]]
    halves = np.load(io.BytesIO(written(pool)))
    for uid, weight in (sample for samples in pool for sample in samples):
        key = np.array([(int(uid[:16], 16), int(uid[16:], 16))], np.dtype("u8,u8"))[0]
        left, right = (np.searchsorted(halves, key, side=side) for side in ("left", "right"))
        assert right - left == weight


# Reading


def test_a_sample_counts_as_often_as_datacomps_resharder_wrote_it() -> None:
    keys = [key for _, key in json.loads((VECTORS / "expected_keys_j1_shard20.json").read_text())]
    copies = Counter(key.partition("-")[0] for key in keys)
    found = weights_of(read_subset(str(VECTORS / "mixed.npy")), halves(list(copies)))
    assert found.tolist() == list(copies.values())
    assert max(copies.values()) == 3
    assert len(keys) == json.loads((VECTORS / "expected_meta.json").read_text())["output_count"]


@pytest.mark.parametrize("name", ["no_filter", "basic_filter", "mixed", "empty", "readme"])
def test_datacomps_files_are_read(name: str) -> None:
    found = read_subset(str(VECTORS / f"{name}.npy"))
    assert found.tobytes() == np.load(VECTORS / f"{name}.npy").tobytes()
    assert b"".join(subset_file(len(found), lambda: [found[::-1]])) == (VECTORS / f"{name}.npy").read_bytes()


def test_a_file_without_a_header_is_read_as_datacomps_resharder_does() -> None:
    raw = read_subset(str(VECTORS / "mixed.raw"))
    assert raw.tobytes() == np.load(VECTORS / "mixed.npy").tobytes()


@pytest.mark.parametrize("name", ["mixed.npy", "mixed.raw"])
def test_a_file_on_a_store_is_read(name: str) -> None:
    Folder("memory://subsets").write(name, (VECTORS / name).read_bytes())
    assert read_subset(f"memory://subsets/{name}").tobytes() == np.load(VECTORS / "mixed.npy").tobytes()


def test_an_unsorted_subset_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    for at_once in (3, 1_000):
        monkeypatch.setattr(subset, "_AT_ONCE", at_once)
        with pytest.raises(UnsortedSubsetError, match=r"unsorted\.npy: .* number 2 is .* verify-subset"):
            read_subset(str(VECTORS / "unsorted.npy"))
    assert len(read_unchecked(str(VECTORS / "unsorted.npy"))) > 2


@given(st.lists(st.integers(0, 300), max_size=60), st.integers(1, 5))
def test_the_first_fall_is_found_whatever_is_read_at_once(places: list[int], at_once: int) -> None:
    uids = halves([f"{place // 17:016x}{place % 17:016x}" for place in places])
    falls = [n for n in range(1, len(places)) if places[n] < places[n - 1]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subset, "_AT_ONCE", at_once)
        assert subset.first_fall(uids) == next(iter(falls), None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ((VECTORS / "ab.npy").read_bytes(), r"should hold uids as dtype \[\('f0', '<u8'\).*holds \[\('a'"),
        (b"x" * 17, "can't be read"),
        ((VECTORS / "mixed.npy").read_bytes()[:-8], "can't be read"),
    ],
    ids=["other fields", "odd size", "cut off"],
)
def test_what_is_no_subset_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_subset(str(tmp_path / "a.npy"))
    with pytest.raises(ConfigError, match="can't be read"):
        read_subset(str(tmp_path / "nothing.npy"))


def test_a_uid_is_its_two_halves() -> None:
    uid = "139e4a9b22a614771f06c700a8ebe150"  # DataComp's own example
    assert halves([uid]).tobytes().hex() == "7714a6229b4a9e1350e1eba800c7061f"
    assert uids_of(halves([uid, "f" * 32])) == [uid, "f" * 32]


@given(st.lists(uids, max_size=30), st.lists(uids, max_size=10), st.data())
def test_weights_are_how_often_a_uid_stands(
    there: list[str], elsewhere: list[str], data: st.DataObject
) -> None:
    copies = sorted([*there, *data.draw(st.lists(st.sampled_from(there or ["0" * 32])))])
    asked = data.draw(st.permutations([*there, *elsewhere]))
    wanted = [copies.count(uid) for uid in asked]
    assert weights_of(halves(copies), halves(asked)).tolist() == wanted

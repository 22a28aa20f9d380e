"""The subset file is DataComp's to the byte, and no shard of somebody else is touched."""

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

from pipelines import publish
from pipelines.columns import DECISIONS, ColumnStore
from pipelines.engine import Engine, EngineConfig
from pipelines.errors import ConfigError
from pipelines.runner import Runner
from pipelines.shards import Shard
from pipelines.storage import Folder

VECTORS = Path(__file__).parent / "vectors"  # of the published program, see reference/vectors/filters
Weights = Sequence[tuple[str, int]]

uids = st.integers(0, (1 << 128) - 1).map(lambda n: f"{n:032x}")
pools = st.lists(st.lists(st.tuples(uids, st.integers(0, 3)), max_size=6), min_size=1, max_size=4)


def decided(pool: Sequence[Weights]) -> Runner:
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
    return Runner(shards, run, Engine(EngineConfig(workers=0)), lambda event: None, 0.5)


def subset(pool: Sequence[Weights]) -> bytes:
    n_kept = sum(weight for samples in pool for _, weight in samples)
    return b"".join(publish.subset_file(decided(pool), n_kept))


def saved(pool: Sequence[Weights]) -> bytes:
    """Return what numpy writes of the same uids, sorted as text, which is how uids sort."""
    kept = sorted(uid for samples in pool for uid, weight in samples for _ in range(weight))
    halves = np.array([(int(uid[:16], 16), int(uid[16:], 16)) for uid in kept], np.dtype("u8,u8"))
    sink = io.BytesIO()
    np.save(sink, halves)
    return sink.getvalue()


@given(pools)
def test_the_subset_file_is_what_numpy_would_save(pool: Sequence[Weights]) -> None:
    assert subset(pool) == saved(pool)


@given(pools, st.integers(1, 5))
def test_it_is_the_same_in_any_number_of_passes(pool: Sequence[Weights], per_pass: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publish, "_UIDS_PER_PASS", per_pass)
        assert subset(pool) == saved(pool)


@pytest.mark.parametrize("name", ["no_filter", "basic_filter", "mixed", "empty", "readme"])
def test_it_is_what_datacomp_writes(name: str) -> None:
    wanted = (VECTORS / f"{name}.npy").read_bytes()
    copies = Counter(f"{high:016x}{low:016x}" for high, low in np.load(io.BytesIO(wanted)).tolist())
    samples = [*copies.items(), ("5" * 32, 0)]
    samples.sort(key=lambda sample: hashlib.sha256(sample[0].encode()).hexdigest())
    assert subset([samples[::2], samples[1::2]]) == wanted


@pytest.mark.parametrize("n", [0, 1, 9, 10, 999_999, 12_800_000, 1_400_000_000, 12_800_000_000])
def test_the_header_is_numpys_for_any_number(n: int) -> None:
    sink = io.BytesIO()
    facts = {"descr": publish.SUBSET_DTYPE.descr, "fortran_order": False, "shape": (n,)}
    np.lib.format.write_array_header_1_0(sink, facts)
    assert publish._npy_header(n) == sink.getvalue()


def test_datacomps_resharder_finds_each_sample_as_often_as_its_weight() -> None:
    pool = [[("0" * 31 + "1", 2), ("f" * 32, 1), ("8" * 32, 0)], [("7" + "f" * 31, 3)]]
    halves = np.load(io.BytesIO(subset(pool)))
    for uid, weight in (sample for samples in pool for sample in samples):
        key = np.array([(int(uid[:16], 16), int(uid[16:], 16))], np.dtype("u8,u8"))[0]
        left, right = (np.searchsorted(halves, key, side=side) for side in ("left", "right"))
        assert right - left == weight


# Whose folder it is


def test_an_empty_folder_is_free() -> None:
    publish.refuse_foreign(Folder("memory://free/out"), Folder("memory://free/run"))


def test_shards_of_somebody_else_are_refused() -> None:
    output = Folder("memory://foreign/out")
    output.write("00000.tar", b"theirs")
    with pytest.raises(ConfigError, match=r"holds shards that this run did not write \(00000.tar"):
        publish.refuse_foreign(output, Folder("memory://foreign/run"))


def test_shards_that_this_run_has_begun_to_write_are_its_own() -> None:
    output, run = Folder("memory://own/out"), Folder("memory://own/run")
    output.write("00000.tar", b"ours")
    run.write("state/write/00000.json", b"{}")
    publish.refuse_foreign(output, run)
    output.write("00001.tar", b"theirs")
    with pytest.raises(ConfigError, match="did not write"):
        publish.refuse_foreign(output, run)


def test_other_files_are_nobodys_business() -> None:
    output = Folder("memory://notes/out")
    output.write("notes.txt", b"")
    output.write("below/00000.tar", b"")
    publish.refuse_foreign(output, Folder("memory://notes/run"))


# What a manifest says


def test_a_file_that_is_there_already_is_not_written_again(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    facts = publish.put_if_changed(folder, "a", b"data")
    before = (tmp_path / "a").stat()
    assert publish.put_if_changed(folder, "a", b"data") == facts
    assert (tmp_path / "a").stat() == before
    publish.put_if_changed(folder, "a", b"DATA")
    assert (tmp_path / "a").read_bytes() == b"DATA"
    assert facts == {"sha256": hashlib.sha256(b"data").hexdigest(), "size": 4}


def test_a_file_written_in_pieces_is_known_by_its_hash(tmp_path: Path) -> None:
    facts = publish.put_stream(Folder(str(tmp_path)), "a", iter([b"da", b"", b"ta"]))
    assert (tmp_path / "a").read_bytes() == b"data"
    assert facts == {"sha256": hashlib.sha256(b"data").hexdigest(), "size": 4}


def test_a_manifest_is_the_same_for_the_same_content() -> None:
    one = publish.manifest("a", {"x": 1, "y": 2}, {"kept": 1}, {"b": {}, "a": {}})
    two = publish.manifest("a", {"y": 2, "x": 1}, {"kept": 1}, {"a": {}, "b": {}})
    assert one == two
    assert set(json.loads(one)) == {"name", "config", "counts", "files", "versions"}

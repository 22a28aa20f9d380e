"""Ten thousand tars that somebody tampered with: no crash, no hang, little memory, the good prefix kept."""

from __future__ import annotations

import io
import re
import tracemalloc
from pathlib import Path

import pandas as pd
import pytest

from curate import run
from pipelines.pool.ingest import Limits, ingest
from pipelines.pool.samples import read_annotated, read_whole, split_name
from pipelines.pool.tar_reader import BLOCK, Damage, Member, read_members
from tests.fuzzing.tars import corpus, mutated, whole
from tests.making import sample
from tests.pools import config

LIMIT = 1 << 20
MACHINE = re.compile(r"at 0x[0-9a-f]{6,}|/tmp/|/home/|/root/|pid \d")  # what no stored reason may hold

few_or_many = pytest.mark.parametrize(
    "seeds", [range(500), pytest.param(range(10_000), marks=pytest.mark.soak)], ids=lambda s: f"{len(s)}"
)


class Counted(io.BytesIO):
    """A file that knows how often it was read, and how much was asked for at once."""

    reads = 0
    most = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        assert size is not None
        assert size >= 0
        self.most = max(self.most, size)
        return super().read(size)


def common(a: bytes, b: bytes) -> int:
    """Return how many bytes two files begin with alike."""
    ends = (n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y)
    return next(ends, min(len(a), len(b)))


@few_or_many
def test_a_mutated_tar_is_read_in_bounds_and_its_good_prefix_is_kept(seeds: range) -> None:
    before = {tar: list(read_members(io.BytesIO(tar))) for tar in corpus()}
    tracemalloc.start()
    for seed in seeds:
        original, tar = mutated(seed)
        stream = Counted(tar)
        tracemalloc.reset_peak()
        base = tracemalloc.get_traced_memory()[0]
        found = list(read_members(stream, max_member_bytes=LIMIT))
        assert tracemalloc.get_traced_memory()[1] - base < 4 * len(tar) + (1 << 20), seed
        assert stream.reads < 10 + len(tar) // 50, seed  # goes forward with every read
        assert stream.most <= 2 * LIMIT, seed
        alike = common(original, tar)
        good = [m for m in before[original] if isinstance(m, Member) and m.offset + m.size <= alike]
        assert found[: len(good)] == good, seed
        end = 0
        for each in found:
            assert each.offset >= end, seed
            if isinstance(each, Member):
                assert each.data is None or each.data == tar[each.offset : each.offset + each.size], seed
                assert "\0" not in each.name, seed
                end = each.offset + (each.size if each.data is not None else 0)
    tracemalloc.stop()


@few_or_many
def test_every_sample_of_a_mutated_tar_is_accounted_for_in_words_of_no_machine(seeds: range) -> None:
    limits = Limits(name_chars=1 << 20)
    for seed in seeds:
        tar = mutated(seed)[1]
        found = list(read_members(io.BytesIO(tar), max_member_bytes=LIMIT))
        table, again = (ingest("00000", found, pixels="looks", limits=limits) for _ in range(2))
        assert table.equals(again), seed
        table.validate(full=True)
        problem, detail = table["problem"].to_pylist(), table["detail"].to_pylist()
        assert [p is None for p in problem] == [d is None for d in detail], seed
        assert not [d for d in detail if d and MACHINE.search(d)], seed
        # Every member that has a key and a suffix is in one sample, and all damage is told of.
        places = [m["offset"] for members in table["members"].to_pylist() for m in members]
        members = [each for each in found if isinstance(each, Member)]
        named = [m.offset for m in members if split_name(m.name)]
        assert sorted(places) == sorted(named), seed
        aside = {k for k, p in zip(table["key"].to_pylist(), problem, strict=True) if p is not None}
        for each in found:
            if isinstance(each, Damage):
                name = split_name(each.name) if each.name else None
                assert (name[0] if name else f"unreadable at byte {each.offset}") in aside, seed
        for row, fault in zip(table.to_pylist(), problem, strict=True):
            if fault is None:
                assert row["caption"] is not None, seed
                assert row["width"], seed


@pytest.mark.parametrize(
    "seeds", [range(24), pytest.param(range(1000), marks=pytest.mark.soak)], ids=lambda s: f"{len(s)}"
)
def test_runs_over_mutated_shards_account_for_every_sample(tmp_path: Path, seeds: range) -> None:
    """Twelve shards a run: what is kept has its own picture and caption, the rest a reason."""
    for start in seeds[::12]:
        home = tmp_path / str(start)
        pool = home / "pool"
        pool.mkdir(parents=True)
        (pool / "whole.tar").write_bytes(whole(5))
        for seed in range(start, start + 12):
            (pool / f"{seed:05d}.tar").write_bytes(mutated(seed)[1])
        content = config(pool, home, stages=[])
        content["pool"]["max_set_aside"] = 1.0
        result = run(content)
        assert result.samples == result.kept + sum(result.dropped.values()) + sum(result.set_aside.values())
        decisions = pd.concat(map(pd.read_parquet, (home / "run/decisions").glob("*.parquet")))
        assert len(decisions) == result.samples
        assert decisions[decisions.shard == "whole"].kept.all()
        assert decisions[decisions.set_aside].reason.notna().all()
        assert not list(tmp_path.rglob("*passwd*"))


@few_or_many
def test_training_reads_mutated_shards_without_a_word(tmp_path: Path, seeds: range) -> None:
    """What trains and evaluates has readers of its own; a caption never comes with another key's picture."""
    path = tmp_path / "0.tar"
    for seed in seeds[::5]:
        path.write_bytes(mutated(seed)[1])
        for key, image, _ in read_whole(str(path)):
            assert image.data is not None, seed
            assert split_name(image.name) == (key, image.name.rpartition(".")[2].lower()), seed
        for found in read_annotated(str(path)):
            assert isinstance(found.caption, str), seed
            assert isinstance(found.metadata, dict), seed


def test_zeros_without_end_and_headers_without_end_are_read_in_little_memory() -> None:
    """What can't be held in memory is never held: a long run of nothing, of magic words, of huge names."""
    long = 1 << 20
    for tar in (bytes(long), b"ustar" * (long // 5), b"x" * long, whole(1)[:BLOCK] * (long // BLOCK)):
        stream = Counted(tar)
        tracemalloc.start()
        n = sum(1 for _ in read_members(stream, max_member_bytes=LIMIT))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert n <= len(tar) // BLOCK
        assert peak < 4 * long


def test_a_size_within_the_limit_that_is_a_lie_takes_no_memory_from_a_file(tmp_path: Path) -> None:
    from tests.fuzzing.tars import checksummed

    head = bytearray(whole(1)[:BLOCK])
    head[124:136] = b"%011o\0" % (250 << 20)
    (tmp_path / "lie.tar").write_bytes(checksummed(bytes(head)) + bytes(5000))
    tracemalloc.start()
    with (tmp_path / "lie.tar").open("rb") as stream:
        found = list(read_members(stream))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [type(each) for each in found] == [Damage]
    assert peak < 48 << 20


def test_names_that_differ_in_case_or_a_zero_byte_stay_apart() -> None:
    members = {**{f"A.{k}": v for k, v in sample(0).items()}, **{f"a.{k}": v for k, v in sample(1).items()}}
    found = [Member(name, 1000 * n, len(data), data) for n, (name, data) in enumerate(members.items())]
    table = ingest("0", found, pixels="hash", limits=Limits())
    assert table["key"].to_pylist() == ["A", "a"]
    assert table["problem"].null_count == 2

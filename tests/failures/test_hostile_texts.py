"""Captions, JSON and names as nobody would write them in good faith: a row each, and no harm behind."""

from __future__ import annotations

import csv
import io
import json
import random
import sys
import tarfile
from pathlib import Path

import pandas as pd
import pytest

from curate import run
from curate.exchange import export
from curate.report import write_report
from pipelines.config import RunConfig
from pipelines.pool.ingest import Limits, ingest
from pipelines.pool.tar_reader import Member, read_members
from tests.failures.test_hostile_tars import MACHINE, few_or_many
from tests.fuzzing.texts import NAMES, SUFFIXES, captions, document
from tests.making import picture, sample
from tests.pools import config


def members(parts: dict[str, bytes]) -> list[Member]:
    return [Member(name, 1000 * n, len(data), data) for n, (name, data) in enumerate(parts.items())]


@few_or_many
def test_any_json_is_read_or_is_a_reason(seeds: range) -> None:
    image = picture(0, 16)
    for seed in seeds:
        parts = {"a.jpg": image, "a.txt": b"a caption", "a.json": document(seed)}
        table = ingest("0", members(parts), pixels="header", limits=Limits(), scores=["score"])
        (row,) = table.to_pylist()
        table.validate(full=True)
        assert row["problem"] in (None, "bad_metadata"), seed
        assert (row["problem"] is None) == (row["detail"] is None), seed
        assert not MACHINE.search(row["detail"] or ""), seed
        assert len(row["uid"]) == 32, seed
        assert row["caption"] == "a caption", seed


def test_the_last_of_two_equal_keys_is_meant() -> None:
    parts = {**sample(0), "json": b'{"url": "first", "url": "second"}'}
    (row,) = ingest(
        "0", members({f"a.{k}": v for k, v in parts.items()}), pixels="header", limits=Limits()
    ).to_pylist()
    assert row["url"] == "second"


def test_a_caption_in_json_has_the_limit_of_captions() -> None:
    parts = {"a.jpg": picture(0, 16), "a.json": json.dumps({"caption": "é" * 60}).encode()}
    for limit, problem in ((119, "caption_too_long"), (120, None)):
        limits = Limits(caption_bytes=limit)
        (row,) = ingest("0", members(parts), pixels="header", limits=limits).to_pylist()
        assert row["problem"] == problem


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ({"a.txt": b"x" * (10 << 20)}, "caption_too_long"),
        ({"a.json": b'{"caption": "' + b"x" * (10 << 20) + b'"}'}, "caption_too_long"),
        ({"a.txt": b"x" * (4 << 20)}, None),
        ({"a.txt": b"x", "a.json": b'{"x": "' + b"x" * (17 << 20) + b'"}'}, "metadata_too_long"),
        ({"a.txt": b"x", "a.json": b'{"x": ' + b"[" * 1023 + b"]" * 1023 + b"}"}, None),
        ({"a.txt": b"x", "a.json": b'{"x": ' + b"[" * 1024 + b"]" * 1024 + b"}"}, "bad_metadata"),
    ],
    ids=["caption", "caption in JSON", "at the limit", "JSON", "1,024 levels", "1,025 levels"],
)
def test_what_is_too_large_or_too_deep_is_set_aside(parts: dict[str, bytes], problem: str | None) -> None:
    (row,) = ingest(
        "0", members({"a.jpg": picture(0, 16), **parts}), pixels="header", limits=Limits()
    ).to_pylist()
    assert row["problem"] == problem


def test_a_name_that_is_too_long_sets_its_sample_aside_under_a_short_one() -> None:
    long = "x" * 300_000
    parts = {f"{long}.{suffix}": data for suffix, data in sample(0).items()}
    table = ingest(
        "0", members({**parts, "y.jpg": picture(1), "y.txt": b"y"}), pixels="header", limits=Limits()
    )
    first, second = table.to_pylist()
    assert first["problem"] == "name_too_long"
    assert len(first["key"]) < 200
    assert len(first["members"]) == 3
    assert second["problem"] is None


def test_files_beyond_the_limit_are_one_loss() -> None:
    parts = {f"{n}.{suffix}": data for n in range(4) for suffix, data in sample(n).items()}
    table = ingest("0", members(parts), pixels="header", limits=Limits(members=7))
    assert table["problem"].to_pylist() == [None, None, "no_caption", "damaged_tar"]
    assert "more than 7 files" in table["detail"].to_pylist()[-1]


def test_limits_that_nobody_sets_leave_the_runs_of_before_valid() -> None:
    """What identifies a stage's columns, and what a manifest says decided the output, is as it was."""
    before = {
        "member_bytes": 268435456,
        "pixels": 100000000,
        "caption_bytes": 4194304,
        "metadata_bytes": 16777216,
    }
    assert Limits().model_dump() == before
    assert Limits(members=7).model_dump() == {**before, "members": 7}
    content = {"name": "a", "pool": {"shards": "x"}, "run": "r", "stages": [], "output": {"shards": "o"}}
    assert RunConfig.model_validate(content).model_dump(mode="json")["pool"]["limits"] == before


def write_hostile(path: Path, seed: int) -> None:
    """Write a shard with every name, every caption, odd suffixes, duplicates, links and devices."""
    chance = random.Random(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = captions()
    with tarfile.open(path, "w", format=chance.choice([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])) as tar:
        for n, name in enumerate([*chance.sample(NAMES, len(NAMES)), chance.choice(NAMES)]):
            parts = {
                "jpg": picture(seed * 100 + n, 24),
                "txt": texts[n % len(texts)],
                chance.choice(SUFFIXES): b"more",
            }
            if chance.random() < 0.5:
                parts["json"] = document(seed * 100 + n)
            for suffix, data in parts.items():
                info = tarfile.TarInfo(f"{name}.{suffix}")
                info.size = len(data)
                if chance.random() < 0.05:
                    info.type, info.linkname, info.size = (
                        chance.choice(b"123456").to_bytes(),
                        "/etc/passwd",
                        0,
                    )
                tar.addfile(info, io.BytesIO(data))


@pytest.mark.parametrize(
    "seeds", [range(4), pytest.param(range(300), marks=pytest.mark.soak)], ids=lambda s: f"{len(s)}"
)
def test_runs_over_hostile_texts_write_what_others_read(tmp_path: Path, seeds: range) -> None:
    for start in seeds[::2]:
        home = tmp_path / str(start)
        for seed in (start, start + 1):
            write_hostile(home / f"pool/{seed:05d}.tar", seed)
        content = config(home / "pool", home, stages=[{"duplicates": {"exact": True}}])
        content["pool"]["max_set_aside"] = 1.0
        result = run(content)
        assert result.kept
        assert result.samples == result.kept + sum(result.dropped.values()) + sum(result.set_aside.values())
        seen = dict(read_back(home / "curated"))
        assert len(seen) == result.kept
        inside = {path.resolve() for path in tmp_path.rglob("*")}
        assert all(path.is_relative_to(tmp_path.resolve()) for path in inside)
        export(str(home / "run"), str(home / "d.csv"), "csv", None)
        csv.field_size_limit(sys.maxsize)
        with (home / "d.csv").open(newline="", encoding="utf-8") as stream:
            assert sum(1 for _ in csv.DictReader(stream)) == result.samples
        if start < 4:
            page = Path(write_report(str(home / "run")).path).read_text(encoding="utf-8")
            assert "<script>alert" not in page
            assert "<img src=x" not in page


def read_back(folder: Path) -> list[tuple[str, str]]:
    """Return key and caption of every sample of an output, by Python's own tarfile and by our reader."""
    found = []
    for path in sorted(folder.glob("*.tar")):
        rows = pd.read_parquet(path.with_suffix(".parquet")).set_index("key")
        with tarfile.open(path) as tar:
            theirs = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
        with path.open("rb") as stream:
            ours = {each.name: each.data for each in read_members(stream) if isinstance(each, Member)}
        assert ours == theirs
        assert not [name for name in theirs if name.startswith(("/", "..")) or "\0" in name]
        for key in rows.index:
            assert theirs[f"{key}.txt"].decode() == rows.caption[key]
            found.append((key, rows.caption[key]))
    return found

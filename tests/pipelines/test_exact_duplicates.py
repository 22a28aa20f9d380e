"""Exact duplicates: however the pool is cut into parts, the same samples are copies of the same ones."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from filters.duplicates import Duplicates
from pipelines.columns import ColumnStore
from pipelines.engine import Engine, EngineConfig
from pipelines.fits import Fits
from pipelines.pool.shards import Shard
from pipelines.runner import Runner
from pipelines.stages.duplicates import DuplicatesStage
from pipelines.storage import Folder
from pipelines.summaries import read_summary

SHARDS, PER_SHARD, PICTURES = 4, 60, 90
SOURCES = dict.fromkeys(["uid", "caption", "pixels", "sha256"], "ingest")


def write_columns(run: Folder) -> dict[str, Any]:
    """Write shards whose samples share few pictures, one of them far more often than the others."""
    chance, stamps = random.Random(5), {}
    for shard in range(SHARDS):
        rows = []
        for row in range(PER_SHARD):
            picture = 0 if chance.random() < 0.1 else chance.randrange(PICTURES)
            own = {"row": row, "uid": f"{chance.getrandbits(128):032x}", "caption": f"{shard} {row}"}
            pixels = None if picture == 1 else f"{picture:032x}"  # null: nobody's copy
            rows.append({**own, "pixels": pixels, "sha256": f"{picture * 2 + chance.randrange(2):064x}"})
        table = pa.Table.from_pylist(rows)
        table = table.set_column(0, "row", table["row"].cast(pa.int32()))
        stamps[f"{shard:05d}"] = ColumnStore(run).write("ingest", f"{shard:05d}", table, "made")
    return stamps


def found(home: Path, samples_per_part: int, fits: Fits, exact: Any = True) -> tuple[list[Any], Any]:
    """Return the columns of every shard, and the placeholders."""
    run = Folder(str(home))
    stamps = write_columns(run)
    shards = [Shard(name, "", 0, "") for name in stamps]
    stage = DuplicatesStage("duplicates", Duplicates(exact=exact), "ingest", SOURCES, samples_per_part)
    with Engine(EngineConfig(workers=0)) as engine:
        Runner(shards, run, engine, lambda event: None, 1.0, {"ingest": stamps}, fits).go([stage])
    columns = [ColumnStore(run).read("duplicates", name).to_pylist() for name in stamps]
    return columns, read_summary(run, "duplicates")[1]["placeholders"]


@pytest.mark.parametrize("fits", [Fits(), Fits(False, {"00000": 1, "00002": 2}, {"samples": 1})], ids=str)
def test_the_size_of_parts_means_nothing(tmp_path: Path, fits: Fits) -> None:
    whole = found(tmp_path / "whole", 1_000_000, fits)
    assert found(tmp_path / "parts", 37, fits) == whole
    assert found(tmp_path / "single", 1, fits) == whole


@pytest.mark.parametrize("exact", [True, "bytes"])
def test_copies_are_those_that_a_dictionary_finds(tmp_path: Path, exact: Any) -> None:
    columns, _ = found(tmp_path, 37, Fits(), exact)
    key = "sha256" if exact == "bytes" else "pixels"
    samples = [
        {**sample, **decided}
        for name, shard in zip(range(SHARDS), columns, strict=True)
        for sample, decided in zip(
            ColumnStore(Folder(str(tmp_path))).read("ingest", f"{name:05d}").to_pylist(), shard, strict=True
        )
    ]
    first = {sample[key]: sample for sample in sorted(samples, key=lambda each: each["uid"], reverse=True)}
    for sample in samples:
        survivor = sample if sample[key] is None else first[sample[key]]
        assert sample["weight"] == (survivor["uid"] == sample["uid"])
        if not sample["weight"]:
            same = sample["sha256"] == survivor["sha256"]
            assert sample["duplicate_of"] == survivor["uid"]
            assert sample["reason"] == ("same_bytes" if same else "same_pixels")


def test_what_stands_often_is_counted_over_all_shards(tmp_path: Path) -> None:
    _, placeholders = found(tmp_path, 37, Fits())
    image, samples, captions = placeholders[0]
    assert image == f"{0:032x}"
    names = [f"{n:05d}" for n in range(SHARDS)]
    pixels = [ColumnStore(Folder(str(tmp_path))).read("ingest", name)["pixels"].to_pylist() for name in names]
    assert samples == sum(own.count(image) for own in pixels) > max(own.count(image) for own in pixels)
    assert len(set(captions)) == 3

"""Rescaled and recompressed copies are found across shards, the first by uid stays."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from curate import run
from tests.making import picture, write_shard
from tests.pools import config, result_bytes

STAGE = {"duplicates": {"perceptual": {"radius": 12}}}


def copy(data: bytes, size: tuple[int, int]) -> bytes:
    sink = io.BytesIO()
    Image.open(io.BytesIO(data)).resize(size, Image.Resampling.BICUBIC).save(sink, "JPEG", quality=60)
    return sink.getvalue()


def uid(row: int) -> bytes:
    return json.dumps({"uid": f"{row:032x}"}).encode()


def blank(level: int) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(np.full((40, 40, 3), level, np.uint8)).save(sink, "PNG")
    return sink.getvalue()


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three shards of four pictures; the third holds copies of the first, and two blank ones."""
    folder = tmp_path_factory.mktemp("raw") / "pool"
    images = [picture(seed, side=96) for seed in range(8)]
    images += [copy(images[0], (70, 75)), copy(images[1], (150, 130)), blank(90), blank(200)]
    for shard in range(3):
        rows = range(shard * 4, shard * 4 + 4)
        write_shard(
            folder / f"{shard:05d}.tar",
            [
                (
                    f"{row:09d}",
                    {
                        "jpg": images[row],
                        "txt": b"a picture",
                        "json": json.dumps({"uid": f"{row:032x}"}).encode(),
                    },
                )
                for row in rows
            ],
        )
    return folder


def test_copies_are_found_and_blank_pictures_left_alone(tmp_path: Path, pool: Path) -> None:
    result = run(config(pool, tmp_path, stages=[STAGE]))
    assert (result.kept, result.dropped) == (10, {"duplicates.looks_alike": 2})
    found = pd.read_parquet(tmp_path / "run/columns/duplicates/00002.parquet")
    assert found.weight.tolist() == [0, 0, 1, 1]
    assert found.duplicate_of.tolist()[:2] == [f"{0:032x}", f"{1:032x}"]
    assert not list((tmp_path / "run/state").rglob("0*.parquet"))


def test_large_groups_are_told_of(tmp_path: Path, pool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []

    def listen(event: dict[str, Any]) -> None:
        if event["event"] == "note":
            notes.append(event["message"])

    run(config(pool, tmp_path, stages=[STAGE]), on_event=listen)
    monkeypatch.setattr("pipelines.stages.perceptual_duplicates._LARGE", 1)
    run(config(pool, tmp_path, stages=[STAGE]), on_event=listen)
    assert notes[0] == "2 groups of like pictures, the largest of 2"
    assert notes[1].startswith(notes[0] + ": groups are chains")


def test_exact_search_comes_first_if_asked(tmp_path: Path, pool: Path) -> None:
    result = run(config(pool, tmp_path, stages=[{"duplicates": {"exact": True}}, STAGE]))
    assert result.dropped == {"duplicates-2.looks_alike": 2}


def test_the_order_of_shards_changes_nothing(tmp_path: Path, pool: Path) -> None:
    paths = sorted(str(path) for path in pool.glob("*.tar"))
    run(config(pool, tmp_path / "a", stages=[STAGE]))
    run(config(paths[::-1], tmp_path / "b", stages=[STAGE]))
    assert result_bytes(tmp_path / "a")["decisions"] == result_bytes(tmp_path / "b")["decisions"]


@pytest.mark.slow
def test_workers_change_nothing(tmp_path: Path, pool: Path) -> None:
    run(config(pool, tmp_path / "a", stages=[STAGE]))
    run(config(pool, tmp_path / "b", stages=[STAGE], engine={"workers": 2}))
    assert result_bytes(tmp_path / "a") == result_bytes(tmp_path / "b")

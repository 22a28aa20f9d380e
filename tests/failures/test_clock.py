"""Clocks that jump, between runs and during them: the same bytes, nothing done twice, sane durations."""

from __future__ import annotations

import itertools
import json
import os
import random
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import curate.events
from curate import run
from curate.status import status
from pipelines import lock
from pipelines.storage import Folder
from tests.pools import config, result_bytes, write_raw_pool

YEAR = 365 * 86400.0


@pytest.fixture
def jumping(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every look at the clock find another year."""
    rng = random.Random(0)
    real = time.time

    def jump() -> float:
        return real() + rng.uniform(-20, 20) * YEAR

    class Jumping(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return datetime.fromtimestamp(jump(), UTC)

    monkeypatch.setattr(time, "time", jump)
    monkeypatch.setattr(curate.events, "datetime", Jumping)


@pytest.mark.usefixtures("jumping")
def test_a_run_under_a_jumping_clock_ends_in_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = write_raw_pool(tmp_path / "pool", n_shards=2)
    events: list[dict[str, Any]] = []
    result = run(config(pool, tmp_path), on_event=events.append)
    monkeypatch.undo()
    run(config(pool, tmp_path / "undisturbed"))
    assert result_bytes(tmp_path) == result_bytes(tmp_path / "undisturbed")
    durations = [event["seconds"] for event in events if "seconds" in event]
    assert len(durations) >= 4
    assert all(0 <= seconds < 600 for seconds in [*durations, result.seconds])
    times = [json.loads(line)["time"] for line in (tmp_path / "run/events.jsonl").open()]
    assert times != sorted(times)
    assert status(str(tmp_path / "run")).published


@pytest.mark.parametrize("shift", [-10 * YEAR, 10 * YEAR])
def test_between_runs_a_jump_makes_no_work_and_hides_none(tmp_path: Path, shift: float) -> None:
    """What the first run wrote is years older or younger than what the second one finds its clock to say."""
    pool = write_raw_pool(tmp_path / "pool", n_shards=2)
    run(config(pool, tmp_path))
    for path in itertools.chain((tmp_path / "run").rglob("*"), (tmp_path / "curated").rglob("*")):
        os.utime(path, (time.time() + shift,) * 2)
    before = result_bytes(tmp_path)
    new: list[int] = []
    run(config(pool, tmp_path), on_event=lambda event: new.append(event.get("new", 0)))
    assert sum(new) == 0
    assert result_bytes(tmp_path) == before
    # A shard that another one replaces whose clock was behind is as new as any.
    shard = pool / "00001.tar"
    other = write_raw_pool(tmp_path / "other", n_shards=3) / "00002.tar"
    shard.write_bytes(other.read_bytes())
    os.utime(shard, (1, 1))
    run(config(pool, tmp_path), on_event=lambda event: new.append(event.get("new", 0)))
    run(config(pool, tmp_path / "fresh"))
    assert sum(new) > 0
    assert result_bytes(tmp_path) == result_bytes(tmp_path / "fresh")


def test_a_run_on_a_store_keeps_its_lock_under_a_jumping_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr(lock, "_BEAT_SECONDS", 0.01)
    pool = write_raw_pool(tmp_path / "pool", n_shards=2)
    store = Folder(f"memory://{uuid.uuid4().hex}")
    content = config(pool, tmp_path, run=store.url)
    request.getfixturevalue("jumping")
    run(content)
    run(content)
    assert not store.exists(".lock")


def test_a_folder_that_moved_from_another_time_zone_says_the_same(tmp_path: Path) -> None:
    pool = write_raw_pool(tmp_path / "pool", n_shards=1)
    run(config(pool, tmp_path))
    stamps = [json.loads(line)["time"] for line in (tmp_path / "run/events.jsonl").open()]
    assert all(datetime.fromisoformat(stamp).utcoffset() == timedelta(0) for stamp in stamps)

"""Files that vanish or break while a run works: a clear message, and the same bytes when it goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from curate import run
from pipelines.errors import StoppedError
from tests.pools import config, result_bytes, write_raw_pool


def after(stage: str, act: Callable[[], object]) -> Callable[[dict[str, Any]], None]:
    """Return a listener that acts when a stage is done."""
    return lambda event: act() if (event["event"], event.get("stage")) == ("stage_done", stage) else None


@pytest.mark.parametrize("change", ["vanished", "changed"])
def test_a_shard_that_vanishes_or_changes_stops_the_run(tmp_path: Path, change: str) -> None:
    pool = write_raw_pool(tmp_path / "pool", n_shards=2)
    shard = pool / "00001.tar"
    whole = shard.read_bytes()
    act = shard.unlink if change == "vanished" else lambda: shard.write_bytes(whole[:-5120])
    with pytest.raises(StoppedError, match=f"{change} during the run"):
        run(config(pool, tmp_path), on_event=after("ingest", act))
    assert not (tmp_path / "curated/MANIFEST.json").exists()
    shard.write_bytes(whole)
    run(config(pool, tmp_path))
    run(config(pool, tmp_path / "fresh"))
    assert result_bytes(tmp_path) == result_bytes(tmp_path / "fresh")


def test_a_truncated_column_file_is_made_anew(tmp_path: Path) -> None:
    pool = write_raw_pool(tmp_path / "pool", n_shards=2)
    run(config(pool, tmp_path))
    before = result_bytes(tmp_path)
    column = tmp_path / "run/columns/ingest/00001.parquet"
    column.write_bytes(column.read_bytes()[:-100])
    done: dict[str, int] = {}

    def listen(e: dict[str, Any]) -> None:
        if e["event"] == "stage_done":
            done[e["stage"]] = e["new"]

    run(config(pool, tmp_path), on_event=listen)
    assert done["ingest"] == 1
    assert result_bytes(tmp_path) == before

"""Files that vanish, change or break while a run works: a message, and the same bytes when it goes on."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from curate import run
from pipelines.errors import StoppedError
from tests.making import write_encoder
from tests.pools import config, contents, result_bytes, write_raw_pool
from tests.tables import table_config, write_datacomp

Act = Callable[[], object]


def after(stage: str, act: Act) -> Callable[[dict[str, Any]], None]:
    """Return a listener that acts when a stage is done."""
    return lambda event: act() if (event["event"], event.get("stage")) == ("stage_done", stage) else None


CHANGES: dict[str, Callable[[Path], object]] = {
    "vanished": lambda file: file.unlink(),
    "changed": lambda file: file.write_bytes(file.read_bytes()[:-5120]),
    # As many bytes, and others: nothing but the time tells.
    "changed (same size)": lambda file: (
        file.write_bytes(file.read_bytes()[::-1]),
        os.utime(file, (1, 1)),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("reader", ["ingest", "embed", "write"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_shard_that_vanishes_or_changes_stops_every_stage_that_reads_it(
    tmp_path: Path, change: str, reader: str
) -> None:
    pool = write_raw_pool(tmp_path / "pool", n_shards=2)
    encoder = write_encoder(tmp_path / "encoder")
    stages = [{"rules": {"caption_words": [2, 77]}}, {"score": "clip"}]
    asked = {"encoder": {"model": encoder, "batch_size": 8}, "stages": stages}
    shard = pool / "00001.tar"
    shutil.copy2(shard, tmp_path / "whole")

    def act() -> None:
        CHANGES[change](shard)

    if reader == "ingest":  # between the listing and the reading
        listen: Any = lambda event: act() if event["event"] == "pool" else None  # noqa: E731
    else:
        listen = after({"embed": "rules", "write": "decisions"}[reader], act)
    with pytest.raises(StoppedError, match=rf"00001\.tar {change.split()[0]} during the run"):
        run(config(pool, tmp_path, **asked), on_event=listen)
    assert not (tmp_path / "curated/MANIFEST.json").exists()
    # Nothing that was read of the other file stands, even where this one is back as if nothing had been.
    shutil.copy2(tmp_path / "whole", shard)
    run(config(pool, tmp_path, **asked))
    run(config(pool, tmp_path / "fresh", **asked))
    assert result_bytes(tmp_path) == result_bytes(tmp_path / "fresh")


@pytest.mark.parametrize(
    ("suffix", "stage"), [(".parquet", None), (".npz", "ingest")], ids=["table", "vectors beside it"]
)
@pytest.mark.parametrize("change", CHANGES)
def test_a_table_or_its_vectors_that_change_stop_the_run(
    tmp_path: Path, change: str, suffix: str, stage: str | None
) -> None:
    pool = write_datacomp(tmp_path / "pool")
    file = sorted(pool.glob(f"*{suffix}"))[1]
    shutil.copy2(file, tmp_path / "whole")
    content = table_config(
        pool, tmp_path, [{"score": "clip"}], encoder={"image": "l14_img", "text": "l14_txt"}
    )

    def act() -> None:
        CHANGES[change](file)

    listen = after(stage, act) if stage else lambda event: act() if event["event"] == "pool" else None
    with pytest.raises(StoppedError, match=rf"{file.name} {change.split()[0]} during the run"):
        run(content, on_event=listen)
    shutil.copy2(tmp_path / "whole", file)
    run(content)
    fresh = table_config(
        pool, tmp_path / "fresh", [{"score": "clip"}], encoder={"image": "l14_img", "text": "l14_txt"}
    )
    run(fresh)
    assert contents(tmp_path / "run/decisions") == contents(tmp_path / "fresh/run/decisions")


def cut(column: Path) -> None:
    column.write_bytes(column.read_bytes()[:-100])


@pytest.mark.parametrize("stage", ["ingest", "rules", "duplicates", "decisions"])
def test_a_truncated_column_file_is_made_anew(tmp_path: Path, stage: str) -> None:
    pool = write_raw_pool(tmp_path / "pool", n_shards=2)
    run(config(pool, tmp_path))
    before = result_bytes(tmp_path)
    cut(column(tmp_path, stage))
    done: dict[str, int] = {}

    def listen(e: dict[str, Any]) -> None:
        if e["event"] == "stage_done":
            done[e["stage"]] = e["new"]

    run(config(pool, tmp_path), on_event=listen)
    assert {name for name, new in done.items() if new} == {stage}
    assert result_bytes(tmp_path) == before


def column(home: Path, stage: str) -> Path:
    return home / ("run/decisions" if stage == "decisions" else f"run/columns/{stage}") / "00001.parquet"


@pytest.mark.parametrize("stage", ["ingest", "rules", "duplicates", "decisions"])
@pytest.mark.parametrize("how", ["cut", "vanished"])
def test_a_column_file_that_breaks_during_the_run_stops_it(tmp_path: Path, stage: str, how: str) -> None:
    pool = write_raw_pool(tmp_path / "pool", n_shards=2)
    file = column(tmp_path, stage)
    with pytest.raises(StoppedError, match=r"00001\.parquet.* run again"):
        run(
            config(pool, tmp_path),
            on_event=after(stage, lambda: cut(file) if how == "cut" else file.unlink()),
        )
    run(config(pool, tmp_path))
    run(config(pool, tmp_path / "fresh"))
    assert result_bytes(tmp_path) == result_bytes(tmp_path / "fresh")


def test_a_flipped_bit_in_a_column_is_noticed(tmp_path: Path) -> None:
    pool = write_raw_pool(tmp_path / "pool", n_shards=2)
    run(config(pool, tmp_path))
    before = result_bytes(tmp_path)
    file = column(tmp_path, "ingest")
    whole = file.read_bytes()
    # Somewhere in the pages, of which the footer, which resuming looks at, says nothing.
    for seed in range(20):
        place = random.Random(seed).randrange(4, len(whole) * 2 // 3)
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        try:
            run(config(pool, tmp_path, stages=[{"rules": {"caption_words": [2, 70 + seed]}}]))
        except StoppedError as error:
            assert f"{file} is damaged" in str(error)  # noqa: PT017 - most flips are noticed, some hit nothing
    file.unlink()
    run(config(pool, tmp_path))
    assert result_bytes(tmp_path) == before


def test_a_column_file_that_another_run_left_behind_is_refused(tmp_path: Path) -> None:
    """A worker of a run that was killed may write once more, of other settings, while this run works."""
    pool = write_raw_pool(tmp_path / "pool", n_shards=2)
    other = config(pool, tmp_path / "other", stages=[{"rules": {"caption_words": [1, 77]}}])
    run(other)
    stray = column(tmp_path / "other", "rules")
    content = config(pool, tmp_path)
    with pytest.raises(StoppedError, match=r"rules/00001\.parquet changed during the run"):
        run(content, on_event=after("rules", lambda: shutil.copy(stray, column(tmp_path, "rules"))))
    run(content)
    run(config(pool, tmp_path / "fresh"))
    assert result_bytes(tmp_path) == result_bytes(tmp_path / "fresh")

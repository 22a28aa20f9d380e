"""What is most likely a mistake is said, or stops the run: nothing there, nothing left, something missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from curate import run
from curate.config import load
from curate.forecast import forecast
from pipelines.errors import ConfigError, StoppedError
from pipelines.output.subset import halves, subset_file
from tests.making import sample, write_pool, write_shard
from tests.pools import config

NOTHING: dict[str, dict[str, Any]] = {
    "rules": {"rules": {"caption_words": [70, 77]}},
    "keep": {"keep": {"by": "quality", "at_least": 9.0}},
    "repeats": {"repeats": {"max_caption_repeats": 1}},
    "subset": {"subset": "SUBSET"},
}


@pytest.mark.parametrize("kind", NOTHING)
def test_a_stage_that_keeps_nothing_stops_the_run(tmp_path: Path, kind: str) -> None:
    same = ((f"{n}", sample(n, "all the same", quality=0.5)) for n in range(4))
    write_shard(tmp_path / "pool/00000.tar", same)
    other = b"".join(subset_file(1, lambda: [halves([f"{99:032x}"])]))
    (tmp_path / "other.npy").write_bytes(other)
    stage = {k: str(tmp_path / "other.npy") if v == "SUBSET" else v for k, v in NOTHING[kind].items()}
    content = config(tmp_path / "pool", tmp_path, stages=[stage])
    content["pool"]["scores"] = ["quality"]
    with pytest.raises(StoppedError, match=f"the stage {kind} keeps none of 4 samples"):
        run(content)
    assert not (tmp_path / "curated").exists() or not list((tmp_path / "curated").glob("*.tar"))


def test_a_pool_of_empty_tars_is_an_error(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool", 2, 0)
    with pytest.raises(StoppedError, match="the pool holds no samples"):
        run(config(pool, tmp_path, stages=[]))


def said(content: dict[str, Any]) -> list[str]:
    events: list[dict[str, Any]] = []
    run(content, on_event=events.append)
    return [event["message"] for event in events if event["event"] == "warning"]


def test_shards_without_a_sample_are_named(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool", 3, 2)
    (pool / "00001.tar").write_bytes(b"")
    assert said(config(pool, tmp_path, stages=[])) == ["1 of 3 shards hold no sample: 00001"]


@pytest.mark.parametrize("start", ["", "train-"])
def test_a_gap_in_the_numbers_is_said_before_the_run_and_in_it(tmp_path: Path, start: str) -> None:
    pool = write_pool(tmp_path / "pool", 4, 2)
    for path in sorted(pool.iterdir()):
        path.rename(pool / f"{start}{path.name}")
    (pool / f"{start}00002.tar").unlink()
    content = config(pool, tmp_path, stages=[])
    assert forecast(*load(content)).gaps == [f"{start}00002"]
    assert said(content) == [f"the shards' numbers have gaps: {start}00002 missing"]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("pool/nothing-*.tar", "no shards match"),
        ("pool/{00000..00009}.tar", r"00003\.tar does not exist"),
        ("other", "does not exist"),
        (".", "holds no .tar"),
    ],
)
def test_a_list_of_shards_that_matches_nothing_is_an_error(tmp_path: Path, spec: str, words: str) -> None:
    write_pool(tmp_path / "pool", 3, 2)
    with pytest.raises(ConfigError, match=words):
        run(config(str(tmp_path / spec), tmp_path))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("address", ["nowhere://a/b.tar", "reference://a/b.tar", "blockcache://a/b.tar"])
def test_an_address_that_nobody_can_open_is_an_error(tmp_path: Path, address: str) -> None:
    with pytest.raises(ConfigError, match=f"{address.partition('/b')[0]}.* can't be opened"):
        run(config(address, tmp_path))
    content = config(write_pool(tmp_path / "pool", 1, 2), tmp_path, run=address)
    with pytest.raises(ConfigError, match="can't be opened"):
        run(content)

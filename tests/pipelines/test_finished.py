"""What a run is made from is seen in listings: each file that counts, and nothing that does not."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from curate.config import load
from pipelines.config import RunConfig
from pipelines.finished import is_up_to_date, seen
from pipelines.pool.listing import list_pool
from tests.making import write_pool
from tests.pools import config
from tests.tables import table_config, write_datacomp


def look(loaded: tuple[RunConfig, Path]) -> str:
    return seen(loaded[0], list_pool(*loaded))


def touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def shards(home: Path) -> dict[str, Any]:
    write_pool(home / "pool", n_shards=1, per_shard=2)
    (home / "encoder").mkdir()
    for name in ("encoder/weights.safetensors", "target.npy", "subset.npy", "scores.parquet"):
        (home / name).write_bytes(b"")
    stages = [
        {"subset": str(home / "subset.npy")},
        {"score": {"name": "norm_sim", "target": str(home / "target.npy"), "encoder": "own"}},
        {"score": {"from": str(home / "*.parquet"), "columns": ["nsfw"]}},
    ]
    own = {"model": f"local-dir:{home / 'encoder'}"}
    return config(home / "pool", home, stages=stages, encoders={"own": own})


def tables(home: Path) -> dict[str, Any]:
    return table_config(write_datacomp(home / "metadata", n_files=1), home, [])


@pytest.mark.parametrize(
    ("write", "file"),
    [
        (shards, "pool/00000.tar"),
        (shards, "encoder/weights.safetensors"),
        (shards, "target.npy"),
        (shards, "subset.npy"),
        (shards, "scores.parquet"),
        (tables, "metadata/*.parquet"),
        (tables, "metadata/*.npz"),
    ],
)
def test_a_file_that_counts_is_looked_at(
    tmp_path: Path, write: Callable[[Path], dict[str, Any]], file: str
) -> None:
    given = load(write(tmp_path))
    before = look(given)
    assert look(given) == before
    (path,) = tmp_path.glob(file)
    touch(path)
    assert look(given) != before


def test_new_files_beside_are_seen_and_workers_are_not(tmp_path: Path) -> None:
    content = shards(tmp_path)
    before = look(load(content))
    assert look(load({**content, "engine": {"workers": 3}})) == before
    assert look(load({**content, "seed": 3})) != before
    (tmp_path / "more.parquet").write_bytes(b"")
    assert look(load(content)) != before


def test_what_never_ran_is_not_up_to_date(tmp_path: Path) -> None:
    assert not is_up_to_date(*load(shards(tmp_path)))
    (tmp_path / "run/state").mkdir(parents=True)
    (tmp_path / "run/state/finished").write_bytes(b"")  # as earlier versions of curate left it
    assert not is_up_to_date(*load(config(tmp_path / "pool", tmp_path)))

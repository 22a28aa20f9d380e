"""Shards, run folder and output on an object store: the same bytes as on a disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from curate import run
from curate.status import status
from tests.pools import config, contents, write_raw_pool


@pytest.fixture
def store() -> Iterator[fsspec.AbstractFileSystem]:
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    yield memory
    memory.store.clear()


def test_a_run_on_an_object_store_ends_in_the_bytes_of_one_on_disk(
    tmp_path: Path, store: fsspec.AbstractFileSystem
) -> None:
    pool = write_raw_pool(tmp_path / "pool")
    run(config(pool, tmp_path))
    store.put(str(pool), "/bucket/pool", recursive=True)
    remote = {
        "run": "memory://bucket/run",
        "output": {
            "shards": "memory://bucket/curated",
            "samples_per_shard": 10,
            "subset": "memory://bucket/curated/subset.npy",
        },
    }
    run(config("memory://bucket/pool/*.tar", tmp_path, **remote))
    found = {
        path.removeprefix("/bucket/curated/"): hashlib.sha256(store.cat_file(path)).hexdigest()
        for path in store.find("/bucket/curated")
    }
    assert found == contents(tmp_path / "curated")
    assert status("memory://bucket/run").published

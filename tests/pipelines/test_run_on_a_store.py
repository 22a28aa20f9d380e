"""A run whose pool, run folder and output lie on an object store does as on a disk."""

from __future__ import annotations

import hashlib
import uuid
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from curate import run
from curate.config import load
from curate.status import status
from pipelines.finished import is_up_to_date
from pipelines.storage import Folder
from tests.pools import config, contents, write_raw_pool


@pytest.fixture
def store(tmp_path: Path) -> Folder:
    """A store that holds the raw pool, which lies on the disk too."""
    found = Folder(f"memory://{uuid.uuid4().hex}")
    for path in write_raw_pool(tmp_path / "pool").glob("*.tar"):
        found.write(f"pool/{path.name}", path.read_bytes())
    return found


def on(store: Folder) -> dict[str, Any]:
    output = {"shards": store.path("out"), "samples_per_shard": 10, "subset": store.path("out/subset.npy")}
    return config(store.path("pool"), Path("unused"), run=store.path("run"), output=output)


def hashes(folder: Folder) -> dict[str, str]:
    return {name: hashlib.sha256(folder.read(name)).hexdigest() for name in folder.files()}


def test_the_output_is_the_same_as_on_a_disk(store: Folder, tmp_path: Path) -> None:
    on_store, on_disk = run(on(store)), run(config(tmp_path / "pool", tmp_path))
    assert hashes(store / "out") == contents(tmp_path / "curated")
    assert (on_store.kept, on_store.dropped, on_store.set_aside) == (
        on_disk.kept,
        on_disk.dropped,
        on_disk.set_aside,
    )


def test_a_second_run_does_nothing(store: Folder) -> None:
    run(on(store))
    before = hashes(store / "out")
    done: dict[str, int] = {}
    run(on(store), on_event=lambda e: e["event"] == "stage_done" and done.update({e["stage"]: e["new"]}))
    assert set(done.values()) == {0}
    assert hashes(store / "out") == before


def test_its_events_and_its_status_can_be_read(store: Folder) -> None:
    run(on(store))
    assert b'"event": "done"' in store.read("run/events.jsonl")
    found = status(store.path("run"))
    assert (found.published, found.running) == (True, False)
    assert {stage.shards_done for stage in found.stages} == {4}


def test_only_promised_files_are_left(store: Folder) -> None:
    run(on(store))
    folders = {name.partition("/")[0] for name in (store / "run").files()}
    assert folders == {"columns", "decisions", "state", "events.jsonl", "run.yaml", "set_aside.parquet"}


def test_the_pool_is_listed_once_and_what_comes_later_is_there_for_the_next_run(
    store: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    ls, asked = MemoryFileSystem.ls, []
    shard = store.read("pool/00000.tar")

    def and_then_comes_another(self: Any, path: str, **options: Any) -> Any:
        found = ls(self, path, **options)
        if path.endswith("/pool"):
            asked.append(path)
            store.write(f"pool/1000{len(asked)}.tar", shard)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(MemoryFileSystem, "ls", and_then_comes_another)
        assert run(on(store)).samples == 48
    assert len(asked) == 1
    assert not is_up_to_date(*load(on(store)))
    assert run(on(store)).samples == 60
    assert is_up_to_date(*load(on(store)))

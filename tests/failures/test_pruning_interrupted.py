"""Clusters, duplicates and pruning come out the same however often they are killed, and in a moved folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from curate import run
from tests.failures.test_killed import run_and_kill
from tests.making import write_encoder, write_pool
from tests.pools import config, result_bytes, write_config

STAGES: list[Any] = [
    {"duplicates": {"perceptual": {}}},
    {"duplicates": {"semantic": {"threshold": 0.997, "clusters": 4, "across": 2}}},
    {"cluster": {"clusters": 3, "full_passes": 2}},
    {"prune": {"keep": 0.5, "order": "random"}},
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a pool, an encoder, and a run in this process that nothing disturbed."""
    folder = tmp_path_factory.mktemp("pruned")
    write_pool(folder / "pool", n_shards=4, per_shard=10)
    write_encoder(folder / "encoder")
    run(asked(folder, folder / "undisturbed"))
    return folder


def asked(home: Path, where: Path, shards: list[str] | None = None, **changes: Any) -> dict[str, Any]:
    encoder = {"model": f"local-dir:{home / 'encoder'}", "batch_size": 8}
    return config(shards or home / "pool", where, **{"encoder": encoder, "stages": STAGES, **changes})


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killed_between_all_stages(home: Path, tmp_path: Path) -> None:
    """Kill one run again and again, each time a little later: with two workers and with other ones."""
    killed = 0
    for number, after in enumerate((8, 22, 36, 48)):
        content = asked(home, tmp_path, engine={"workers": 1 + number % 2})
        killed += run_and_kill(write_config(tmp_path / "curate.yaml", content), after)
    assert killed >= 3
    run(tmp_path / "curate.yaml")
    assert result_bytes(tmp_path) == result_bytes(home / "undisturbed")


@pytest.mark.slow
def test_other_workers_in_another_order(home: Path, tmp_path: Path) -> None:
    shards = sorted((str(path) for path in (home / "pool").glob("*.tar")), reverse=True)
    run(asked(home, tmp_path, shards=shards, engine={"workers": 3}))
    assert result_bytes(tmp_path)["decisions"] == result_bytes(home / "undisturbed")["decisions"]


def test_a_run_folder_can_be_moved(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "undisturbed/run", tmp_path / "run")
    (home / "undisturbed/run").rename(home / "undisturbed/away")
    done: dict[str, int] = {}

    def listen(event: dict[str, Any]) -> None:
        if event["event"] == "stage_done":
            done[event["stage"]] = event["new"]

    try:
        stages = [*STAGES[:3], {"prune": {"keep": 0.25}}]
        run(asked(home, tmp_path, stages=stages), on_event=listen)
    finally:
        (home / "undisturbed/away").rename(home / "undisturbed/run")
    assert {name: new for name, new in done.items() if new} == {"prune": 4, "decisions": 4, "write": 1}

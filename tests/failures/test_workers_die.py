"""Workers that are killed or lack memory: the run goes on without a loss, or says which shard kills them."""

from __future__ import annotations

import builtins
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from curate import run
from pipelines import tasks
from pipelines.engine import Engine, EngineConfig
from pipelines.errors import StoppedError
from tests.pools import config, result_bytes, write_raw_pool


def worker_processes() -> list[psutil.Process]:
    """Return the workers of this process: children of its fork server, not of the tests' browser."""
    mine = [each for each in psutil.process_iter(["ppid", "cmdline"]) if each.info["ppid"] == os.getpid()]
    servers = [each for each in mine if "forkserver" in str(each.info["cmdline"])]
    return [worker for server in servers for worker in server.children()]


@pytest.mark.slow
@pytest.mark.parametrize("how_many", [1, 2], ids=["one", "all"])
def test_a_run_whose_workers_are_killed_ends_in_the_same_bytes(tmp_path: Path, how_many: int) -> None:
    pool = write_raw_pool(tmp_path / "pool", n_shards=6)
    run(config(pool, tmp_path / "undisturbed"))
    killed: list[int] = []

    def kill(event: dict[str, Any]) -> None:
        stage = event.get("stage")
        if event["event"] == "shard" and stage in ("ingest", "duplicates", "write") and stage not in met:
            met.add(stage)
            for worker in worker_processes()[:how_many]:
                worker.send_signal(signal.SIGKILL)
                killed.append(worker.pid)

    met: set[str] = set()
    run(config(pool, tmp_path / "killed", engine={"workers": 2}), on_event=kill)
    assert len(killed) >= 2 * how_many
    assert result_bytes(tmp_path / "killed") == result_bytes(tmp_path / "undisturbed")
    assert not list(tmp_path.rglob("*.curate-partial"))


@dataclass(frozen=True)
class Named:
    name: str
    marker: str = ""


def die_on_the_third(item: tuple[Named, str]) -> str:
    if item[0].name == "00002":
        os._exit(1)
    return item[0].name


@pytest.mark.slow
def test_a_shard_that_kills_its_workers_is_named_and_the_others_are_done() -> None:
    done: list[str] = []
    items = [(Named(f"{n:05d}"), "") for n in range(12)]
    with (
        Engine(EngineConfig(workers=2, retries=1)) as engine,
        pytest.raises(StoppedError, match=r"again and again on 00002.*memory_per_worker.*run again"),
    ):
        done.extend(engine.map(die_on_the_third, items))
    assert sorted(done) == sorted(set(done))
    assert {f"{n:05d}" for n in range(8) if n != 2} <= {*done}


def take_memory(item: Named) -> str:
    """Take far more than a worker may have: always, or, with a marker, the first time."""
    if item.name == "large" and not (item.marker and Path(item.marker).exists()):
        if item.marker:
            Path(item.marker).touch()
        taken = []
        while True:
            taken.append(os.urandom(1 << 20) * 16)
    return item.name


LITTLE = EngineConfig(workers=1, retries=1, memory_per_worker="400MB")


@pytest.mark.slow
def test_a_worker_out_of_memory_is_restarted_and_the_run_goes_on(tmp_path: Path) -> None:
    items = [Named("a"), Named("large", str(tmp_path / "marker")), Named("b"), Named("c")]
    with Engine(LITTLE) as engine:
        assert sorted(engine.map(take_memory, items)) == ["a", "b", "c", "large"]


@pytest.mark.slow
def test_a_shard_too_large_for_every_worker_ends_in_a_message() -> None:
    with (
        Engine(LITTLE) as engine,
        pytest.raises(StoppedError, match=r"again and again on large.*memory_per_worker"),
    ):
        list(engine.map(take_memory, [Named("a"), Named("large"), Named("b")]))


def hold_memory(number: int) -> int:
    """Hold most of a worker's memory and never give it back, as a model does."""
    if not hasattr(builtins, "held"):
        builtins.held = os.urandom(1 << 20) * (345 - psutil.Process().memory_info().rss // 1_000_000)  # type: ignore[attr-defined]
    return number


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_worker_that_holds_much_memory_still_works() -> None:
    """Dask would let it pause above 80%, and as what it holds never goes away, pause for ever."""
    with Engine(LITTLE) as engine:
        seen = []
        for number in engine.map(hold_memory, range(40)):
            seen.append(number)
            if number == 5:
                psutil.Process().cpu_percent(interval=1.0)  # the memory is looked at twice a second
    assert sorted(seen) == list(range(40))


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_workers_that_never_live_end_in_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.engine.PATIENCE_SECONDS", 5.0)
    monkeypatch.setattr(tasks, "PATIENCE_SECONDS", 5.0)
    with (
        Engine(EngineConfig(workers=1, retries=1, memory_per_worker="30MB")) as engine,
        pytest.raises(StoppedError, match="memory_per_worker"),
    ):
        list(engine.map(hold_memory, range(3)))

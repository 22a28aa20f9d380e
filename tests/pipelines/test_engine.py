"""Where the work is done: this process, workers here, a scheduler's address, or a named cluster class."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydantic import ValidationError

from curate import run
from pipelines.engine import Engine, EngineConfig
from pipelines.errors import ConfigError, StoppedError
from tests.making import write_pool
from tests.pools import config, result_bytes


def square(number: int) -> int:
    return number * number


def process(number: int) -> int:
    return os.getpid()


def die(number: int) -> int:
    os._exit(1)


def environment(number: int) -> dict[str, str | None]:
    return {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}


def test_no_workers_means_this_process() -> None:
    with Engine(EngineConfig(workers=0)) as engine:
        assert list(engine.map(square, range(5))) == [0, 1, 4, 9, 16]


def burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


@pytest.mark.slow
def test_the_processor_time_of_workers_is_known() -> None:
    with Engine(EngineConfig(workers=2)) as engine:
        list(engine.map(burn, [0.3, 0.3, 0.3]))
        first = engine.cpu_seconds
        assert first >= 0.85
        list(engine.map(burn, [0.3]))
        assert 0.25 <= engine.cpu_seconds - first <= first


def test_items_are_taken_as_they_are_needed() -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    with Engine(EngineConfig(workers=0)) as engine:
        next(engine.map(square, items()))
    assert len(taken) < 50


def test_nothing_starts_where_there_is_nothing_to_do() -> None:
    events: list[dict[str, Any]] = []
    with Engine(EngineConfig(workers=2), emit=events.append) as engine:
        assert list(engine.map(square, [])) == []
    assert events == []


@pytest.mark.slow
def test_workers_here_do_all_and_pin_their_threads() -> None:
    with Engine(EngineConfig(workers=2, threads_per_worker=3)) as engine:
        assert sorted(engine.map(square, range(100))) == [number * number for number in range(100)]
        assert list(engine.map(environment, [0])) == [{"OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": "3"}]


@pytest.mark.slow
def test_gpus_have_workers_of_their_own() -> None:
    events: list[dict[str, Any]] = []
    with Engine(EngineConfig(workers=1, gpus=1), emit=events.append) as engine:
        (here,) = engine.map(process, [0])
        (there,) = engine.map(process, [0], gpu=True)
        assert list(engine.map(process, [0])) == [here]
    assert here != there
    assert [("gpus" in event) for event in events] == [False, True]
    with Engine(EngineConfig(workers=0)) as engine:
        assert list(engine.map(process, [0], gpu=True)) == [os.getpid()]  # none asked for: as ever


def listening() -> set[tuple[str, int]]:
    """Return the addresses and ports on which this process and its children listen."""
    me = psutil.Process()
    return {
        connection.laddr
        for process in [me, *me.children(recursive=True)]
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }


@pytest.mark.slow
def test_nothing_listens_beyond_this_machine() -> None:
    before = listening()
    with Engine(EngineConfig(workers=1)) as engine:
        list(engine.map(square, [1]))
        addresses = {address for address, _ in listening() - before}
    assert addresses
    assert {address for address in addresses if not address.startswith("127.")} == set()


@pytest.mark.slow
def test_a_task_that_kills_its_workers_ends_in_a_message() -> None:
    with (
        Engine(EngineConfig(workers=1, retries=0)) as engine,
        pytest.raises(StoppedError, match="workers died again and again"),
    ):
        list(engine.map(die, [0]))


@pytest.mark.slow
def test_any_cluster_class_and_any_scheduler_give_the_same_bytes(tmp_path: Path) -> None:
    from distributed import LocalCluster

    pool = write_pool(tmp_path / "pool")
    run(config(pool, tmp_path / "here"))
    options = {"dashboard_address": None, "protocol": "tcp://", "host": "127.0.0.1", "processes": False}
    by_class = {"cluster": "distributed.LocalCluster", "options": {"n_workers": 0, **options}, "workers": 1}
    run(config(pool, tmp_path / "class", engine=by_class), allow_class=["distributed.LocalCluster"])
    with LocalCluster(n_workers=1, **options) as cluster:
        run(config(pool, tmp_path / "address", engine={"scheduler": cluster.scheduler_address}))
    assert result_bytes(tmp_path / "here") == result_bytes(tmp_path / "class")
    assert result_bytes(tmp_path / "here") == result_bytes(tmp_path / "address")


def test_a_class_whose_import_takes_ctrl_c_over_does_not_keep_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "greedy.py").write_text("import signal\nsignal.signal(signal.SIGINT, lambda *_: None)\n")
    before = signal.getsignal(signal.SIGINT)
    with (
        Engine(EngineConfig(cluster="greedy.Cluster"), allow_class=["greedy.Cluster"]) as engine,
        pytest.raises(ConfigError, match=r"there is no class greedy\.Cluster"),
    ):
        list(engine.map(square, [1]))
    del sys.modules["greedy"]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_class_that_is_not_there_is_a_config_error() -> None:
    with (
        Engine(EngineConfig(cluster="nowhere.Cluster"), allow_class=["nowhere.Cluster"]) as engine,
        pytest.raises(ConfigError, match=r"there is no class nowhere\.Cluster"),
    ):
        list(engine.map(square, [1]))


@pytest.mark.parametrize(
    "wrong", [{"scheduler": "tcp://a:1", "cluster": "a.B"}, {"options": {"cores": 8}}, {"workers": -1}]
)
def test_contradictions_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        EngineConfig(**wrong)


@pytest.mark.slow
def test_a_script_without_a_main_guard_runs_once(tmp_path: Path) -> None:
    content = config(write_pool(tmp_path / "pool"), tmp_path, engine={"workers": 2})
    script = tmp_path / "script.py"
    script.write_text(f"print('started')\nfrom curate import run\nprint(run({content!r}).kept)\n")
    result = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert result.stdout.split() == ["started", "24"], result.stderr


@pytest.mark.slow
def test_no_thread_is_left_behind() -> None:
    before = {*threading.enumerate()}
    with Engine(EngineConfig(workers=1)) as engine:
        list(engine.map(square, [1]))
    left = [each for each in {*threading.enumerate()} - before if "worker" in each.name.lower()]
    for thread in left:
        thread.join(60)  # Dask's may be about to end
    assert not [thread.name for thread in left if thread.is_alive()]

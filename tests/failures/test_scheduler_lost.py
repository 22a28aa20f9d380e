"""A scheduler elsewhere that is not there or is lost on the way: a message, and the same bytes afterwards."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import pytest

from curate import run
from pipelines import engine, tasks
from pipelines.errors import StoppedError
from tests.pools import config, result_bytes, write_raw_pool

ROOT = str(Path(__file__).parents[2])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def dask_command(*arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "distributed.cli." + arguments[0], *arguments[1:]]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)


@contextlib.contextmanager
def scheduler(port: int) -> Iterator[subprocess.Popen[bytes]]:
    started = dask_command("dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
    yield started
    started.kill()
    started.wait()


@contextlib.contextmanager
def worker(port: int) -> Iterator[subprocess.Popen[bytes]]:
    options = ["--nthreads", "1", "--no-dashboard", "--no-nanny", "--host", "127.0.0.1"]
    started = dask_command("dask_worker", f"tcp://127.0.0.1:{port}", *options)
    yield started
    started.kill()
    started.wait()


@pytest.mark.slow
def test_a_scheduler_that_is_lost_and_reached_again(tmp_path: Path) -> None:
    pool = write_raw_pool(tmp_path / "pool", n_shards=6)
    run(config(pool, tmp_path / "undisturbed"))
    port = free_port()
    content = config(pool, tmp_path / "lost", engine={"scheduler": f"tcp://127.0.0.1:{port}", "workers": 1})
    with scheduler(port) as first, worker(port):

        def kill(event: dict[str, Any]) -> None:
            if (event["event"], event.get("stage")) == ("shard", "rules"):
                first.kill()

        with pytest.raises(
            StoppedError, match=f"scheduler at .*{port} was lost.*run again to go on from here"
        ):
            run(content, on_event=kill)
    assert not (tmp_path / "lost/curated/MANIFEST.json").exists()
    done: dict[str, int] = {}

    def listen(event: dict[str, Any]) -> None:
        if event["event"] == "stage":
            done[event["stage"]] = event["done"]

    with scheduler(port), worker(port):
        run(content, on_event=listen)
    assert done["ingest"] == 6
    assert result_bytes(tmp_path / "lost") == result_bytes(tmp_path / "undisturbed")


@pytest.mark.slow
def test_nobody_at_the_schedulers_address(tmp_path: Path) -> None:
    port = free_port()
    content = config(
        write_raw_pool(tmp_path / "pool", n_shards=1),
        tmp_path,
        engine={"scheduler": f"tcp://127.0.0.1:{port}"},
    )
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(StoppedError, match=f"no Dask scheduler answers at tcp://127.0.0.1:{port}"),
    ):
        run(content)
    run({**content, "engine": {"workers": 0}})


@pytest.mark.slow
def test_a_scheduler_without_workers_is_said_and_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "PATIENCE_SECONDS", 1.0)
    monkeypatch.setattr(tasks, "PATIENCE_SECONDS", 1.0)
    port = free_port()
    pool = write_raw_pool(tmp_path / "pool", n_shards=2)
    content = config(pool, tmp_path, engine={"scheduler": f"tcp://127.0.0.1:{port}", "workers": 1})
    warned = threading.Event()
    with contextlib.ExitStack() as stack:
        stack.enter_context(scheduler(port))

        def listen(event: dict[str, Any]) -> None:
            if event["event"] == "warning" and "has no workers; waiting" in event["message"]:
                if not warned.is_set():
                    stack.enter_context(worker(port))
                warned.set()

        run(content, on_event=listen)
    assert warned.is_set()

"""A run killed with SIGKILL, at any point, ends in the same bytes when it is run again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest

from curate import run
from tests.pools import config, result_bytes, write_config, write_raw_pool


def start(file: Path, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "curate.cli", "run", str(file), "--json"]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, **environment},
    )


def run_and_kill(file: Path, after_events: int) -> bool:
    """Start a run and kill all of it after so many events; tell whether it was still at work."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as left:  # who is killed takes nothing away
        process = start(file, TMPDIR=left)
        assert process.stderr is not None
        for _ in range(after_events):
            if not process.stderr.readline():
                break
        alive = process.poll() is None
        with contextlib.suppress(ProcessLookupError):  # a run that had ended by itself
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stderr.close()
    return alive


class Undisturbed(NamedTuple):
    """A pool, and what a run over it ends in that nothing disturbs."""

    pool: Path
    bytes: dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    home = tmp_path_factory.mktemp("undisturbed")
    pool = write_raw_pool(home / "pool")
    run(config(pool, home))
    return Undisturbed(pool, result_bytes(home))


@pytest.mark.slow
@pytest.mark.parametrize("after_events", [1, 3, 5, 7, 9, 12, 15, 18, 20, 22])
def test_a_killed_run_ends_in_the_same_bytes(
    undisturbed: Undisturbed, tmp_path: Path, after_events: int
) -> None:
    file = write_config(tmp_path / "curate.yaml", config(undisturbed.pool, tmp_path, engine={"workers": 2}))
    assert run_and_kill(file, after_events)
    run(file)
    assert result_bytes(tmp_path) == undisturbed.bytes


def test_a_run_killed_again_and_again_gets_there(undisturbed: Undisturbed, tmp_path: Path) -> None:
    file = write_config(tmp_path / "curate.yaml", config(undisturbed.pool, tmp_path))
    for after_events in (2, 4, 6):
        run_and_kill(file, after_events)
    run(file)
    assert result_bytes(tmp_path) == undisturbed.bytes


def test_a_second_run_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    pool = write_raw_pool(tmp_path / "pool")
    file = write_config(tmp_path / "curate.yaml", config(pool, tmp_path))
    first = start(file)
    assert first.stderr is not None
    first.stderr.readline()  # the first event: it owns the folder now
    os.killpg(first.pid, signal.SIGSTOP)
    second = start(file)
    _, errors = second.communicate(timeout=60)
    os.killpg(first.pid, signal.SIGCONT)
    first.communicate(timeout=60)
    assert second.returncode == 2
    assert "another run works in" in errors
    assert "Traceback" not in errors
    assert first.returncode == 0

"""^C, which a terminal sends to all processes of a run: one line that says how to go on, and exit code 3."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pools import config, write_config, write_raw_pool


@pytest.mark.slow
@pytest.mark.parametrize("at", ["stage", "engine", "shard"])  # the workers start, have started, work
def test_an_interrupted_run_ends_with_one_line(tmp_path: Path, at: str) -> None:
    pool = write_raw_pool(tmp_path / "pool")
    file = write_config(tmp_path / "curate.yaml", config(pool, tmp_path, engine={"workers": 2}))
    command = [sys.executable, "-m", "curate.cli", "run", str(file), "--json"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # a suite in the background ignores it
    )
    assert process.stderr is not None
    for line in process.stderr:
        if json.loads(line)["event"] == at:
            break
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 3
    said = [line for line in errors.splitlines() if not line.startswith("{")]
    again = f"stopped; to go on from here, run it again: curate run {file} --json"
    assert said == [f"curate: {again}"]

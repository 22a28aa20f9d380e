"""What a run cost, and where, comes from its events alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from curate.costs import machine_in_words, read_costs
from curate.report.times import times_section
from pipelines.engine import Engine, EngineConfig
from pipelines.machine import describe_machine
from pipelines.storage import Folder
from tests.curate.conftest import Reported

HERE = {"cpus": 8, "cpu": "Some CPU", "gpus": ["H", "H", "L"], "system": "Linux x86_64", "versions": {}}
THERE = {"cpus": 2, "cpu": "Other <CPU>", "gpus": [], "system": "Linux aarch64", "versions": {"torch": "2"}}


def done(stage: str, seconds: float, new: int, **more: Any) -> dict[str, Any]:
    spent = {"seconds": seconds, "cpu_seconds": 2 * seconds, "gpu_seconds": 0.0}
    return {"event": "stage_done", "stage": stage, **spent, "new": new, "samples": 100, **more}


def write_events(folder: Path, events: list[dict[str, Any]], tail: str = "") -> Folder:
    folder.mkdir(exist_ok=True)
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events) + tail)
    return Folder(str(folder))


def test_sittings_add_up_and_name_each_machine_once(tmp_path: Path) -> None:
    run = write_events(
        tmp_path / "run",
        [
            {"event": "machine", "time": "2026-01-01T10:00:00", **HERE},
            done("ingest", 1.0, 5),
            {"event": "engine", "workers": 4, "seconds": 1.0},
            done("embed", 2.0, 5, gpu_seconds=6.0),
            {"event": "machine", "time": "2026-01-02T10:00:00", **HERE},
            done("ingest", 0.25, 0),
            {"event": "engine", "workers": 9, "seconds": 1.0, "machines": [THERE]},
            done("embed", 3.0, 2, gpu_seconds=1.0, time="2026-01-02T11:00:00"),
        ],
        tail='{"event": "stage_do',
    )
    ingest, embed = read_costs(run)
    assert (ingest.seconds, ingest.shards, ingest.teams, ingest.machines) == (
        1.25,
        5,
        ["in one process"],
        [HERE],
    )
    assert (embed.seconds, embed.cpu_seconds, embed.gpu_seconds, embed.shards) == (5.0, 10.0, 7.0, 7)
    assert embed.teams == ["4 workers", "9 workers"]
    assert embed.machines == [HERE, THERE]
    section = times_section([ingest, embed])
    assert "8 × Some CPU, 2 × H, 1 × L, Linux x86_64" in section
    assert "Other &lt;CPU&gt;" in section
    assert "4 workers, 9 workers on 1, 2" in section


def test_what_older_versions_wrote_is_read(tmp_path: Path) -> None:
    event = {"event": "stage_done", "stage": "ingest", "seconds": 2.0, "new": 1, "samples": 0}
    machine = {"event": "machine", "cpus": 2, "system": "Linux x86_64"}
    (cost,) = read_costs(write_events(tmp_path / "run", [machine, event]))
    assert (cost.seconds, cost.cpu_seconds, cost.gpu_seconds) == (2.0, 0.0, 0.0)
    assert machine_in_words(cost.machines[0]) == "2 cores, Linux x86_64"
    assert "–" in times_section([cost])


def test_a_run_says_where_it_ran_and_its_manifest_does_not(reported: Reported) -> None:
    costs = read_costs(Folder(str(reported.home / "run")))
    assert costs[0].stage == "ingest"
    assert all(cost.machines == [describe_machine()] for cost in costs)
    assert machine_in_words(describe_machine()).split(";")[0] in reported.page
    manifest = (reported.home / "curated/MANIFEST.json").read_text()
    assert describe_machine()["cpu"] not in manifest


@pytest.mark.slow
def test_machines_of_workers_elsewhere_are_named() -> None:
    from distributed import LocalCluster

    events: list[dict[str, Any]] = []
    options = {"dashboard_address": None, "protocol": "tcp://", "host": "127.0.0.1", "processes": False}
    with (
        LocalCluster(n_workers=2, **options) as cluster,
        Engine(EngineConfig(scheduler=cluster.scheduler_address), emit=events.append) as engine,
    ):
        assert list(engine.map(abs, [-1])) == [1]
    (event,) = events
    assert event["machines"] == [describe_machine()]

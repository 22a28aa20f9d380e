"""How long each stage took, and on what, from a run's events."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pipelines.storage import Folder


@dataclass(frozen=True)
class Took:
    """The last time that a stage had work to do.

    Attributes
    ----------
    stage
        Its name.
    seconds, cpu_seconds
        By the clock, and of processors on all workers; None where an older version did not say.
    shards, samples
        How many shards it did then, and how many samples these and the others hold.
    workers
        Where it ran, in words.
    when
        The end of it, ISO 8601.
    """

    stage: str
    seconds: float
    cpu_seconds: float | None
    shards: int
    samples: int
    workers: str
    when: str


def read_times(run: Folder) -> list[Took]:
    """Return what each stage took when it last had work, in the order of the last run."""
    found: dict[str, Took] = {}
    machine, team = "", ""
    for event in _events(run):
        match event.get("event"):
            case "machine":
                machine, team = f"{event['cpus']} cores, {event['system']}", "in one process"
            case "engine":
                team = f"{event['workers']} workers" if "workers" in event else f"{event['gpus']} GPU workers"
            case "stage_done" if event.get("new"):
                found.pop(event["stage"], None)
                found[event["stage"]] = Took(
                    event["stage"],
                    float(event["seconds"]),
                    event.get("cpu_seconds"),
                    int(event["new"]),
                    int(event["samples"]),
                    ", ".join(each for each in (team, machine) if each),
                    str(event.get("time", "")),
                )
    return list(found.values())


def _events(run: Folder) -> list[dict[str, Any]]:
    if not run.exists("events.jsonl"):
        return []
    events = []
    for line in run.read("events.jsonl").decode("utf-8", "replace").splitlines():
        try:
            event = json.loads(line)
        except ValueError:  # a line that a killed run left half-written
            continue
        if isinstance(event, dict):
            events.append(event)
    return events

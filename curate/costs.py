"""What each stage of a run has cost, and on which machines, from the run's events."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from pipelines.storage import Folder

KINDS = ("seconds", "cpu_seconds", "gpu_seconds")


@dataclass
class Cost:
    """All the work that was done for a stage, done twice or not.

    Attributes
    ----------
    stage
        Its name.
    seconds, cpu_seconds, gpu_seconds
        By the clock; of processors on all workers; of GPUs, while their workers waited too.
    samples
        How many reached it when it was last finished.
    shards
        How many shards it did, over all sittings.
    teams
        Who did it, in words.
    machines
        Where, each kind once: what `describe_machine` says.
    """

    stage: str
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    gpu_seconds: float = 0.0
    samples: int = 0
    shards: int = 0
    teams: list[str] = field(default_factory=list)
    machines: list[dict[str, Any]] = field(default_factory=list)

    def add(self, event: dict[str, Any], team: str, machines: list[dict[str, Any]]) -> None:
        """Add a sitting, given as the event that ended it."""
        for name in KINDS:
            setattr(self, name, getattr(self, name) + event.get(name, 0.0))
        self.samples = int(event["samples"])
        if not event.get("new"):
            return
        self.shards += int(event["new"])
        self.teams += [team] if team and team not in self.teams else []
        self.machines += [each for each in machines if each not in self.machines]


def read_costs(run: Folder) -> list[Cost]:
    """Return what every stage that was finished has cost, in the order of the last sittings."""
    found: dict[str, Cost] = {}
    team = ""
    here: list[dict[str, Any]] = []
    machines = here
    for event in _events(run):
        match event.get("event"):
            case "machine":
                here = machines = [{name: value for name, value in event.items() if name not in _NOT_FACTS}]
                team = "in one process"
            case "engine":
                team = _team(event)
                machines = event.get("machines", here)
            case "stage_done":
                cost = found.pop(event["stage"], None) or Cost(event["stage"])
                cost.add(event, team, machines)
                found[event["stage"]] = cost
    return list(found.values())


def _team(event: dict[str, Any]) -> str:
    n, kind = (event["workers"], "worker") if "workers" in event else (event["gpus"], "GPU worker")
    return f"{n} {kind}" if n == 1 else f"{n} {kind}s"


_NOT_FACTS = ("time", "event")


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


def machine_in_words(machine: dict[str, Any]) -> str:
    """Return a machine as one line, such as `16 × AMD EPYC, 2 × NVIDIA H100, Linux x86_64; torch 2.9.0`."""
    gpus = machine.get("gpus") or []
    counted = [f"{gpus.count(name)} × {name}" for name in dict.fromkeys(gpus)]
    n_cpus = machine.get("cpus", "?")
    cpus = f"{n_cpus} × {machine['cpu']}" if machine.get("cpu") else f"{n_cpus} cores"
    versions = ", ".join(f"{name} {version}" for name, version in (machine.get("versions") or {}).items())
    whole = ", ".join([cpus, *counted, str(machine.get("system", ""))])
    return f"{whole}; {versions}" if versions else whole

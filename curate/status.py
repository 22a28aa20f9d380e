"""How far a run has come, read from its folder alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from curate.config import load
from curate.costs import KINDS, read_costs
from curate.schedule import records
from curate.schedule.records import Tick
from pipelines.columns import ColumnStore
from pipelines.config import RunConfig
from pipelines.errors import ConfigError
from pipelines.lock import is_owned
from pipelines.output.versions import MANIFEST
from pipelines.planning import plan
from pipelines.pool.tables import pool_shards
from pipelines.runner import add_tallies
from pipelines.storage import Folder, resolve


@dataclass(frozen=True)
class StageStatus:
    """One stage: how many shards it has done, what became of their samples, and what it has cost.

    `cost` holds `seconds`, `cpu_seconds` and `gpu_seconds` of all its work so far, done twice or not.
    """

    name: str
    shards_done: int
    tally: dict[str, Any]
    cost: dict[str, float]


@dataclass(frozen=True)
class Status:
    """A run: its stages, whether it is at work now, whether its output is complete, and its last ticks."""

    name: str
    shards: int
    stages: list[StageStatus]
    running: bool
    published: bool
    output: str
    ticks: list[Tick]

    @property
    def current(self) -> str | None:
        """The first stage that is not done; None when all are."""
        return next((stage.name for stage in self.stages if stage.shards_done < self.shards), None)

    def lines(self) -> Iterator[tuple[str, str]]:
        """Yield how far each stage is; what stands behind the current one is of an earlier run."""
        before = True
        for stage in self.stages:
            n, tally = stage.shards_done, stage.tally
            text = f"{n:,} of {self.shards:,} shards"
            if before:
                before = stage.name != self.current
                goes_on = f", {tally['kept']:,} of {tally['samples']:,} samples go on" if n else ""
                yield stage.name, text + goes_on + ("" if before or not n else " so far")
            else:
                yield stage.name, f"{text} from before" if n else "to be done"


def read_run(run: str) -> tuple[RunConfig, Folder]:
    """Return the configuration that a run folder holds, and the folder; `ConfigError` when it is none."""
    folder = Folder(resolve(run, "."))
    if not folder.exists("run.yaml"):
        raise ConfigError(f"{run} is not a run folder: it holds no run.yaml")
    return load(yaml.safe_load(folder.read("run.yaml")))[0], folder


def status(run: str) -> Status:
    """Return how far a run has come; nothing is written.

    Raises
    ------
    ConfigError
        When the folder is not a run folder.
    """
    config, folder = read_run(run)
    shards = [shard.name for shard in pool_shards(config)]
    store = ColumnStore(folder)
    spent = {each.stage: {kind: getattr(each, kind) for kind in KINDS} for each in read_costs(folder)}
    stages = []
    for stage in plan(config).stages:
        stamps = store.stamps(stage.name, shards)
        tally = add_tallies([s.tally for s in stamps.values()])
        stages.append(
            StageStatus(stage.name, len(stamps), tally, spent.get(stage.name, dict.fromkeys(KINDS, 0.0)))
        )
    output = Folder(config.output.folder)
    return Status(
        config.name,
        len(shards),
        stages,
        is_owned(folder),
        output.exists(MANIFEST),
        output.url,
        records.read(folder, records.NEWEST),
    )

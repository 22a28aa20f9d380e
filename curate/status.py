"""How far a run has come, read from its folder alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from curate.config import load
from pipelines.columns import ColumnStore
from pipelines.errors import ConfigError
from pipelines.lock import is_owned
from pipelines.plan import plan
from pipelines.runner import add_tallies
from pipelines.storage import Folder, resolve
from pipelines.tables import pool_shards
from pipelines.write import MANIFEST


@dataclass(frozen=True)
class StageStatus:
    """One stage: how many shards it has done, and what became of their samples."""

    name: str
    shards_done: int
    tally: dict[str, Any]


@dataclass(frozen=True)
class Status:
    """A run: its stages, whether it is at work now, and whether its output is complete."""

    name: str
    shards: int
    stages: list[StageStatus]
    running: bool
    published: bool
    output: str


def status(run: str) -> Status:
    """Return how far a run has come; nothing is written.

    Raises
    ------
    ConfigError
        When the folder is not a run folder.
    """
    folder = Folder(resolve(run, "."))
    if not folder.exists("run.yaml"):
        raise ConfigError(f"{run} is not a run folder: it holds no run.yaml")
    config, _ = load(yaml.safe_load(folder.read("run.yaml")))
    shards = [shard.name for shard in pool_shards(config)]
    store = ColumnStore(folder)
    stages = []
    for stage in plan(config).stages:
        stamps = store.stamps(stage.name, shards)
        stages.append(StageStatus(stage.name, len(stamps), add_tallies([s.tally for s in stamps.values()])))
    output = Folder(config.output.folder)
    return Status(config.name, len(shards), stages, is_owned(folder), output.exists(MANIFEST), output.url)

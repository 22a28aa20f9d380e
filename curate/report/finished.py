"""A finished run, opened for reading: its stages, its shards, and what became of every sample in numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from curate.status import read_run
from pipelines.columns import DECISIONS, ColumnStore
from pipelines.config import RunConfig
from pipelines.errors import ConfigError
from pipelines.plan import Plan
from pipelines.planning import plan
from pipelines.pool.placeholders import Placeholder, counted_by, placeholders
from pipelines.pool.shards import Shard
from pipelines.pool.tables import pool_shards
from pipelines.runner import add_tallies
from pipelines.stage import ShardColumns, Stage
from pipelines.storage import Folder


@dataclass(frozen=True)
class Finished:
    """A run whose columns are all there.

    Attributes
    ----------
    folder, config
        The run folder and what stands in its run.yaml.
    plan
        Its stages in order, and which of them made each column.
    shards
        Of the pool; without a URL where the pool is out of reach.
    tallies
        For each stage, what became of the samples that reached it.
    has_images
        Whether the pool is one of tars, and in reach.
    """

    folder: Folder
    config: RunConfig
    plan: Plan
    shards: list[Shard]
    tallies: dict[str, dict[str, Any]]
    has_images: bool

    @property
    def stages(self) -> list[Stage]:
        """All stages but the decisions."""
        return self.plan.stages[:-1]

    @property
    def samples(self) -> int:
        """How many there are in the pool."""
        return int(self.tallies[DECISIONS]["samples"])

    @property
    def kept(self) -> int:
        """How many are left at the end, each counted once."""
        return int(self.tallies[DECISIONS]["kept"])

    def count(self, what: str) -> int:
        """Return how many samples all stages together have `dropped` or `set_aside`."""
        return sum(sum(self.tallies[stage.name][what].values()) for stage in self.stages)

    @property
    def placeholders(self) -> list[Placeholder]:
        """Pictures that stand under many captions, in some shard or over the whole pool."""
        counted = counted_by(self.folder, [stage.name for stage in self.stages])
        return placeholders([self.tallies["ingest"]], counted)

    def columns(self) -> Iterator[tuple[int, ShardColumns]]:
        """Yield each shard's number and columns, one shard at a time."""
        return ((number, ShardColumns(shard, self.folder)) for number, shard in enumerate(self.shards))


def open_run(run: str) -> Finished:
    """Return a run that has been through all its stages.

    Raises
    ------
    ConfigError
        When the folder is none of a run, or the run has work left.
    """
    config, folder = read_run(run)
    stages = plan(config)
    shards, in_reach = shards_of(config, folder)
    tallies = {stage.name: _tally(folder, stage.name, shards, run) for stage in stages.stages}
    found = Finished(folder, config, stages, shards, tallies, in_reach and config.pool.shards is not None)
    if found.samples != found.kept + found.count("dropped") + found.count("set_aside"):
        raise ConfigError(f"{run}: its stages are of two configurations: {_AGAIN}")
    return found


_AGAIN = "`curate run` does what is missing, and then there is something to report"


def shards_of(config: RunConfig, folder: Folder) -> tuple[list[Shard], bool]:
    """Return the pool's shards, or their names alone where the pool has gone."""
    try:
        return pool_shards(config), True
    except (ConfigError, OSError):
        names = [name.removesuffix(".parquet") for name in (folder / "columns/ingest").files()]
        return [Shard(name, "", 0, "") for name in names], False


def _tally(folder: Folder, stage: str, shards: list[Shard], run: str) -> dict[str, Any]:
    stamps = ColumnStore(folder).stamps(stage, [shard.name for shard in shards])
    if not shards or len(stamps) < len(shards):
        raise ConfigError(
            f"{run}: the stage {stage} has done {len(stamps):,} of {len(shards):,} shards: {_AGAIN}"
        )
    tallies = [stamp.tally for stamp in stamps.values()]
    copies = sum(weight * n for tally in tallies for weight, n in tally["weights"])
    return {**add_tallies(tallies), "copies": copies, "placeholders": placeholders(tallies)}

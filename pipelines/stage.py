"""What a stage is: columns of a shard in, columns of the same shard out, perhaps by a summary of the pool."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.columns import ColumnStore, survives
from pipelines.pool.shards import Shard
from pipelines.storage import Folder


@dataclass(frozen=True)
class ShardColumns:
    """The columns of one shard that stand when a stage looks at it.

    `digests` says by stage what must be in them, where that is known.
    """

    shard: Shard
    run: Folder
    digests: Mapping[str, str] = field(default_factory=dict)

    def read(self, stage: str, columns: tuple[str, ...]) -> pa.Table:
        """Return some of a stage's columns, one row per sample that reached it."""
        return ColumnStore(self.run).read(stage, self.shard.name, columns, self.digests.get(stage))

    def outcome(self, stage: str) -> pa.Table:
        """Return what became of the samples that reached a stage, without its other columns."""
        return ColumnStore(self.run).outcome(stage, self.shard.name, self.digests.get(stage))

    def survivors(self, gate: str, columns: Mapping[str, str]) -> pa.Table:
        """Return `row` and the named columns of the samples that come through the stage `gate`.

        Parameters
        ----------
        gate
            The stage whose survivors are wanted.
        columns
            For each column the stage that made it.
        """
        outcome = self.outcome(gate)
        return self.rows(outcome["row"].to_numpy()[survives(outcome)], columns)

    def rows(self, rows: NDArray[np.integer[Any]], columns: Mapping[str, str]) -> pa.Table:
        """Return `row` and the named columns of some samples; every one must have reached those stages."""
        tables = {
            stage: self.read(stage, ("row", *_of(stage, columns)))
            for stage in dict.fromkeys(columns.values())
        }
        found = {name: _take(tables[stage], name, rows) for name, stage in columns.items() if name != "row"}
        return pa.table({"row": pa.array(rows, pa.int32()), **found})


def _of(stage: str, columns: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(name for name, source in columns.items() if source == stage and name != "row")


def _take(table: pa.Table, name: str, rows: NDArray[np.integer[Any]]) -> pa.ChunkedArray:
    positions = np.searchsorted(table["row"].to_numpy(), rows)
    return table[name].take(pa.array(positions))


@dataclass(frozen=True)
class Pool:
    """All shards at once, for a stage that must know the whole pool.

    `run_tasks` runs a function on many items on the workers; `workspace` is a folder for what is too large to
    return; `n_survivors` is how many samples come through the stages that the summarising one reads;
    `later` are the generations of shards that came after what is held was fitted, by name; `digests` says of
    each shard what its columns must hold, see `ShardColumns`.
    """

    shards: tuple[Shard, ...]
    run: Folder
    workspace: Folder
    n_survivors: Mapping[str, int]
    run_tasks: Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]
    later: Mapping[str, int] = field(default_factory=dict)
    digests: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """The workspace as a path inside the run folder, which people move: what a summary should name."""
        return self.workspace.url.removeprefix(self.run.url.rstrip("/") + "/")

    def map_shards(self, function: Callable[[ShardColumns], Any]) -> Iterator[Any]:
        """Yield a function of every shard's columns, in any order."""
        digests = self.digests
        return self.run_tasks(
            function, (ShardColumns(s, self.run, digests.get(s.name, {})) for s in self.shards)
        )


class Stage(ABC):
    """One step of a run. Stages are sent to workers, so they hold settings only, never data."""

    runs_model: ClassVar[bool] = False
    """Whether its shards belong on the workers that have GPUs."""

    anew: ClassVar[bool] = False
    """Whether its summary is made of the whole pool each time, also where fits are held (`refit`).

    For what compares samples with each other. Shards of an earlier generation must come first in it, so that
    nothing changes for them.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """The folder of its columns, and the first half of the reasons that people see."""

    @property
    def version(self) -> int:
        """Raised when the same settings give other results."""
        return 1

    @property
    @abstractmethod
    def reads(self) -> tuple[str, ...]:
        """The stages whose columns this one reads."""

    @abstractmethod
    def settings(self) -> Mapping[str, Any]:
        """Return everything beside its inputs that decides the result, as JSON values."""

    def lasting_settings(self) -> Mapping[str, Any]:
        """Return those of the settings that a growing pool leaves as they are."""
        return self.settings()

    def cannot_hold(self) -> str | None:
        """Return why shards that came earlier can't keep what they have; None where they can."""
        return None

    def files(self, shard: Shard) -> list[Any]:
        """Return what identifies the files that this stage reads beside columns, as JSON values."""
        return []

    def summarize(self, pool: Pool) -> Any:
        """Return what must be known of the whole pool before any shard can be done, as a JSON value."""
        return None

    def note(self, summary: Any) -> str | None:
        """Return what a person should know of the summary, such as a number that was chosen."""
        return None

    @abstractmethod
    def compute(self, columns: ShardColumns, summary: Any) -> pa.Table:
        """Return this stage's columns of one shard: `row`, and any of `weight`, `reason`, `problem`."""


@dataclass(frozen=True)
class NamedStage(Stage):
    """A stage that the plan names."""

    stage_name: str

    @property
    def name(self) -> str:
        """As the plan named it."""
        return self.stage_name

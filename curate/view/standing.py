"""What stands of a run at this moment, finished or not, and what became of each sample so far."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate.report.finished import Finished, shards_of
from curate.report.funnel import Sums
from curate.status import read_run
from pipelines.columns import DECISIONS, ColumnStore, survives, why_stopped
from pipelines.lock import is_owned
from pipelines.planning import plan
from pipelines.runner import add_tallies
from pipelines.stage import ShardColumns

_NOTHING: dict[str, Any] = {"samples": 0, "kept": 0, "dropped": {}, "set_aside": {}}


@dataclass(frozen=True)
class Fates:
    """How far each sample of a shard came; arrays of shape (n,).

    Attributes
    ----------
    at
        The number of the stage where it was stopped or, if it was not, the first that it has not been
        through; after all stages, their number.
    stopped, aside
        Whether a stage stopped it, and whether because it could not be read.
    reason
        Why, None where it was not stopped.
    """

    at: NDArray[np.int64]
    stopped: NDArray[np.bool_]
    aside: NDArray[np.bool_]
    reason: NDArray[np.object_]


@dataclass(frozen=True)
class Standing:
    """A run as it stands.

    Attributes
    ----------
    run
        The run as the report knows it; `tallies` are of the shards that stand.
    names
        Its stages but the decisions, in order.
    depth
        For each shard, how many of these stages stand one behind the other, shape (n_shards,).
    tallies
        For each stage that of every shard, empty where the shard does not stand.
    decided
        Whether every sample is decided.
    working
        Whether a run is at work in the folder now.
    """

    run: Finished
    names: list[str]
    depth: NDArray[np.int64]
    tallies: list[list[dict[str, Any]]]
    decided: bool
    working: bool

    @property
    def sums(self) -> Sums:
        """How many samples there are so far, and what became of them."""
        samples = self.run.tallies[self.names[0]]["samples"]
        dropped, aside = self.run.count("dropped"), self.run.count("set_aside")
        words = "kept" if self.decided else "still in"
        return Sums(samples, samples - dropped - aside, dropped, aside, words)

    def complete(self, stage: str) -> bool:
        """Tell whether a stage stands for all shards."""
        return bool((self.depth > self.names.index(stage)).all())

    def columns(self, shard: int) -> ShardColumns:
        """Return the columns of a shard, given by its number."""
        return ShardColumns(self.run.shards[shard], self.run.folder)

    def standing(self, shard: int) -> list[str]:
        """Return the stages that a shard has been through."""
        return self.names[: self.depth[shard]]

    def is_same_as(self, other: Standing) -> bool:
        """Tell whether nothing has changed between two moments."""
        return self.tallies == other.tallies and self.decided == other.decided

    def fates(self, shard: int) -> Fates:
        """Return what became of a shard's samples so far."""
        return self._decided_fates(shard) if self.decided else self._fates_so_far(shard)

    def _decided_fates(self, shard: int) -> Fates:
        table = self.columns(shard).read(DECISIONS, ("stage", "reason", "set_aside"))
        place = pc.index_in(table["stage"], value_set=pa.array(self.names))
        at = pc.fill_null(place, len(self.names)).to_numpy().astype(np.int64)
        reason = np.asarray(table["reason"].to_pandas(), object)
        return Fates(at, at < len(self.names), table["set_aside"].to_numpy(), reason)

    def _fates_so_far(self, shard: int) -> Fates:
        columns, stages = self.columns(shard), self.standing(shard)
        n = int(self.tallies[0][shard]["samples"]) if stages else 0
        at, reason = np.full(n, len(stages), np.int64), np.full(n, None, object)
        stopped, aside = np.zeros(n, bool), np.zeros(n, bool)
        for number, stage in enumerate(stages):
            outcome = columns.outcome(stage)
            gone = ~survives(outcome)
            rows = outcome["row"].to_numpy()[gone]
            problem, why = why_stopped(outcome)
            at[rows], stopped[rows] = number, True
            aside[rows] = np.asarray(problem.is_valid())[gone]
            reason[rows] = why.to_numpy(zero_copy_only=False)[gone]
        return Fates(at, stopped, aside, reason)


def look(run: str) -> Standing:
    """Return what stands of a run; nothing is written.

    Raises
    ------
    ConfigError
        When the folder is none of a run.
    """
    config, folder = read_run(run)
    stages = plan(config)
    shards, in_reach = shards_of(config, folder)
    found = Finished(folder, config, stages, shards, {}, in_reach and config.pool.shards is not None)
    names = [stage.name for stage in found.stages]
    tallies = [_tallies(found, name) for name in names]
    depth = _depth(tallies)
    for number, one in enumerate(tallies):
        tallies[number] = [each if d > number else _NOTHING for each, d in zip(one, depth, strict=True)]
    sums = {name: add_tallies(one) for name, one in zip(names, tallies, strict=True)}
    found = replace(found, tallies=sums)
    decisions = _tallies(found, DECISIONS)
    decided = all(
        last and last["samples"] == first["samples"] and last["kept"] == end["kept"]
        for last, first, end in zip(decisions, tallies[0], tallies[-1], strict=True)
    )
    return Standing(found, names, depth, tallies, decided and bool(shards), is_owned(folder))


def _tallies(run: Finished, stage: str) -> list[dict[str, Any]]:
    """Return a stage's tally of each shard, empty where it has none."""
    stamps = ColumnStore(run.folder).stamps(stage, [shard.name for shard in run.shards])
    return [stamps[shard.name].tally if shard.name in stamps else {} for shard in run.shards]


def _depth(tallies: list[list[dict[str, Any]]]) -> NDArray[np.int64]:
    """Return for each shard how many stages stand: one that saw others than came has yet to be done anew."""
    depth = np.zeros(len(tallies[0]), np.int64)
    for shard in range(len(depth)):
        before = None
        for one in tallies:
            here = one[shard]
            if not here or before not in (None, here["samples"]):
                break
            before = here["kept"]
            depth[shard] += 1
    return depth

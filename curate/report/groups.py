"""Groups of duplicates: a sample that stayed, and those that went because of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.report.choice import Place, identity, uid_bytes
from curate.report.finished import Finished
from pipelines.stage import ShardColumns
from pipelines.stages.duplicates import DuplicatesStage
from pipelines.stages.perceptual_duplicates import PerceptualStage
from pipelines.stages.semantic_duplicates import SemanticStage

_LARGEST, _DRAWN = 12, 24
_COPIES = 5


@dataclass
class Group:
    """A sample and its copies, of which the first few are named."""

    size: int
    survivor: Place | None = None
    copies: list[Place] = field(default_factory=list)


class Groups:
    """The groups of one stage: the largest, and some at random.

    Counting holds 16 bytes for every sample that has copies.
    """

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.chosen: list[Group] = []
        self._survivors = np.zeros(0, np.uint64)
        self._sizes = np.zeros(0, np.int64)
        self._order: NDArray[np.uint64] = np.zeros(0, np.uint64)

    def count(self, columns: ShardColumns) -> None:
        """Add a shard's copies to the sizes of their groups."""
        new, sizes = np.unique(self._copies(columns)[1], return_counts=True)
        survivors = np.concatenate([self._survivors, new])
        self._survivors, place = np.unique(survivors, return_inverse=True)
        self._sizes = np.bincount(place, np.concatenate([self._sizes, sizes])).astype(np.int64)

    def choose(self) -> None:
        """Settle on the groups that are shown: the largest, and some at random."""
        largest = self._largest()[:_LARGEST]
        others = np.setdiff1d(np.arange(self.total), largest)[:_DRAWN]  # they lie in the order of a hash
        self._settle(np.concatenate([largest, others]))

    def choose_from(self, first: int, most: int) -> None:
        """Settle on a few in the order of size, the largest first."""
        self._settle(self._largest()[first : first + most])

    @property
    def total(self) -> int:
        """How many groups there are."""
        return len(self._sizes)

    def _largest(self) -> NDArray[np.int64]:
        return np.lexsort((self._survivors, -self._sizes)).astype(np.int64)

    def _settle(self, places: NDArray[np.int64]) -> None:
        self._order = self._survivors[places]
        self.chosen = [Group(int(size) + 1) for size in self._sizes[places]]

    def find(self, number: int, columns: ShardColumns, uids: NDArray[np.uint64]) -> None:
        """Look for members of the chosen groups in a shard; `uids` stand for its samples, (n,)."""
        known = {int(each): place for place, each in enumerate(self._order)}
        for row in np.flatnonzero(np.isin(uids, self._order)).tolist():
            self.chosen[known[int(uids[row])]].survivor = Place(number, row)
        rows, survivors = self._copies(columns)
        for position in np.flatnonzero(np.isin(survivors, self._order)).tolist():
            copies = self.chosen[known[int(survivors[position])]].copies
            if len(copies) < _COPIES:
                copies.append(Place(number, int(rows[position])))

    def _copies(self, columns: ShardColumns) -> tuple[NDArray[Any], NDArray[np.uint64]]:
        """Return the rows of a shard's copies, and what stands for the sample that each repeats."""
        table = columns.read(self.stage, ("row", "duplicate_of"))
        table = table.filter(table["duplicate_of"].is_valid())
        return table["row"].to_numpy(), identity(uid_bytes(table["duplicate_of"]))


def copies_stages(run: Finished) -> list[str]:
    """Return the stages that looked for duplicates."""
    kinds = (DuplicatesStage, PerceptualStage, SemanticStage)
    return [stage.name for stage in run.stages if isinstance(stage, kinds)]


def called(run: Finished, stage: str) -> str:
    """Return what people call a stage: one of several for duplicates with what it calls a duplicate."""
    several = copies_stages(run)
    if stage not in several or len(several) == 1:
        return stage
    reasons = ", ".join(reason.replace("_", " ") for reason in run.tallies[stage]["dropped"])
    return f"{stage} ({reasons})" if reasons else stage

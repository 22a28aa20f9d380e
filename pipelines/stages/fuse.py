"""A score made of earlier ones, by a scale that is measured over the whole pool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from filters.fusion import Fuse
from pipelines.columns import OUTCOME
from pipelines.errors import ConfigError, StoppedError
from pipelines.plan import Plan
from pipelines.stage import Pool, ShardColumns, Stage
from pipelines.stages.filter import passes


@dataclass(frozen=True)
class FuseStage(Stage):
    """Writes the new score; a sample that lacks one of its parts is set aside."""

    fuse: Fuse
    gate: str
    sources: Mapping[str, str]

    @property
    def name(self) -> str:
        """Named after the score."""
        return f"fuse-{self.fuse.name}"

    @property
    def reads(self) -> tuple[str, ...]:
        """The gate, and the stages that made the scores."""
        return tuple(dict.fromkeys([self.gate, *self.sources.values()]))

    def settings(self) -> Mapping[str, Any]:
        """Return the scores, their weights in order, and the scale."""
        return {"of": list(self.fuse.weight_of.items()), "by": self.fuse.by, "as": self.fuse.name}

    def summarize(self, pool: Pool) -> Any:
        """Return the scale of every score, such as its mean and standard deviation."""
        try:
            return passes(self.fuse, pool, self._measure)
        except ValueError as error:
            raise StoppedError(f"{self.name}: {error}") from error

    def _measure(self, columns: ShardColumns, state: Any) -> NDArray[np.int64]:
        return self.fuse.measure(columns.survivors(self.gate, self.sources), state)

    def compute(self, columns: ShardColumns, summary: Any) -> pa.Table:
        """Return the score's column and the problem of scores that are not finite."""
        table = columns.survivors(self.gate, self.sources)
        score = self.fuse.values(table, summary)
        bad = np.isnan(score)
        problem = pa.array(np.where(bad, "score_not_finite", ""), pa.string(), mask=bad == 0)
        return pa.table({"row": table["row"], self.fuse.name: pa.array(score), "problem": problem})


def plan_fuse(plan: Plan, parameters: Fuse, where: str) -> None:
    """Add a fused score to a plan, in front of which its parts must have been made."""
    plan.refuse_taken(parameters.name, where)
    if parameters.name in OUTCOME:
        raise ConfigError(f"{where}: a score can't be called {parameters.name!r}: stages use that name")
    missing = [name for name in parameters.scores if name not in plan.scores]
    if missing:
        there = ", ".join(plan.scores) or "none"
        raise ConfigError(
            f"{where}: scores that are not there at this point: {', '.join(missing)}; there are: {there}"
        )
    sources = {name: plan.sources[name] for name in parameters.scores}
    plan.add(FuseStage(parameters, plan.last, sources), scores=[parameters.name])

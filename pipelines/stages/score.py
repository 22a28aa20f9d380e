"""Scores from the vectors: one column, named like the score."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.config import ScoreConfig
from pipelines.stage import ShardColumns, Stage
from scoring import clip_score

if TYPE_CHECKING:
    from pipelines.plan import Plan

SCORES: Mapping[str, Callable[[NDArray[Any], NDArray[Any]], NDArray[np.float32]]] = {"clip": clip_score}


@dataclass(frozen=True)
class Score(Stage):
    """Writes one score of every sample that has vectors; a score that is no number sets the sample aside."""

    score: str
    gate: str
    vectors: str

    @property
    def name(self) -> str:
        """Named after the score."""
        return f"score-{self.score}"

    @property
    def reads(self) -> tuple[str, ...]:
        """The gate, and the stage with the vectors."""
        return tuple(dict.fromkeys([self.gate, self.vectors]))

    def settings(self) -> Mapping[str, Any]:
        """Return which score."""
        return {"score": self.score}

    def compute(self, columns: ShardColumns, summary: Any) -> pa.Table:
        """Return the score's column and the problem of scores that are not finite."""
        table = columns.survivors(self.gate, dict.fromkeys(["image", "text"], self.vectors))
        score = SCORES[self.score](_matrix(table["image"]), _matrix(table["text"]))
        bad = ~np.isfinite(score)
        problem = pa.array(np.where(bad, "score_not_finite", ""), pa.string(), mask=~bad)
        return pa.table({"row": table["row"], self.score: pa.array(score, pa.float32()), "problem": problem})


def plan_score(plan: Plan, parameters: ScoreConfig, where: str) -> None:
    """Add a score, and the vectors that it is made from, to a plan."""
    plan.refuse_taken(parameters.name, where)
    vectors = plan.vectors(None, where)
    plan.add(Score(parameters.name, gate=plan.last, vectors=vectors), scores=[parameters.name])


def _matrix(column: pa.ChunkedArray) -> NDArray[Any]:
    vectors = column.combine_chunks()
    flat: NDArray[Any] = vectors.flatten().to_numpy()
    return flat.reshape(len(vectors), -1) if len(vectors) else flat.reshape(0, vectors.type.list_size)

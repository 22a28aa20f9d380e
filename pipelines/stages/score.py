"""Scores of a sample's own vectors: one column, named as the configuration says."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.errors import ConfigError, StoppedError
from pipelines.plan import Plan
from pipelines.score_config import NormSim, ScoreConfig, Similarity
from pipelines.stage import ShardColumns, Stage
from pipelines.user_files import file_digest, require_files


@dataclass(frozen=True)
class ScoreStage(Stage):
    """Writes one score, made of vectors; a score that is no number sets the sample aside."""

    config: ScoreConfig
    gate: str
    vectors: str

    @property
    def name(self) -> str:
        """Named after the score."""
        return f"score-{self.config.called}"

    @property
    def reads(self) -> tuple[str, ...]:
        """The gate, and the stage with the vectors."""
        return tuple(dict.fromkeys([self.gate, self.vectors]))

    def settings(self) -> Mapping[str, Any]:
        """Return the score's parameters; the name of the encoder is not one of them."""
        return self.config.model_dump(mode="json", exclude={"encoder"}) | {"column": self.config.called}


@dataclass(frozen=True)
class OwnScoreStage(ScoreStage):
    """A score that a sample has by itself."""

    def compute(self, columns: ShardColumns, summary: Any) -> pa.Table:
        """Return the score's column and the problem of scores that are not finite."""
        table = columns.survivors(self.gate, dict.fromkeys(self.needs, self.vectors))
        score = self.values(*(matrix(table[name]) for name in self.needs))
        return score_table(table["row"], self.config.called, score, "score_not_finite")

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns of vectors that `values` takes."""
        return ("image", "text")

    @abstractmethod
    def values(self, *vectors: NDArray[Any]) -> NDArray[np.float32]:
        """Return the score of every row, shape (n,); NaN where it has none."""


@dataclass(frozen=True)
class SimilarityStage(OwnScoreStage):
    """CLIP score, by any network."""

    def values(self, *vectors: NDArray[Any]) -> NDArray[np.float32]:
        """Return the cosines of images and captions."""
        from scoring import clip_score

        return clip_score(*vectors)


@dataclass(frozen=True)
class NormSimStage(OwnScoreStage):
    """NormSim to the user's target images."""

    config: NormSim

    @property
    def needs(self) -> tuple[str, ...]:
        """Images only."""
        return ("image",)

    def settings(self) -> Mapping[str, Any]:
        """Return the parameters, the target by what is in it."""
        return {**super().settings(), "target": file_digest(self.config.target)}

    def values(self, *vectors: NDArray[Any]) -> NDArray[np.float32]:
        """Return NormSim of the images whose vectors are numbers."""
        from scoring import norm_sim

        (image,) = vectors
        whole = np.isfinite(image).all(1)
        score = np.full(len(image), np.nan, np.float32)
        target = read_target(self.config.target)
        try:
            score[whole] = norm_sim(image[whole], target, p=2 if self.config.p == 2 else math.inf)
        except ValueError as error:
            raise StoppedError(f"{self.name}: {self.config.target}: {error}") from error
        return score


def score_table(row: pa.ChunkedArray, name: str, score: NDArray[np.float32], problem: str) -> pa.Table:
    """Return a score's column, with a problem where it is not finite."""
    bad = ~np.isfinite(score)
    problems = pa.array(np.where(bad, problem, ""), pa.string(), mask=~bad)
    return pa.table({"row": row, name: pa.array(score, pa.float32()), "problem": problems})


def matrix(column: pa.ChunkedArray) -> NDArray[Any]:
    """Return a column of vectors as a matrix (n, d)."""
    vectors = column.combine_chunks()
    flat: NDArray[Any] = vectors.flatten().to_numpy()
    return flat.reshape(len(vectors), -1) if len(vectors) else flat.reshape(0, vectors.type.list_size)


@lru_cache(maxsize=2)
def _target(path: str, digest: str) -> NDArray[Any]:
    try:
        found = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ConfigError(f"target: {path} is no .npy file of vectors ({error})") from error
    if not isinstance(found, np.ndarray) or found.ndim != 2 or found.dtype.kind != "f" or not len(found):
        raise ConfigError(f"target: {path} should hold one matrix of numbers, a vector per row, at least one")
    if not np.isfinite(found).all():
        raise ConfigError(f"target: {path} holds numbers that are not finite")
    length = np.linalg.norm(found.astype(np.float32), axis=1)
    if np.abs(length - 1).max() > 0.01:
        raise ConfigError(
            f"target: the vectors in {path} have lengths from {length.min():.3g} to {length.max():.3g}, and "
            "should have length 1: divide each by its norm"
        )
    return found


def read_target(path: str) -> NDArray[Any]:
    """Return the vectors of the target images, (m, d); `ConfigError` when the file is not fit."""
    return _target(str(Path(path)), file_digest(path))


def plan_similarity(plan: Plan, parameters: Similarity, where: str) -> None:
    """Add a CLIP score, and the vectors that it is made from, to a plan."""
    add_score(plan, SimilarityStage, parameters, where)


def plan_norm_sim(plan: Plan, parameters: NormSim, where: str) -> None:
    """Add a NormSim to a plan, once its target is known good."""
    require_files(parameters, where)
    read_target(parameters.target)
    add_score(plan, NormSimStage, parameters, where, ["image"])


def add_score(
    plan: Plan,
    stage: Callable[[Any, str, str], ScoreStage],
    parameters: ScoreConfig,
    where: str,
    of: Sequence[str] = ("image", "text"),
) -> None:
    """Add a score made of vectors to a plan."""
    plan.refuse_taken(parameters.called, where)
    vectors = plan.vectors(parameters.encoder, where, of)
    plan.add(stage(parameters, plan.last, vectors), scores=[parameters.called])

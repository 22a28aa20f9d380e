"""One score made of several: a weighted sum of z-scores, ranks or stretched scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from filters.base import Passes
from filters.packing import pack, unpack
from filters.scales import MinMax, Rank, Scale, ZScore

By = Literal["z_score", "rank", "min_max"]
SCALES: Mapping[str, Scale] = {"z_score": ZScore(), "rank": Rank(), "min_max": MinMax()}

M_FLYT: Mapping[str, float] = {
    "clip_b32": 0.08,
    "clip_l14": 0.21,
    "dfn_base": 0.60,
    "dfn_ft": 0.80,
    "cc2m_classifier": 0.17,
    "in1k_classifier": 0.36,
    "flyt": 0.65,
    "norm_sim_inf": 0.55,
    "s_clip_loss": 0.51,
    "hype_neg_distance": 0.45,
    "hype_eps_image": -0.05,
    "hype_eps_text": 0.02,
}
"""The linear M-FLYT scorer's weights (2503.08805) of its twelve inputs, taken as z-scores here."""


class Fuse(BaseModel, Passes):
    """A new score: the weighted sum of earlier ones, each on a common scale over the samples that get here.

    Only samples in which all of them are finite are measured; the others get NaN.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    name: str = Field(alias="as", pattern="^[A-Za-z0-9_.-]+$", description="what the new score is called")
    of: dict[str, FiniteFloat] | None = Field(None, min_length=1, description="the scores with their weights")
    weights: Literal["m_flyt"] | None = Field(
        None, description="m_flyt: the weights that M-FLYT's authors published, of its twelve inputs"
    )
    inputs: dict[str, str] = Field(
        default_factory=dict, description="with weights: which score is which input, where the names differ"
    )
    by: By = Field("z_score", description="z_score: mean 0, deviation 1; rank: share below; min_max: 0 to 1")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.of is None) == (self.weights is None):
            raise ValueError("give one of `of` (scores with weights) and `weights` (a preset)")
        if unknown := sorted(self.inputs.keys() - (M_FLYT.keys() if self.weights else set())):
            known = ", ".join(M_FLYT) if self.weights else "none; they go with weights"
            raise ValueError(f"inputs: there is no input {unknown[0]!r}; there are {known}")
        if self.weights and self.by != "z_score":
            raise ValueError("the weights of m_flyt are for z-scores")
        if self.weights and len(self.weight_of) < len(M_FLYT):
            raise ValueError("inputs: two of them are the same score")
        return self

    @property
    def weight_of(self) -> dict[str, float]:
        """The weight of each score."""
        return self.of or {self.inputs.get(name, name): weight for name, weight in M_FLYT.items()}

    @property
    def scores(self) -> tuple[str, ...]:
        """The scores that are read."""
        return tuple(self.weight_of)

    def start(self) -> list[dict[str, Any]]:
        """Return the states of the scales before the first pass."""
        return [{} for _ in self.scores]

    def finished(self, state: list[dict[str, Any]]) -> bool:
        """Tell whether all scales are known."""
        return all(SCALES[self.by].finished(each) for each in state)

    def measure(self, table: pa.Table, state: list[dict[str, Any]]) -> NDArray[np.int64]:
        """Return what one shard adds to the scale of every score, packed."""
        columns = _columns(table, self.scores)
        columns = columns[:, np.isfinite(columns).all(axis=0)]
        scale = SCALES[self.by]
        pairs = zip(columns, state, strict=True)
        nothing = np.zeros(0, np.int64)
        return pack([nothing if scale.finished(own) else scale.measure(each, own) for each, own in pairs])

    def merge(self, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return two measurements as one."""
        pairs = zip(unpack(a), unpack(b), strict=True)
        return pack([SCALES[self.by].merge(x, y) if len(x) else x for x, y in pairs])

    def advance(self, state: list[dict[str, Any]], part: NDArray[np.int64]) -> list[dict[str, Any]]:
        """Return the scales' next states.

        Raises
        ------
        ValueError
            When a score is the same for all samples, or no sample has all of them.
        """
        new = []
        for name, own, measured in zip(self.scores, state, unpack(part), strict=True):
            try:
                new.append(SCALES[self.by].advance(own, measured) if len(measured) else own)
            except ValueError as error:
                raise ValueError(f"the score {name!r} can't be fused: {error}; leave it out") from None
        return new

    def values(self, table: pa.Table, state: list[dict[str, Any]]) -> NDArray[np.float32]:
        """Return the new score, shape (n,); NaN where one of the scores is not finite."""
        columns = _columns(table, self.scores)
        whole = np.isfinite(columns).all(axis=0)
        fused = np.full(len(table), np.nan)
        fused[whole] = 0
        for column, own, weight in zip(columns, state, self.weight_of.values(), strict=True):
            fused[whole] += weight * SCALES[self.by].apply(column[whole], own)
        return fused.astype(np.float32)


def z_score(scores: NDArray[Any]) -> NDArray[np.float64]:
    """Return (score - mean) / standard deviation of float32 scores, shape (n,); `ValueError` if equal."""
    return _scaled(scores, ZScore())


def min_max(scores: NDArray[Any]) -> NDArray[np.float64]:
    """Return float32 scores, shape (n,), stretched to 0 ... 1; `ValueError` if all are equal."""
    return _scaled(scores, MinMax())


def rank(scores: NDArray[Any]) -> NDArray[np.float64]:
    """Return the share of scores below each, equal ones counted half, shape (n,); to 1/2,048 or better."""
    return _scaled(scores, Rank())


def fuse(
    scores: Mapping[str, NDArray[Any]], weights: Mapping[str, float], by: By = "z_score"
) -> NDArray[np.float32]:
    """Return the weighted sum of scores on a common scale, as a run's `fuse` stage computes it.

    Parameters
    ----------
    scores
        Arrays of shape (n,), taken as float32; the result is NaN where one of them is not finite.
    weights
        A weight for each of the scores to take, such as `M_FLYT`.
    by
        The scale: z_score, rank or min_max.

    Raises
    ------
    ValueError
        When scores are missing, or one is the same everywhere.
    """
    if missing := [name for name in weights if name not in scores]:
        raise ValueError(f"the weights name scores that are not there: {', '.join(missing)}")
    recipe = Fuse(name="fused", of=dict(weights), by=by)
    table = pa.table({name: np.asarray(scores[name], np.float32) for name in weights})
    state: Any = recipe.start()
    while not recipe.finished(state):
        state = recipe.advance(state, recipe.measure(table, state))
    return recipe.values(table, state)


def _scaled(scores: NDArray[Any], scale: Scale) -> NDArray[np.float64]:
    values = np.asarray(scores, np.float32)
    if not np.isfinite(values).all():
        raise ValueError("scores must be finite numbers")
    state: dict[str, Any] = {}
    while not scale.finished(state):
        state = scale.advance(state, scale.measure(values, state))
    return scale.apply(values, state)


def _columns(table: pa.Table, names: tuple[str, ...]) -> NDArray[np.float32]:
    return np.stack([np.asarray(table[name].to_numpy(), np.float32) for name in names])

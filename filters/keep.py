"""Keep samples by one score: an exact share or number of the best, a band of ranks, or a threshold."""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field, StrictInt, model_validator

from filters.base import Decision, PoolFilter, drop_first_reason
from filters.radix_select import (
    DIGIT_VALUES,
    SCORE_DIGITS,
    Boundary,
    histogram,
    keeps,
    narrow,
    rank_digits,
)


class Keep(PoolFilter):
    """Keep the best by one score; ties go to the lower uid, so the number kept is exact.

    Samples without the score (null or NaN) are dropped, and shares are of the others.
    """

    kind = "keep"
    version = 2

    by: str = Field(description="the score, as an earlier stage named it")
    top: StrictInt | float | None = Field(
        None, gt=0, description="a share of the samples that get here (0.3), or a whole number of them (1000)"
    )
    band: tuple[float, float] | None = Field(
        None, description="from which share to which, counted from the best: [0.05, 0.3] drops the best 5 %"
    )
    at_least: float | None = Field(None, allow_inf_nan=False, description="the lowest score to keep")
    at_most: float | None = Field(None, allow_inf_nan=False, description="the highest score to keep")
    compat: Literal["datacomp"] | None = Field(
        None, description="datacomp: a share as DataComp counts it, one more sample and all that tie with it"
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        limits = (self.at_least, self.at_most) != (None, None)
        if [self.top is not None, self.band is not None, limits].count(True) != 1:
            raise ValueError("give one of top, band and at_least (or at_most)")
        if isinstance(self.top, float) and self.top > 1:
            raise ValueError("top is a share of at most 1.0, or a whole number of samples")
        if self.band and not 0 <= self.band[0] < self.band[1] <= 1:
            raise ValueError("band is [from, to], two shares with 0 <= from < to <= 1, counted from the best")
        if self.compat and not isinstance(self.top, float) and not limits:
            raise ValueError("compat: datacomp goes with a share, such as top: 0.3, or with at_least")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns read by `measure` and `decide`."""
        return (self.by, "uid")

    @property
    def scores(self) -> tuple[str, ...]:
        """The score to rank by."""
        return (self.by,)

    def start(self) -> list[dict[str, Any]]:
        """Return the boundaries before the first pass: where the kept begin, if not at the best, and end."""
        depth = SCORE_DIGITS if self.compat else Boundary().depth
        n_boundaries = 2 if self.band else 1 if self.top else 0
        return [Boundary(depth=depth).model_dump()] * n_boundaries

    def finished(self, state: list[dict[str, Any]]) -> bool:
        """Tell whether the boundaries are known."""
        return all(boundary.finished for boundary in _boundaries(state))

    def measure(self, table: pa.Table, state: list[dict[str, Any]]) -> NDArray[np.int64]:
        """Return one shard's histograms of the next digit, shape (n_boundaries, 65536)."""
        boundaries = _boundaries(state)
        counts = np.zeros((len(boundaries), DIGIT_VALUES), np.int64)
        digits = self._digits(table, boundaries, more=1)[~np.isnan(self._score(table))]
        for n, boundary in enumerate(boundaries):
            if not boundary.finished:
                counts[n] = histogram(digits, boundary)
        return counts

    def advance(self, state: list[dict[str, Any]], part: NDArray[np.int64]) -> list[dict[str, Any]]:
        """Return the boundaries, each with one more digit."""
        boundaries, part = _boundaries(state), part.reshape(-1, DIGIT_VALUES)
        if not boundaries[0].digits and not boundaries[0].exact:
            wanted = self.ranks(int(part[0].sum()))
            pairs = zip(boundaries, wanted, strict=True)
            boundaries = [each.model_copy(update={"wanted": n}) for each, n in pairs]
        return [
            (each if each.finished else narrow(each, counts)).model_dump()
            for each, counts in zip(boundaries, part, strict=True)
        ]

    def ranks(self, n_samples: int) -> list[int]:
        """Return the ranks at which the kept begin, where that is not the best, and end (exclusive)."""
        if self.band:
            return [_nearest(share * n_samples) for share in self.band]
        if self.compat and self.top:
            return [int(n_samples * self.top) + 1]  # at 1.0 the published program fails; here all stay
        if isinstance(self.top, float):
            return [_nearest(self.top * n_samples)]
        return [min(self.top or 0, n_samples)]

    def decide(self, table: pa.Table, state: Any) -> Decision:
        """Return which rows are kept."""
        score = self._score(table)
        low, high = np.zeros((2, len(table)), bool)
        if self.at_least is not None:
            low = score < np.float32(self.at_least)  # in the score's own precision: 0.28 keeps 0.28
        if self.at_most is not None:
            high = score > np.float32(self.at_most)
        if state:
            boundaries = _boundaries(state)
            digits = self._digits(table, boundaries)
            low = ~keeps(digits, boundaries[-1])
            high = keeps(digits, boundaries[0]) if self.band else high
        reasons = [(f"no_{self.by}", np.isnan(score)), (f"low_{self.by}", low), (f"high_{self.by}", high)]
        return drop_first_reason(reasons, len(table))

    def _score(self, table: pa.Table) -> NDArray[np.float32]:
        return np.asarray(table[self.by].to_numpy(), np.float32)

    def _digits(self, table: pa.Table, boundaries: list[Boundary], more: int = 0) -> NDArray[np.uint16]:
        known = [len(each.digits) + more for each in boundaries if not (more and each.finished)]
        n_digits = max([1, *known])
        uid = table["uid"].to_pylist() if n_digits > SCORE_DIGITS else ()
        return rank_digits(self._score(table), uid, n_digits)


def _boundaries(state: list[dict[str, Any]]) -> list[Boundary]:
    return [Boundary(**each) for each in state]


def _nearest(number: float) -> int:
    return int(np.floor(number + 0.5))

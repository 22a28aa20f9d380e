"""Keep the samples with the highest score: an exact share or number of the pool, or all above a threshold."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field, StrictInt, model_validator

from filters.base import Decision, PoolFilter, drop_first_reason
from filters.radix_select import Boundary, histogram, keeps, narrow, rank_digits


class Keep(PoolFilter):
    """Keep the best by one score; ties go to the lower uid, so the number kept is exact."""

    kind = "keep"

    by: str = Field(description="the score, as an earlier stage named it")
    top: StrictInt | float | None = Field(
        None, gt=0, description="a share of the samples that get here (0.3), or a whole number of them (1000)"
    )
    at_least: float | None = Field(None, allow_inf_nan=False, description="the lowest score to keep")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.top is None) == (self.at_least is None):
            raise ValueError("give one of top and at_least")
        if isinstance(self.top, float) and self.top > 1:
            raise ValueError("top is a share of at most 1.0, or a whole number of samples")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns read by `measure` and `decide`."""
        return (self.by, "uid")

    @property
    def scores(self) -> tuple[str, ...]:
        """The score to rank by."""
        return (self.by,)

    def start(self) -> dict[str, Any]:
        """Return the state before the first pass."""
        return {"boundary": Boundary(exact=self.top is None).model_dump()}

    def finished(self, state: dict[str, Any]) -> bool:
        """Tell whether the boundary is known."""
        return Boundary(**state["boundary"]).finished

    def measure(self, table: pa.Table, state: dict[str, Any]) -> NDArray[np.int64]:
        """Return one shard's histogram of the next digit, shape (65536,)."""
        boundary = Boundary(**state["boundary"])
        return histogram(self._digits(table, len(boundary.digits) + 1), boundary)

    def advance(self, state: dict[str, Any], part: NDArray[np.int64]) -> dict[str, Any]:
        """Return the state with one more digit of the boundary."""
        boundary = Boundary(**state["boundary"])
        if not boundary.digits:
            boundary = Boundary(wanted=self.n_kept(int(part.sum())))
        return {"boundary": narrow(boundary, part).model_dump()}

    def n_kept(self, n_samples: int) -> int:
        """Return how many of `n_samples` are kept: the share to the nearest, or as many as there are."""
        if isinstance(self.top, float):
            return int(np.floor(self.top * n_samples + 0.5))
        return min(self.top or 0, n_samples)

    def decide(self, table: pa.Table, state: dict[str, Any]) -> Decision:
        """Return which rows are kept."""
        if self.at_least is not None:
            score = table[self.by].to_numpy()
            low = score < score.dtype.type(self.at_least)  # in the score's own precision: 0.28 keeps 0.28
        else:
            boundary = Boundary(**state["boundary"])
            low = ~keeps(self._digits(table, max(1, len(boundary.digits))), boundary)
        return drop_first_reason([(f"low_{self.by}", low)], len(table))

    def _digits(self, table: pa.Table, n_digits: int) -> NDArray[np.uint16]:
        uid = table["uid"].to_pylist() if n_digits > 2 else ()
        return rank_digits(table[self.by].to_numpy(), uid, n_digits)

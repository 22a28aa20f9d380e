"""Intervals that may be one-sided, and profile curves."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2

from scaling_laws.effective_data import Floats


@dataclass(frozen=True)
class Interval:
    """An estimate with an interval; a side without a bound is ``-inf`` or ``inf``.

    ``level`` is the probability covered, for example 0.95.
    """

    estimate: float
    low: float
    high: float
    level: float = 0.95

    @property
    def one_sided(self) -> bool:
        """Whether exactly one side is unbounded."""
        return bool(np.isinf(self.low) != np.isinf(self.high))

    def __str__(self) -> str:
        if np.isinf(self.low) and np.isinf(self.high):
            return f"{self.estimate:.4g} (unbounded)"
        if np.isinf(self.high):
            return f"> {self.low:.4g} (no upper bound)"
        if np.isinf(self.low):
            return f"< {self.high:.4g} (no lower bound)"
        return f"{self.estimate:.4g} [{self.low:.4g}, {self.high:.4g}]"


def percentile_interval(estimate: float, draws: Floats, level: float = 0.95) -> Interval:
    """Return the percentile interval of draws (n_draws,); infinite draws make a side unbounded."""
    tail = (1.0 - level) / 2.0
    # Only values that were drawn: interpolating between a number and infinity has no meaning.
    low, high = np.quantile(draws, [tail, 1.0 - tail], method="inverted_cdf")
    return Interval(estimate, float(low), float(high), level)


@dataclass(frozen=True)
class ProfileCurve:
    """The least cost at each fixed value of one parameter; ``values`` ascending, both shape (n_values,)."""

    parameter: str
    values: Floats
    cost: Floats

    def flat_range(self, share: float) -> tuple[float, float]:
        """Return the least and greatest scanned value whose cost is within ``share`` of the least cost."""
        inside = self.values[self.cost <= self.cost.min() * (1.0 + share)]
        return float(inside.min()), float(inside.max())

    def interval(self, n_points: int, n_parameters: int, level: float = 0.95) -> Interval:
        """Return the likelihood-ratio interval for Gaussian errors, with ``cost`` a sum of squares.

        The cut is cost <= min (1 + chi2_1 / (n - k)), with the noise variance from the best fit. A side that
        reaches the end of the scan is unbounded, never the scan's end.
        """
        cut = self.cut(n_points, n_parameters, level)
        inside = np.flatnonzero(self.cost <= cut)
        best = float(self.values[int(np.argmin(self.cost))])
        first, last = int(inside[0]), int(inside[-1])
        low = -np.inf if first == 0 else self._crossing(first - 1, first, cut)
        high = np.inf if last == len(self.values) - 1 else self._crossing(last, last + 1, cut)
        return Interval(best, low, high, level)

    def cut(self, n_points: int, n_parameters: int, level: float) -> float:
        """Return the cost up to which values belong to the interval."""
        spare = max(n_points - n_parameters, 1)
        return float(self.cost.min() * (1.0 + chi2.ppf(level, 1) / spare))

    def ends(self, cut: float) -> list[tuple[float, float]]:
        """Return the neighbouring scanned values between which the cost crosses the cut on either side."""
        inside = np.flatnonzero(self.cost <= cut)
        first, last = int(inside[0]), int(inside[-1])
        cells = [(first - 1, first), (last, last + 1)]
        sound = [(a, b) for a, b in cells if a >= 0 and b < len(self.values)]
        return [(float(self.values[a]), float(self.values[b])) for a, b in sound]

    def merged(self, other: ProfileCurve) -> ProfileCurve:
        """Return both scans as one."""
        values, rows = np.unique(np.concatenate([self.values, other.values]), return_index=True)
        return ProfileCurve(self.parameter, values, np.concatenate([self.cost, other.cost])[rows])

    def _crossing(self, left: int, right: int, cut: float) -> float:
        """Return where the cost crosses the cut between two scanned values, by interpolation."""
        a, b = self.cost[left], self.cost[right]
        share = (cut - a) / (b - a)
        start, end = float(self.values[left]), float(self.values[right])
        if np.isinf(end):
            return start
        if min(start, end) > 0:
            return math.exp(math.log(start) + float(share) * math.log(end / start))
        return start + float(share) * (end - start)

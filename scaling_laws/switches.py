"""The budgets at which the best pool changes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from scaling_laws.candidates import Candidates
from scaling_laws.effective_data import Floats
from scaling_laws.error_surface import ErrorSurface, point_errors
from scaling_laws.fitted_pools import FittedPools
from scaling_laws.intervals import Interval, percentile_interval

N_SCAN = 240
"""Budgets at which draws are compared, evenly spaced in log n; crossings are interpolated between them."""


@dataclass(frozen=True)
class Switch:
    """Where the best candidate changes from ``before`` to ``after`` as the budget grows.

    ``budget`` is in samples, with its interval over draws: open on a side where more than the tail's share
    of the draws do not cross in the scanned range. ``extrapolated`` marks a budget outside the measured
    samples.
    """

    before: str
    after: str
    budget: Interval
    extrapolated: bool


def find_switches(
    pools: FittedPools,
    candidates: Candidates,
    scan: tuple[float, float],
    draws: FittedPools | None = None,
    level: float = 0.95,
) -> list[Switch]:
    """Return the switches of the point predictions inside ``scan`` (samples), in order of budget."""
    grid = np.geomspace(*scan, N_SCAN)
    winners = point_errors(pools, candidates, grid).argmin(axis=0)
    found = []
    for cell in np.flatnonzero(np.diff(winners)):
        before, after = int(winners[cell]), int(winners[cell + 1])
        pair = candidates.pick([before, after])
        budget = _root(pools, pair, float(grid[cell]), float(grid[cell + 1]))
        interval = Interval(budget, np.nan, np.nan, level)
        if draws is not None:
            interval = percentile_interval(budget, crossings(draws, pair, grid, budget), level)
        measured = pools.measured
        outside = measured is not None and not measured.least_samples <= budget <= measured.most_samples
        found.append(Switch(candidates.names[before], candidates.names[after], interval, outside))
    return found


def crossings(draws: FittedPools, pair: Candidates, grid: Floats, near: float) -> Floats:
    """Return where each draw passes from the pair's first to its second candidate, shape (n_draws,).

    The crossing nearest to ``near`` in log n counts. A draw without one is ``inf`` where the first candidate
    is better throughout and ``-inf`` where the second is.
    """
    gap = np.array([errors[0] - errors[1] for errors in ErrorSurface(draws, pair, grid)], float)
    logs = np.log(grid)
    upward = (gap[:-1] <= 0) & (gap[1:] > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = -gap[:-1] / (gap[1:] - gap[:-1])
    place = np.where(upward, logs[:-1, None] + share * np.diff(logs)[:, None], np.inf)
    nearest = np.abs(place - np.log(near)).argmin(axis=0)
    value = place[nearest, np.arange(gap.shape[1])]
    # Without an upward crossing, the side that wins over more of the range says on which side it lies.
    beyond = np.where(np.median(gap, axis=0) <= 0, np.inf, -np.inf)
    return np.where(np.isfinite(value), np.exp(np.where(np.isfinite(value), value, 0.0)), beyond)


def _root(pools: FittedPools, pair: Candidates, low: float, high: float) -> float:
    def gap(log_budget: float) -> float:
        errors = point_errors(pools, pair, np.array([np.exp(log_budget)]))[:, 0]
        return float(errors[0] - errors[1])

    a, b = np.log(low), np.log(high)
    if gap(a) * gap(b) > 0:  # a tie on a grid point: the winner there is a matter of order
        return high
    return float(np.exp(brentq(gap, a, b, xtol=1e-12)))

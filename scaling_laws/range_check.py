"""Refusing to answer outside what was measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scaling_laws.effective_data import Floats
from scaling_laws.fitted_pools import FittedPools, MeasuredRange


class OutsideRangeError(ValueError):
    """A budget outside the measured range; ``problems`` has one sentence per finding."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class RangeLimits:
    """How far a law may be trusted past the runs behind it (defaults proposed by this project).

    ``max_epoch_factor`` times the most epochs measured, ``max_extrapolation`` times the most samples seen.
    """

    max_epoch_factor: float = 1.5
    max_extrapolation: float = 10.0

    def scan(self, pools: FittedPools, budgets: Floats) -> tuple[float, float]:
        """Return the budgets between which to look for switches, in samples."""
        if pools.measured is not None:
            return pools.measured.least_samples, pools.measured.most_samples * self.max_extrapolation
        low = min(float(budgets.min()), 2.0 * float(pools.anchor))
        return low, max(float(budgets.max()), 100.0 * low)


DEFAULT_LIMITS = RangeLimits()


def range_problems(
    measured: MeasuredRange | None, budgets: Floats, sizes: Floats, limits: RangeLimits
) -> list[str]:
    """Return why budgets with their recommended pool's size (both (n_budgets,)) lie outside the range."""
    if measured is None:
        return []
    problems = []
    ceiling = measured.most_samples * limits.max_extrapolation
    most_epochs = max(measured.most_epochs, 1.0) * limits.max_epoch_factor
    for budget, size in zip(np.asarray(budgets), np.asarray(sizes), strict=True):
        if budget < measured.least_samples:
            problems.append(
                f"budget {budget:.4g} is below the least samples seen ({measured.least_samples:.4g}); "
                "measure a run that small"
            )
        elif budget > ceiling:
            problems.append(
                f"budget {budget:.4g} is more than {limits.max_extrapolation:g} times the most samples seen "
                f"({measured.most_samples:.4g}); measure a longer run"
            )
        elif budget / size > most_epochs * (1 + 1e-9):
            problems.append(
                f"budget {budget:.4g} repeats the recommended pool {budget / size:.3g} times, the most "
                f"measured is {measured.most_epochs:.3g}; measure a run with more epochs or add a larger pool"
            )
    return problems

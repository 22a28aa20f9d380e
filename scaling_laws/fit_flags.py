"""What a reader of a fit must know: parameters at a bound, degenerate pairs, thin data."""

from __future__ import annotations

import numpy as np

from scaling_laws.effective_data import Floats
from scaling_laws.pool_problem import EXPONENT_RANGE, PoolProblem

DEGENERATE = 0.98
"""Two parameters correlated beyond this move together: the data give one number for both."""


class FitWarning(UserWarning):
    """A fit whose result is usable but says less than it seems to."""


def flags_of_fit(
    problem: PoolProblem, parameters: Floats, errors: Floats, correlation: Floats, names: list[str]
) -> tuple[str, ...]:
    """Return one sentence per finding, for all parameters (p,) of a fit to errors (n_runs,)."""
    return (
        *_at_bounds(problem, parameters, errors),
        *_degenerate(correlation, names),
        *_thin(problem),
        *_below_anchor(problem, parameters),
    )


def _at_bounds(problem: PoolProblem, parameters: Floats, errors: Floats) -> list[str]:
    lower, upper = (bound[0] for bound in problem.bounds(errors[None]))
    low, high = parameters <= lower + 1e-9, parameters >= upper - 1e-9
    found = []
    for index in np.flatnonzero(problem.free & (low | high)):
        name = problem.names()[index]
        if name.startswith("half_life"):
            say = "no value left in a second epoch" if low[index] else "unbounded above: no decay observed"
        elif name.startswith("exponent"):
            say = (
                "zero: the error does not fall with samples" if low[index] else f"past {EXPONENT_RANGE[1]:g}"
            )
        elif name == "irreducible":
            say = "0: the data ask for none" if low[index] else "at the least error measured: curves are flat"
        else:
            say = "not determined: the power law degenerates into a logarithm or an exponential"
        found.append(f"{name} is {say}")
    return found


def _degenerate(correlation: Floats, names: list[str]) -> list[str]:
    rows, columns = np.triu_indices(len(names), 1)
    strong = np.abs(np.nan_to_num(correlation[rows, columns])) > DEGENERATE
    pairs = [f"{names[i]} and {names[j]}" for i, j in zip(rows[strong], columns[strong], strict=True)]
    if not pairs:
        return []
    shown = ", ".join(pairs[:3]) + (f" and {len(pairs) - 3} more pairs" if len(pairs) > 3 else "")
    return [f"degenerate (correlation beyond {DEGENERATE:g}): {shown}; trust predictions, not these values"]


def _thin(problem: PoolProblem) -> list[str]:
    budgets = [
        len(np.unique(problem.samples_seen[problem.pool_of_run == i])) for i in range(len(problem.pools))
    ]
    thin = [pool for pool, count in zip(problem.pools, budgets, strict=True) if count < 3]
    if not thin or problem.share_exponent:
        return []
    return [f"fewer than 3 budgets for {', '.join(thin)}: the curve's shape comes from the other pools"]


def _below_anchor(problem: PoolProblem, parameters: Floats) -> list[str]:
    below = int((np.log(problem.samples_seen) < parameters[-2]).sum())
    if not below or problem.loss == "log_huber":
        return []
    return [f"{below} runs lie below the anchor, where the order of the pools is an artefact of the law"]

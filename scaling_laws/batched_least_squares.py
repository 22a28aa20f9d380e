"""Bounded Levenberg-Marquardt for many small problems at once.

A multi-start fit, a bootstrap and a profile are all the same model fitted many times. Solved side by side,
each step costs a few array operations for all of them, where a loop over a general optimiser costs that per
problem.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scaling_laws.effective_data import Floats

Model = Callable[[Floats, NDArray[np.intp]], tuple[Floats, Floats]]
"""``model(parameters (K, p), problems (K,)) -> residuals (K, n), jacobian (K, n, p)``."""

_MIN_DAMPING, _MAX_DAMPING = 1e-14, 1e12


@dataclass(frozen=True)
class BatchedSolution:
    """Where the solver stopped: ``parameters`` (B, p), ``cost`` (B,) and ``converged`` (B,)."""

    parameters: Floats
    cost: Floats
    converged: NDArray[np.bool_]


def least_squares_batch(
    model: Model,
    start: Floats,
    lower: Floats,
    upper: Floats,
    *,
    huber_delta: float | None = None,
    max_iterations: int = 200,
    tolerance: float = 1e-12,
) -> BatchedSolution:
    """Minimise half the sum of squared (or Huber) residuals of B independent problems.

    Parameters
    ----------
    model
        Returns residuals and their Jacobian for the parameters of the problems it is given.
    start
        Starting parameters, shape (B, p); moved inside the bounds.
    lower, upper
        Bounds, broadcast to (B, p).
    huber_delta
        With a number, each residual r counts as Huber's rho(r); Newton's matrix uses the weights min(1,
        delta/|r|).
    max_iterations, tolerance
        A problem stops when an accepted step lowers its cost by less than ``tolerance`` of itself.
    """
    lower, upper = np.broadcast_to(lower, start.shape), np.broadcast_to(upper, start.shape)
    best = np.clip(start, lower, upper)
    active = np.arange(len(best))
    residuals, jacobian = model(best, active)
    cost = _cost(residuals, huber_delta)
    damping = np.full(len(best), 1e-3)
    converged = np.zeros(len(best), bool)
    for _ in range(max_iterations):
        if active.size == 0:
            break
        step = _damped_step(
            residuals, jacobian, best[active], lower[active], upper[active], damping[active], huber_delta
        )
        trial = np.clip(best[active] + step, lower[active], upper[active])
        new_residuals, new_jacobian = model(trial, active)
        new_cost = _cost(new_residuals, huber_delta)
        better = new_cost <= cost[active]
        drop = cost[active] - new_cost
        done = (better & (drop <= tolerance * cost[active])) | (damping[active] >= _MAX_DAMPING)
        accepted = active[better]
        best[accepted], cost[accepted] = trial[better], new_cost[better]
        residuals[better], jacobian[better] = new_residuals[better], new_jacobian[better]
        damping[active] = np.clip(
            np.where(better, damping[active] / 5.0, damping[active] * 4.0), _MIN_DAMPING, _MAX_DAMPING
        )
        converged[active[done]] = True
        active, residuals, jacobian = active[~done], residuals[~done], jacobian[~done]
    return BatchedSolution(best, cost, converged)


def _cost(residuals: Floats, huber_delta: float | None) -> Floats:
    """Return half the sum of squares, or Huber's sum, per problem; infinite where not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        if huber_delta is None:
            total = 0.5 * np.einsum("bn,bn->b", residuals, residuals)
        else:
            size = np.abs(residuals)
            inner = np.minimum(size, huber_delta)
            total = (inner * (size - 0.5 * inner)).sum(axis=-1)
    return np.where(np.isfinite(total), total, np.inf)


def _damped_step(
    residuals: Floats,
    jacobian: Floats,
    parameters: Floats,
    lower: Floats,
    upper: Floats,
    damping: Floats,
    huber_delta: float | None,
) -> Floats:
    """Return the step of each problem, with parameters that push against a bound held there."""
    weighted = jacobian
    if huber_delta is not None:
        size = np.maximum(np.abs(residuals), np.finfo(float).tiny)
        weighted = jacobian * np.minimum(1.0, huber_delta / size)[..., None]
    transposed = weighted.transpose(0, 2, 1)
    gradient = (transposed @ residuals[..., None])[..., 0]
    hessian = transposed @ jacobian
    held = ((parameters <= lower) & (gradient > 0)) | ((parameters >= upper) & (gradient < 0))
    free = ~held
    hessian *= free[:, :, None] & free[:, None, :]
    diagonal = np.einsum("bpp->bp", hessian)
    floor = 1e-12 * np.maximum(diagonal.max(axis=-1, keepdims=True), np.finfo(float).tiny)
    diagonal += damping[:, None] * np.maximum(diagonal, floor) + floor
    diagonal[held] = 1.0
    step = np.linalg.solve(hessian, -(gradient * free)[..., None])[..., 0]
    return np.asarray(np.nan_to_num(step, nan=0.0, posinf=0.0, neginf=0.0))

"""Starting points for the joint fit, from the law's log-linear identity.

For a given half-life, anchor and irreducible error, log(y - d) = b (log X - log n0) is linear in b alone
(Goyal et al. 2024 with the irreducible error taken out), so a coarse grid over the other three needs no
iteration.
"""

from __future__ import annotations

import numpy as np

from scaling_laws.effective_data import Floats
from scaling_laws.pool_problem import EXPONENT_RANGE, PoolProblem

HALF_LIFE_GRID = np.geomspace(0.3, 200.0, 40)
ANCHOR_OFFSETS = np.linspace(-14.0, 6.0, 21)
IRREDUCIBLE_SHARES = np.array([0.0, 0.15, 0.3, 0.45, 0.6, 0.74, 0.83, 0.92])


def starting_points(problem: PoolProblem, errors: Floats, n_starts: int) -> Floats:
    """Return the ``n_starts`` best grid points as free parameters, shape (n_starts, n_free).

    ``errors`` has shape (n_runs,). Each point takes, per outer (anchor, irreducible error), the best
    half-lives and the closed-form exponents, weighted by (y - d)^2 as the delta method asks.
    """
    log_anchor, floor = _outer_grid(problem, errors)
    log_tau = _half_life_grid(problem)
    n_columns = len(problem.fixed)
    full = np.tile(problem.fixed, (len(log_tau), 1))
    full[:, problem.n_exponents : n_columns - 2] = log_tau[:, None]
    log_data = problem.log_data(full)[0]
    x = log_data[None] - log_anchor[:, None, None]
    above = errors - floor[:, None]
    z, w = np.log(above), above**2 * problem.weights
    xx, xz, zz = (
        _sum_by_pool(problem, value) for value in (w[:, None] * x**2, w[:, None] * x * z[:, None], w * z**2)
    )
    if problem.share_exponent:
        xx, xz = (np.broadcast_to(v.sum(axis=-1, keepdims=True), v.shape) for v in (xx, xz))
    slope = np.minimum(xz / np.maximum(xx, 1e-300), -EXPONENT_RANGE[0])
    if problem.share_exponent:
        x_own, z_own = (_sum_by_pool(problem, w[:, None] * v) for v in (x**2, x * z[:, None]))
        loss = zz[:, None] - 2 * slope * z_own + slope**2 * x_own
    else:
        loss = zz[:, None] - 2 * slope * xz + slope**2 * xx
    if problem.share_half_life or problem.share_exponent:
        loss = np.broadcast_to(loss.sum(axis=-1, keepdims=True), loss.shape) / loss.shape[-1]
    best_tau = loss.argmin(axis=1)
    total = np.take_along_axis(loss, best_tau[:, None], axis=1)[:, 0].sum(axis=-1)
    chosen = np.argsort(total, kind="stable")[:n_starts]
    return _assemble(problem, chosen, best_tau, slope, log_tau, log_anchor, floor)


def _outer_grid(problem: PoolProblem, errors: Floats) -> tuple[Floats, Floats]:
    anchors = problem.fixed[-2:-1]
    if problem.free[-2]:
        anchors = np.log(problem.samples_seen.min()) + ANCHOR_OFFSETS
    floors = problem.fixed[-1:]
    if problem.free[-1]:
        floors = IRREDUCIBLE_SHARES * errors.min()
    pairs = np.stack(np.meshgrid(anchors, floors, indexing="ij"), axis=-1).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _half_life_grid(problem: PoolProblem) -> Floats:
    if problem.free[problem.n_exponents]:
        return np.log(HALF_LIFE_GRID)
    return problem.fixed[problem.n_exponents : problem.n_exponents + 1]


def _sum_by_pool(problem: PoolProblem, values: Floats) -> Floats:
    """Sum (..., n_runs) over the runs of each pool: (..., n_pools)."""
    member = np.eye(len(problem.pools))[problem.pool_of_run]
    return np.asarray(values @ member)


def _assemble(
    problem: PoolProblem,
    chosen: np.ndarray[tuple[int, ...], np.dtype[np.intp]],
    best_tau: np.ndarray[tuple[int, ...], np.dtype[np.intp]],
    slope: Floats,
    log_tau: Floats,
    log_anchor: Floats,
    floor: Floats,
) -> Floats:
    full = np.tile(problem.fixed, (len(chosen), 1))
    best_slope = np.take_along_axis(slope, best_tau[:, None], axis=1)[:, 0]
    for pool in range(len(problem.pools)):
        full[:, problem.exponent_column(pool)] = np.log(-best_slope[chosen, pool])
        if problem.free[problem.n_exponents]:
            full[:, problem.half_life_column(pool)] = log_tau[best_tau[chosen, pool]]
    full[:, -2], full[:, -1] = log_anchor[chosen], floor[chosen]
    return full[:, problem.free]

"""The joint fit of several pools as a least-squares problem that many data sets can share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.effective_data import Floats, Form, log_effective_samples_and_slope

Loss = Literal["squared", "log_huber"]

EXPONENT_RANGE = (1e-6, 50.0)
HALF_LIFE_FLOOR = 0.02
"""Epochs. At this half-life the second epoch is worth 2^-50 of the first: nothing."""
NO_DECAY_FACTOR = 1e4
"""A half-life this many times the most epochs measured differs from none by less than any error bar."""
ANCHOR_SPAN = 40.0
"""Natural logarithm of how far the anchor may lie outside the measured samples."""


@dataclass(frozen=True)
class PoolProblem:
    """Runs and the ties between their pools' parameters.

    The parameter vector is ``[log(-b) per exponent, log tau per half-life, log n0, d]``; ``free`` says which
    of them are fitted and ``fixed`` holds the others. Errors are passed apart, so that a bootstrap reuses
    the rest.

    Parameters
    ----------
    samples_seen, pool_sizes
        n and U of each run, shape (n_runs,), in samples.
    pool_of_run
        Index of each run's pool, shape (n_runs,).
    pools
        The pools' names.
    share_exponent, share_half_life
        Whether one value serves all pools.
    half_life_growth
        gamma in tau_i = tau (U_i / U_geometric-mean)^gamma; 0: as long as the parameter says.
    weights
        Inverse variances (any scale), shape (n_runs,).
    """

    samples_seen: Floats
    pool_sizes: Floats
    pool_of_run: NDArray[np.intp]
    pools: tuple[str, ...]
    form: Form
    loss: Loss
    share_exponent: bool
    share_half_life: bool
    half_life_growth: float
    weights: Floats
    free: NDArray[np.bool_]
    fixed: Floats
    max_irreducible: float = 0.98
    log_stretch: Floats = field(init=False)

    def __post_init__(self) -> None:
        sizes = np.log([self.pool_sizes[self.pool_of_run == i][0] for i in range(len(self.pools))])
        object.__setattr__(self, "log_stretch", self.half_life_growth * (sizes - sizes.mean()))

    @property
    def n_exponents(self) -> int:
        """Number of separate exponents."""
        return 1 if self.share_exponent else len(self.pools)

    @property
    def n_half_lives(self) -> int:
        """Number of separate half-lives."""
        return 1 if self.share_half_life else len(self.pools)

    @property
    def epochs(self) -> Floats:
        """n/U of each run, shape (n_runs,)."""
        return self.samples_seen / self.pool_sizes

    def exponent_column(self, pool: int) -> int:
        """Return the parameter that holds the pool's log(-b)."""
        return 0 if self.share_exponent else pool

    def half_life_column(self, pool: int) -> int:
        """Return the parameter that holds the pool's log half-life, before stretching by pool size."""
        return self.n_exponents + (0 if self.share_half_life else pool)

    def names(self) -> list[str]:
        """Return the name of every parameter, fixed ones included."""
        exponents = ["exponent"] if self.share_exponent else [f"exponent[{p}]" for p in self.pools]
        half_lives = ["half_life"] if self.share_half_life else [f"half_life[{p}]" for p in self.pools]
        return [*exponents, *half_lives, "anchor", "irreducible"]

    def bounds(self, errors: Floats) -> tuple[Floats, Floats]:
        """Return lower and upper bounds of all parameters for errors of shape (B, n_runs); shapes (B, p)."""
        lower = np.empty((len(errors), len(self.fixed)))
        upper = np.empty_like(lower)
        split = self.n_exponents
        lower[:, :split], upper[:, :split] = np.log(EXPONENT_RANGE)
        lower[:, split:-2] = np.log(HALF_LIFE_FLOOR) - np.abs(self.log_stretch).max()
        upper[:, split:-2] = self.log_half_life_ceiling
        lower[:, -2] = np.log(self.samples_seen.min()) - ANCHOR_SPAN
        upper[:, -2] = np.log(self.samples_seen.max()) + ANCHOR_SPAN
        lower[:, -1] = 0.0
        upper[:, -1] = self.max_irreducible * errors.min(axis=1)
        return lower, upper

    @property
    def log_half_life_ceiling(self) -> float:
        """Where a half-life counts as infinite."""
        most = max(1.0, float(self.epochs.max()))
        return float(np.log(NO_DECAY_FACTOR * most) + np.abs(self.log_stretch).max())

    def expand(self, free_parameters: Floats) -> Floats:
        """Return all parameters (B, p) from the free ones (B, n_free)."""
        full = np.tile(self.fixed, (len(free_parameters), 1))
        full[:, self.free] = free_parameters
        return full

    def log_data(self, parameters: Floats) -> tuple[Floats, Floats]:
        """Return log X and its slope in log tau for parameters (B, p); shapes (B, n_runs)."""
        value = np.empty((len(parameters), len(self.samples_seen)))
        slope = np.empty_like(value)
        for pool in range(len(self.pools)):
            runs = np.flatnonzero(self.pool_of_run == pool)
            tau = np.exp(parameters[:, self.half_life_column(pool)] + self.log_stretch[pool])
            value[:, runs], slope[:, runs] = _log_data_of_pool(
                self.samples_seen[runs], self.pool_sizes[runs[0]], tau, self.form
            )
        return value, slope

    def predict(self, parameters: Floats) -> Floats:
        """Return the predicted error of every run for parameters (B, p); shape (B, n_runs)."""
        return self._predict_with_jacobian(parameters, with_jacobian=False)[0]

    def residuals(self, free_parameters: Floats, errors: Floats) -> tuple[Floats, Floats]:
        """Return weighted residuals (B, n) and Jacobian (B, n, n_free) for errors (B, n).

        Residuals are predicted minus measured error; logarithms of both with ``loss="log_huber"``.
        """
        full = self.expand(free_parameters)
        # A step too far overflows; its cost is then infinite and the solver takes a shorter one.
        with np.errstate(over="ignore", invalid="ignore"):
            predicted, jacobian = self._predict_with_jacobian(full, with_jacobian=True)
        jacobian = jacobian[:, :, self.free]
        if self.loss == "log_huber":
            return np.log(predicted / errors), jacobian / predicted[..., None]
        root = np.sqrt(self.weights)
        return (predicted - errors) * root, jacobian * root[None, :, None]

    def _predict_with_jacobian(self, parameters: Floats, with_jacobian: bool) -> tuple[Floats, Floats]:
        log_data, slope = self.log_data(parameters)
        columns = np.array([self.exponent_column(p) for p in range(len(self.pools))])[self.pool_of_run]
        exponent = -np.exp(parameters[:, columns])
        above = log_data - parameters[:, -2:-1]
        floor = parameters[:, -1:]
        power = np.exp(exponent * above)
        if self.form != "code":
            predicted, later = power + floor, np.ones_like(power)
            by_exponent, by_data = power * above, power
        else:
            repeated = log_data - np.log(np.minimum(self.samples_seen, self.pool_sizes))
            later = np.exp(exponent * repeated)
            predicted = power + floor * later
            by_exponent, by_data = power * above + floor * later * repeated, predicted
        if not with_jacobian:
            return predicted, np.empty(0)
        runs = np.arange(len(self.samples_seen))
        jacobian = np.zeros((*predicted.shape, parameters.shape[1]))
        jacobian[:, runs, columns] = exponent * by_exponent
        tau_columns = np.array([self.half_life_column(p) for p in range(len(self.pools))])[self.pool_of_run]
        jacobian[:, runs, tau_columns] = exponent * by_data * slope
        jacobian[:, :, -2] = -exponent * power
        jacobian[:, :, -1] = later
        return predicted, jacobian


def _log_data_of_pool(
    samples_seen: Floats, pool_size: float, half_lives: Floats, form: Form
) -> tuple[Floats, Floats]:
    """Return log X and its slope for one pool: runs (n,), half-lives (B,) -> (B, n) each.

    In the paper's form the sum over epochs is one matrix product, as log(n_j / n_{j-1}) depends on the runs
    only.
    """
    last = int(np.ceil(samples_seen.max() / pool_size - 1e-9)) - 1
    if form in ("effective_data", "saturating") or last * len(half_lives) > 1 << 22:
        return log_effective_samples_and_slope(samples_seen, pool_size, half_lives[:, None], form)
    finished = np.arange(1, last + 1, dtype=float)
    epochs = (samples_seen / pool_size)[:, None]
    steps = np.log(np.clip(epochs, finished, finished + 1.0) / finished)
    exponent = (np.log(2.0) / half_lives)[:, None] * finished
    weight = np.exp(-exponent)
    first = np.log(np.minimum(samples_seen, pool_size))
    return first + weight @ steps.T, (weight * exponent) @ steps.T


def problem_from_runs(
    runs: pd.DataFrame,
    *,
    form: Form,
    loss: Loss,
    share_exponent: bool,
    share_half_life: bool,
    half_life_growth: float,
    anchor: float | None,
    irreducible: float | None,
    half_life: float | None,
    max_irreducible: float,
) -> PoolProblem:
    """Return the problem of a checked table of runs; parameters that are given are held fixed."""
    codes, names = pd.factorize(runs["pool"], sort=True)
    n_exponents = 1 if share_exponent else len(names)
    n_half_lives = 1 if share_half_life else len(names)
    fixed = np.zeros(n_exponents + n_half_lives + 2)
    free = np.ones(len(fixed), bool)
    if half_life is not None:
        free[n_exponents:-2] = False
        fixed[n_exponents:-2] = np.log(half_life)
    if anchor is not None:
        free[-2], fixed[-2] = False, np.log(anchor)
    if irreducible is not None:
        free[-1], fixed[-1] = False, irreducible
    return PoolProblem(
        samples_seen=runs["samples_seen"].to_numpy(float),
        pool_sizes=runs["pool_size"].to_numpy(float),
        pool_of_run=np.asarray(codes, np.intp),
        pools=tuple(str(name) for name in names),
        form=form,
        loss=loss,
        share_exponent=share_exponent,
        share_half_life=share_half_life,
        half_life_growth=half_life_growth,
        weights=runs["weight"].to_numpy(float) if "weight" in runs else np.ones(len(runs)),
        free=free,
        fixed=fixed,
        max_irreducible=max_irreducible,
    )

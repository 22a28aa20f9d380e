"""Fit the laws of several pools together, with a shared anchor and a shared irreducible error."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd

from scaling_laws.batched_least_squares import BatchedSolution, least_squares_batch
from scaling_laws.effective_data import FORMS, Floats, Form
from scaling_laws.fit_flags import FitWarning, flags_of_fit
from scaling_laws.fitted_pools import FittedPools, MeasuredRange
from scaling_laws.pool_problem import Loss, PoolProblem, problem_from_runs
from scaling_laws.pool_start import starting_points
from scaling_laws.runs import Metric, RunsError, check_runs

HUBER_DELTA = 1e-3
"""The field's choice for log errors (Hoffmann et al. 2022, section 3.3)."""


@dataclass
class RepetitionFit:
    """Joint fit of one law per pool; scikit-learn style.

    Parameters
    ----------
    form
        ``paper``, ``code``, ``effective_data`` or ``saturating``; see `scaling_laws.effective_data`.
    anchor, irreducible, half_life
        Hold this parameter fixed (samples; unit of the error; epochs). ``half_life=inf`` is the law without
        decay. ``None`` fits it: anchor and irreducible error are shared by all pools, half-lives are per
        pool.
    share_exponent, share_half_life
        One value for all pools: for pools of one quality that differ in size only.
    half_life_growth
        gamma: half-lives grow with pool size as U^gamma. 0 leaves each pool its own number.
    loss
        ``squared`` (on errors) or ``log_huber`` (Huber on log errors, delta 1e-3).
    metric
        ``error`` (1 - accuracy, in [0, 1]) or ``loss``.
    max_irreducible
        Upper bound of the irreducible error as a share of the least error measured. Noise may put the best
        value above 1, where log(y - d) has no meaning but the fit on errors has.
    n_starts
        Starting points refined; they come from a grid, so that the fit needs no random numbers.

    Attributes
    ----------
    pools_
        `FittedPools`: names, sizes, parameters and the measured range. Half-lives that no data bound from
        above are ``inf``.
    runs_, residuals_
        The checked runs and predicted minus measured errors, shape (n_runs,).
    rss_, rmse_, noise_sd_
        Sum of squared residuals, their root mean square, and their standard deviation with n - k degrees of
        freedom.
    n_parameters_
        Fitted parameters k (noise variance not counted).
    parameter_names_, parameters_, covariance_, correlation_
        Natural parameters in the order of the names, and their covariance (delta method; nan for a parameter
        at a bound).
    warnings_
        Everything a reader should know: parameters at a bound, degenerate pairs, too few budgets.
    """

    form: Form = "paper"
    anchor: float | None = None
    irreducible: float | None = None
    half_life: float | None = None
    share_exponent: bool = False
    share_half_life: bool = False
    half_life_growth: float = 0.0
    loss: Loss = "squared"
    metric: Metric = "error"
    max_irreducible: float = 0.98
    n_starts: int = 8

    def get_params(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def fit(self, runs: pd.DataFrame) -> Self:
        """Fit to a table of runs; columns as in `check_runs`.

        Raises
        ------
        RunsError
            If the table fails a check or cannot determine the parameters; the message says what to add.
        """
        if self.form not in FORMS:
            raise ValueError(f"unknown form {self.form!r}: choose one of {', '.join(FORMS)}")
        self.runs_ = check_runs(runs, self.metric)
        self.problem_ = problem_from_runs(
            self.runs_,
            form=self.form,
            loss=self.loss,
            share_exponent=self.share_exponent,
            share_half_life=self.share_half_life,
            half_life_growth=self.half_life_growth,
            anchor=self.anchor,
            irreducible=self.irreducible,
            half_life=self.half_life,
            max_irreducible=self.max_irreducible,
        )
        errors = self.runs_["error"].to_numpy(float)
        check_identifiable(self.problem_, errors)
        starts = starting_points(self.problem_, errors, self.n_starts)
        solution = solve(self.problem_, np.tile(errors, (len(starts), 1)), starts)
        self._keep(solution.parameters[int(np.argmin(solution.cost))], errors)
        for message in self.warnings_:
            warnings.warn(message, FitWarning, stacklevel=2)
        return self

    def predict(self, samples_seen: Floats | float, pool: str) -> Floats:
        """Return the predicted error of one fitted pool at ``samples_seen`` samples."""
        return self.pools_.pool(pool).predict(samples_seen)

    @property
    def aicc_(self) -> float:
        """Akaike's criterion for small samples, Gaussian errors; ``inf`` when n - k - 1 <= 0.

        k counts the noise variance as well (Burnham and Anderson 2002, section 2.4).
        """
        n, k = len(self.residuals_), self.n_parameters_ + 1
        if n - k - 1 <= 0:
            return float("inf")
        return float(n * np.log(self.rss_ / n) + 2 * k + 2 * k * (k + 1) / (n - k - 1))

    def _keep(self, free_parameters: Floats, errors: Floats) -> None:
        problem = self.problem_
        self.free_parameters_ = free_parameters
        full = problem.expand(free_parameters[None])
        self.residuals_ = problem.predict(full)[0] - errors
        self.rss_ = float(self.residuals_ @ self.residuals_)
        self.rmse_ = float(np.sqrt(self.rss_ / len(errors)))
        self.n_parameters_ = int(problem.free.sum())
        spare = len(errors) - self.n_parameters_
        self.noise_sd_ = float(np.sqrt(self.rss_ / spare)) if spare > 0 else float("nan")
        self.pools_ = fitted_pools(problem, full, MeasuredRange.of_runs(self.runs_)).take(0)
        self.parameter_names_ = [n for n, free in zip(problem.names(), problem.free, strict=True) if free]
        self.parameters_ = natural_parameters(problem, full)[0, problem.free]
        self.covariance_ = _covariance(problem, free_parameters, errors)
        spread = np.sqrt(np.diag(self.covariance_))
        self.correlation_ = self.covariance_ / np.outer(spread, spread)
        self.warnings_ = flags_of_fit(problem, full[0], errors, self.correlation_, self.parameter_names_)


def solve(problem: PoolProblem, errors: Floats, starts: Floats, pinned: int | None = None) -> BatchedSolution:
    """Refine free parameters (B, n_free) against errors (B, n_runs); column ``pinned`` stays at its start."""
    lower, upper = (bound[:, problem.free] for bound in problem.bounds(errors))
    if pinned is not None:
        lower[:, pinned] = upper[:, pinned] = starts[:, pinned]
    return least_squares_batch(
        lambda parameters, rows: problem.residuals(parameters, errors[rows]),
        starts,
        lower,
        upper,
        huber_delta=HUBER_DELTA if problem.loss == "log_huber" else None,
    )


def natural_parameters(problem: PoolProblem, full: Floats) -> Floats:
    """Return exponents, half-lives, anchor and irreducible error (B, p) from all parameters (B, p)."""
    values = np.exp(full)
    values[:, : problem.n_exponents] *= -1.0
    values[:, -1] = full[:, -1]
    at_ceiling = full[:, problem.n_exponents : -2] >= problem.log_half_life_ceiling - 1e-9
    values[:, problem.n_exponents : -2][at_ceiling] = np.inf
    return values


def fitted_pools(problem: PoolProblem, full: Floats, measured: MeasuredRange) -> FittedPools:
    """Return the pools of all parameters (B, p), one draw per row."""
    values = natural_parameters(problem, full)
    count = range(len(problem.pools))
    exponents = values[:, [problem.exponent_column(i) for i in count]]
    half_lives = values[:, [problem.half_life_column(i) for i in count]] * np.exp(problem.log_stretch)
    sizes = np.array([problem.pool_sizes[problem.pool_of_run == i][0] for i in count])
    return FittedPools(
        problem.pools, sizes, problem.form, exponents, half_lives, values[:, -2], values[:, -1], measured
    )


def check_identifiable(problem: PoolProblem, errors: Floats) -> None:
    """Refuse data that cannot determine the free parameters, in words.

    Raises
    ------
    RunsError
        With the pool concerned and the remedy.
    """
    n_free = int(problem.free.sum())
    distinct = len(set(zip(problem.pool_of_run.tolist(), problem.samples_seen.tolist(), strict=True)))
    if len(np.unique(problem.samples_seen)) == 1:
        raise RunsError(
            f"all runs saw {problem.samples_seen[0]:g} samples: one budget shows no trend. Add runs at other "
            "budgets; to compare pools at this budget rank them by error"
        )
    fits_half_life = bool(problem.free[problem.n_exponents])
    repeated = (
        np.array([problem.epochs[problem.pool_of_run == i].max() for i in range(len(problem.pools))]) > 1
    )
    if fits_half_life and not (repeated.any() if problem.share_half_life else repeated.all()):
        names = ", ".join(np.array(problem.pools)[~repeated])
        raise RunsError(
            f"no run repeats {names} (samples_seen <= pool_size), so the half-life is unknown. Add a run of "
            "more than one epoch, or fit with half_life=inf, or share_half_life=True"
        )
    for index, pool in enumerate(problem.pools):
        budgets = len(np.unique(problem.samples_seen[problem.pool_of_run == index]))
        own = (not problem.share_exponent) + (fits_half_life and not problem.share_half_life)
        if budgets < own:
            raise RunsError(
                f"pool {pool!r} has {budgets} budget for {own} parameters of its own; add runs at others"
            )
    if distinct < n_free:
        raise RunsError(
            f"{distinct} distinct points for {n_free} parameters: add runs, fix anchor= or irreducible=, "
            "or share_half_life=True"
        )
    if not problem.free[-1] and (errors <= problem.fixed[-1]).any():
        raise RunsError(
            f"irreducible={problem.fixed[-1]:g} is not below the least error, {errors.min():g}; lower it"
        )


def _covariance(problem: PoolProblem, free_parameters: Floats, errors: Floats) -> Floats:
    """Return the natural parameters' covariance from the Jacobian at the optimum; nan rows at a bound."""
    residuals, jacobian = problem.residuals(free_parameters[None], errors[None])
    lower, upper = (bound[0, problem.free] for bound in problem.bounds(errors[None]))
    inside = (free_parameters > lower + 1e-9) & (free_parameters < upper - 1e-9)
    covariance = np.full((len(free_parameters),) * 2, np.nan)
    spare = len(errors) - len(free_parameters)
    if spare <= 0 or not inside.any():
        return covariance
    design = jacobian[0][:, inside]
    # Natural parameters are exponentials (b = -e^theta, so its derivative is b itself), but for d.
    scale = natural_parameters(problem, problem.expand(free_parameters[None]))[0, problem.free]
    if problem.free[-1]:
        scale[-1] = 1.0
    scale = scale[inside]
    inverse = np.linalg.pinv(design.T @ design, rcond=1e-14) * float(residuals[0] @ residuals[0]) / spare
    covariance[np.ix_(inside, inside)] = inverse * np.outer(scale, scale)
    return covariance

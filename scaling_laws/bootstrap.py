"""Bootstrap of a joint fit: how far every parameter and prediction would move with other noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from scaling_laws.effective_data import Floats
from scaling_laws.fitted_pools import FittedPools, MeasuredRange
from scaling_laws.intervals import Interval, percentile_interval
from scaling_laws.pool_fit import RepetitionFit, fitted_pools, natural_parameters, solve
from scaling_laws.runs import RunsError

BootstrapKind = Literal["residual", "parametric", "seed"]
LEAST_ERROR = 1e-6
"""Simulated errors are kept above this, since log(y - d) needs positive ones."""


@dataclass(frozen=True)
class Bootstrap:
    """Refits of a joint fit to simulated errors.

    Parameters
    ----------
    kind
        How the errors were simulated.
    noise_sd
        Run-to-run standard deviation of the error behind the draws (nan for ``seed``).
    pools
        The refitted laws, one draw per row.
    parameters
        Natural parameters (n_draws, k), columns as the fit's ``parameter_names_``.
    errors
        The simulated errors (n_draws, n_runs).
    """

    kind: BootstrapKind
    noise_sd: float
    pools: FittedPools
    parameters: Floats
    errors: Floats

    def intervals(self, fit: RepetitionFit, level: float = 0.95) -> dict[str, Interval]:
        """Return the percentile interval of every parameter; a side on which draws ran to infinity is
        open.
        """
        return {
            name: percentile_interval(float(value), draws, level)
            for name, value, draws in zip(
                fit.parameter_names_, fit.parameters_, self.parameters.T, strict=True
            )
        }


def bootstrap(
    fit: RepetitionFit,
    n_draws: int = 1000,
    *,
    kind: BootstrapKind = "residual",
    noise_sd: float | None = None,
    random_state: int = 0,
) -> Bootstrap:
    """Refit the whole joint model, anchor and irreducible error included, to ``n_draws`` simulated data sets.

    Parameters
    ----------
    fit
        A fitted `RepetitionFit`.
    kind
        ``residual`` resamples residuals, inflated by sqrt(n/(n-k)) as a fit's residuals are too small;
        ``parametric`` adds Gaussian noise of ``noise_sd`` (default: from seeds if runs repeat, else from the
        fit); ``seed`` draws whole runs with replacement among those of one pool and budget.
    noise_sd
        Standard deviation of the error of one run, for ``parametric``.
    random_state
        Seed of the simulation.

    Raises
    ------
    RunsError
        If ``seed`` is asked for without repeated runs, or there are no spare degrees of freedom and no noise
        given.
    """
    rng = np.random.default_rng(random_state)
    if kind == "seed":
        errors, sd = _resample_seeds(fit.runs_, n_draws, rng), float("nan")
    else:
        errors, sd = _simulate(fit, n_draws, kind, noise_sd, rng)
    errors = np.maximum(errors, LEAST_ERROR)
    solution = solve(fit.problem_, errors, np.tile(fit.free_parameters_, (n_draws, 1)))
    full = fit.problem_.expand(solution.parameters)
    return Bootstrap(
        kind,
        sd,
        fitted_pools(fit.problem_, full, MeasuredRange.of_runs(fit.runs_)),
        natural_parameters(fit.problem_, full)[:, fit.problem_.free],
        errors,
    )


def seed_noise_sd(runs: pd.DataFrame) -> float | None:
    """Return the pooled standard deviation among runs of one pool and budget, or None without such runs."""
    groups = runs.groupby(["pool", "samples_seen"])["error"]
    spare = int((groups.size() - 1).sum())
    if spare == 0:
        return None
    within = runs["error"] - groups.transform("mean")
    return float(np.sqrt((within**2).sum() / spare))


def run_noise_sd(fit: RepetitionFit) -> float:
    """Return the best estimate of run-to-run noise: from seeds, else from the fit's residuals (nan if
    none).
    """
    from_seeds = seed_noise_sd(fit.runs_)
    return fit.noise_sd_ if from_seeds is None else from_seeds


def _simulate(
    fit: RepetitionFit, n_draws: int, kind: str, noise_sd: float | None, rng: np.random.Generator
) -> tuple[Floats, float]:
    measured = fit.runs_["error"].to_numpy(float)
    predicted = measured + fit.residuals_
    spare = len(measured) - fit.n_parameters_
    if kind == "residual":
        if spare <= 0:
            raise RunsError(
                "as many parameters as runs leave no residuals; use kind='parametric' with noise_sd="
            )
        root = np.sqrt(fit.problem_.weights)
        standard = -fit.residuals_ * root * np.sqrt(len(measured) / spare)
        drawn = rng.choice(standard, size=(n_draws, len(measured)))
        return predicted + drawn / root, fit.noise_sd_
    sd = run_noise_sd(fit) if noise_sd is None else noise_sd
    if not np.isfinite(sd):
        raise RunsError("no spare runs and no seeds to tell the noise from: give noise_sd=")
    return predicted + rng.normal(0.0, sd, size=(n_draws, len(measured))), float(sd)


def _resample_seeds(runs: pd.DataFrame, n_draws: int, rng: np.random.Generator) -> Floats:
    errors = runs["error"].to_numpy(float)
    groups = [np.asarray(rows) for rows in runs.groupby(["pool", "samples_seen"]).indices.values()]
    if all(len(rows) < 2 for rows in groups):
        raise RunsError("no pool and budget has two runs: add seeds, or use kind='residual'")
    drawn = np.empty((n_draws, len(errors)))
    for rows in groups:
        drawn[:, rows] = rng.choice(errors[rows], size=(n_draws, len(rows)))
    return drawn

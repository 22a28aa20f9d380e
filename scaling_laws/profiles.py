"""Profile likelihood of one parameter of a joint fit."""

from __future__ import annotations

import warnings

import numpy as np

from scaling_laws.effective_data import Floats
from scaling_laws.fit_flags import FitWarning
from scaling_laws.intervals import Interval, ProfileCurve
from scaling_laws.pool_fit import RepetitionFit, natural_parameters, solve

N_WIDE, N_NEAR = 61, 41
NEAR_LOG_SPAN = 1.5
N_REFINE, N_REFINEMENTS = 12, 2


def profile(fit: RepetitionFit, parameter: str, values: Floats | None = None) -> ProfileCurve:
    """Return the least sum of squared residuals at each value of one parameter, the others refitted.

    Parameters
    ----------
    fit
        A fitted `RepetitionFit`.
    parameter
        One of its ``parameter_names_``.
    values
        Natural values to scan, ascending; by default the whole range allowed, denser around the estimate.

    Raises
    ------
    KeyError
        If the fit has no such free parameter.
    """
    if parameter not in fit.parameter_names_:
        raise KeyError(f"no free parameter {parameter!r}; there are {', '.join(fit.parameter_names_)}")
    column = fit.parameter_names_.index(parameter)
    problem = fit.problem_
    errors = fit.runs_["error"].to_numpy(float)[None]
    lower, upper = (bound[0, problem.free] for bound in problem.bounds(errors))
    if values is None:
        scan = _default_scan(fit.free_parameters_[column], lower[column], upper[column])
    else:
        scan = _internal(parameter, np.asarray(values, float))
    starts = np.tile(fit.free_parameters_, (len(scan), 1))
    starts[:, column] = scan
    solution = solve(problem, np.tile(errors, (len(scan), 1)), starts, pinned=column)
    order = np.argsort(scan)
    full = problem.expand(solution.parameters[order])
    natural = natural_parameters(problem, full)[:, problem.free][:, column]
    if parameter.startswith("exponent"):
        natural, order = natural[::-1], order[::-1]
    return ProfileCurve(parameter, natural, 2.0 * solution.cost[order])


def profile_interval(fit: RepetitionFit, parameter: str, level: float = 0.95) -> Interval:
    """Return the likelihood-ratio interval of a parameter; warns where the profile is flat.

    A side on which the cost never rises above the cut is open: data set no bound there.
    """
    n_points, n_parameters = len(fit.residuals_), fit.n_parameters_
    curve = profile(fit, parameter)
    for _ in range(N_REFINEMENTS):
        for a, b in curve.ends(curve.cut(n_points, n_parameters, level)):
            if np.isfinite(b):
                curve = curve.merged(profile(fit, parameter, np.linspace(a, b, N_REFINE)))
    found = curve.interval(n_points, n_parameters, level)
    column = fit.parameter_names_.index(parameter)
    interval = Interval(float(fit.parameters_[column]), found.low, found.high, level)
    if np.isinf(interval.low) or np.isinf(interval.high):
        sides = [side for side, end in (("below", interval.low), ("above", interval.high)) if np.isinf(end)]
        warnings.warn(
            f"flat profile: {parameter} has no bound {' or '.join(sides)} at {level:.0%}",
            FitWarning,
            stacklevel=2,
        )
    return interval


def _default_scan(centre: float, low: float, high: float) -> Floats:
    wide = np.linspace(low, high, N_WIDE)
    span = min(NEAR_LOG_SPAN, (high - low) / 6)
    near = np.clip(centre + np.linspace(-span, span, N_NEAR), low, high)
    return np.unique(np.concatenate([wide, near, [centre]]))


def _internal(parameter: str, values: Floats) -> Floats:
    if parameter == "irreducible":
        return values
    return np.log(-values) if parameter.startswith("exponent") else np.log(values)

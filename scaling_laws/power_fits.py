"""Fits that are linear once one exponent is known: plain power law, over-training law, compute frontier."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar, nnls

from scaling_laws.effective_data import Floats
from scaling_laws.fit_flags import FitWarning
from scaling_laws.power_laws import FrontierLaw, OvertrainingLaw, PowerLaw, overtraining_basis

EXPONENT_GRID = -np.geomspace(1e-3, 4.0, 160)


@dataclass
class PowerLawFit:
    """Least squares of y = A x^b + d with A, d >= 0, by variable projection: only b is searched.

    Attributes: ``law_`` (`PowerLaw`) and ``rss_``.
    """

    irreducible: bool = True

    def fit(self, x: ArrayLike, y: ArrayLike) -> Self:
        """Fit to arrays (n_points,), x > 0.

        Raises
        ------
        ValueError
            If there are fewer distinct x than parameters.
        """
        at, measured = np.asarray(x, float), np.asarray(y, float)
        n_free = 2 + self.irreducible
        if len(np.unique(at)) < n_free:
            raise ValueError(f"{len(np.unique(at))} distinct points for {n_free} parameters: add points")
        centre = np.exp(np.log(at).mean())

        def design(exponent: float) -> Floats:
            columns = [(at / centre) ** exponent] + [np.ones_like(at)] * self.irreducible
            return np.column_stack(columns)

        exponent, weights, self.rss_ = _project(design, measured)
        floor = float(weights[1]) if self.irreducible else 0.0
        self.law_ = PowerLaw(float(weights[0]) * centre**-exponent, exponent, floor)
        return self


@dataclass
class OvertrainingFit:
    """Least squares of L = a N^p + c 6^{p/2} (M N)^p + E (Gadre et al. 2024), by variable projection.

    Attributes: ``law_`` (`OvertrainingLaw`) and ``rss_``.
    """

    def fit(self, n_parameters: ArrayLike, tokens_per_parameter: ArrayLike, loss: ArrayLike) -> Self:
        """Fit to arrays (n_runs,): N, M and L (nats per token).

        Raises
        ------
        ValueError
            If there are fewer than 4 runs, or all have one M, so that the two terms cannot be told apart.
        """
        size, multiplier = np.asarray(n_parameters, float), np.asarray(tokens_per_parameter, float)
        if len(size) < 4:
            raise ValueError(f"{len(size)} runs for 4 parameters: give at least 4")
        if len(np.unique(multiplier)) < 2:
            raise ValueError("all runs have one number of tokens per parameter: add a run at another")
        centre = np.exp(np.log(size).mean())

        def design(exponent: float) -> Floats:
            terms = overtraining_basis(size / centre, multiplier, exponent)
            return np.column_stack([*terms, np.ones_like(size)])

        exponent, weights, self.rss_ = _project(design, np.asarray(loss, float))
        scale = centre**-exponent
        self.law_ = OvertrainingLaw(weights[0] * scale, weights[1] * scale, exponent, float(weights[2]))
        return self


@dataclass
class FrontierFit:
    """Power law through the least error per bin of compute (Cherti et al. 2022, arXiv 2212.07143, section 4).

    Bins are of equal width in log10 C; each contributes its centre and its least error, and a line is fitted
    to the logarithms.

    Parameters
    ----------
    n_bins
        Number of bins; ``None`` fits the line to every run.

    Attributes
    ----------
    law_
        `FrontierLaw`.
    bin_compute_, bin_error_
        The points fitted; empty bins are left out.
    """

    n_bins: int | None = 5

    def fit(self, compute: ArrayLike, error: ArrayLike) -> Self:
        """Fit to arrays (n_runs,), both positive.

        Raises
        ------
        ValueError
            If fewer than two bins hold runs, or values are not positive.
        """
        total, errors = np.asarray(compute, float), np.asarray(error, float)
        if not ((total > 0).all() and (errors > 0).all()):
            raise ValueError("compute and error must be positive numbers")
        x, y = np.log10(total), np.log10(errors)
        if self.n_bins is not None:
            # The published analysis widens the range by 0.1 to keep the largest run in the last bin.
            edges = np.linspace(x.min(), x.max() + 0.1, self.n_bins + 1)
            which = np.digitize(x, edges) - 1
            filled = np.unique(which)
            y = np.array([y[which == i].min() for i in filled])
            x = ((edges[:-1] + edges[1:]) / 2)[filled]
        if len(x) < 2:
            raise ValueError("fewer than two bins hold runs: add runs at other compute, or use fewer bins")
        slope, intercept = np.linalg.lstsq(np.column_stack([x, np.ones_like(x)]), y, rcond=None)[0]
        self.bin_compute_, self.bin_error_ = 10.0**x, 10.0**y
        self.law_ = FrontierLaw(float(slope), float(intercept))
        return self


def _project(design: Callable[[float], Floats], measured: Floats) -> tuple[float, Floats, float]:
    """Return the exponent, non-negative weights and residual sum of squares of the best projection."""

    def misfit(exponent: float) -> float:
        return float(nnls(design(exponent), measured)[1])

    values = np.array([misfit(exponent) for exponent in EXPONENT_GRID])
    best = int(np.argmin(values))
    if best in (0, len(EXPONENT_GRID) - 1):
        warnings.warn(
            f"the exponent ran to {EXPONENT_GRID[best]:g}: these points do not follow a power law",
            FitWarning,
            stacklevel=3,
        )
    around = EXPONENT_GRID[max(best - 1, 0)], EXPONENT_GRID[min(best + 1, len(EXPONENT_GRID) - 1)]
    found = minimize_scalar(
        misfit, bounds=(min(around), max(around)), method="bounded", options={"xatol": 1e-12}
    )
    weights, norm = nnls(design(float(found.x)), measured)
    return float(found.x), weights, float(norm) ** 2

"""Fit how fast repeated data and excess parameters lose their value (Muennighoff et al. 2023)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scaling_laws.batched_least_squares import BatchedSolution, least_squares_batch
from scaling_laws.effective_data import Floats
from scaling_laws.fit_flags import FitWarning
from scaling_laws.intervals import ProfileCurve
from scaling_laws.power_laws import ChinchillaLaw, DataConstrainedLaw, saturated

GRID = np.geomspace(0.1, 1000.0, 9)
CEILING = 1e6
"""Repeats. A constant this large costs nothing that runs of thousands of epochs could show."""
FLAT_SHARE = 0.02
"""A profile that rises by less than this share of its least value over a factor of ten is called flat."""


@dataclass
class DataConstrainedFit:
    """Fit R_D* and R_N* with the base law fixed, by summed Huber loss on log L.

    Parameters
    ----------
    base
        The law without repetition.
    starts
        Pairs ``(R_D*, R_N*)`` to start from, shape (n_starts, 2); ``None`` takes a grid over four decades.
        The objective has several optima: a single start finds the one nearby, the grid the least.
    huber_delta
        Where the loss turns linear, in log units.

    Attributes
    ----------
    law_, objective_
        The best `DataConstrainedLaw` and its summed Huber loss.
    optima_
        Distinct optima, best first: rows ``(R_D*, R_N*, objective)``.
    r_squared_
        1 - residual / total sum of squares of L (not of its logarithm).
    """

    base: ChinchillaLaw
    starts: ArrayLike | None = None
    huber_delta: float = 1e-3

    def fit(
        self, n_parameters: ArrayLike, n_tokens: ArrayLike, unique_tokens: ArrayLike, loss: ArrayLike
    ) -> Self:
        """Fit to arrays of shape (n_runs,): N, tokens seen D, unique tokens U and L (nats per token).

        Raises
        ------
        ValueError
            If no run repeats its data, so that R_D* is unknown, or values are not positive.
        """
        self._runs = np.stack([np.asarray(v, float) for v in (n_parameters, n_tokens, unique_tokens, loss)])
        if not (self._runs > 0).all():
            raise ValueError("n_parameters, n_tokens, unique_tokens and loss must be positive numbers")
        if not (self._runs[1] > self._runs[2]).any():
            raise ValueError("no run repeats its data (n_tokens <= unique_tokens): R_D* is unknown")
        starts = self.starts
        if starts is None:
            starts = np.stack(np.meshgrid(GRID, GRID, indexing="ij"), axis=-1).reshape(-1, 2)
        solution = self._solve(np.log(np.asarray(starts, float)))
        order = np.argsort(solution.cost, kind="stable")
        rows = np.column_stack([np.exp(solution.parameters), solution.cost])[order]
        self.optima_ = _distinct(rows)
        self.objective_ = float(rows[0, 2])
        self.law_ = DataConstrainedLaw(self.base, float(rows[0, 0]), float(rows[0, 1]))
        predicted = self.law_.predict(*self._runs[:3])
        self.r_squared_ = r_squared(self._runs[3], predicted)
        return self

    def profile_data_repeats(self, values: ArrayLike) -> ProfileCurve:
        """Return the least objective at each fixed R_D*, R_N* refitted; warns when the curve is flat.

        Parameters
        ----------
        values
            R_D* to scan, ascending, shape (n_values,).
        """
        scan = np.asarray(values, float)
        starts = np.stack(np.meshgrid(np.log(scan), np.log(GRID), indexing="ij"), axis=-1)
        fixed = np.repeat(np.log(scan), len(GRID))
        solution = self._solve(starts.reshape(-1, 2), fixed)
        cost = solution.cost.reshape(len(scan), len(GRID)).min(axis=1)
        curve = ProfileCurve("data_repeats", scan, cost)
        low, high = curve.flat_range(FLAT_SHARE)
        if high >= 10 * low:
            warnings.warn(
                f"flat profile: R_D* from {low:g} to {high:g} fits within {FLAT_SHARE:.0%} of the best",
                FitWarning,
                stacklevel=2,
            )
        return curve

    def bootstrap(self, n_draws: int = 1000, random_state: int = 0) -> Floats:
        """Return (R_D*, R_N*) of refits to runs drawn with replacement, (n_draws, 2); ``inf``: no bound.

        Every draw starts from all optima of the fit, as the best of them changes with the runs drawn.
        """
        rng = np.random.default_rng(random_state)
        n_runs, starts = self._runs.shape[1], np.log(self.optima_[:, :2])
        rows = np.repeat(rng.integers(n_runs, size=(n_draws, n_runs)), len(starts), axis=0)
        solution = self._solve(np.tile(starts, (n_draws, 1)), rows=rows)
        best = solution.cost.reshape(n_draws, -1).argmin(axis=1)
        constants = np.exp(solution.parameters).reshape(n_draws, len(starts), 2)
        found = constants[np.arange(n_draws), best]
        return np.where(found >= CEILING * (1 - 1e-9), np.inf, found)

    def _solve(
        self,
        starts: Floats,
        fixed_log_data_repeats: Floats | None = None,
        rows: NDArray[np.intp] | None = None,
    ) -> BatchedSolution:
        size, tokens, unique_tokens, loss = self._runs
        unique = np.minimum(unique_tokens, tokens)
        useful = np.minimum(self.base.optimal_parameters(unique), size)
        base, log_loss = self.base, np.log(loss)

        def model(parameters: Floats, problems: NDArray[np.intp]) -> tuple[Floats, Floats]:
            scale = np.exp(parameters)
            data, data_slope = _saturated_with_slope(tokens, unique, scale[:, :1])
            model_size, model_slope = _saturated_with_slope(size, useful, scale[:, 1:])
            by_size = base.model_scale / model_size**base.model_exponent
            by_data = base.data_scale / data**base.data_exponent
            total = base.irreducible + by_size + by_data
            jacobian = np.stack(
                [
                    -base.data_exponent * by_data * data_slope / (data * total),
                    -base.model_exponent * by_size * model_slope / (model_size * total),
                ],
                axis=-1,
            )
            residual = np.log(total) - log_loss
            if rows is None:
                return residual, jacobian
            chosen = rows[problems]
            return (
                np.take_along_axis(residual, chosen, axis=1),
                np.take_along_axis(jacobian, chosen[..., None], axis=1),
            )

        lower, upper = np.full(starts.shape, np.log(1e-3)), np.full(starts.shape, np.log(CEILING))
        if fixed_log_data_repeats is not None:
            lower[:, 0] = upper[:, 0] = fixed_log_data_repeats
        return least_squares_batch(
            model, starts, lower, upper, huber_delta=self.huber_delta, max_iterations=1000, tolerance=1e-13
        )


def r_squared(measured: ArrayLike, predicted: ArrayLike) -> float:
    """Return 1 - residual / total sum of squares."""
    y, p = np.asarray(measured, float), np.asarray(predicted, float)
    return float(1.0 - ((y - p) ** 2).sum() / ((y - y.mean()) ** 2).sum())


def _saturated_with_slope(amount: Floats, useful: Floats, scale: Floats) -> tuple[Floats, Floats]:
    """Return the effective amount and its derivative in log R*, for constants (B, 1): (B, n) each."""
    repeats = np.maximum(amount / useful - 1.0, 0.0)
    slope = -scale * np.expm1(-repeats / scale) - repeats * np.exp(-repeats / scale)
    return saturated(amount, useful, scale), useful * slope


def _distinct(rows: Floats) -> Floats:
    """Drop optima that agree with a better one to 1 % in both constants."""
    kept: list[Floats] = []
    for row in rows:
        if not any(np.allclose(np.log(row[:2]), np.log(other[:2]), atol=0.01) for other in kept):
            kept.append(row)
    return np.array(kept)

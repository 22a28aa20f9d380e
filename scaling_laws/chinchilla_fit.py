"""Fit the law of model size and data the way the field does: Huber loss on log errors from many starts."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp

from scaling_laws.batched_least_squares import BatchedSolution, least_squares_batch
from scaling_laws.effective_data import Floats
from scaling_laws.power_laws import ChinchillaLaw

PARAMETER_NAMES = ("model_scale", "data_scale", "irreducible", "model_exponent", "data_exponent")


@dataclass
class ChinchillaFit:
    """Fit L = E + A/N^alpha + B/D^beta by summed Huber loss on log L (Hoffmann et al. 2022, section 3.3).

    Parameters
    ----------
    huber_delta
        Where the loss turns linear, in log units.

    Attributes
    ----------
    law_
        The best `ChinchillaLaw` over 162 starts.
    objective_
        Its summed Huber loss.
    parameters_
        ``(A, B, E, alpha, beta)`` in the order of `PARAMETER_NAMES`.
    """

    huber_delta: float = 1e-3

    def fit(self, n_parameters: ArrayLike, n_tokens: ArrayLike, loss: ArrayLike) -> Self:
        """Fit to arrays of shape (n_runs,): N, D (tokens) and L > 0 (nats per token).

        Raises
        ------
        ValueError
            If the arrays differ in length, hold fewer than 6 runs, or hold values that are not positive.
        """
        columns = [np.asarray(v, float) for v in (n_parameters, n_tokens, loss)]
        if len({c.shape for c in columns}) > 1 or columns[0].ndim != 1:
            raise ValueError("n_parameters, n_tokens and loss must be one-dimensional and of one length")
        if len(columns[0]) < 6:
            raise ValueError(f"{len(columns[0])} runs for 5 parameters: give at least 6")
        if any((~(c > 0)).any() for c in columns):
            raise ValueError("n_parameters, n_tokens and loss must be positive numbers")
        self._logs = np.log(np.stack(columns))
        starts = _starts()
        solution = self._solve(starts, np.tile(np.arange(len(columns[0])), (len(starts), 1)))
        best = int(np.argmin(solution.cost))
        self.objective_ = float(solution.cost[best])
        self._best = solution.parameters[best]
        self.parameters_ = _natural(self._best)
        self.law_ = ChinchillaLaw(*(float(v) for v in self.parameters_))
        return self

    def bootstrap(self, n_draws: int = 1000, random_state: int = 0) -> Floats:
        """Return parameters (n_draws, 5) of refits to runs drawn with replacement, started at the best fit.

        Pairs are drawn, as the runs here are many and independent; see `PARAMETER_NAMES` for the columns.
        """
        rng = np.random.default_rng(random_state)
        n_runs = self._logs.shape[1]
        rows = rng.integers(n_runs, size=(n_draws, n_runs))
        return _natural(self._solve(np.tile(self._best, (n_draws, 1)), rows).parameters)

    def _solve(self, starts: Floats, rows: np.ndarray[tuple[int, ...], np.dtype[np.intp]]) -> BatchedSolution:
        log_size, log_tokens, log_loss = self._logs

        def model(
            parameters: Floats, problems: np.ndarray[tuple[int, ...], np.dtype[np.intp]]
        ) -> tuple[Floats, Floats]:
            a, b, e, alpha, beta = (column[:, None] for column in parameters.T)
            size, tokens = log_size[rows[problems]], log_tokens[rows[problems]]
            terms = np.stack([a - alpha * size, b - beta * tokens, np.broadcast_to(e, size.shape)], axis=-1)
            total = logsumexp(terms, axis=-1)
            share = np.exp(terms - total[..., None])
            by_a, by_b, by_e = share[..., 0], share[..., 1], share[..., 2]
            jacobian = np.stack([by_a, by_b, by_e, -by_a * size, -by_b * tokens], axis=-1)
            return total - log_loss[rows[problems]], jacobian

        return least_squares_batch(
            model,
            starts,
            np.array([-50.0, -50.0, -20.0, -5.0, -5.0]),
            np.array([200.0, 200.0, 20.0, 10.0, 10.0]),
            huber_delta=self.huber_delta,
            max_iterations=2000,
            tolerance=1e-13,
        )


def chinchilla_objective(
    law: ChinchillaLaw,
    n_parameters: ArrayLike,
    n_tokens: ArrayLike,
    loss: ArrayLike,
    huber_delta: float = 1e-3,
) -> float:
    """Return the summed Huber loss of a law's log errors."""
    residual = np.log(law.predict(n_parameters, n_tokens)) - np.log(np.asarray(loss, float))
    size = np.abs(residual)
    inner = np.minimum(size, huber_delta)
    return float((inner * (size - 0.5 * inner)).sum())


def _starts() -> Floats:
    """Return the field's 162 starts: log A, log B, log E, alpha, beta."""
    grid = product((5.0, 10.0, 20.0), (5.0, 10.0, 20.0), (-0.5, 0.5), (0.0, 0.5, 1.0), (0.0, 0.5, 1.0))
    return np.array(list(grid))


def _natural(parameters: Floats) -> Floats:
    natural = parameters.copy()
    natural[..., :3] = np.exp(natural[..., :3])
    return natural

"""The exhaustive search of the published code, as one array operation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from scaling_laws.effective_data import Floats, Form
from scaling_laws.error_surface import log_data_table
from scaling_laws.pool_laws import error_from_utility

EXPONENTS = np.linspace(-0.005, -0.5, 100)
HALF_LIVES = np.linspace(1.0, 10.0, 100)
"""The published grid (2404.07177's code). It stops at ten epochs, so a longer half-life looks like ten."""


@dataclass(frozen=True)
class GridOptimum:
    """The best point of a grid: exponent, half-life (epochs) and summed squared error."""

    exponent: float
    half_life: float
    rss: float


def grid_search(
    samples_seen: ArrayLike,
    errors: ArrayLike,
    pool_size: float,
    anchor: float,
    irreducible: float,
    form: Form = "paper",
    exponents: Floats = EXPONENTS,
    half_lives: Floats = HALF_LIVES,
) -> GridOptimum:
    """Return the best exponent and half-life of a grid for one pool, anchor and irreducible error given.

    For comparison with published figures; `RepetitionFit` finds a lower residual without a grid.

    Parameters
    ----------
    samples_seen, errors
        Runs of one pool, shape (n_runs,).
    exponents, half_lives
        The grid, shapes (n_exponents,) and (n_half_lives,).
    """
    n, measured = np.asarray(samples_seen, float), np.asarray(errors, float)
    log_data = log_data_table(n, pool_size, half_lives, form)
    predicted = error_from_utility(
        form,
        log_data,
        np.log(np.minimum(n, pool_size)),
        exponents[:, None, None],
        np.log(anchor),
        irreducible,
    )
    rss = ((predicted - measured) ** 2).sum(axis=-1)
    row, column = np.unravel_index(int(rss.argmin()), rss.shape)
    return GridOptimum(float(exponents[row]), float(half_lives[column]), float(rss[row, column]))

"""How sure a mean over seeds is."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


def mean_and_margin(values: ArrayLike, confidence: float = 0.95) -> tuple[float, float]:
    """Return a mean and the half width of its t interval; NaN for the width of a single value.

    For two things measured with the same seeds, give their differences: what a seed does to both drops out.

    Parameters
    ----------
    values
        Shape (n,), one for each seed.
    confidence
        Share of such intervals that hold the true mean, if the values are independent and normal.
    """
    found = np.asarray(values, np.float64)
    if len(found) < 2:
        return float(found.mean()), float("nan")
    width = stats.t.ppf((1 + confidence) / 2, len(found) - 1) * found.std(ddof=1) / np.sqrt(len(found))
    return float(found.mean()), float(width)

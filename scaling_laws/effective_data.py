"""How many fresh samples a repeated pool is worth, under each form of the law.

Every law of one pool in this package is a power law in *effective samples* X(n; U, tau): the samples seen n
of a pool of U unique samples, discounted by repetition with the half-life tau (in epochs).

==================  ==========================================================================================
form                log X
==================  ==========================================================================================
``paper``, ``code``  log n_1 + sum_{j=2..E} 2^{-(j-1)/tau} log(n_j / n_{j-1}),  n_j = min(jU, n)
``effective_data``  log sum_k n_k 2^{-k/tau},  n_k samples in epoch k = 0, 1, ...
``saturating``      log (U + U tau (1 - e^{-R/tau})),  R = max(n/U - 1, 0); here tau is Muennighoff's R*
==================  ==========================================================================================

Sources: Goyal et al. 2024 (arXiv 2404.07177) for the first three; Muennighoff et al. 2023 (arXiv 2305.16264),
equation 5, for the last. With ``tau = inf`` all of them are X = n.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

Form = Literal["paper", "code", "effective_data", "saturating"]
FORMS: tuple[Form, ...] = get_args(Form)
Floats = NDArray[np.float64]

BLOCK_ELEMENTS = 1 << 20
"""Largest temporary array of the sum over epochs, in elements: memory stays flat for any number of epochs."""

_WHOLE_EPOCH = 1e-9
"""An epoch counts as whole when this close to its end, so that n = kU does not depend on rounding."""


def log_effective_samples(
    samples_seen: ArrayLike, pool_size: ArrayLike, half_life: ArrayLike, form: Form = "paper"
) -> Floats:
    """Return the logarithm of the effective samples, broadcast over the three arrays.

    Parameters
    ----------
    samples_seen, pool_size
        Samples seen n > 0 and unique samples U > 0, in samples.
    half_life
        tau > 0 in epochs; ``inf`` means that repetition costs nothing.
    form
        One of `FORMS`; see the module's table.
    """
    return log_effective_samples_and_slope(samples_seen, pool_size, half_life, form)[0]


def log_effective_samples_and_slope(
    samples_seen: ArrayLike, pool_size: ArrayLike, half_life: ArrayLike, form: Form = "paper"
) -> tuple[Floats, Floats]:
    """Return ``(log X, d log X / d log tau)``; parameters as `log_effective_samples`."""
    n, size, tau = np.broadcast_arrays(
        np.asarray(samples_seen, float), np.asarray(pool_size, float), np.asarray(half_life, float)
    )
    epochs = n / size
    if form in ("paper", "code"):
        gain, slope = repeated_gain(epochs, tau)
        return np.log(np.minimum(n, size)) + gain, slope
    if form == "effective_data":
        fresh, slope = _decayed_epochs(epochs, tau)
    elif form == "saturating":
        fresh, slope = _saturated_epochs(epochs, tau)
    else:
        raise ValueError(f"unknown form {form!r}: choose one of {', '.join(FORMS)}")
    return np.log(size) + np.log(fresh), slope / fresh


def repeated_gain(epochs: ArrayLike, half_life: ArrayLike) -> tuple[Floats, Floats]:
    """Return what the epochs after the first add to log X in the paper's form, and its slope in log tau.

    Parameters
    ----------
    epochs, half_life
        n/U and tau, in epochs; broadcast together.

    Returns
    -------
    gain, slope
        sum_{j=2..E} w_j log(min(j, n/U) / (j-1)) with w_j = 2^{-(j-1)/tau}, and its derivative in log tau.
    """
    passes, tau = np.broadcast_arrays(np.asarray(epochs, float), np.asarray(half_life, float))
    rate = np.log(2.0) / tau
    gain, slope = np.zeros(passes.shape), np.zeros(passes.shape)
    for finished in _epoch_blocks(passes):
        step = np.log(np.clip(passes[..., None], finished, finished + 1.0) / finished)
        exponent = rate[..., None] * finished
        step *= np.exp(-exponent)
        gain += step.sum(axis=-1)
        slope += (step * exponent).sum(axis=-1)
    return gain, slope


def _epoch_blocks(passes: Floats) -> Iterator[Floats]:
    """Yield the numbers of finished epochs 1, 2, ... in blocks that bound the memory of the caller."""
    if passes.size == 0:
        return
    last = int(np.ceil(passes.max() - _WHOLE_EPOCH)) - 1
    width = max(1, BLOCK_ELEMENTS // passes.size)
    for start in range(1, last + 1, width):
        yield np.arange(start, min(start + width, last + 1), dtype=float)


def _decayed_epochs(epochs: Floats, tau: Floats) -> tuple[Floats, Floats]:
    """Return sum_k f_k delta^k, with f_k the share of epoch k seen, and its derivative in log tau."""
    rate = np.log(2.0) / tau
    whole = np.floor(epochs + _WHOLE_EPOCH)
    part = np.maximum(epochs - whole, 0.0)
    decay = np.exp(-rate * whole)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.expm1(-rate * whole) / np.expm1(-rate)
        ratio_slope = (ratio * np.exp(-rate) - whole * decay) / np.expm1(-rate)
    forever = rate < 1e-9
    ratio = np.where(forever, whole, ratio)
    ratio_slope = np.where(forever, -whole * (whole - 1) / 2, ratio_slope)
    # d/d(log tau) = -rate d/d(rate)
    return ratio + part * decay, -rate * (ratio_slope - part * whole * decay)


def _saturated_epochs(epochs: Floats, scale: Floats) -> tuple[Floats, Floats]:
    """Return 1 + R*(1 - e^{-R/R*}) and its derivative in log R*."""
    repeats = np.maximum(epochs - 1.0, 0.0)
    first = np.minimum(epochs, 1.0)
    with np.errstate(invalid="ignore"):
        lost = -np.expm1(-repeats / scale)
        value = np.where(np.isinf(scale), repeats, scale * lost)
        slope = np.where(np.isinf(scale), 0.0, scale * lost - repeats * np.exp(-repeats / scale))
    return first + value, slope

"""Pools with their laws, parts of pools, and mixtures of pools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from scaling_laws.effective_data import Floats, Form, log_effective_samples
from scaling_laws.pool_laws import PoolLaw


@dataclass(frozen=True)
class Pool:
    """A pool: its name, its number of unique samples and its law."""

    name: str
    size: float
    law: PoolLaw

    def __post_init__(self) -> None:
        if not (self.size > 0 and np.isfinite(self.size)):
            raise ValueError(
                f"pool {self.name!r}: size must be a positive number of samples, got {self.size}"
            )

    def predict(self, samples_seen: ArrayLike) -> Floats:
        """Return the error after ``samples_seen`` samples of this pool alone."""
        return self.law.predict(samples_seen, self.size)

    def subsample(self, keep_ratio: float) -> Pool:
        """Return a random part of the pool: U -> fU and tau -> f tau.

        Contrastive learning compares pairs, so a pool's half-life grows with its size (2404.07177, section
        4.2).

        Raises
        ------
        ValueError
            If ``keep_ratio`` is outside (0, 1].
        """
        if not 0 < keep_ratio <= 1:
            raise ValueError(f"keep_ratio must lie in (0, 1], got {keep_ratio}")
        if keep_ratio == 1:
            return self
        law = self.law.with_half_life(self.law.half_life * keep_ratio)
        return Pool(f"{keep_ratio:g} of {self.name}", self.size * keep_ratio, law)


def mixture(pools: Sequence[Pool], keep_ratios: Sequence[float] | None = None) -> Mixture:
    """Return the union of pools, each cut to its keep ratio first.

    The pools share form, anchor and irreducible error, and every sample is drawn with equal probability.

    Raises
    ------
    ValueError
        If no pool is given, names repeat, or the pools' forms, anchors or irreducible errors differ.
    """
    if keep_ratios is None:
        return Mixture(tuple(pools))
    if len(keep_ratios) != len(pools):
        raise ValueError(f"{len(pools)} pools but {len(keep_ratios)} keep ratios: give one per pool")
    return Mixture(tuple(pool.subsample(ratio) for pool, ratio in zip(pools, keep_ratios, strict=True)))


@dataclass(frozen=True)
class Mixture:
    """A union of pools, sampled uniformly.

    With w_i = U_i/U and tau_i' = tau_i U/U_i the utility in epoch k is sum_i w_i b_i 2^{-k/tau_i'}. For
    equal sizes this is theorem 1 of 2404.07177; unequal sizes are this project's generalisation, not the
    paper's.
    """

    pools: tuple[Pool, ...]

    def __post_init__(self) -> None:
        if not self.pools:
            raise ValueError("a mixture needs at least one pool")
        names = [pool.name for pool in self.pools]
        if len(set(names)) < len(names):
            raise ValueError(f"a pool appears twice in the mixture {names}")
        shared = {(p.law.law_form, p.law.anchor, p.law.irreducible) for p in self.pools}
        if len(shared) > 1:
            raise ValueError(
                "pools of a mixture must share form, anchor and irreducible error; fit them together"
            )

    @property
    def name(self) -> str:
        """The pools' names joined by a plus sign."""
        return " + ".join(pool.name for pool in self.pools)

    @property
    def size(self) -> float:
        """Unique samples of the union."""
        return float(sum(pool.size for pool in self.pools))

    @property
    def weights(self) -> Floats:
        """Share of each pool in the union, shape (n_pools,)."""
        return np.array([pool.size for pool in self.pools]) / self.size

    @property
    def half_lives(self) -> Floats:
        """Half-life of each pool inside the union, in epochs of the union, shape (n_pools,)."""
        return np.array([pool.law.half_life for pool in self.pools]) / self.weights

    def predict(self, samples_seen: ArrayLike) -> Floats:
        """Return the error after ``samples_seen`` samples of the union; same shape, unit of the error."""
        n = np.asarray(samples_seen, float)
        if not np.all(n > 0):
            raise ValueError("samples_seen must be positive")
        law = self.pools[0].law
        exponents = np.array([pool.law.exponent for pool in self.pools])
        return mixture_error(
            law.law_form, n, self.size, self.weights, exponents, self.half_lives, law.anchor, law.irreducible
        )


def mixture_error(
    form: Form,
    samples_seen: Floats,
    size: float,
    weights: Floats,
    exponents: Floats,
    half_lives: Floats,
    anchor: ArrayLike,
    irreducible: ArrayLike,
) -> Floats:
    """Return the error of a mixture; pools run along the last axis of the three parameter arrays.

    Parameters
    ----------
    samples_seen, size
        n (any shape) and the union's unique samples.
    weights, exponents, half_lives
        w_i, b_i and tau_i' (already scaled to the union); shapes (..., n_pools), broadcast against
        ``samples_seen`` with a trailing axis.
    anchor, irreducible
        n0 and d; broadcast against the result.
    """
    if form == "effective_data":
        return _effective_data_mixture(
            samples_seen, size, weights, exponents, half_lives, anchor, irreducible
        )
    n = samples_seen[..., None]
    log_data = log_effective_samples(n, size, half_lives, form)
    weighted = weights * exponents
    slope = weighted.sum(axis=-1)
    power = (weighted * log_data).sum(axis=-1)
    error = np.exp(power - slope * np.log(anchor))
    if form == "code":
        log_first = np.log(np.minimum(samples_seen, size))
        return np.asarray(error + np.asarray(irreducible) * np.exp(power - slope * log_first))
    return np.asarray(error + np.asarray(irreducible))


def _effective_data_mixture(
    samples_seen: Floats,
    size: float,
    weights: Floats,
    exponents: Floats,
    half_lives: Floats,
    anchor: ArrayLike,
    irreducible: ArrayLike,
) -> Floats:
    """Apply epoch by epoch b_eff(k) = sum w b delta^k / sum w delta^k to the mixture's effective samples."""
    epochs = samples_seen / size
    decay = np.exp2(-1.0 / half_lives)
    share = np.broadcast_to(weights, np.broadcast_shapes(weights.shape, decay.shape)).copy()
    data = np.minimum(epochs, 1.0) * share.sum(axis=-1)
    power = (share * exponents).sum(axis=-1) * (np.log(data * size) - np.log(anchor))
    for finished in range(1, int(np.ceil(epochs.max() - 1e-9))):
        share *= decay
        total = share.sum(axis=-1)
        more = data + np.clip(epochs - finished, 0.0, 1.0) * total
        # A half-life far below an epoch leaves no weight at all; any exponent will do then.
        mean_exponent = (share * exponents).sum(axis=-1) / np.maximum(total, np.finfo(float).tiny)
        power = power + mean_exponent * np.log(more / data)
        data = more
    return np.asarray(np.exp(power) + np.asarray(irreducible))

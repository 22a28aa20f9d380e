"""Published laws of model size, data and compute, for comparison and for companion fits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from scaling_laws.effective_data import Floats


@dataclass(frozen=True)
class PowerLaw:
    """y = scale x^exponent + irreducible.

    ``scale`` is in the unit of y times that of x to the power ``-exponent``; ``exponent`` < 0.
    """

    scale: float
    exponent: float
    irreducible: float = 0.0

    def predict(self, x: ArrayLike) -> Floats:
        """Return y for positive ``x``, same shape."""
        return np.asarray(self.scale * np.asarray(x, float) ** self.exponent + self.irreducible)


@dataclass(frozen=True)
class FrontierLaw:
    """The least error that compute C buys: y = 10^intercept C^exponent (Cherti et al. 2022, 2212.07143)."""

    exponent: float
    intercept: float

    def predict(self, compute: ArrayLike) -> Floats:
        """Return the error at ``compute`` (in the unit of the fit), same shape."""
        return np.asarray(10.0**self.intercept * np.asarray(compute, float) ** self.exponent)


@dataclass(frozen=True)
class ChinchillaLaw:
    """L = E + A/N^alpha + B/D^beta (Hoffmann et al. 2022, arXiv 2203.15556, equation 2).

    Losses in nats per token; N in parameters, D in tokens.
    """

    model_scale: float
    data_scale: float
    irreducible: float
    model_exponent: float
    data_exponent: float

    def predict(self, n_parameters: ArrayLike, n_tokens: ArrayLike) -> Floats:
        """Return the loss for N parameters and D fresh tokens, broadcast together."""
        size, tokens = np.asarray(n_parameters, float), np.asarray(n_tokens, float)
        return np.asarray(
            self.irreducible
            + self.model_scale / size**self.model_exponent
            + self.data_scale / tokens**self.data_exponent
        )

    @property
    def optimal_size_exponent(self) -> float:
        """beta/(alpha + beta): the compute-optimal number of parameters grows as compute to this power."""
        return self.data_exponent / (self.model_exponent + self.data_exponent)

    def optimal_parameters(self, n_tokens: ArrayLike) -> Floats:
        """Return the N for which ``n_tokens`` is the compute-optimal amount of data: G (G D)^{beta/alpha}."""
        balance = (self.model_exponent * self.model_scale) / (self.data_exponent * self.data_scale)
        g = balance ** (1.0 / (self.model_exponent + self.data_exponent))
        return np.asarray(g * (g * np.asarray(n_tokens, float)) ** (self.data_exponent / self.model_exponent))


@dataclass(frozen=True)
class DataConstrainedLaw:
    """L = E + A/N'^alpha + B/D'^beta (Muennighoff et al. 2023, arXiv 2305.16264, equations 5 to 7).

    D' = U + U R_D*(1 - e^{-R_D/R_D*}) with R_D repeats of U unique tokens, and N' alike with U_N the size
    that is compute-optimal for U. An infinite constant means that excess costs nothing.
    """

    base: ChinchillaLaw
    data_repeats: float = np.inf
    model_repeats: float = np.inf

    def predict(self, n_parameters: ArrayLike, n_tokens: ArrayLike, unique_tokens: ArrayLike) -> Floats:
        """Return the loss for N parameters, D tokens seen and U unique ones, broadcast together."""
        size, tokens = np.asarray(n_parameters, float), np.asarray(n_tokens, float)
        unique = np.minimum(np.asarray(unique_tokens, float), tokens)
        useful_size = np.minimum(self.base.optimal_parameters(unique), size)
        return self.base.predict(
            saturated(size, useful_size, self.model_repeats), saturated(tokens, unique, self.data_repeats)
        )


def saturated(amount: ArrayLike, useful: ArrayLike, constant: ArrayLike) -> Floats:
    """Return U + U R*(1 - e^{-R/R*}) with R = max(amount/U - 1, 0), U ``useful`` and R* ``constant``."""
    total, unique, scale = np.broadcast_arrays(*(np.asarray(v, float) for v in (amount, useful, constant)))
    repeats = np.maximum(total / unique - 1.0, 0.0)
    with np.errstate(invalid="ignore"):
        excess = np.where(np.isinf(scale), repeats, -scale * np.expm1(-repeats / scale))
    return np.asarray(unique * (1.0 + excess))


@dataclass(frozen=True)
class OvertrainingLaw:
    """L = a N^p + c 6^{p/2} (M N)^p + E (Gadre et al. 2024, arXiv 2403.08540, equation 4).

    N parameters trained on M tokens per parameter; p < 0, losses in nats per token.
    """

    model_scale: float
    data_scale: float
    exponent: float
    irreducible: float

    def predict(self, n_parameters: ArrayLike, tokens_per_parameter: ArrayLike) -> Floats:
        """Return the loss for N parameters and M tokens per parameter, broadcast together."""
        size, multiplier = np.asarray(n_parameters, float), np.asarray(tokens_per_parameter, float)
        basis = overtraining_basis(size, multiplier, self.exponent)
        return np.asarray(self.model_scale * basis[0] + self.data_scale * basis[1] + self.irreducible)


def overtraining_basis(size: Floats, multiplier: Floats, exponent: float) -> tuple[Floats, Floats]:
    """Return the two power terms of the over-training law, N^p and 6^{p/2} (M N)^p."""
    return size**exponent, 6.0 ** (exponent / 2) * (multiplier * size) ** exponent

"""Laws of one pool: the error of a model after n samples of U unique ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike

from scaling_laws.effective_data import Floats, Form, log_effective_samples


def error_from_utility(
    form: Form,
    log_data: Floats,
    log_first_pass: Floats,
    exponent: ArrayLike,
    log_anchor: ArrayLike,
    irreducible: ArrayLike,
) -> Floats:
    """Return the error (n/n0)^b + d in effective samples, for one pool.

    ``log_data`` is log X and ``log_first_pass`` its part from the first epoch; only the form ``code`` uses
    the second, because there the later epochs multiply the irreducible error too.
    """
    b, d = np.asarray(exponent, float), np.asarray(irreducible, float)
    error = np.exp(b * (log_data - np.asarray(log_anchor, float)))
    if form == "code":
        return np.asarray(error + d * np.exp(b * (log_data - log_first_pass)))
    return np.asarray(error + d)


@dataclass(frozen=True)
class PoolLaw(ABC):
    """The common part of the three laws of one pool.

    Parameters
    ----------
    exponent
        b < 0: the utility of a fresh sample (dimensionless).
    half_life
        tau > 0 in epochs, or ``inf``: repetition costs nothing.
    anchor
        n0 > 0 in samples: the samples at which the power term is 1, so that no parameter depends on a unit.
        Below it the order of the pools is an artefact of the law.
    irreducible
        d >= 0, in the unit of the error.
    """

    exponent: float
    half_life: float
    anchor: float
    irreducible: float = 0.0

    def __post_init__(self) -> None:
        if not self.exponent < 0:
            raise ValueError(f"exponent must be negative, got {self.exponent}: error falls with samples seen")
        if not self.half_life > 0:
            raise ValueError(f"half_life must be positive (in epochs, inf allowed), got {self.half_life}")
        if not (self.anchor > 0 and np.isfinite(self.anchor)):
            raise ValueError(f"anchor must be a positive number of samples, got {self.anchor}")
        if not self.irreducible >= 0:
            raise ValueError(f"irreducible must not be negative, got {self.irreducible}")

    @property
    @abstractmethod
    def law_form(self) -> Form:
        """The form's name; see `scaling_laws.effective_data`."""

    def predict(self, samples_seen: ArrayLike, pool_size: ArrayLike) -> Floats:
        """Return the error after ``samples_seen`` samples of a pool of ``pool_size`` unique ones.

        Both in samples, broadcast together; the result has their shape and the unit of the error.
        Below the anchor the value exceeds 1 + irreducible.

        Raises
        ------
        ValueError
            If a number of samples or a pool size is not positive.
        """
        n, size = np.asarray(samples_seen, float), np.asarray(pool_size, float)
        if not (np.all(n > 0) and np.all(size > 0)):
            raise ValueError("samples_seen and pool_size must be positive")
        return error_from_utility(
            self.law_form,
            log_effective_samples(n, size, self.half_life, self.law_form),
            np.log(np.minimum(n, size)),
            self.exponent,
            np.log(self.anchor),
            self.irreducible,
        )

    def effective_samples(self, samples_seen: ArrayLike, pool_size: ArrayLike) -> Floats:
        """Return how many fresh samples the repeated ones are worth, in samples."""
        return np.exp(log_effective_samples(samples_seen, pool_size, self.half_life, self.law_form))

    def with_half_life(self, half_life: float) -> Self:
        """Return the same law with another half-life (epochs); a subsampled or mixed pool has another one."""
        return replace(self, half_life=half_life)


@dataclass(frozen=True)
class RepetitionLaw(PoolLaw):
    """The repetition-aware utility law of Goyal et al. 2024 (arXiv 2404.07177), section 3.

    The utility of a sample halves every ``half_life`` epochs: in epoch j the error falls with the exponent
    b 2^{-(j-1)/tau}. ``form="paper"`` (the default, QQT) keeps the irreducible error out of the product
    over epochs; ``form="code"`` is the authors' published code, which does not, and is here for comparison.
    """

    form: Literal["paper", "code"] = "paper"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.form not in ("paper", "code"):
            raise ValueError(f"form must be 'paper' or 'code', got {self.form!r}")

    @property
    def law_form(self) -> Form:
        """``paper`` or ``code``."""
        return self.form


@dataclass(frozen=True)
class EffectiveDataLaw(PoolLaw):
    """(D'/n0)^b + d with D' = sum_k n_k 2^{-k/tau}, the second objective in the code of 2404.07177."""

    @property
    def law_form(self) -> Form:
        """``effective_data``."""
        return "effective_data"


@dataclass(frozen=True)
class SaturatingDataLaw(PoolLaw):
    """(D'/n0)^b + d with D' = U + U R*(1 - e^{-R/R*}), R = max(n/U - 1, 0).

    Muennighoff et al. 2023 (arXiv 2305.16264), equation 5, for one model size. ``half_life`` holds R*, the
    number of repetitions after which a sample is worth 1/e of a fresh one.
    """

    @property
    def law_form(self) -> Form:
        """``saturating``."""
        return "saturating"


def make_pool_law(
    form: Form, exponent: float, half_life: float, anchor: float, irreducible: float = 0.0
) -> PoolLaw:
    """Return the law of that form; parameters as `PoolLaw`."""
    if form == "effective_data":
        return EffectiveDataLaw(exponent, half_life, anchor, irreducible)
    if form == "saturating":
        return SaturatingDataLaw(exponent, half_life, anchor, irreducible)
    return RepetitionLaw(exponent, half_life, anchor, irreducible, form)

"""The laws of several pools as arrays: one fit, or many draws of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from scaling_laws.effective_data import Floats, Form, log_effective_samples
from scaling_laws.mixtures import Pool
from scaling_laws.pool_laws import error_from_utility, make_pool_law


@dataclass(frozen=True)
class MeasuredRange:
    """What the runs cover: samples seen (least and most) and the most epochs of any pool."""

    least_samples: float
    most_samples: float
    most_epochs: float

    @classmethod
    def of_runs(cls, runs: pd.DataFrame) -> MeasuredRange:
        """Return the range of a checked table of runs."""
        seen = runs["samples_seen"]
        return cls(float(seen.min()), float(seen.max()), float((seen / runs["pool_size"]).max()))


@dataclass(frozen=True)
class FittedPools:
    """Laws of ``n_pools`` pools that share anchor and irreducible error.

    Parameters
    ----------
    names
        The pools, in order.
    sizes
        Unique samples, shape (n_pools,).
    form
        The laws' form.
    exponents, half_lives
        b and tau (epochs), shape (n_pools,), or (n_draws, n_pools) for draws.
    anchor, irreducible
        n0 (samples) and d, shape () or (n_draws,).
    measured
        The range of the runs behind the fit, if known; `choose` refuses outside it.
    """

    names: tuple[str, ...]
    sizes: Floats
    form: Form
    exponents: Floats
    half_lives: Floats
    anchor: Floats
    irreducible: Floats
    measured: MeasuredRange | None = None

    @classmethod
    def from_pools(cls, pools: Sequence[Pool], measured: MeasuredRange | None = None) -> FittedPools:
        """Return the arrays of given pools.

        Raises
        ------
        ValueError
            If no pool is given, names repeat, or forms, anchors or irreducible errors differ.
        """
        if not pools:
            raise ValueError("no pools given")
        names = tuple(pool.name for pool in pools)
        if len(set(names)) < len(names):
            raise ValueError(f"pool names must differ, got {', '.join(names)}")
        laws = [pool.law for pool in pools]
        if len({(law.law_form, law.anchor, law.irreducible) for law in laws}) > 1:
            raise ValueError("pools must share form, anchor and irreducible error; fit them together")
        return cls(
            names,
            np.array([pool.size for pool in pools], float),
            laws[0].law_form,
            np.array([law.exponent for law in laws]),
            np.array([law.half_life for law in laws]),
            np.asarray(laws[0].anchor),
            np.asarray(laws[0].irreducible),
            measured,
        )

    @property
    def n_pools(self) -> int:
        """Number of pools."""
        return len(self.names)

    @property
    def n_draws(self) -> int:
        """Number of draws; 1 for a single fit."""
        return len(np.atleast_2d(self.exponents))

    def take(self, draw: int) -> FittedPools:
        """Return one draw as a single fit."""
        return replace(
            self,
            exponents=self.exponents[draw],
            half_lives=self.half_lives[draw],
            anchor=np.asarray(self.anchor[draw]),
            irreducible=np.asarray(self.irreducible[draw]),
        )

    def pool(self, name: str) -> Pool:
        """Return one pool of a single fit.

        Raises
        ------
        KeyError
            If there is no such pool.
        """
        if name not in self.names:
            raise KeyError(f"no pool {name!r}; there are {', '.join(self.names)}")
        index = self.names.index(name)
        return Pool(
            name,
            float(self.sizes[index]),
            make_pool_law(
                self.form,
                float(self.exponents[index]),
                float(self.half_lives[index]),
                float(self.anchor),
                float(self.irreducible),
            ),
        )

    def pools(self) -> list[Pool]:
        """Return all pools of a single fit."""
        return [self.pool(name) for name in self.names]

    def predict_draws(self, name: str, samples_seen: float) -> Floats:
        """Return the error of one pool alone under every draw, shape (n_draws,)."""
        index = self.names.index(name)
        size = float(self.sizes[index])
        n = np.full(self.n_draws, samples_seen)
        return error_from_utility(
            self.form,
            log_effective_samples(n, size, self.half_lives[:, index], self.form),
            np.log(np.minimum(n, size)),
            self.exponents[:, index],
            np.log(self.anchor),
            self.irreducible,
        )

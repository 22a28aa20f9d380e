"""What a budget could be spent on: single pools, mixtures, and parts of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from scaling_laws.effective_data import Floats
from scaling_laws.fitted_pools import FittedPools

CandidateKind = Literal["pools", "prefixes", "subsets"]
MOST_POOLS_FOR_SUBSETS = 12


@dataclass(frozen=True)
class Candidates:
    """Mixtures to choose from.

    Parameters
    ----------
    names
        One per candidate, shape (n_candidates,).
    keep_ratios
        Share of each pool that is kept, in [0, 1], shape (n_candidates, n_pools); no row is all zero.
    sizes
        Unique samples of each candidate, shape (n_candidates,).
    """

    names: tuple[str, ...]
    keep_ratios: Floats
    sizes: Floats

    def __len__(self) -> int:
        return len(self.names)

    def pick(self, rows: Sequence[int]) -> Candidates:
        """Return some of the candidates."""
        kept = list(rows)
        return Candidates(tuple(self.names[i] for i in kept), self.keep_ratios[kept], self.sizes[kept])

    def members(self, candidate: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
        """Return the indices of the candidate's pools."""
        return np.flatnonzero(self.keep_ratios[candidate])


def make_candidates(
    pools: FittedPools,
    kind: CandidateKind | Sequence[Mapping[str, float]] = "subsets",
    keep_ratios: Sequence[float] = (1.0,),
) -> Candidates:
    """Return the candidates of a kind.

    Parameters
    ----------
    pools
        A single fit (not draws).
    kind
        ``pools``: every pool alone; ``prefixes``: the best pool, the best two, ... by exponent, as in
        2404.07177; ``subsets``: every union; or a list of ``{pool: keep ratio}``.
    keep_ratios
        Random parts of every candidate to consider as well, each in (0, 1].

    Raises
    ------
    ValueError
        For subsets of more than 12 pools, unknown pools, or keep ratios outside (0, 1].
    """
    if not isinstance(kind, str):
        rows = _from_mappings(pools, kind)
    elif kind == "pools":
        rows = np.eye(pools.n_pools)
    elif kind == "prefixes":
        order = np.argsort(pools.exponents, kind="stable")
        rows = np.zeros((pools.n_pools, pools.n_pools))
        rows[:, order] = np.tri(pools.n_pools)
    elif kind == "subsets":
        if pools.n_pools > MOST_POOLS_FOR_SUBSETS:
            raise ValueError(
                f"{pools.n_pools} pools have {2**pools.n_pools - 1} subsets; use kind='prefixes', "
                f"or at most {MOST_POOLS_FOR_SUBSETS} pools"
            )
        rows = _all_subsets(pools.n_pools)
    else:
        raise ValueError(
            f"unknown kind of candidates {kind!r}: pools, prefixes, subsets or a list of mappings"
        )
    ratios = np.asarray(keep_ratios, float)
    if not ((ratios > 0) & (ratios <= 1)).all():
        raise ValueError(f"keep ratios must lie in (0, 1], got {', '.join(map(str, keep_ratios))}")
    rows = (rows[:, None] * ratios[:, None]).reshape(-1, pools.n_pools)
    return Candidates(tuple(_name(pools.names, row) for row in rows), rows, rows @ pools.sizes)


def _all_subsets(n_pools: int) -> Floats:
    """Return one row per non-empty subset, small ones first."""
    rows = np.zeros((2**n_pools - 1, n_pools))
    position = 0
    for size in range(1, n_pools + 1):
        for members in combinations(range(n_pools), size):
            rows[position, list(members)] = 1.0
            position += 1
    return rows


def _from_mappings(pools: FittedPools, mappings: Sequence[Mapping[str, float]]) -> Floats:
    rows = np.zeros((len(mappings), pools.n_pools))
    for row, mapping in zip(rows, mappings, strict=True):
        for name, ratio in mapping.items():
            if name not in pools.names:
                raise ValueError(f"no pool {name!r}; there are {', '.join(pools.names)}")
            if not 0 < ratio <= 1:
                raise ValueError(f"keep ratio of {name!r} must lie in (0, 1], got {ratio}")
            row[pools.names.index(name)] = ratio
        if not mapping:
            raise ValueError("a candidate without pools: name at least one")
    return rows


def _name(names: tuple[str, ...], row: Floats) -> str:
    members = [(name, ratio) for name, ratio in zip(names, row, strict=True) if ratio]
    ratios = {ratio for _, ratio in members}
    if len(ratios) == 1:
        joined = " + ".join(name for name, _ in members)
        ratio = ratios.pop()
        if ratio == 1:
            return joined
        return f"{ratio:g} of ({joined})" if len(members) > 1 else f"{ratio:g} of {joined}"
    return " + ".join(name if ratio == 1 else f"{ratio:g} of {name}" for name, ratio in members)

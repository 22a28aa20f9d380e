"""How many samples each group may keep: exact projections onto a capped simplex, without a solver."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def project(target: ArrayLike, lower: ArrayLike, upper: ArrayLike, total: float) -> NDArray[np.float64]:
    """Return the point nearest to `target` between two bounds whose parts add up to `total`, shape (k,).

    The least of ½ Σ (x - target)² with lower ≤ x ≤ upper and Σ x = total. By its Karush-Kuhn-Tucker
    conditions x = clip(target + λ, lower, upper) for one number λ, at which a piecewise linear sum meets the
    total (the continuous quadratic knapsack problem; Helgason, Kennington and Lall 1980). O(k log k), without
    a tolerance.

    Parameters
    ----------
    target, lower, upper
        Shape (k,).
    total
        What the parts add up to.

    Raises
    ------
    ValueError
        When a number is not finite, bounds cross, or no point has this total.
    """
    b, low, high = _checked(target, lower, upper, total)
    return np.clip(b + shift(b, low, high, total), low, high)


def shift(target: ArrayLike, lower: ArrayLike, upper: ArrayLike, total: float) -> float:
    """Return the λ of `project`: by how much the parts that are not at a bound lie above their target."""
    b, low, high = _checked(target, lower, upper, total)

    def parts(moved: float) -> NDArray[np.float64]:
        return np.clip(b + moved, low, high)

    begins, ends = low - b, high - b
    place = _last_not_above(np.concatenate([begins, ends]), parts, total)
    free = (begins <= place) & (place < ends)  # by the same numbers: b + place may round to below high
    missing = total - parts(place).sum()
    return float(place + missing / free.sum()) if free.any() else place


def scale(target: ArrayLike, lower: ArrayLike, upper: ArrayLike, total: float) -> float:
    """Return the α with which Σ clip(α target, lower, upper) = total: filling in proportion to the target.

    Raises
    ------
    ValueError
        As in `project`, and when a target is not above 0.
    """
    b, low, high = _checked(target, lower, upper, total)
    if len(b) and b.min() <= 0:
        raise ValueError(f"proportional filling needs targets above 0; the least is {b.min():g}")

    def parts(moved: float) -> NDArray[np.float64]:
        return np.clip(b * moved, low, high)

    with np.errstate(over="ignore"):
        place = _last_not_above(np.concatenate([low / b, high / b]), parts, total)
        free = (low / b <= place) & (place < high / b)
    missing = total - parts(place).sum()
    return float(place + missing / b[free].sum()) if free.any() else place


def _last_not_above(
    places: NDArray[np.float64], parts: Callable[[float], NDArray[np.float64]], total: float
) -> float:
    """Return the last of the places, where parts begin and stop to grow, at which they add up to no more."""
    if not len(places):
        return 0.0
    order = np.unique(places[np.isfinite(places)])
    below, above = 0, len(order)  # the sum never falls, so halving finds the place
    while above - below > 1:
        middle = (below + above) // 2
        below, above = (middle, above) if parts(order[middle]).sum() <= total else (below, middle)
    return float(order[below])


def whole_numbers(
    target: NDArray[np.float64], lower: NDArray[np.int64], upper: NDArray[np.int64], total: int
) -> NDArray[np.int64]:
    """Return the integers nearest to `target` between two bounds that add up to `total`, shape (k,).

    The exact optimum of ½ Σ (n - target)², found from `project`: every part is rounded down, and what is
    missing goes to the parts with the largest fractions, the first of equals first.
    """
    return round_shares(target + shift(target, lower, upper, total), lower, upper, total)


def round_shares(
    wanted: NDArray[np.float64], lower: NDArray[np.int64], upper: NDArray[np.int64], total: int
) -> NDArray[np.int64]:
    """Return whole numbers next to real ones, within bounds, that add up to `total`, shape (k,)."""
    counts = np.clip(np.floor(wanted), lower, upper).astype(np.int64)
    fraction = wanted - np.floor(wanted)
    missing = int(total - counts.sum())
    while missing > 0:  # once, but for round-off of wanted
        able = np.flatnonzero((counts < upper) & (wanted >= lower))
        able = able if len(able) else np.flatnonzero(counts < upper)
        first = able[np.argsort(-fraction[able], kind="stable")[:missing]]
        counts[first] += 1
        missing -= len(first)
    while missing < 0:
        able = np.flatnonzero(counts > lower)
        first = able[np.argsort(fraction[able], kind="stable")[:-missing]]
        counts[first] -= 1
        missing += len(first)
    return counts


def _checked(
    target: ArrayLike, lower: ArrayLike, upper: ArrayLike, total: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    b, low, high = (np.asarray(values, np.float64) for values in (target, lower, upper))
    if not b.shape == low.shape == high.shape or b.ndim != 1:
        raise ValueError(f"target {b.shape}, lower {low.shape} and upper {high.shape} should be alike: (k,)")
    for name, values in (("target", b), ("lower", low), ("upper", high)):
        if not np.isfinite(values).all():
            raise ValueError(f"{name} is not finite in group {_list(~np.isfinite(values))}")
    if (low > high).any():
        raise ValueError(f"the lower bound is above the upper one in group {_list(low > high)}")
    if not low.sum() <= total <= high.sum():
        raise ValueError(
            f"a total of {total:,.10g} can't be had: the lower bounds add up to {low.sum():,.10g} and the "
            f"upper ones to {high.sum():,.10g}"
        )
    return b, low, high


def _list(bad: NDArray[Any]) -> str:
    places = np.flatnonzero(bad)
    return ", ".join(str(place) for place in places[:5]) + (", …" if len(places) > 5 else "")

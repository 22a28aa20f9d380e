"""Put scores on a common scale over a pool of any size: z-scores, ranks, or least to greatest.

What is measured adds up exactly, so neither the cut of the pool nor the order of merging changes a bit.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filters.radix_select import DIGIT_VALUES, ordered_bits, scores_of_bits

RANK_STEPS = 2048  # ranks are exact to this part of the pool, and closer where scores lie smoothly
_CUTS = 256  # of a bin that holds more than that
_EXPONENTS, _MANTISSA = 256, 23  # of a float32


class Scale(ABC):
    """A scale for one score: measured in passes, merged in any order, then applied.

    Scores are float32, shape (n,), all finite. States are JSON values, and `{}` before the first pass.
    """

    @abstractmethod
    def measure(self, score: NDArray[np.float32], state: dict[str, Any]) -> NDArray[np.int64]:
        """Return what some of the pool's scores add, of a fixed shape."""

    def merge(self, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return two measurements as one."""
        return a + b

    @abstractmethod
    def advance(self, state: dict[str, Any], part: NDArray[np.int64]) -> dict[str, Any]:
        """Return the next state; `ValueError` where there is nothing to scale by."""

    def finished(self, state: dict[str, Any]) -> bool:
        """Tell whether the scale is known."""
        return bool(state)

    @abstractmethod
    def apply(self, score: NDArray[np.float32], state: dict[str, Any]) -> NDArray[np.float64]:
        """Return the scaled scores, shape (n,)."""


class ZScore(Scale):
    """(score - mean) / standard deviation, both of the whole pool, from exact sums.

    A float32 is an integer of 24 bits times a power of two, so the sums of the integers, exponent by
    exponent, are exact; squares of 48 bits are added as two halves. They hold for 2^39 samples.
    """

    def measure(self, score: NDArray[np.float32], state: dict[str, Any]) -> NDArray[np.int64]:
        """Return counts, sums, and both halves of the sums of squares by exponent, flat (4, 256)."""
        bits = np.asarray(score, np.float32).view(np.uint32)
        exponent = (bits >> _MANTISSA & 0xFF).astype(np.int64)
        size = (bits & 0x7FFFFF).astype(np.int64) | np.where(exponent > 0, 1 << _MANTISSA, 0)
        value = np.where(bits >> 31, -size, size)
        square = size * size
        parts = [np.ones_like(size), value, square >> 24, square & 0xFFFFFF]
        sums = [np.bincount(exponent, part, _EXPONENTS) for part in parts]  # whole numbers below 2^53
        return np.concatenate(sums).astype(np.int64)

    def advance(self, state: dict[str, Any], part: NDArray[np.int64]) -> dict[str, Any]:
        """Return the number of samples, their mean and their (population) standard deviation."""
        count, value, high, low = part.reshape(4, _EXPONENTS).tolist()
        n = sum(count)
        if not n:
            raise ValueError("no sample has it")
        unit = [Fraction(2) ** (max(exponent, 1) - 150) for exponent in range(_EXPONENTS)]
        mean = sum((v * u for v, u in zip(value, unit, strict=True)), Fraction()) / n
        squares = (((h << 24) + w) * u * u for h, w, u in zip(high, low, unit, strict=True))
        variance = sum(squares, Fraction()) / n - mean**2
        if variance == 0:
            raise ValueError(f"all {n:,} samples have the same value, {float(mean):g}")
        return {"n": n, "mean": float(mean), "std": math.sqrt(variance)}

    def apply(self, score: NDArray[np.float32], state: dict[str, Any]) -> NDArray[np.float64]:
        """Return how many standard deviations each score lies above the mean."""
        mean, std = float(state["mean"]), float(state["std"])
        return (score.astype(np.float64) - mean) / std


class MinMax(Scale):
    """(score - least) / (greatest - least)."""

    def measure(self, score: NDArray[np.float32], state: dict[str, Any]) -> NDArray[np.int64]:
        """Return the greatest score and the least as ordered bits, the least from above; 0 where none is."""
        bits = ordered_bits(score).astype(np.int64)
        ends = [bits.max(initial=0), (0xFFFFFFFF - bits).max(initial=0)]
        return np.array(ends, np.int64)

    def merge(self, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the further ends."""
        return np.maximum(a, b)

    def advance(self, state: dict[str, Any], part: NDArray[np.int64]) -> dict[str, Any]:
        """Return the least and the greatest score."""
        greatest, least = scores_of_bits(np.array([part[0], 0xFFFFFFFF - part[1]])).tolist()
        if not part.any():
            raise ValueError("no sample has it")
        if least == greatest:
            raise ValueError(f"all samples have the same value, {least:g}")
        return {"least": least, "greatest": greatest}

    def apply(self, score: NDArray[np.float32], state: dict[str, Any]) -> NDArray[np.float64]:
        """Return where each score lies between the least (0) and the greatest (1)."""
        least, greatest = float(state["least"]), float(state["greatest"])
        return (score.astype(np.float64) - least) / (greatest - least)


class Rank(Scale):
    """The share of the pool below a score, those with the very same score counted half.

    A histogram of the first 16 of a score's ordered bits is cut finer, in two more passes, wherever a bin
    holds more than 1/2,048 of the pool. Between the bins' edges ranks are interpolated: they are exact for
    scores that fill a bin, and in pools of up to 2,048 samples; else they are off by less than 1/2,048.
    """

    def measure(self, score: NDArray[np.float32], state: dict[str, Any]) -> NDArray[np.int64]:
        """Return a histogram: over all bits at first, then inside the bins that are cut finer."""
        bits = ordered_bits(score).astype(np.int64)
        if not state:
            return np.bincount(bits >> 16, minlength=DIGIT_VALUES)
        low, _ = _pairs(state["open"])
        inside = np.searchsorted(low, bits, "right") - 1
        away = bits - low[inside]
        found = (inside >= 0) & (away < state["width"])
        bins = inside * _CUTS + away // (state["width"] // _CUTS)
        return np.bincount(bins[found], minlength=_CUTS * len(low))

    def advance(self, state: dict[str, Any], part: NDArray[np.int64]) -> dict[str, Any]:
        """Return the points of the line so far, and which bins are to be cut finer."""
        n = state.get("n", int(part.sum()))
        if not n:
            raise ValueError("no sample has it")
        open_low, open_below = _pairs(state.get("open", [[0, 0]]))
        width = state["width"] // _CUTS if state else 1 << 16
        counts = part.reshape(len(open_low), -1)
        low = (open_low[:, None] + np.arange(counts.shape[1]) * width).ravel()
        above = (open_below[:, None] + np.cumsum(counts, axis=1)).ravel()
        below = above - part
        step = (below * RANK_STEPS // n != above * RANK_STEPS // n) | (below == 0) | (above == n)
        edges = [(low, below), (low + width, above)]
        points = [np.stack(edge, axis=1)[step & (part > 0)] for edge in edges]
        line = np.unique(np.concatenate([_pairs(state.get("line", [])).T, *points]), axis=0)
        heavy = (part * RANK_STEPS > n) & (width > 1)
        still_open = np.stack([low, below], axis=1)[heavy]
        return {"n": n, "width": width, "open": still_open.tolist(), "line": line.tolist()}

    def finished(self, state: dict[str, Any]) -> bool:
        """Tell whether the line is known."""
        return bool(state) and not state["open"]

    def apply(self, score: NDArray[np.float32], state: dict[str, Any]) -> NDArray[np.float64]:
        """Return the ranks, 0 below all and 1 above all others."""
        bits, below = _pairs(state["line"])
        ranks: NDArray[np.float64] = np.interp(ordered_bits(score) + 0.5, bits, below) / state["n"]
        return ranks


def _pairs(rows: list[list[int]]) -> NDArray[np.int64]:
    return np.array(rows, np.int64).reshape(-1, 2).T

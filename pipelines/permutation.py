"""A random order of any number of samples that nobody has to hold: each place is computed by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 8


@dataclass(frozen=True)
class Permutation:
    """A seeded one-to-one map of 0 … n - 1 onto itself: a Feistel network over the next even number of bits.

    Places beyond n are mapped again until they fall below it (cycle walking; Black and Rogaway 2002).
    """

    n: int
    seed: int

    def __call__(self, index: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """Return the place of each index, int64 of the same shape."""
        half = np.uint64(max(1, (max(1, self.n - 1).bit_length() + 1) // 2))
        place = self._network(np.asarray(index, np.uint64), half)
        while (outside := place >= np.uint64(max(1, self.n))).any():
            place[outside] = self._network(place[outside], half)
        return place.astype(np.int64)

    def _network(self, values: NDArray[np.uint64], half: np.uint64) -> NDArray[np.uint64]:
        mask = (np.uint64(1) << half) - np.uint64(1)
        left, right = values >> half, values & mask
        for number in range(_ROUNDS):
            key = np.uint64((self.seed * 0x9E3779B97F4A7C15 + number * 0xD1B54A32D192ED03) % (1 << 64))
            left, right = right, left ^ (_mixed(right ^ key) & mask)
        return (left << half) | right


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return a 64-bit hash of each value (the finalizer of SplitMix64; Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))

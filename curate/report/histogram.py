"""Counts of a number over a pool, kept and dropped, fine enough to be drawn at any range."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FINE = 4096
_TAIL = 0.001  # of the samples that may lie outside what is drawn, on either side


@dataclass(frozen=True)
class Scale:
    """From where to where a number goes, and in which steps.

    Attributes
    ----------
    low, high
        Smaller and greater numbers count as these.
    log
        Whether steps are ratios.
    whole
        Whether the numbers are whole: a step is then at least 1.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    @property
    def edges(self) -> NDArray[np.float64]:
        """The borders between steps, shape (n + 1,)."""
        if self.log:
            return np.geomspace(self.low, self.high, _FINE + 1)
        if self.whole:
            return np.arange(self.low, self.high + 2) - 0.5
        return np.linspace(self.low, self.high, _FINE + 1)

    def steps(self, values: NDArray[Any]) -> NDArray[np.int64]:
        """Return the step in which each of some finite numbers lies."""
        edges = self.edges
        return np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)


@dataclass
class Histogram:
    """How many samples of each step were kept and dropped; `missing` had no number."""

    scale: Scale
    counts: NDArray[np.int64] = field(init=False)
    missing: int = 0

    def __post_init__(self) -> None:
        self.counts = np.zeros((2, len(self.scale.edges) - 1), np.int64)

    def add(self, values: NDArray[Any], kept: NDArray[np.bool_]) -> None:
        """Count the samples of a shard."""
        there = np.isfinite(values)
        self.missing += int((~there).sum())
        steps = self.scale.steps(values[there])
        for row, mask in enumerate((kept[there], ~kept[there])):
            self.counts[row] += np.bincount(steps[mask], minlength=self.counts.shape[1])

    def drawn(
        self, n_bars: int, include: list[float]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
        """Return edges and counts of at most `n_bars` bars over what matters.

        Parameters
        ----------
        n_bars
            The most bars.
        include
            Numbers that must be in the picture, such as a threshold.
        """
        total = self.counts.sum(0)
        edges = self.scale.edges
        share = np.cumsum(total) / max(1, total.sum())
        first = int(np.searchsorted(share, _TAIL))
        last = min(int(np.searchsorted(share, 1 - _TAIL)), len(total) - 1)
        for step in self.scale.steps(np.array(include, float)).tolist():
            first, last = min(first, step), max(last, step)
        width = max(1, -(-(last + 1 - first) // n_bars))
        n = -(-(last + 1 - first) // width)
        last = min(len(total), first + n * width)
        starts = np.arange(first, last, width)
        # What lies beyond the picture counts in its outermost bars: they add up to all samples.
        counts = np.add.reduceat(self.counts[:, :last], starts, axis=1)
        counts[:, 0] += self.counts[:, :first].sum(1)
        counts[:, -1] += self.counts[:, last:].sum(1)
        return edges[np.append(starts, last)], counts[0], counts[1]

"""Exact top n of every group at once, by histograms: for quotas of many clusters in a pool of any size.

As `radix_select`, with one boundary per group: samples are ranked by (score descending, uid ascending), the
rank is spelled as digits of 16 bits, and each pass counts one digit among the samples that agree with their
group's boundary so far. Counts are kept as (group, digit, number), since most digits never occur.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from filters.radix_select import DIGIT_VALUES, rank_digits

_DIGITS = 10


class Boundaries(BaseModel, frozen=True):
    """How far the search has come in every group.

    `digits` are those of the last kept sample, (n_passes, n_groups), the largest there are once a group is
    decided; `wanted` is how many of the samples that agree with them are kept, and `exact` says that all are.
    """

    digits: list[list[int]]
    wanted: list[int]
    exact: list[bool]

    @property
    def finished(self) -> bool:
        """Whether `keeps` can decide."""
        return all(self.exact) or len(self.digits) == _DIGITS


def start(quota: NDArray[np.integer[Any]]) -> Boundaries:
    """Return the boundaries before the first pass, for the number wanted of each group, shape (n_groups,)."""
    wanted = [int(n) for n in quota]
    return Boundaries(digits=[], wanted=wanted, exact=[n == 0 for n in wanted])


def digits_for(score: NDArray[np.float32], uid: Any, boundaries: Boundaries) -> NDArray[np.uint16]:
    """Return as many digits of each sample's rank as the next pass, or the decision, needs."""
    n_digits = max(1, min(_DIGITS, len(boundaries.digits) + (not boundaries.finished)))
    return rank_digits(score, uid() if n_digits > 2 else (), n_digits)


def count(
    digits: NDArray[np.uint16], group: NDArray[np.integer[Any]], boundaries: Boundaries
) -> NDArray[np.int64]:
    """Return the next digit's counts among the samples that agree, rows (group, digit, number) in order."""
    known = [np.array(of_groups, np.uint16) for of_groups in boundaries.digits]
    agree = ~np.array(boundaries.exact, bool)[group]
    for place, of_groups in enumerate(known):
        agree &= digits[:, place] == of_groups[group]
    key = group[agree].astype(np.int64) * DIGIT_VALUES + digits[agree, len(known)]
    return _rows(*np.unique(key, return_counts=True))


def merge(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return two parts' counts as one."""
    both = np.concatenate([a, b])
    key, place = np.unique(both[:, 0] * DIGIT_VALUES + both[:, 1], return_inverse=True)
    return _rows(key, np.bincount(place, both[:, 2], minlength=len(key)).astype(np.int64))


def narrow(boundaries: Boundaries, counts: NDArray[np.int64]) -> Boundaries:
    """Return the boundaries with one more digit, given the merged counts of the whole pool."""
    wanted, exact = list(boundaries.wanted), list(boundaries.exact)
    new = [DIGIT_VALUES - 1] * len(wanted)
    groups, first = np.unique(counts[:, 0], return_index=True)
    for group, rows in zip(groups.tolist(), np.split(counts, first[1:]), strict=True):
        total = np.cumsum(rows[:, 2])
        place = min(int(np.searchsorted(total, wanted[group])), len(total) - 1)
        new[group] = int(rows[place, 1])
        exact[group] = wanted[group] >= total[place]
        wanted[group] -= int(total[place - 1]) if place else 0
    return Boundaries(digits=[*boundaries.digits, new], wanted=wanted, exact=exact)


def keeps(
    digits: NDArray[np.uint16], group: NDArray[np.integer[Any]], boundaries: Boundaries, quota: NDArray[Any]
) -> NDArray[np.bool_]:
    """Return which samples are kept, shape (n,)."""
    agree = np.asarray(quota)[group] > 0
    keep = np.zeros(len(group), bool)
    for place, of_groups in enumerate(boundaries.digits):
        last = np.array(of_groups, np.uint16)[group]
        keep |= agree & (digits[:, place] < last)
        agree &= digits[:, place] == last
    kept: NDArray[np.bool_] = keep | agree
    return kept


def _rows(key: NDArray[np.int64], number: NDArray[Any]) -> NDArray[np.int64]:
    return np.stack([key // DIGIT_VALUES, key % DIGIT_VALUES, number.astype(np.int64)], 1)

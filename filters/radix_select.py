"""Exact top k of a pool of any size, by histograms: constant memory, no order of the data matters.

Samples are ranked by (score descending, uid ascending). The rank is spelled as digits of 16 bits: two of
the float's ordered bits, eight of the uid. Each pass counts one digit among the samples that agree with the
boundary so far, so a pool needs two passes when no scores tie at the boundary, and a few more when they do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

DIGIT_VALUES = 1 << 16
_SCORE_DIGITS = 2
_DIGITS = _SCORE_DIGITS + 8


class Boundary(BaseModel, frozen=True):
    """How far the search has come: the digits of the last kept sample, as far as they are known.

    `wanted` is how many of the samples that agree with `digits` are kept; `exact` says that all samples up to
    and including `digits` are the ones to keep.
    """

    digits: tuple[int, ...] = ()
    wanted: int = 0
    exact: bool = False

    @property
    def finished(self) -> bool:
        """Whether `keeps` can decide; samples of one score and one uid can't be told apart: all stay."""
        return self.exact or len(self.digits) == _DIGITS


def rank_digits(
    score: NDArray[np.float32], uid: Sequence[str] | NDArray[Any], n_digits: int
) -> NDArray[np.uint16]:
    """Return the first digits of each sample's rank, shape (n, n_digits); lower ranks are better.

    Parameters
    ----------
    score
        Shape (n,), no NaN.
    uid
        Shape (n,), 32 hex digits each; read only where more than the score's digits are asked for.
    n_digits
        How many digits, 1 to 10.
    """
    bits = (np.asarray(score, np.float32) + np.float32(0)).view(np.uint32)  # -0.0 becomes 0.0
    rising = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    falling = (~rising).astype(">u4").view(">u2").reshape(-1, _SCORE_DIGITS)
    if n_digits <= _SCORE_DIGITS:
        return falling[:, :n_digits].astype(np.uint16)
    ids = np.frombuffer(bytes.fromhex("".join(uid)), ">u2").reshape(-1, 8)
    return np.concatenate([falling, ids], axis=1)[:, :n_digits].astype(np.uint16)


def histogram(digits: NDArray[np.uint16], boundary: Boundary) -> NDArray[np.int64]:
    """Count the next digit among the samples that agree with the boundary so far, shape (65536,)."""
    known = len(boundary.digits)
    agree = (digits[:, :known] == np.asarray(boundary.digits, np.uint16)).all(axis=1)
    return np.bincount(digits[agree, known], minlength=DIGIT_VALUES)


def narrow(boundary: Boundary, counts: NDArray[np.int64]) -> Boundary:
    """Return the boundary with one more digit, given the merged histogram of the whole pool."""
    total = np.cumsum(counts)
    if boundary.wanted <= 0 or not len(total) or total[-1] == 0:
        return boundary.model_copy(update={"exact": True})
    digit = int(np.searchsorted(total, min(boundary.wanted, total[-1])))
    before = int(total[digit - 1]) if digit else 0
    return Boundary(
        digits=(*boundary.digits, digit),
        wanted=boundary.wanted - before,
        exact=boundary.wanted >= int(total[digit]),
    )


def keeps(digits: NDArray[np.uint16], boundary: Boundary) -> NDArray[np.bool_]:
    """Return which samples lie at or above the boundary, shape (n,)."""
    keep = np.zeros(len(digits), bool)
    if not boundary.digits:
        return keep  # nothing wanted
    agree = np.ones(len(digits), bool)
    for place, digit in enumerate(boundary.digits):
        keep |= agree & (digits[:, place] < digit)
        agree &= digits[:, place] == digit
    return keep | agree

"""Exact top k of a pool of any size, by histograms: constant memory, no order of the data matters.

Samples are ranked by (score descending, uid ascending). The rank is spelled as digits of 16 bits: the
float's ordered bits (two digits of float32, four of float64), then eight of the uid. Each pass counts one
digit among the samples that agree with the boundary so far, so a pool of float32 scores needs two passes when
no scores tie at the boundary, and a few more when they do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

DIGIT_VALUES = 1 << 16
SCORE_DIGITS = 2  # of a float32
CLOCK_DIGITS = 4  # of a float64
UID_DIGITS = 8


class Boundary(BaseModel, frozen=True):
    """How far the search has come: the digits of the last kept sample, as far as they are known.

    `wanted` is how many of the samples that agree with `digits` are kept; `exact` says that all samples up to
    and including `digits` are the ones to keep. Samples that agree in the first `depth` digits are not told
    apart: with the score's digits alone, all that tie with the last one stay.
    """

    digits: tuple[int, ...] = ()
    wanted: int = 0
    exact: bool = False
    depth: int = SCORE_DIGITS + UID_DIGITS

    @property
    def finished(self) -> bool:
        """Whether `keeps` can decide; samples of one score and one uid can't be told apart: all stay."""
        return self.exact or len(self.digits) == self.depth


def ordered_bits(score: NDArray[np.floating[Any]]) -> NDArray[np.unsignedinteger[Any]]:
    """Return float32 or float64 scores as unsigned integers in the same order; no NaN, -0.0 is 0.0."""
    kind: Any = np.uint32 if score.dtype == np.float32 else np.uint64
    bits: NDArray[Any] = (score + score.dtype.type(0)).view(kind)
    sign = kind(1) << kind(8 * bits.itemsize - 1)
    return np.where(bits & sign, ~bits, bits | sign)


def scores_of_bits(bits: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
    """Return the float32 scores that `ordered_bits` turned into these integers."""
    bits = bits.astype(np.uint32)
    sign = np.uint32(1 << 31)
    return np.where(bits & sign, bits ^ sign, ~bits).view(np.float32)


def rank_digits(
    score: NDArray[np.floating[Any]], uid: Sequence[str] | NDArray[Any], n_digits: int
) -> NDArray[np.uint16]:
    """Return the first digits of each sample's rank, shape (n, n_digits); lower ranks are better.

    Parameters
    ----------
    score
        Shape (n,), float32 (2 digits) or float64 (4), no NaN.
    uid
        Shape (n,), 32 hex digits each; read only where more than the score's digits are asked for.
    n_digits
        How many digits, 1 to the score's and 8.
    """
    falling = ~ordered_bits(score)
    width = falling.itemsize // 2
    falling = falling.astype(falling.dtype.newbyteorder(">")).view(">u2").reshape(-1, width)
    if n_digits <= width:
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
        depth=boundary.depth,
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

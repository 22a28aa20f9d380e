"""Soft cap sampling: draw samples by their score, again and again, each draw making the next less likely.

As in 2503.08805, where s are the scores: until `total` are drawn, draw by softmax(s), then lower the drawn
sample's s by alpha. Drawn one by one, this is a race of exponential clocks: copy k of sample i arrives at

    T_ik = sum over j < k of E_ij exp(alpha j - s_i),    E_ij standard exponential,

and the `total` earliest arrivals are the draws. With E_ij from a hash of seed, uid and j, neither the order
of the samples nor the cut of the pool matters, and one threshold on T, found exactly, decides for all.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, StrictInt, model_validator

from filters.base import Decision, PoolFilter, drop_first_reason
from filters.radix_select import (
    CLOCK_DIGITS,
    UID_DIGITS,
    Boundary,
    histogram,
    keeps,
    narrow,
    ordered_bits,
    rank_digits,
    scores_of_bits,
)

_FOREVER = 1e6  # of ln T, where all copies that there may be are wanted
_MARGIN = 0.1  # of ln T beyond the expected threshold; where it is too little, one more pass goes further


class SoftCap(PoolFilter):
    """Draw a number of samples by score, with repeats: the weight is how often a sample was drawn.

    With alpha 0 and `max_copies` it is hard cap sampling: draws by softmax until a sample has its copies.
    """

    kind = "soft_cap"

    by: str = Field(description="the score; differences of 1 make draws e times likelier, so scale it first")
    total: StrictInt | float = Field(
        gt=0, description="draws, repeats included: a whole number, or times the samples that get here (1.5)"
    )
    alpha: float = Field(0.15, ge=0, allow_inf_nan=False, description="how much each draw lowers the score")
    max_copies: int | None = Field(None, gt=0, description="the most copies of one sample")
    seed: int | None = Field(None, ge=0, description="of the draws; the run's own where none is given")

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if not self.alpha and self.max_copies is None:
            raise ValueError("give an alpha above 0, or max_copies: else one sample may take all draws")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns read by `measure` and `decide`."""
        return (self.by, "uid")

    @property
    def scores(self) -> tuple[str, ...]:
        """The score to draw by."""
        return (self.by,)

    def start(self) -> dict[str, Any]:
        """Return the state before the first pass: nothing known."""
        return {
            "until": None,
            "most": None,
            "boundary": Boundary(depth=CLOCK_DIGITS + UID_DIGITS).model_dump(),
        }

    def finished(self, state: dict[str, Any]) -> bool:
        """Tell whether the last arrival is known."""
        return Boundary(**state["boundary"]).finished

    def measure(self, table: pa.Table, state: dict[str, Any]) -> NDArray[np.int64]:
        """Return one shard's histogram, shape (65536,): of the scores at first, then of arrivals."""
        if state["until"] is None:
            score = self._score(table)
            return np.bincount(ordered_bits(score[np.isfinite(score)]) >> 16, minlength=1 << 16)
        boundary = Boundary(**state["boundary"])
        _, digits = self._draws(table, state, len(boundary.digits) + 1)
        return histogram(digits, boundary)

    def advance(self, state: dict[str, Any], part: NDArray[np.int64]) -> dict[str, Any]:
        """Return the state with the range to look at, then with one more digit of the last arrival.

        Raises
        ------
        ValueError
            When the samples can't give so many copies.
        """
        boundary = Boundary(**state["boundary"])
        if state["until"] is None:
            return self._first_range(boundary, part)
        if not boundary.digits and part.sum() < boundary.wanted:
            return {**state, "until": state["until"] + 1 + abs(state["until"]) / 64}
        return {**state, "boundary": narrow(boundary, part).model_dump()}

    def _first_range(self, boundary: Boundary, part: NDArray[np.int64]) -> dict[str, Any]:
        n = int(part.sum())
        total = self.total if isinstance(self.total, int) else int(np.floor(self.total * n + 0.5))
        if self.max_copies and total > n * self.max_copies:
            raise ValueError(
                f"{n:,} samples of at most {self.max_copies} copies give {n * self.max_copies:,}, "
                f"fewer than the total of {total:,}: lower total or raise max_copies"
            )
        if not n or not total:
            exact = boundary.model_copy(update={"exact": True})
            return {"until": 0.0, "most": 0, "boundary": exact.model_dump()}
        digit = np.flatnonzero(part)
        middle = scores_of_bits((digit << 16) | 0x8000).astype(np.float64)
        until = _log_horizon(middle, part[digit], total, self.alpha, self.max_copies) + _MARGIN
        most = min(total, self.max_copies or total)
        boundary = boundary.model_copy(update={"wanted": total})
        return {"until": until, "most": most, "boundary": boundary.model_dump()}

    def decide(self, table: pa.Table, state: dict[str, Any]) -> Decision:
        """Return how often each row was drawn."""
        boundary = Boundary(**state["boundary"])
        item, digits = self._draws(table, state, max(1, len(boundary.digits)))
        weight = np.bincount(item[keeps(digits, boundary)], minlength=len(table)).astype(np.int32)
        missing = ~np.isfinite(self._score(table))
        reason = drop_first_reason(
            [(f"no_{self.by}", missing), ("not_drawn", weight == 0)], len(table)
        ).reason
        return Decision(weight, reason)

    def _score(self, table: pa.Table) -> NDArray[np.float32]:
        return np.asarray(table[self.by].to_numpy(), np.float32)

    def _draws(
        self, table: pa.Table, state: dict[str, Any], n_digits: int
    ) -> tuple[NDArray[np.int64], NDArray[np.uint16]]:
        """Return the row and the rank's digits of every arrival in the range that is looked at."""
        score, uid = self._score(table).astype(np.float64), table["uid"].to_pylist()
        found = arrivals(score, _uid_halves(uid), self.alpha, self.seed or 0, state["until"], state["most"])
        uids = [uid[n] for n in found.item] if n_digits > CLOCK_DIGITS else ()
        return found.item, rank_digits(-found.log_time, uids, n_digits)


class Arrivals(NamedTuple):
    """Which sample arrived and the logarithm of when; both shape (n_arrivals,)."""

    item: NDArray[np.int64]
    log_time: NDArray[np.float64]


def arrivals(
    scores: NDArray[np.float64],
    ids: NDArray[np.uint64],
    alpha: float,
    seed: int,
    until: float,
    most: int,
) -> Arrivals:
    """Return every copy that arrives up to a time; copies beyond it are never looked at.

    Parameters
    ----------
    scores
        Shape (n,); samples whose score is not finite never arrive.
    ids
        The uids' halves, shape (n, 2).
    alpha
        How much each copy lowers the score.
    seed
        Of all clocks.
    until
        The logarithm of the last time to look at.
    most
        Copies of one sample that are looked at, at most.
    """
    active = np.flatnonzero(np.isfinite(scores))
    log_time = np.full(len(active), -np.inf)
    items, times = [active[:0]], [log_time[:0]]
    for copy in range(most):
        if not len(active):
            break
        log_time = np.logaddexp(log_time, _log_exponential(ids[active], copy, seed) + alpha * copy)
        here = log_time - scores[active] <= until
        active, log_time = active[here], log_time[here]
        items.append(active)
        times.append(log_time - scores[active])
    return Arrivals(np.concatenate(items), np.concatenate(times))


def soft_cap(
    scores: ArrayLike,
    total: int,
    *,
    alpha: float,
    seed: int,
    uids: Any = None,
    max_copies: int | None = None,
) -> NDArray[np.int64]:
    """Return how often each sample is drawn by soft cap sampling, shape (n,); they add up to `total`.

    Parameters
    ----------
    scores
        Shape (n,), as a pool stores them (float32); samples whose score is not finite are never drawn.
    total
        Number of draws, repeats included.
    alpha
        How much each draw lowers a sample's score; 0 with `max_copies` is hard cap sampling.
    seed
        Of the draws: with the uids it decides all of them.
    uids
        Shape (n,), 32 hex digits each, unique; the positions where there are none.
    max_copies
        The most copies of one sample.

    Raises
    ------
    ValueError
        When the samples can't give so many copies.
    """
    score = np.asarray(scores, np.float32)
    uid = [f"{n:032x}" for n in range(len(score))] if uids is None else [str(each) for each in uids]
    if len(uid) != len(score):
        raise ValueError(f"there are {len(score):,} scores and {len(uid):,} uids")
    draw = SoftCap(by="score", total=total, alpha=alpha, seed=seed, max_copies=max_copies)
    table = pa.table({"score": score, "uid": pa.array(uid, pa.string())})
    state: Any = draw.start()
    while not draw.finished(state):
        state = draw.advance(state, draw.measure(table, state))
    return draw.decide(table, state).weight.astype(np.int64)


def soft_cap_mean(
    scores: ArrayLike, total: float, *, alpha: float, max_copies: int | None = None
) -> NDArray[np.float64]:
    """Return about how many copies of each sample soft cap sampling draws on average, shape (n,).

    c_i = ln(1 + (e^alpha - 1) e^s_i tau) / alpha, with tau such that they add up to `total`: exact for the
    mean of e^(alpha c), and within a few per cent for the mean of c.

    Parameters
    ----------
    scores
        Shape (n,), finite.
    total
        Number of draws, repeats included.
    alpha
        How much each draw lowers a sample's score; 0 for none.
    max_copies
        The most copies of one sample; with it the figure is rougher.
    """
    score = np.asarray(scores, np.float64)
    if not np.isfinite(score).all() or not len(score):
        raise ValueError("scores must be finite numbers, at least one")
    log_tau = _log_horizon(score, np.ones(len(score)), total, alpha, max_copies)
    return _mean_copies(score, log_tau, alpha, max_copies)


def _mean_copies(
    score: NDArray[np.float64], log_tau: float, alpha: float, max_copies: int | None
) -> NDArray[np.float64]:
    if alpha:
        copies = np.logaddexp(0, np.log(np.expm1(alpha)) + score + log_tau) / alpha
    else:
        copies = np.exp(np.minimum(score + log_tau, 700))
    bounded: NDArray[np.float64] = copies if max_copies is None else np.minimum(copies, max_copies)
    return bounded


def _log_horizon(
    score: NDArray[np.float64], counts: NDArray[Any], total: float, alpha: float, max_copies: int | None
) -> float:
    """Return the logarithm of the time at which `total` copies are to be expected."""
    from scipy.optimize import brentq  # here, where it is needed: commands should start at once

    top = float(score.max())

    def excess(log_tau: float) -> float:
        return float(counts @ _mean_copies(score - top, log_tau, alpha, max_copies)) - total

    low = high = 0.0
    while excess(low) > 0:
        low = 2 * low - 1
    while excess(high) < 0 and high < _FOREVER:
        high = 2 * high + 1
    found = brentq(excess, low, high, xtol=1e-13) if excess(low) < 0 < excess(high) else high
    return float(found) - top


def _uid_halves(uids: list[str]) -> NDArray[np.uint64]:
    return np.frombuffer(bytes.fromhex("".join(uids)), ">u8").reshape(-1, 2).astype(np.uint64)


def _log_exponential(ids: NDArray[np.uint64], copy: int, seed: int) -> NDArray[np.float64]:
    """Return ln E, E standard exponential, of a hash of id, copy and seed; shape (n,)."""
    mixed = _mix(np.full(len(ids), seed & 0xFFFFFFFFFFFFFFFF, np.uint64))
    for part in (ids[:, 0], ids[:, 1], np.full(len(ids), copy, np.uint64)):
        mixed = _mix(mixed ^ part)
    uniform = ((mixed >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52  # never 0, never 1
    log: NDArray[np.float64] = np.log(-np.log(uniform))
    return log


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return integers that look random: the finalizer of SplitMix64 (Steele et al. 2014)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))

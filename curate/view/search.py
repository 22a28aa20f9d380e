"""Pages of what a query finds in a whole pool, in memory that does not grow with it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from curate.report.axes import Axis, axes_of
from curate.report.choice import Place
from curate.view.match import Matcher
from curate.view.query import NEAR, Query
from curate.view.standing import Standing
from scoring.cores import usable_cores

PER_PAGE = 48
SORTED_AT_ONCE = 50 * PER_PAGE  # what is put in order in one walk; a later page walks again, for more
MOST_SORTED = 100 * SORTED_AT_ONCE  # 240,000: whoever wants more of an order turns it round
_REMEMBERED = 32  # answers
_THREADS = min(4, usable_cores())

Made = TypeVar("Made")


class Found(NamedTuple):
    """How many samples a query finds, those on its page, and how many of them can be leafed through."""

    total: int
    places: list[Place]
    within_reach: int

    @property
    def pages(self) -> int:
        """How many pages there are."""
        return max(1, -(-self.within_reach // PER_PAGE))


@dataclass
class _Answer:
    """What is remembered of a query: counts by shard and, where it sorts, shard and row of the first."""

    counts: NDArray[np.int64]
    first: NDArray[np.int32] | None = None


class Search:
    """Finds samples of a run as it stands; used by several threads."""

    def __init__(self, standing: Standing) -> None:
        self.standing = standing
        self._answers: OrderedDict[tuple[Query, int], _Answer] = OrderedDict()
        self._axes: dict[str, Sequence[Axis]] = {}
        self._lock = threading.Lock()
        self._dear: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
        self._dear_lock = threading.Lock()

    def remember(self, key: tuple[Any, ...], make: Callable[[], Made]) -> Made:
        """Return what is made once for a key and costs a walk over the pool."""
        with self._dear_lock:
            return _remembered(self._dear, key, make)

    def find(self, query: Query) -> Found:
        """Return a page of what a query finds."""
        with self._lock:
            matcher = self._matcher(query)
            first = (query.page - 1) * PER_PAGE
            if not query.sort:
                return self._in_order_of_the_pool(matcher, first)
            wanted = min(MOST_SORTED, -(-(first + PER_PAGE) // SORTED_AT_ONCE) * SORTED_AT_ONCE)
            key = query.but(), wanted
            answer = _remembered(self._answers, key, lambda: _sorted(matcher, self._shards(), wanted))
            total = int(answer.counts.sum())
            assert answer.first is not None
            places = [Place(*each) for each in answer.first[first : first + PER_PAGE].tolist()]
            return Found(total, places, min(total, MOST_SORTED))

    def axes(self, stage: str) -> Sequence[Axis]:
        """Return the numbers that a stage decided by; none while it is not through with all shards."""
        with self._lock:
            return self._axes_of(stage)

    def _axes_of(self, stage: str) -> Sequence[Axis]:
        if stage not in self._axes:
            one = next(each for each in self.standing.run.stages if each.name == stage)
            self._axes[stage] = axes_of(self.standing.run, one) if self.standing.complete(stage) else []
        return self._axes[stage]

    def _matcher(self, query: Query) -> Matcher:
        return Matcher(self.standing, query, self._axes_of(query.stage) if query.sort == NEAR else ())

    def _shards(self) -> range:
        return range(len(self.standing.run.shards))

    def _in_order_of_the_pool(self, matcher: Matcher, first: int) -> Found:
        key = matcher.query.but(), 0
        counts = _remembered(self._answers, key, lambda: _Answer(_counts(matcher, self._shards()))).counts
        ends = np.cumsum(counts)
        total = int(ends[-1]) if len(ends) else 0
        places: list[Place] = []
        shard = int(np.searchsorted(ends, first, side="right"))
        while len(places) < PER_PAGE and shard < len(ends):
            skip = max(0, first - int(ends[shard] - counts[shard]))
            if counts[shard]:
                rows = matcher.rows(shard)[skip : skip + PER_PAGE - len(places)]
                places += [Place(shard, row) for row in rows.tolist()]
            shard += 1
        return Found(total, places, total)


def _remembered(answers: OrderedDict[Any, Any], key: Any, make: Callable[[], Made]) -> Made:
    """Return the answer to a key, made unless it is among the last few that were asked for."""
    if key not in answers:
        answers[key] = make()
    answers.move_to_end(key)
    while len(answers) > _REMEMBERED:
        answers.popitem(last=False)
    found: Made = answers[key]
    return found


def _counts(matcher: Matcher, shards: Sequence[int]) -> NDArray[np.int64]:
    counts = np.array([matcher.count(shard) for shard in shards], np.int64)
    if not matcher.query.only_fate:
        some = np.flatnonzero(counts).tolist()
        for shard, n in zip(some, _on_threads(lambda shard: len(matcher.rows(shard)), some), strict=True):
            counts[shard] = n
    return counts


def _sorted(matcher: Matcher, shards: Sequence[int], most: int) -> _Answer:
    """Return the first so many places of all that is found; equal ones come as in the pool."""

    def look(shard: int) -> tuple[int, NDArray[Any]]:
        rows = matcher.rows(shard)
        new = np.empty(len(rows), _KIND)
        new["value"], new["shard"], new["row"] = matcher.order(shard, rows), shard, rows
        return len(rows), _first(new, most)

    counts, best = np.zeros(len(shards), np.int64), np.empty(0, _KIND)
    waiting: list[NDArray[Any]] = []
    some = [shard for shard in shards if matcher.count(shard)]
    for shard, (n, new) in zip(some, _on_threads(look, some), strict=True):
        counts[shard] = n
        if len(best) == most:
            new = new[new["value"] <= best["value"][-1]]
        waiting.append(new)
        if sum(map(len, waiting)) > most:
            best, waiting = _first(np.concatenate([best, *waiting]), most), []
    best = _first(np.concatenate([best, *waiting]), most)
    return _Answer(counts, np.column_stack([best["shard"], best["row"]]))


_KIND = [("value", "f8"), ("shard", "i4"), ("row", "i4")]


def _first(found: NDArray[Any], most: int) -> NDArray[Any]:
    return found[np.lexsort((found["row"], found["shard"], found["value"]))[:most]]


def _on_threads(work: Callable[[int], Made], shards: Sequence[int]) -> Iterator[Made]:
    """Yield what comes of each shard, in order, a few of them at a time."""
    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(shards), 4 * _THREADS):
            yield from pool.map(work, shards[start : start + 4 * _THREADS])

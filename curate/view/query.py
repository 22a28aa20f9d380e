"""Which samples are wanted and in which order, as it stands in a URL."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from urllib.parse import urlencode

from curate.view.standing import Standing
from pipelines.stages.cluster import ClusterStage
from pipelines.stages.semantic_duplicates import SemanticStage

FATES = {"kept": "kept", "dropped": "dropped", "aside": "set aside", "waiting": "not through yet"}
RANDOM, NEAR = "random", "near"
_LONGEST_TEXT = 200
_MOST_PAGES = 10**7


class QueryError(ValueError):
    """A URL asks for something that there is not; the message is for people."""


@dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`, both included, of a score."""

    score: str
    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True)
class Query:
    """Which samples are wanted.

    Attributes
    ----------
    text
        Part of the caption, whatever the case, or the whole of the key or the uid.
    fate
        One of `FATES`: in the end or, with a stage, at that stage.
    stage
        Those that reached it.
    reason
        Why they were stopped.
    cluster, clustering
        The number of a concept cluster, and the stage that made it where there are several.
    group
        The uid of a sample: this one, and those that were dropped because of it.
    ranges
        From where to where scores go.
    sort
        A score, with a minus the highest first; `near` to the stage's thresholds, `random`; else as in the
        pool.
    page
        From 1.
    """

    text: str = ""
    fate: str = ""
    stage: str = ""
    reason: str = ""
    cluster: int | None = None
    clustering: str = ""
    group: str = ""
    ranges: tuple[Range, ...] = ()
    sort: str = ""
    page: int = 1

    @property
    def only_fate(self) -> bool:
        """Whether tallies alone tell how many there are."""
        return not (self.text or self.ranges or self.group or self.cluster is not None)

    @property
    def score(self) -> str:
        """The score to sort by, empty where the order is another."""
        return "" if self.sort in (RANDOM, NEAR) else self.sort.removeprefix("-")

    def but(self, **changes: object) -> Query:
        """Return another query, on its first page."""
        return replace(self, **{"page": 1, **changes})  # type: ignore[arg-type]

    def pairs(self) -> list[tuple[str, str]]:
        """Return names and values as they stand in a URL."""
        pairs = [
            (field.name, str(getattr(self, field.name)))
            for field in fields(self)
            if field.name != "ranges" and getattr(self, field.name) != field.default
        ]
        for each in self.ranges:
            for name, limit in (("min", each.low), ("max", each.high)):
                if math.isfinite(limit):
                    pairs.append((f"{name}.{each.score}", repr(limit)))
        return pairs

    def url(self, path: str = "/samples") -> str:
        """Return the URL of what is found."""
        pairs = self.pairs()
        return f"{path}?{urlencode(pairs)}" if pairs else path


def numbers_of(standing: Standing) -> dict[str, str]:
    """Return the numbers that samples can be sorted and chosen by, and the stages that made them."""
    plan = standing.run.plan
    found = {name: plan.sources[name] for name in plan.scores}
    for stage in standing.run.stages:
        if isinstance(stage, SemanticStage):
            found.setdefault("max_similarity", stage.similar)
    for stage in standing.run.stages:
        if isinstance(stage, ClusterStage):
            found.setdefault("similarity", stage.name)
    return {name: stage for name, stage in found.items() if stage in standing.names}


def clusterings_of(standing: Standing) -> list[str]:
    """Return the stages that made clusters, the last first: that one is meant where none is named."""
    return [stage.name for stage in reversed(standing.run.stages) if isinstance(stage, ClusterStage)]


def parse(arguments: Mapping[str, Sequence[str]], standing: Standing) -> Query:
    """Return what a URL asks for.

    Parameters
    ----------
    arguments
        Names and values behind the question mark.
    standing
        The run: what it has not can't be asked for.

    Raises
    ------
    QueryError
        When a name or a value makes no sense.
    """
    given = {name: values[-1].strip() for name, values in arguments.items() if values and values[-1].strip()}
    numbers = numbers_of(standing)
    clusterings = clusterings_of(standing)
    query = Query(
        text=given.pop("text", "")[:_LONGEST_TEXT],
        fate=_one_of("fate", given.pop("fate", ""), FATES),
        stage=_one_of("stage", given.pop("stage", ""), standing.names),
        reason=given.pop("reason", "")[:_LONGEST_TEXT],
        cluster=_whole("cluster", given.pop("cluster", None)),
        clustering=_one_of("clustering", given.pop("clustering", ""), clusterings),
        group=given.pop("group", "").lower()[:_LONGEST_TEXT],
        ranges=_ranges(given, numbers),
        sort=_sort(given.pop("sort", ""), numbers),
        page=max(1, page_number(arguments, "page") or 1),
    )
    for name in ("page", "at"):  # where in the list a sample stood: its own page reads it
        given.pop(name, None)
    if given:
        raise QueryError(f"there is nothing to choose by called {next(iter(given))!r}")
    if query.sort == NEAR and not query.stage:
        raise QueryError("the order nearest to the threshold needs a stage")
    if query.cluster is not None and not clusterings:
        raise QueryError("this run has no clusters")
    return query


def page_number(arguments: Mapping[str, Sequence[str]], name: str) -> int | None:
    """Return a whole number that a URL may hold; `QueryError` when it is none."""
    values = arguments.get(name, ())
    number = _whole(name, values[-1].strip() or None) if values else None
    return None if number is None else min(number, _MOST_PAGES)


def _one_of(name: str, value: str, known: Sequence[str] | Mapping[str, str]) -> str:
    if value and value not in known:
        raise QueryError(f"{name} is one of {', '.join(known) or 'nothing in this run'}, not {value[:80]!r}")
    return value


def _whole(name: str, value: str | None) -> int | None:
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and len(value) < 10):
        raise QueryError(f"{name} is a whole number, not {value[:80]!r}")
    return int(value)


def _sort(value: str, numbers: Mapping[str, str]) -> str:
    if value in ("", RANDOM, NEAR) or value.removeprefix("-") in numbers:
        return value
    raise QueryError(f"there is no score {value[:80]!r} to sort by")


def _ranges(given: dict[str, str], numbers: Mapping[str, str]) -> tuple[Range, ...]:
    found = []
    for score in numbers:
        limits = {kind: given.pop(f"{kind}.{score}", None) for kind in ("min", "max")}
        low, high = (_limit(f"{kind}.{score}", value) for kind, value in limits.items())
        if low is not None or high is not None:
            found.append(Range(score, -math.inf if low is None else low, math.inf if high is None else high))
    return tuple(found)


def _limit(name: str, value: str | None) -> float | None:
    if value is None:
        return None
    try:
        number = float(value.replace("−", "-").replace(",", "."))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise QueryError(f"{name} is a number, not {value[:80]!r}")
    return number

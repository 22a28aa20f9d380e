"""The order of filters by what they induce, with how sure it is, as numbers and as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scoring.paired import mean_and_margin


@dataclass(frozen=True)
class Standing:
    """Where a filter stands.

    Attributes
    ----------
    rank
        1 for the best.
    filter
        Its name.
    kept
        Samples that it kept.
    induced, margin
        The measure of the models it induced: mean over the seeds, and half width of the 95 % interval.
    behind, behind_margin
        How much less that is than the first one's, seed by seed, and the half width of that difference's
        interval, which is the narrower the more a seed does to both alike.
    own
        What the filter itself reaches at the same measure; None for baselines, which are no networks.
    diverged
        Seeds whose training failed; a filter with any stands last, for its mean would leave them out.
    """

    rank: int
    filter: str
    kept: int
    induced: float
    margin: float
    behind: float
    behind_margin: float
    own: float | None
    diverged: int

    @property
    def told_apart(self) -> bool:
        """Whether the interval of the difference from the first one leaves out 0."""
        return self.rank > 1 and self.behind > self.behind_margin

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values: null for what is no number."""
        facts = {**vars(self), "told_apart": self.told_apart}
        return {key: None if _is_nan(value) else value for key, value in facts.items()}


def standings(
    rows: Sequence[Mapping[str, Any]], owns: Mapping[str, Mapping[str, float]], measure: str
) -> list[Standing]:
    """Return the filters from best to worst.

    Parameters
    ----------
    rows
        `filter`, `seed`, `pool_size`, `status` and the measures of each training.
    owns
        The measures of the filters themselves, by name.
    measure
        What to rank by; more is better.
    """
    by_filter: dict[str, dict[int, Mapping[str, Any]]] = {}
    for row in rows:
        by_filter.setdefault(row["filter"], {})[row["seed"]] = row
    values = {
        name: {seed: row[measure] for seed, row in own.items() if row["status"] == "done"}
        for name, own in by_filter.items()
    }
    means = {
        name: mean_and_margin([*own.values()]) if own else (math.nan, math.nan)
        for name, own in values.items()
    }

    def place(name: str) -> tuple[int, float]:
        return len(by_filter[name]) - len(values[name]), -means[name][0] if values[name] else 0.0

    order = sorted(by_filter, key=place)
    first = values[order[0]]
    found = []
    for rank, name in enumerate(order, 1):
        both = [first[seed] - value for seed, value in values[name].items() if seed in first]
        behind, margin = mean_and_margin(both) if both else (math.nan, math.nan)
        kept = next(iter(by_filter[name].values()))["pool_size"]
        diverged = len(by_filter[name]) - len(values[name])
        own = owns[name].get(measure) if name in owns else None
        found.append(Standing(rank, name, kept, *means[name], behind, margin, own, diverged))
    return found


def standings_csv(found: Sequence[Standing], measure: str) -> bytes:
    """Return the ranking as CSV."""
    return _csv([{"measure": measure, **standing.as_dict()} for standing in found])


def runs_csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Return one line for each training, with all that was measured, as CSV."""
    return _csv(rows)


def _csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    names = dict.fromkeys(name for row in rows for name in row)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(names), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)

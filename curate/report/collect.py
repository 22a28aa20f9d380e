"""One walk over a run's columns, shard by shard: what is counted, and which samples are worth a look."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.report.axes import Axis, Values, axes_of, score_axis
from curate.report.choice import Nearest, Place, identity, uid_bytes
from curate.report.clusters import Clustering, clusterings
from curate.report.finished import Finished
from curate.report.groups import Groups, copies_stages
from curate.report.histogram import Histogram
from pipelines.columns import survives
from pipelines.stage import ShardColumns, Stage

PER_SIDE = 24  # samples of each stage that were kept, and as many for each of its reasons
AT_RANDOM = 240  # samples of the whole pool
KEPT = "kept"


@dataclass
class Panel:
    """What a stage saw and did: a histogram for each of its axes, samples on both sides of its thresholds.

    `decides` is false for a score that no stage chose by.
    """

    stage: Stage
    axes: list[Axis]
    decides: bool = True
    histograms: list[Histogram] = field(init=False)
    samples: Nearest = field(default_factory=lambda: Nearest(PER_SIDE))

    def __post_init__(self) -> None:
        self.histograms = [Histogram(axis.scale) for axis in self.axes]

    def add(self, number: int, columns: ShardColumns, draw: NDArray[np.uint64]) -> None:
        """Look at a shard; `draw` is a random number for each of its samples, (n,)."""
        outcome, values = self.count(columns)
        if not self.decides:
            return
        rows, kept, reason = outcome["row"].to_numpy(), survives(outcome), _reasons(outcome)
        distance = _distances(self.axes, values, kept, reason)
        for group in [KEPT, *sorted(set(reason[~kept].tolist()) - {None, ""})]:
            chosen = kept if group == KEPT else ~kept & (reason == group)
            self.samples.add(group, number, rows[chosen], distance[chosen], draw[rows[chosen]])

    def count(self, columns: ShardColumns) -> tuple[pa.Table, list[Values]]:
        """Count a shard's numbers; return its outcome, and the numbers on each axis."""
        outcome = columns.outcome(self.stage.name)
        rows, kept = outcome["row"].to_numpy(), survives(outcome)
        values = [axis.values(columns.rows(rows, axis.sources)) for axis in self.axes]
        for found, histogram in zip(values, self.histograms, strict=True):
            histogram.add(found, kept)
        return outcome, values


def distances(axes: Sequence[Axis], stage: str, columns: ShardColumns) -> tuple[NDArray[Any], Values]:
    """Return the rows of a shard that reached a stage, and how far each lies from its nearest threshold."""
    outcome = columns.outcome(stage)
    rows = outcome["row"].to_numpy()
    values = [axis.values(columns.rows(rows, axis.sources)) for axis in axes]
    return rows, _distances(axes, values, survives(outcome), _reasons(outcome))


def _distances(
    axes: Sequence[Axis], values: Sequence[Values], kept: NDArray[np.bool_], reason: NDArray[np.object_]
) -> Values:
    result = np.full(len(kept), np.inf)
    for axis, found in zip(axes, values, strict=True):
        apart = axis.distance(found)
        if axis.reasons is not None:  # what another number dropped is not near to this one's threshold
            apart[~kept & ~np.isin(reason, list(axis.reasons))] = np.inf
        result = np.fmin(result, apart)
    return result


def _reasons(outcome: pa.Table) -> NDArray[np.object_]:
    if "reason" not in outcome.column_names:
        return np.full(len(outcome), "", object)
    return np.asarray(outcome["reason"].to_pandas(), object)


@dataclass
class Findings:
    """All that the report shows of the pool."""

    panels: list[Panel]
    clusterings: list[Clustering]
    groups: list[Groups]
    at_random: list[Place]

    def places(self) -> Iterator[Place]:
        """Yield every sample that is shown somewhere; the same one may come several times."""
        yield from self.at_random
        for panel in self.panels:
            for group in panel.samples.groups:
                yield from panel.samples.chosen(group)
        for each in self.groups:
            for members in each.chosen:
                yield from (place for place in (members.survivor, *members.copies) if place)
        for clustering in self.clusterings:
            for examples in clustering.examples.values():
                yield from examples


def collect(run: Finished) -> Findings:
    """Return what there is to see in a run."""
    panels = list(_panels(run))
    drawn = Nearest(AT_RANDOM)
    clusters, groups = clusterings(run), [Groups(name) for name in copies_stages(run)]
    for number, columns in run.columns():
        uids = identity(uid_bytes(columns.read("ingest", ("uid",))["uid"]))
        everything = np.arange(len(uids))
        nowhere = np.zeros(len(uids))
        drawn.add("", number, everything, nowhere, uids)
        for panel in panels:
            panel.add(number, columns, uids)
        for clustering in clusters:
            clustering.add(number, columns, uids)
        for each in groups:
            each.count(columns)
    _find_members(run, groups)
    return Findings(panels, clusters, groups, drawn.chosen(""))


def _panels(run: Finished) -> Iterator[Panel]:
    """Yield a panel for each stage that dropped samples by its own judgement, and each score left unused."""
    judged: set[str] = set()
    for stage in run.stages:
        axes = axes_of(run, stage)
        judged |= {name for axis in axes for name in axis.sources}
        if axes or run.tallies[stage.name]["dropped"]:
            yield Panel(stage, axes)
    by_name = {stage.name: stage for stage in run.stages}
    for name in run.plan.scores:
        if name not in judged:
            source = run.plan.sources[name]
            yield Panel(by_name[source], [score_axis(run, source, name, source, name)], decides=False)


def _find_members(run: Finished, groups: list[Groups]) -> None:
    for each in groups:
        each.choose()
    if not any(each.chosen for each in groups):
        return
    for number, columns in run.columns():
        uids = identity(uid_bytes(columns.read("ingest", ("uid",))["uid"]))
        for each in groups:
            each.find(number, columns, uids)

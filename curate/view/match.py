"""Which samples of one shard a query wants, from the columns that it needs and no others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate.report.axes import Axis
from curate.report.choice import identity, uid_bytes
from curate.report.collect import distances
from curate.report.groups import copies_stages
from curate.view.query import NEAR, RANDOM, Query, clusterings_of, numbers_of
from curate.view.standing import Fates, Standing

Mask = NDArray[np.bool_]
Values = NDArray[np.float64]


@dataclass
class Matcher:
    """Looks for the samples of a query, shard by shard.

    Attributes
    ----------
    standing, query
        The run and what is wanted of it.
    axes
        By which the query's stage decided, for the order of nearness.
    """

    standing: Standing
    query: Query
    axes: Sequence[Axis] = ()
    numbers: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.numbers = numbers_of(self.standing)

    def count(self, shard: int) -> int:
        """Return how many the tallies know of: never too few, and exact where just fates are asked for."""
        query, standing = self.query, self.standing
        if query.stage:
            tallies = [standing.tallies[standing.names.index(query.stage)][shard]]
            left = {"kept": tallies[0]["kept"]}
        else:
            tallies = [one[shard] for one in standing.tallies]
            ended = standing.depth[shard] == len(standing.names)
            left = {"kept" if ended else "waiting": tallies[0]["samples"] - sum(map(_lost, tallies))}
        counts = {
            "dropped": sum(_lost(tally, query.reason, ("dropped",)) for tally in tallies),
            "aside": sum(_lost(tally, query.reason, ("set_aside",)) for tally in tallies),
            **({} if query.reason else left),
        }
        return int(counts.get(query.fate, 0) if query.fate else sum(counts.values()))

    def rows(self, shard: int) -> NDArray[np.int64]:
        """Return the rows of a shard that are wanted, in order."""
        chosen = self._by_fate(self.standing.fates(shard))
        query = self.query
        if query.text and chosen.any():
            chosen &= self._by_text(shard)
        for each in query.ranges:
            values = self._column(shard, self.numbers[each.score], each.score, len(chosen))
            chosen &= (values >= each.low) & (values <= each.high)
        if query.cluster is not None:
            stage = query.clustering or clusterings_of(self.standing)[0]
            chosen &= self._column(shard, stage, "cluster", len(chosen)) == query.cluster
        if query.group and chosen.any():
            chosen &= self._by_group(shard, len(chosen))
        return np.flatnonzero(chosen)

    def order(self, shard: int, rows: NDArray[np.int64]) -> Values:
        """Return a number for each of some rows: the smallest come first, and those without one last."""
        query = self.query
        if query.sort == RANDOM:
            uid = self.standing.columns(shard).read("ingest", ("uid",))["uid"]
            return identity(uid_bytes(uid.take(pa.array(rows)))).astype(np.float64)
        n = int(rows.max(initial=-1)) + 1
        if query.sort == NEAR:
            values = np.full(max(n, self._samples(shard)), np.inf)
            if query.stage in self.standing.standing(shard):
                reached, apart = distances(self.axes, query.stage, self.standing.columns(shard))
                values[reached] = apart
            return values[rows]
        values = self._column(shard, self.numbers[query.score], query.score, self._samples(shard))[rows]
        return np.where(np.isnan(values), np.inf, -values if query.sort.startswith("-") else values)

    def _samples(self, shard: int) -> int:
        return int(self.standing.tallies[0][shard]["samples"])

    def _by_fate(self, fates: Fates) -> Mask:
        query, end = self.query, len(self.standing.names)
        chosen = np.ones(len(fates.at), bool)
        if query.stage:
            here = self.standing.names.index(query.stage)
            stopped_here = fates.stopped & (fates.at == here)
            through = fates.at > here
            chosen = stopped_here | through
        else:
            stopped_here, through = fates.stopped, fates.at == end
        match query.fate:
            case "kept":
                chosen &= through
            case "dropped":
                chosen &= stopped_here & ~fates.aside
            case "aside":
                chosen &= stopped_here & fates.aside
            case "waiting":
                chosen &= ~fates.stopped & (fates.at < end) & (not query.stage)
        if query.reason:
            chosen &= stopped_here & (fates.reason == query.reason)
        return chosen

    def _by_text(self, shard: int) -> Mask:
        names = [name for name in ("uid", "key", "caption") if name in self.standing.run.plan.sources]
        table = self.standing.columns(shard).read("ingest", tuple(names))
        found = pc.equal(table["uid"], self.query.text.lower())
        if "key" in names:
            found = pc.or_(found, pc.fill_null(pc.equal(table["key"], self.query.text), False))
        if "caption" in names:
            said = pc.match_substring(table["caption"], self.query.text, ignore_case=True)
            found = pc.or_(found, pc.fill_null(said, False))
        return np.asarray(found)

    def _by_group(self, shard: int, n: int) -> Mask:
        """Tell which are a sample, or were dropped because of it."""
        columns = self.standing.columns(shard)
        found = np.asarray(pc.equal(columns.read("ingest", ("uid",))["uid"], self.query.group)).copy()
        for stage in copies_stages(self.standing.run):
            if stage in self.standing.standing(shard):
                table = columns.read(stage, ("row", "duplicate_of"))
                same = pc.fill_null(pc.equal(table["duplicate_of"], self.query.group), False)
                found[table["row"].to_numpy()[np.asarray(same)]] = True
        return found

    def _column(self, shard: int, stage: str, name: str, n: int) -> Values:
        """Return a column of a stage for all samples of a shard, (n,); NaN where they did not come so far."""
        values = np.full(n, np.nan)
        if stage in self.standing.standing(shard):
            table = self.standing.columns(shard).read(stage, ("row", name))
            values[table["row"].to_numpy()] = table[name].cast(pa.float64(), safe=False).to_numpy()
        return values


def _lost(
    tally: Mapping[str, Mapping[str, int]],
    reason: str = "",
    kinds: Sequence[str] = ("dropped", "set_aside"),
) -> int:
    """Return how many a stage stopped, all or for one reason."""
    return sum(n for kind in kinds for name, n in tally[kind].items() if reason in ("", name))

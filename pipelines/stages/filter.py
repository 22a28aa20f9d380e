"""Any filter of `filters/` as a stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from filters.base import Filter, Passes, PoolFilter
from pipelines.errors import ConfigError, StoppedError
from pipelines.plan import Plan
from pipelines.stage import NamedStage, Pool, ShardColumns
from pipelines.user_files import require_files, with_file_digests


@dataclass(frozen=True)
class FilterStage(NamedStage):
    """Runs a filter's passes over the pool, if it needs any, and its decision on every shard.

    `gate` is the stage whose survivors are judged, `sources` the stage that made each column.
    """

    filter: Filter
    gate: str
    sources: Mapping[str, str]

    @property
    def version(self) -> int:
        """The filter's own."""
        return type(self.filter).version

    @property
    def reads(self) -> tuple[str, ...]:
        """The gate and the stages that made the columns."""
        return tuple(dict.fromkeys([self.gate, *self._columns.values()]))

    @property
    def _columns(self) -> dict[str, str]:
        return {name: self.sources[name] for name in self.filter.columns}

    def settings(self) -> Mapping[str, Any]:
        """Return the filter's parameters."""
        return {"filter": type(self.filter).__name__, **with_file_digests(self.filter).model_dump()}

    def summarize(self, pool: Pool) -> Any:
        """Return the state that the filter ends its passes with; None when it needs none."""
        if not isinstance(self.filter, PoolFilter):
            return None
        try:
            return passes(self.filter, pool, self._measure)
        except ValueError as error:
            raise StoppedError(f"{self.name}: {error}") from error

    def _measure(self, columns: ShardColumns, state: Any) -> NDArray[np.int64]:
        assert isinstance(self.filter, PoolFilter)
        return self.filter.measure(columns.survivors(self.gate, self._columns), state)

    def compute(self, columns: ShardColumns, summary: Any) -> pa.Table:
        """Return the weight and the reason of every sample that comes through the gate."""
        table = columns.survivors(self.gate, self._columns)
        try:
            decision = self.filter.decide(table, summary)
        except ValueError as error:
            raise StoppedError(f"{self.name}: {error}") from error
        return pa.table(
            {
                "row": table["row"],
                "weight": pa.array(decision.weight, pa.int32()),
                "reason": decision.reason.cast(pa.string()),
            }
        )


def passes(measure: Passes, pool: Pool, of_shard: Callable[..., NDArray[np.int64]]) -> Any:
    """Return the state in which passes over the pool end.

    Parameters
    ----------
    measure
        What is measured.
    pool
        All shards.
    of_shard
        Called on the workers with a shard's columns and `state`; returns what the shard adds.
    """
    state = measure.start()
    while not measure.finished(state):
        parts = pool.map_shards(partial(of_shard, state=state))
        state = measure.advance(state, reduce(measure.merge, parts))
    return state


def plan_filter(plan: Plan, filter: Filter, where: str) -> None:
    """Add a filter to a plan, in front of which its columns and scores must have been made."""
    plan.require_scores(filter.scores, where)
    require_files(filter, where)
    try:
        filter.check()
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None
    plan.require_columns((name for name in filter.columns if name not in filter.vectors), where)
    vectors = {name: plan.vectors(encoder, where, [name]) for name, encoder in filter.vectors.items()}
    sources = {name: plan.sources[name] for name in filter.columns if name not in vectors} | vectors
    plan.add(FilterStage(plan.unused_name(filter.kind), filter, plan.last, sources))


def plan_seeded_filter(plan: Plan, filter: Any, where: str) -> None:
    """Add a filter that draws at random, by the run's seed unless it has one of its own."""
    seed = plan.config.seed if filter.seed is None else filter.seed
    plan_filter(plan, filter.model_copy(update={"seed": seed}), where)

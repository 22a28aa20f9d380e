"""Scorers, filters and rules of the user's own as stages: what they return is checked, errors say where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from filters.base import Filter, PoolFilter
from pipelines.errors import ConfigError
from pipelines.plan import Plan
from pipelines.plugins.code import refused
from pipelines.plugins.results import checked_decision, checked_scores
from pipelines.plugins.use import VECTORS, PluginUse
from pipelines.pool.samples import byte_ranges
from pipelines.stage import NamedStage, Pool, ShardColumns, Stage
from pipelines.stages.filter import passes
from pipelines.stages.score import matrix
from pipelines.storage import read_ranges
from scoring.images import ImageProblem, decode_rgb
from scoring.scorer import Scorer


@dataclass(frozen=True)
class PluginStage(NamedStage):
    """What plugins have in common. `sources` is the stage that made each column."""

    use: PluginUse
    gate: str
    sources: Mapping[str, str]

    @property
    def reads(self) -> tuple[str, ...]:
        """The gate and the stages that made the columns."""
        return tuple(dict.fromkeys([self.gate, *self.sources.values()]))

    def settings(self) -> Mapping[str, Any]:
        """Return the parameters, and a hash of the code."""
        return {"kind": self.use.facts.kind, **self.use.identity()}


@dataclass(frozen=True)
class PluginFilterStage(PluginStage):
    """A filter or a rule. The class travels as its code: a worker elsewhere has no such module."""

    @property
    def _own(self) -> Filter:
        own = self.use.own
        assert isinstance(own, Filter)
        return own

    def summarize(self, pool: Pool) -> Any:
        """Return the state that the filter ends its passes with; None when it needs none."""
        if not isinstance(self._own, PoolFilter):
            return None
        with self.use.code.blamed(self.name, None):
            return passes(self._own, pool, self._measure)

    def _measure(self, columns: ShardColumns, state: Any) -> NDArray[np.int64]:
        table = columns.survivors(self.gate, self.sources)
        own = self._own
        assert isinstance(own, PoolFilter)
        with self.use.code.blamed(self.name, columns.shard.name):
            return own.measure(table, state)

    def compute(self, columns: ShardColumns, summary: Any) -> pa.Table:
        """Return the weight and the reason of every sample that comes through the gate."""
        table = columns.survivors(self.gate, self.sources)
        with self.use.code.blamed(self.name, columns.shard.name):
            weight, reason = checked_decision(self._own.decide(table, summary), len(table))
        return pa.table({"row": table["row"], "weight": weight, "reason": reason})


@dataclass(frozen=True)
class PluginScoreStage(PluginStage):
    """A scorer; it sees some samples at a time, and images that decode only: others are set aside."""

    max_pixels: int

    def settings(self) -> Mapping[str, Any]:
        """Return the parameters, a hash of the code, what the score is called, and the largest image."""
        return {**super().settings(), "makes": self.use.facts.makes, "max_pixels": self.max_pixels}

    def compute(self, columns: ShardColumns, summary: Any) -> pa.Table:
        """Return the score of every sample, null where it has none, and the problem of its image."""
        samples = columns.survivors(self.gate, self.sources)
        own, n = self.use.own, len(samples)
        assert isinstance(own, Scorer)
        score = np.full(n, np.nan, np.float32)
        problem: list[str | None] = [None] * n
        for start in range(0, n, own.batch_size):
            part = samples.slice(start, own.batch_size)
            seen = self._look(part, columns.shard.url, problem, start)
            whole = np.array([place for place in range(len(part)) if problem[start + place] is None], int)
            if len(whole):
                rows = part["row"].to_numpy()[whole]
                with self.use.code.blamed(self.name, columns.shard.name):
                    found = own.score({name: _pick(values, whole) for name, values in seen.items()})
                    score[start + whole] = checked_scores(found, rows)
        makes = self.use.facts.makes or self.use.facts.kind
        made: dict[str, Any] = {"row": samples["row"], makes: pa.array(score, mask=np.isnan(score))}
        if "images" in self.use.facts.columns:
            made["problem"] = pa.array(problem, pa.string())
        return pa.table(made)

    def _look(self, part: pa.Table, url: str, problem: list[str | None], start: int) -> dict[str, Any]:
        """Return what the scorer asked for; note the images that don't decode."""
        seen: dict[str, Any] = {}
        for name in self.use.facts.columns:
            if name in VECTORS:
                seen[name] = matrix(part[VECTORS[name]])
            elif name == "images":
                seen[name] = []
                for place, data in enumerate(_images(part, url)):
                    try:
                        seen[name].append(decode_rgb(data, max_pixels=self.max_pixels))
                    except ImageProblem as error:
                        seen[name].append(None)
                        problem[start + place] = error.reason
            else:
                seen[name] = _plain(part[name])
        return seen


def _images(part: pa.Table, url: str) -> Iterator[bytes]:
    first = [members[0] for members in byte_ranges(part["members"])]
    return iter(read_ranges(url, [(offset, size) for _, offset, size in first]))


def _plain(column: pa.ChunkedArray) -> Any:
    """Return numbers as an array, anything else as a list."""
    number = pa.types.is_floating(column.type) or pa.types.is_integer(column.type)
    return column.to_numpy() if number else column.to_pylist()


def _pick(values: Any, places: NDArray[np.int64]) -> Any:
    return [values[place] for place in places] if isinstance(values, list) else values[places]


def plan_plugin(plan: Plan, use: PluginUse, where: str) -> None:
    """Add a stage that a plugin does to a plan, by what is known of it; no code of it runs."""
    (_plan_filter if use.facts.sort == "filter" else _plan_scorer)(plan, use, where)


def _plan_filter(plan: Plan, use: PluginUse, where: str) -> None:
    facts = use.facts
    plan.require_scores(facts.scores, where)
    plan.require_columns((name for name in facts.columns if name not in facts.vectors), where)
    vectors = {name: plan.vectors(encoder, where, [name]) for name, encoder in facts.vectors.items()}
    sources = {name: plan.sources[name] for name in facts.columns if name not in vectors} | vectors
    plan.add(PluginFilterStage(plan.unused_name(facts.kind), use, plan.last, sources))


def _plan_scorer(plan: Plan, use: PluginUse, where: str) -> None:
    facts, makes = use.facts, use.facts.makes or use.facts.kind
    plan.refuse_taken(makes, where)
    sources: dict[str, str] = {}
    for name in facts.columns:
        if name in VECTORS:
            sources[VECTORS[name]] = plan.vectors(facts.vectors[name], where, [VECTORS[name]])
        elif name == "images":
            plan.require_images(where, f"for {facts.kind} to see")
            sources["members"] = "ingest"
        else:
            plan.require_columns([name], where)
            sources[name] = plan.sources[name]
    pixels = plan.config.pool.limits.pixels
    plan.add(PluginScoreStage(f"score-{makes}", use, plan.last, sources, pixels), scores=[makes])


def require_code(stages: Sequence[Stage]) -> None:
    """Raise `ConfigError` when a stage is known from a run folder alone, and its code may not run."""
    for stage in stages:
        if isinstance(stage, PluginStage) and not stage.use.code.may_run:
            raise ConfigError(refused(stage.use.code))

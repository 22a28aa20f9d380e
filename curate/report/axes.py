"""By which numbers a stage decided, and at which thresholds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate.report.finished import Finished
from curate.report.histogram import Scale
from filters.baselines import Baseline
from filters.caption_rules import word_count
from filters.keep import Keep
from filters.rules import Rules
from filters.select import Select
from filters.soft_cap_sampling import SoftCap
from pipelines.columns import survives
from pipelines.stage import Stage
from pipelines.stages.filter import FilterStage
from pipelines.stages.plugin import PluginFilterStage
from pipelines.stages.prune import PruneStage
from pipelines.stages.semantic_duplicates import SemanticStage

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Axis:
    """A number of each sample that a stage looks at.

    Attributes
    ----------
    label
        What people call it.
    sources
        The columns it is made of, and the stages that made them.
    values
        From a table of these columns to the number of each row, NaN where it has none.
    scale
        Its range.
    low, high
        What is below, or above, is dropped.
    reasons
        Those for which samples are dropped by this number; None: all of the stage's.
    """

    label: str
    sources: Mapping[str, str]
    values: Callable[[pa.Table], Values]
    scale: Scale
    low: float | None = None
    high: float | None = None
    reasons: frozenset[str] | None = None

    @property
    def thresholds(self) -> list[float]:
        """Those there are."""
        return [each for each in (self.low, self.high) if each is not None]

    def distance(self, values: Values) -> Values:
        """Return how far numbers lie from the nearest threshold; infinity where there is none."""
        result = np.full(len(values), np.inf)
        for threshold in self.thresholds:
            if self.scale.log:
                apart = np.abs(np.log(np.maximum(values, 1e-9) / max(threshold, 1e-9)))
            else:
                apart = np.abs(values - threshold) / (self.scale.high - self.scale.low)
            result = np.fmin(result, apart)
        return result


def axes_of(run: Finished, stage: Stage) -> list[Axis]:
    """Return the numbers by which a stage decided, none for those that go by something else."""
    if isinstance(stage, SemanticStage):
        label = "greatest similarity to an earlier sample"
        limit = {"high": float(stage.config.threshold)}
        return [score_axis(run, stage.name, "max_similarity", stage.similar, label, hide=-1.0, **limit)]
    if isinstance(stage, PruneStage):
        return [_prune_axis(run, stage)]
    if isinstance(stage, PluginFilterStage):
        scores = stage.use.facts.scores
        return [score_axis(run, stage.name, name, stage.sources[name], name) for name in scores]
    if not isinstance(stage, FilterStage):
        return []
    match stage.filter:
        case Rules() as rules:
            return list(_rule_axes(rules, run.plan.sources))
        case Keep() as keep:
            return [_keep_axis(run, stage, keep, "")]
        case Select() as select if select.all_of:
            parts = [(n, p) for n, p in enumerate(select.all_of, 1) if isinstance(p, Keep)]
            return [_keep_axis(run, stage, part, f"part_{n}.") for n, part in parts]
        case Select() | Baseline() | SoftCap():
            scores = stage.filter.scores
            return [score_axis(run, stage.name, name, stage.sources[name], name) for name in scores]
    return []


def score_axis(
    run: Finished, gate: str, column: str, source: str, label: str, hide: float | None = None, **limits: Any
) -> Axis:
    """Return a column of numbers as an axis over the samples that reached the stage `gate`.

    `hide` is a number that stands for none.
    """
    values = partial(_column, name=column, hide=hide)
    low, high = np.inf, -np.inf
    for found, _, _ in _walk(run, gate, {column: source}, values):
        low, high = min(low, found.min(initial=np.inf)), max(high, found.max(initial=-np.inf))
    return Axis(label, {column: source}, values, _range(low, high), **limits)


def _keep_axis(run: Finished, stage: FilterStage, keep: Keep, part: str) -> Axis:
    """Return the score of a selection, with the thresholds that were given or came out of the ranks."""
    name = keep.by
    values = partial(_column, name=name)
    too_low, too_high = f"{part}low_{name}", f"{part}high_{name}"
    low, high, least, most = np.inf, -np.inf, -np.inf, np.inf
    for found, _, reason in _walk(run, stage.name, {name: stage.sources[name]}, values):
        low, high = min(low, found.min(initial=np.inf)), max(high, found.max(initial=-np.inf))
        least = max(least, found[_is(reason, too_low)].max(initial=-np.inf))
        most = min(most, found[_is(reason, too_high)].min(initial=np.inf))
    return Axis(
        name,
        {name: stage.sources[name]},
        values,
        _range(low, high),
        low=keep.at_least if keep.at_least is not None else _finite(least),
        high=keep.at_most if keep.at_most is not None else _finite(most),
        reasons=frozenset({too_low, too_high}),
    )


def _prune_axis(run: Finished, stage: PruneStage) -> Axis:
    """Return how far samples lie beyond their cluster's quota, in similarity to its centroid."""
    sign = 1.0 if stage.config.order == "hard" else -1.0
    label = "similarity to the cluster's centroid"
    sources = dict.fromkeys(["cluster", "similarity"], stage.cluster)
    if stage.config.order == "random":
        return score_axis(run, stage.name, "similarity", stage.cluster, label)
    border = np.full(0, -np.inf)
    for _, columns in run.columns():
        outcome = columns.outcome(stage.name)
        table = columns.rows(outcome["row"].to_numpy(), sources)
        cluster, rank = table["cluster"].to_numpy(), sign * table["similarity"].to_numpy()
        border = _grown(border, int(cluster.max(initial=-1)) + 1)
        kept = survives(outcome)
        np.maximum.at(border, cluster[kept], rank[kept])

    def beyond(table: pa.Table) -> Values:
        cluster, rank = table["cluster"].to_numpy(), sign * table["similarity"].to_numpy()
        edge = border[cluster]
        return np.where(np.isfinite(edge), rank - edge, np.nan)

    nearer = "nearer to" if sign > 0 else "farther from"
    label = f"{nearer} the centroid than its cluster's quota lets stay (difference of similarities)"
    low, high = np.inf, -np.inf
    for found, _, _ in _walk(run, stage.name, sources, beyond):
        low, high = min(low, found.min(initial=np.inf)), max(high, found.max(initial=-np.inf))
    return Axis(label, sources, beyond, _range(low, high), high=0.0)


def _rule_axes(rules: Rules, made_by: Mapping[str, str]) -> Iterable[Axis]:
    caption = {"caption": made_by.get("caption", "")}
    if rules.caption_words:
        low, high = rules.caption_words
        scale = Scale(0, max(100, 1.25 * high), whole=True)
        yield Axis("words in the caption", caption, _words, scale, low, high, frozenset({"caption_words"}))
    if rules.caption_chars:
        low, high = rules.caption_chars
        scale = Scale(1, max(4000, 1.5 * high), log=True)
        yield Axis(
            "characters in the caption", caption, _chars, scale, low, high, frozenset({"caption_chars"})
        )
    original = rules.sides == "original"
    names = ("width", "height", *(("original_width", "original_height") if original else ()))
    sides = {name: made_by.get(name, "") for name in names}
    pixels = Scale(1, 20_000, log=True)
    if rules.min_side:
        shorter = partial(_sides, original=original, of="min")
        reasons = frozenset({"min_side"})
        yield Axis("shorter side, pixels", sides, shorter, pixels, low=rules.min_side, reasons=reasons)
    if rules.max_side:
        longer = partial(_sides, original=original, of="max")
        reasons = frozenset({"max_side"})
        yield Axis("longer side, pixels", sides, longer, pixels, high=rules.max_side, reasons=reasons)
    if rules.max_aspect:
        ratio = partial(_sides, original=original, of="ratio")
        reasons, scale = frozenset({"max_aspect"}), Scale(1, 30, log=True)
        yield Axis("longer side / shorter side", sides, ratio, scale, high=rules.max_aspect, reasons=reasons)


def _walk(
    run: Finished, gate: str, sources: Mapping[str, str], values: Callable[[pa.Table], Values]
) -> Iterable[tuple[Values, NDArray[np.bool_], pa.ChunkedArray]]:
    """Yield each shard's finite numbers of what reached a stage, whether it was kept, and its reason."""
    for _, columns in run.columns():
        outcome = columns.outcome(gate)
        found = values(columns.rows(outcome["row"].to_numpy(), sources))
        there = np.isfinite(found)
        reason = (
            outcome["reason"] if "reason" in outcome.column_names else pa.nulls(len(outcome), pa.string())
        )
        yield found[there], survives(outcome)[there], reason.filter(pa.array(there))


def _column(table: pa.Table, name: str, hide: float | None = None) -> Values:
    found = np.asarray(table[name].cast(pa.float64(), safe=False).to_numpy(), np.float64)
    return found if hide is None else np.where(found == hide, np.nan, found)


def _trimmed(table: pa.Table) -> pa.Array:
    return pc.utf8_trim_whitespace(pc.fill_null(table["caption"].combine_chunks(), ""))


def _words(table: pa.Table) -> Values:
    return np.asarray(word_count(_trimmed(table)), np.float64)


def _chars(table: pa.Table) -> Values:
    return np.asarray(pc.utf8_length(_trimmed(table)).to_numpy(zero_copy_only=False), np.float64)


def _sides(table: pa.Table, *, original: bool, of: str) -> Values:
    both = []
    for name in ("width", "height"):
        side = table[name].cast(pa.float64())
        side = pc.coalesce(table[f"original_{name}"].cast(pa.float64()), side) if original else side
        both.append(side.to_numpy())
    least, most = np.minimum(*both), np.maximum(*both)
    if of == "ratio":
        return np.asarray(most / np.maximum(least, 1), np.float64)
    return np.asarray(least if of == "min" else most, np.float64)


def _is(reason: pa.ChunkedArray, name: str) -> NDArray[np.bool_]:
    same: NDArray[np.bool_] = pc.fill_null(pc.equal(reason, name), False).to_numpy()
    return same


def _grown(border: Values, n: int) -> Values:
    return np.concatenate([border, np.full(max(0, n - len(border)), -np.inf)])


def _range(low: float, high: float) -> Scale:
    if not np.isfinite(low):
        return Scale(0.0, 1.0)
    return Scale(float(low), float(high)) if high > low else Scale(float(low) - 0.5, float(low) + 0.5)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None

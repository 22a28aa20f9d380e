"""From a configuration to the stages that a run goes through."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from filters.clusters import Clusters
from filters.duplicates import Duplicates
from filters.fusion import Fuse
from filters.prune import Prune
from filters.repeats import Repeats
from filters.soft_cap_sampling import SoftCap
from pipelines.columns import OUTCOME
from pipelines.config import RunConfig
from pipelines.errors import ConfigError
from pipelines.output.subset import SubsetConfig
from pipelines.plan import Plan
from pipelines.plugins.use import PluginUse
from pipelines.pool.tables import layout_of
from pipelines.refit import refuse_unheld
from pipelines.score_config import FileScores, NormSim, SClipLoss, Similarity
from pipelines.stages.cluster import plan_cluster
from pipelines.stages.decide import Decide
from pipelines.stages.duplicates import plan_duplicates
from pipelines.stages.embed import Embed
from pipelines.stages.file_scores import plan_file_scores
from pipelines.stages.filter import plan_filter, plan_seeded_filter
from pipelines.stages.fuse import plan_fuse
from pipelines.stages.ingest import SAMPLE_COLUMNS, Ingest
from pipelines.stages.ingest_table import IngestTable
from pipelines.stages.plugin import plan_plugin
from pipelines.stages.prune import plan_prune
from pipelines.stages.repeats import plan_repeats
from pipelines.stages.s_clip_loss import plan_s_clip_loss
from pipelines.stages.score import plan_norm_sim, plan_similarity
from pipelines.stages.subset import plan_subset

PLANNERS: Mapping[type[BaseModel], Callable[[Plan, Any, str], None]] = {
    Duplicates: plan_duplicates,
    Similarity: plan_similarity,
    NormSim: plan_norm_sim,
    FileScores: plan_file_scores,
    SubsetConfig: plan_subset,
    SClipLoss: plan_s_clip_loss,
    Fuse: plan_fuse,
    SoftCap: plan_seeded_filter,
    Repeats: plan_repeats,
    Clusters: plan_cluster,
    Prune: plan_prune,
    PluginUse: plan_plugin,
}
"""How each kind of stage is added to a plan, by its parameters' class; every other kind is a filter."""


def plan(config: RunConfig, base: str | Path = ".") -> Plan:
    """Return the stages that a configuration asks for.

    Parameters
    ----------
    config
        The run's configuration.
    base
        Where the relative paths of a pool of tables start: their columns must be known.

    Raises
    ------
    ConfigError
        When the stages make no sense in this order.
    """
    result = Plan(config)
    if config.pool.metadata is None:
        scores = tuple(config.pool.scores or ())
        _refuse_reserved(scores)
        result.add(Ingest("header", config.pool.limits, scores), SAMPLE_COLUMNS, scores)
    else:
        layout = layout_of(config.pool, base)
        table = IngestTable(layout, config.pool.limits.caption_bytes)
        result.add(table, table.columns, list(dict(layout.scores)))
    for number, entry in enumerate(config.stages, 1):
        kind, parameters = next(iter(entry.items()))
        add = PLANNERS.get(type(parameters), plan_filter)
        add(result, parameters, f"stages: number {number} ({kind})")
    if isinstance(first := result.stages[0], Ingest):
        result.stages[0] = replace(first, pixels=_pixels(result))
    result.stages.append(Decide(tuple(stage.name for stage in result.stages)))
    refuse_unheld(config.refit, result.stages)
    return result


def _refuse_reserved(scores: Iterable[str]) -> None:
    for name in scores:
        if name in OUTCOME or name in SAMPLE_COLUMNS:
            raise ConfigError(
                f"pool.scores: a score can't be called {name!r}: samples have a column of that name"
            )


def _pixels(plan: Plan) -> Any:
    """Decode each image at ingest only where something needs it and nothing later does it anyway."""
    if plan.pixels is not None:
        return plan.pixels
    encoder_decodes = any(isinstance(stage, Embed) for stage in plan.stages)
    return "header" if plan.config.pool.verify == "header" or encoder_decodes else "decode"

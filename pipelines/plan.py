"""From a configuration to the stages that a run goes through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from filters.base import Filter
from filters.duplicates import Duplicates
from filters.keep import Keep
from pipelines.config import RunConfig, ScoreConfig
from pipelines.errors import ConfigError
from pipelines.stage import Stage
from pipelines.stages.decide import Decide
from pipelines.stages.duplicates import DuplicatesStage
from pipelines.stages.embed import Embed, encoder_identity
from pipelines.stages.filter import FilterStage
from pipelines.stages.ingest import SAMPLE_COLUMNS, Ingest
from pipelines.stages.score import Score


@dataclass
class Plan:
    """The stages of a run in order; the last one decides.

    `sources` says for every column which stage makes it, `scores` which of them are scores.
    """

    stages: list[Stage] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)
    scores: list[str] = field(default_factory=list)

    @property
    def last(self) -> str:
        """The stage whose survivors are all that is left so far."""
        return self.stages[-1].name

    def unused_name(self, name: str) -> str:
        """Return a stage name that is free: the second `keep` is `keep-2`."""
        taken = {stage.name for stage in self.stages}
        numbered = (f"{name}-{number}" for number in range(2, len(taken) + 3))
        return name if name not in taken else next(free for free in numbered if free not in taken)


def plan(config: RunConfig) -> Plan:
    """Return the stages that a configuration asks for.

    Raises
    ------
    ConfigError
        When the stages make no sense in this order.
    """
    result = Plan([Ingest(_pixels(config), config.pool.limits)], dict.fromkeys(SAMPLE_COLUMNS, "ingest"))
    for number, entry in enumerate(config.stages, 1):
        kind, parameters = next(iter(entry.items()))
        where = f"stages: number {number} ({kind})"
        if isinstance(parameters, ScoreConfig):
            _add_score(result, config, parameters, where)
        elif isinstance(parameters, Duplicates):
            result.stages.append(
                DuplicatesStage(result.unused_name(kind), parameters, result.last, source="ingest")
            )
        else:
            _add_filter(result, kind, parameters, where)
    result.stages.append(Decide(tuple(stage.name for stage in result.stages)))
    return result


def _pixels(config: RunConfig) -> Literal["hash", "decode", "header"]:
    """Decode each image at ingest only where something needs it and nothing later does it anyway."""
    wanted = [parameters for entry in config.stages for parameters in entry.values()]
    if any(isinstance(each, Duplicates) and each.key == "pixels" for each in wanted):
        return "hash"
    encoder_decodes = any(isinstance(each, ScoreConfig) for each in wanted)
    return "header" if config.pool.verify == "header" or encoder_decodes else "decode"


def _add_score(plan: Plan, config: RunConfig, score: ScoreConfig, where: str) -> None:
    if config.encoder is None:
        raise ConfigError(
            f"{where} needs vectors: give an encoder, such as {{model: ViT-B-32, pretrained: openai}}"
        )
    if score.name in plan.sources:
        raise ConfigError(f"{where}: the score {score.name!r} is there already")
    if "image" not in plan.sources:
        encoder_identity(config.encoder)  # its files are there, or nothing starts
        plan.stages.append(Embed(config.encoder, plan.last, "ingest", config.pool.limits.pixels))
        plan.sources |= {"image": "embed", "text": "embed"}
    stage = Score(score.name, gate=plan.last, vectors="embed")
    plan.stages.append(stage)
    plan.sources[score.name] = stage.name
    plan.scores.append(score.name)


def _add_filter(plan: Plan, kind: str, filter: Filter, where: str) -> None:
    missing = [column for column in filter.columns if column not in plan.sources]
    if isinstance(filter, Keep) and filter.by not in plan.scores:
        missing = [filter.by]  # other columns are no numbers to rank by
    if missing:
        there = (
            f"the scores there are: {', '.join(plan.scores)}" if plan.scores else "no score stands before it"
        )
        raise ConfigError(f"{where}: there is no score {missing[0]!r} at this point; {there}")
    sources: Mapping[str, str] = {column: plan.sources[column] for column in filter.columns}
    plan.stages.append(FilterStage(plan.unused_name(kind), filter, plan.last, sources))

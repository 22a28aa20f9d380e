"""Which filters are to be compared by the models they induce: the plan of `curate dfn rank`. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipelines.config import EncoderName
from pipelines.engine import EngineConfig
from pipelines.proxies.checks import check_metric, checked_recipe
from pipelines.proxies.evaluate import Evaluation
from pipelines.storage import resolve
from pipelines.training.config import TrainConfig
from scoring.encoder_spec import LOCAL_DIR, EncoderSpec

Baseline = Literal["none", "random"]
_OURS = ("shards", "subset", "output", "seed", "finetune", "threads")


class RankPlan(BaseModel):
    """One pool, the networks that filter it, and the small training that tells what each is worth."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    shards: str | list[str] = Field(description="the pool: brace range, glob, folder, URL, or a list")
    output: str = Field(description="folder for the result, and for what is under way")
    keep_ratio: float = Field(gt=0, lt=1, description="share of the pool that every filter keeps")
    filters: dict[EncoderName, EncoderSpec] = Field(
        min_length=1, description="the networks by name, each as an encoder: {model: local-dir:…}"
    )
    baselines: list[Baseline] = Field(
        ["none", "random"], description="none: the whole pool; random: a share of it, anew for each seed"
    )
    seeds: list[int] = Field(
        [0, 1, 2], min_length=1, description="each result is trained on once for each of these"
    )
    train: dict[str, Any] = Field(
        description="the small training: model, samples_seen, batch_size … as for `curate dfn train`"
    )
    evaluations: list[Evaluation] = Field(min_length=1, description="what is measured, on held-out shards")
    metric: str | None = Field(
        None, description="the measure to rank by, more is better; default: the first evaluation's first"
    )
    engine: EngineConfig = Field(
        default_factory=EngineConfig, description="where to run: a training at a time on each worker"
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        checked_recipe(self.train, _OURS, lambda: self.recipe(shards="-", output="-"))
        if both := {*self.filters} & {*self.baselines}:
            raise ValueError(f"filters: {both.pop()} is the name of a baseline; choose another")
        if len({*self.seeds}) < len(self.seeds):
            raise ValueError("seeds: each should stand there once")
        check_metric(self.evaluations, self.metric, lambda: self.measure)
        return self

    @property
    def measure(self) -> str:
        """The measure that the filters are ranked by."""
        return self.metric or (self.evaluations[0].names or [""])[0]

    def recipe(self, **places: Any) -> TrainConfig:
        """Return the small training with the given shards, subset, output and seed."""
        content = {**self.train, **places, "threads": self.engine.threads_per_worker}
        return TrainConfig.model_validate(content)

    def at(self, base: str | Path) -> RankPlan:
        """Return the plan with relative paths starting at `base`."""
        recipe = self.recipe(shards=self.shards, output=self.output).at(base)
        changes = {
            "shards": recipe.shards,
            "output": recipe.output,
            "filters": {name: _encoder_at(spec, base) for name, spec in self.filters.items()},
            "evaluations": [evaluation.at(base) for evaluation in self.evaluations],
            "train": recipe.model_dump(include=set(self.train), mode="json"),
        }
        return self.model_copy(update=changes)


def _encoder_at(spec: EncoderSpec, base: str | Path) -> EncoderSpec:
    changes = {}
    if spec.model.startswith(LOCAL_DIR):
        changes["model"] = LOCAL_DIR + resolve(spec.model.removeprefix(LOCAL_DIR), base)
    if spec.pretrained and (Path(base) / spec.pretrained).is_file():
        changes["pretrained"] = resolve(spec.pretrained, base)
    return spec.model_copy(update=changes)

"""What proxies are to be trained and measured: the plan of `curate proxy`. Without torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipelines.engine import EngineConfig
from pipelines.proxies.checks import check_metric, checked_recipe
from pipelines.proxies.evaluate import Evaluation
from pipelines.storage import resolve
from pipelines.training.config import TrainConfig

_OURS = ("shards", "subset", "output", "seed", "samples_seen", "epochs", "threads", "finetune")
Samples = Annotated[int, Field(gt=0)]


class ProxyPlan(BaseModel):
    """Small trainings on buckets and mixtures of them, at several budgets each."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    buckets: str = Field(description="folder that `curate buckets` wrote")
    pools: list[list[str]] | None = Field(
        None, description="unions of buckets, by name; default: every bucket, and the best two, three …"
    )
    output: str = Field(description="folder for the measurements and for what is under way")
    budgets: list[Samples] = Field(min_length=1, description="samples seen at which a proxy is measured")
    seeds: list[int] = Field([0, 1], min_length=1, description="a training of each pool for each of these")
    schedule: Literal["cooldown", "cosine"] = Field(
        "cooldown",
        description="cooldown: one training at a constant rate, from which every budget branches off and "
        "cools down; cosine: a training of its own for every budget",
    )
    cooldown: float = Field(0.2, gt=0, le=1, description="share of a budget over which the rate falls to 0")
    train: dict[str, Any] = Field(
        default_factory=dict, description="model, batch_size, learning_rate … as for `curate dfn train`"
    )
    evaluations: list[Evaluation] = Field(min_length=1, description="what is measured, on held-out shards")
    metric: str | None = Field(
        None, description="the measure whose 1 - value is the error; default: the first evaluation's main one"
    )
    engine: EngineConfig = Field(
        default_factory=EngineConfig, description="where to train: a proxy at a time on each worker"
    )

    @model_validator(mode="after")
    def _recipe_is_right(self) -> Self:
        recipe = checked_recipe(self.train, _OURS, lambda: self.recipe(shards="-", output="-"))
        if self.samples(min(self.budgets)) < recipe.batch_size * 2:
            raise ValueError(
                f"budgets: {min(self.budgets):,} samples are not two batches of train.batch_size: "
                f"{recipe.batch_size}; raise the one or lower the other"
            )
        check_metric(self.evaluations, self.metric, lambda: self.measure)
        return self

    @property
    def measure(self) -> str:
        """The measure whose 1 - value is the error."""
        if self.metric is not None:
            return self.metric
        task = self.evaluations[0].retrieval
        names = self.evaluations[0].names or [""]
        # The widest net: recall at 1 of a tiny model is hardly above chance.
        return next(n for n in names if "recall" in n and n.endswith(f"_{max(task.k)}")) if task else names[0]

    def samples(self, budget: int) -> int:
        """Return how many samples are really seen at a budget: whole batches."""
        size = int(self.train.get("batch_size", TrainConfig.model_fields["batch_size"].default))
        return max(1, round(budget / size)) * size

    def recipe(self, **places: Any) -> TrainConfig:
        """Return the training of the longest budget, with the given shards, subset, output and seed."""
        content = {**self.train, **places, "samples_seen": max(self.budgets)}
        return TrainConfig.model_validate({**content, "threads": self.engine.threads_per_worker})

    def at(self, base: str | Path) -> ProxyPlan:
        """Return the plan with relative paths starting at `base`."""
        return self.model_copy(
            update={
                "buckets": resolve(self.buckets, base),
                "output": resolve(self.output, base),
                "evaluations": [evaluation.at(base) for evaluation in self.evaluations],
                "train": self.recipe(shards="-", output="-")
                .at(base)
                .model_dump(include=set(self.train), mode="json"),
            }
        )


@dataclass(frozen=True)
class ProxyRun:
    """What one proxy is.

    Attributes
    ----------
    pool
        The name of its pool.
    train
        How it is trained, on which subset of which shards, with which seed; `output` is its own folder.
    budgets
        Steps at which it is measured, rising.
    cooldown
        Share of a budget over which the rate falls to 0; None for a cosine over the whole of each budget.
    evaluations
        What is measured.
    data
        What decides the samples, for the fingerprint: hashes of shards (the held-out ones too) and subset.
    """

    pool: str
    train: TrainConfig
    budgets: tuple[int, ...]
    cooldown: float | None
    evaluations: tuple[Evaluation, ...]
    data: Mapping[str, str]


def slug(text: str) -> str:
    """Return a name for a file: letters, digits, dots and dashes."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-")

"""What every plan of small trainings has to get right, before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from pipelines.config import explain
from pipelines.proxies.evaluate import Evaluation
from pipelines.training.config import TrainConfig


def checked_recipe(
    train: Mapping[str, Any], taken: Collection[str], make: Callable[[], TrainConfig]
) -> TrainConfig:
    """Return the recipe that `make` builds from a plan's `train`.

    Raises
    ------
    ValueError
        It has a key that other keys of the plan stand for, or is no training.
    """
    if strays := [name for name in taken if name in train]:
        raise ValueError(f"train.{strays[0]} is not for a plan: its other keys say it")
    try:
        return make()
    except ValidationError as error:
        raise ValueError("train." + "; train.".join(explain(error, TrainConfig))) from None


def check_metric(evaluations: Sequence[Evaluation], metric: str | None, measure: Callable[[], str]) -> None:
    """Raise ValueError unless the plan's measure is one that its evaluations give.

    `measure` names it, and is asked once it is known that there is one.
    """
    names = [evaluation.names for evaluation in evaluations]
    if metric is None and names[0] is None:
        raise ValueError("metric: is missing; the first evaluation is a call, so name its measure")
    if None not in names and measure() not in {name for known in names for name in known or ()}:
        raise ValueError(f"metric: no evaluation gives {metric!r}")

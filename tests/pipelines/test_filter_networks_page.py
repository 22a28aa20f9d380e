"""Every configuration on the page on filter networks is one that the commands accept."""

import re
from pathlib import Path

import pytest
import yaml

from pipelines.proxies.rank_config import RankPlan
from pipelines.training.config import FinetuneConfig, TrainConfig

PAGE = (Path(__file__).parents[2] / "docs/filter_networks.md").read_text(encoding="utf-8")
EXAMPLES = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]


def test_its_examples_are_accepted() -> None:
    train, finetune, rank = EXAMPLES
    assert TrainConfig.model_validate({**train, **finetune}).finetune is not None
    assert RankPlan.model_validate(rank).measure == "recall_at_10"


@pytest.mark.parametrize("key", ["finetune", "precision", "micro_batch_size", "activation", "augment"])
def test_it_names_what_can_be_set(key: str) -> None:
    assert key in TrainConfig.model_fields
    assert f"{key}:" in PAGE


def test_it_names_the_mixing_weight_s_default() -> None:
    assert f"mixing_weight: {FinetuneConfig.model_fields['mixing_weight'].default}" in PAGE

"""Every configuration on the page on pruning is one that a run accepts, and it names every parameter."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from filters.clusters import Clusters
from filters.duplicates import Perceptual, Semantic
from filters.prune import Prune
from pipelines.config import STAGES
from scoring.encoder_spec import EncoderSpec

PAGE = (Path(__file__).parents[2] / "docs/pruning.md").read_text(encoding="utf-8")
BLOCKS = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]


def entries() -> list[dict[str, Any]]:
    """Return the stages of all blocks, with or without `stages:` above them."""
    lists = [block if isinstance(block, list) else block.get("stages", []) for block in BLOCKS]
    return [entry for each in lists for entry in each]


@pytest.mark.parametrize("entry", entries(), ids=str)
def test_an_example_is_accepted(entry: dict[str, Any]) -> None:
    ((kind, parameters),) = entry.items()
    assert STAGES[kind].model_validate(parameters).model_fields_set >= set(parameters)


def test_the_encoders_are_accepted() -> None:
    (encoders,) = [block["encoders"] for block in BLOCKS if isinstance(block, dict) and "encoders" in block]
    assert not any(EncoderSpec.model_validate(spec).reads_text for spec in encoders.values())


@pytest.mark.parametrize("model", [Clusters, Prune, Semantic, Perceptual])
def test_the_page_names_every_parameter(model: Any) -> None:
    assert [name for name in model.model_fields if not re.search(rf"\b{name}\b", PAGE)] == []

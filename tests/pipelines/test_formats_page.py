"""Every configuration on the page on formats is one that a run accepts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.config import RunConfig

PAGE = (Path(__file__).parents[2] / "docs/formats.md").read_text(encoding="utf-8")
BASE = {"name": "a", "pool": {"metadata": "a"}, "run": "a", "stages": [], "output": {"subset": "a/a.npy"}}
EXAMPLES = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
ENCODERS = re.findall(r"`(encoder: [^`]*)`", PAGE)


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_is_accepted(example: Any) -> None:
    given = example if isinstance(example, dict) else {"stages": example}
    found = RunConfig.model_validate({**BASE, **given})
    assert given.keys() <= found.model_fields_set


@pytest.mark.parametrize("encoder", ENCODERS)
def test_an_encoder_is_accepted(encoder: str) -> None:
    assert RunConfig.model_validate({**BASE, **yaml.safe_load(encoder)}).encoder is not None

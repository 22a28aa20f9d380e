"""Every configuration on the page on selection is one that a run accepts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.config import STAGES

PAGE = (Path(__file__).parents[2] / "docs/selection.md").read_text(encoding="utf-8")
EXAMPLES = [
    entry for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) for entry in yaml.safe_load(block)
]


@pytest.mark.parametrize("entry", EXAMPLES, ids=[next(iter(entry)) for entry in EXAMPLES])
def test_an_example_is_accepted(entry: dict[str, Any]) -> None:
    ((kind, parameters),) = entry.items()
    STAGES[kind].model_validate(parameters)


@pytest.mark.parametrize("kind", ["keep", "select", "fuse", "baseline", "soft_cap", "rules", "repeats"])
def test_the_page_has_an_example_of_each(kind: str) -> None:
    assert any(kind in entry for entry in EXAMPLES)


def test_the_page_names_every_rule() -> None:
    assert [name for name in STAGES["rules"].model_fields if name not in PAGE] == []

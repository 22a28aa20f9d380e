"""The generated text of the pages is what the code says; `make reference` brings it up to that."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from curate.reference.__main__ import main
from curate.reference.commands import commands
from curate.reference.configuration import anchor, models
from curate.reference.pages import pages
from curate.reference.tables import table
from pipelines.config import STAGES
from pipelines.errors import ConfigError
from pipelines.pool import ingest
from pipelines.score_config import SCORES
from pipelines.stages.stored import _PROBLEMS
from scoring.images import Reason

DOCS = Path(__file__).parents[2] / "docs"


def test_no_page_is_stale() -> None:
    stale = [page.name for page, text in pages(DOCS).items() if page.read_text(encoding="utf-8") != text]
    assert stale == [], "run `make reference`"


def test_every_stage_and_score_has_its_keys_on_a_page_about_it() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in DOCS.glob("*.md"))
    assert [name for name in models() if f"<!-- keys of {name} -->" not in text] == []


def test_the_page_of_keys_has_each_stage_each_score_and_what_lies_within() -> None:
    text = (DOCS / "configuration.md").read_text(encoding="utf-8")
    for name in [
        *models(),
        "pool",
        "pool.limits",
        "duplicates.semantic",
        "encoder: stored vectors",
        "augment",
    ]:
        assert f"\n### `{name}`\n" in text, name
    for model in [*STAGES.values(), *SCORES.values()]:
        for name, field in model.model_fields.items():
            assert f"| `{field.alias or name}` |" in text, f"{model.__name__}.{name}"


def test_a_key_is_told_with_its_values_range_and_default() -> None:
    text = (DOCS / "configuration.md").read_text(encoding="utf-8")
    assert "| `radius` | whole number, at least 0, at most 20 | `12` | largest number" in text
    assert "| `verify` | `decode` or `header` | `decode` | decode: prove" in text
    assert "| `name` | text | required | what the run is called" in text


def test_every_reason_to_set_a_sample_aside_is_told() -> None:
    page = (DOCS / "pool.md").read_text(encoding="utf-8")
    source = Path(ingest.__file__).read_text(encoding="utf-8")
    reasons = {*re.findall(r'fail\(\s*"(\w+)"', source), *get_args(Reason), *filter(None, _PROBLEMS)}
    assert len(reasons) > 15
    assert [reason for reason in reasons if f"`{reason}`" not in page] == []


def test_every_key_has_a_meaning() -> None:
    lines = (DOCS / "configuration.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("| `") and line.endswith("|  |")] == []


def test_every_command_has_help_and_so_has_each_of_its_options() -> None:
    found = commands()
    assert {"curate run", "curate scaling fit", "curate dfn train"} <= set(found)
    for path, command in found.items():
        assert command.help, path
        for parameter in command.params:
            hidden = getattr(parameter, "hidden", False)
            assert parameter.help or hidden, f"{path}: {parameter.name}"


def test_a_stale_page_is_written_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "a.md"
    page.write_text("# A\n\n<!-- keys of subset -->\nold\n<!-- end of keys -->\n\nby hand\n")
    main(tmp_path)
    assert f"wrote {page}\n" in capsys.readouterr().out
    main(tmp_path)
    assert capsys.readouterr().out == ""
    text = page.read_text()
    assert "| `file` | text | required |" in text
    assert "old" not in text
    assert text.endswith("by hand\n")


def test_a_mark_that_names_nothing_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("<!-- keys of nothing -->\n<!-- end of keys -->\n")
    with pytest.raises(ConfigError, match=r"a\.md: there are no keys of 'nothing'; .* pool, rules"):
        pages(tmp_path)


def test_cells_hold_what_markdown_would_take_for_its_own() -> None:
    lines = table(("a", "b"), [("x|y\n z", "clip_<arch> `0 3 * * *` *")]).splitlines()
    assert lines == ["| a | b |", "| --- | --- |", r"| x\|y z | clip_&lt;arch> `0 3 * * *` \* |"]


def test_anchors_are_those_of_the_headings() -> None:
    assert anchor("duplicates.semantic") == "duplicatessemantic"
    assert anchor("encoder: a model") == "encoder-a-model"

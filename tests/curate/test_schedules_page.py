"""The page on schedules names every command and option, and says of every stage if its fit can be held."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from curate.cli import app
from filters.base import PoolFilter
from pipelines.config import STAGES

PAGE = (Path(__file__).parents[2] / "docs/schedules.md").read_text(encoding="utf-8")


def test_the_page_names_every_command_and_every_option_of_a_schedule() -> None:
    root: Any = typer.main.get_command(app)
    group = root.get_command(typer.Context(root), "schedule")
    for name in group.list_commands(typer.Context(group)):
        assert f"curate schedule {name}" in PAGE
    add = group.get_command(typer.Context(group), "add")
    options = {each for option in add.params for each in option.opts if each.startswith("--")}
    assert {option for option in options if option not in PAGE} == {"--name"}


def test_the_page_says_of_every_stage_that_is_fitted_what_becomes_of_it() -> None:
    fitted = {name for name, model in STAGES.items() if issubclass(model, PoolFilter)}
    fitted |= {"cluster", "prune", "repeats", "duplicates", "fuse", "score"}
    assert {name for name in fitted if f"`{name}" not in PAGE} == set()

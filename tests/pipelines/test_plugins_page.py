"""The page on plugins: its code is the example's, its configuration runs, its entry points are found."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from pathlib import Path

import pytest
import yaml

from pipelines.plugins.installed import GROUPS
from tests.commands import Command
from tests.commands import curate as curate  # a fixture
from tests.making import write_pool
from tests.pools import config, write_config

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/plugins.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "examples/plugins/calm.py"


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


def test_the_page_shows_the_example() -> None:
    assert block("python") == EXAMPLE.read_text(encoding="utf-8")


def test_the_pages_configuration_runs_by_the_pages_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, curate: Command
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(EXAMPLE, tmp_path)
    content = config(write_pool(tmp_path / "pool"), tmp_path) | yaml.safe_load(block("yaml"))
    write_config(tmp_path / "curate.yaml", content)
    (command,) = re.findall(r"\ncurate (run .*)\n", PAGE)
    refused = curate(*command.split()[:2])
    assert (refused.code, "--allow-plugin calm.py" in refused.err) == (2, True)
    checked = curate("check", "curate.yaml", "--allow-plugin", "calm.py")
    assert (checked.code, "score-contrast_again" in checked.out) == (0, True)
    found = json.loads(curate(*command.split(), "--json").out)
    assert found["kept"] + sum(found["dropped"].values()) == found["samples"]
    assert {name.partition(".")[0] for name in found["dropped"]} == {"keep"}


def test_the_pages_entry_points_are_in_the_groups_that_are_read() -> None:
    points = tomllib.loads(block("toml"))["project"]["entry-points"]
    assert set(points) == set(GROUPS.values())


def test_plugins_of_a_file_are_listed(curate: Command) -> None:
    found = {row["name"]: row for row in json.loads(curate("plugins", EXAMPLE, "--json").out)}
    assert found["shouting"]["parameters"] == {"most": "0.7"}
    assert found["contrast"] == {
        "name": "contrast",
        "sort": "scorer",
        "from": "calm.py",
        "needs": ["images"],
        "parameters": {},
        "problem": None,
    }
    shown = curate("plugins", EXAMPLE)
    assert (shown.code, "most=0.7" in shown.out) == (0, True)
    assert curate("plugins", "nowhere.py").code == 2

"""What looks each commit over: settings that pre-commit takes, and tools that `make setup` installs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FILE = ROOT / ".pre-commit-config.yaml"
BIN = Path(sys.executable).parent
HOOKS = [hook for repo in yaml.safe_load(FILE.read_text())["repos"] for hook in repo["hooks"]]


def test_pre_commit_takes_the_settings() -> None:
    subprocess.run([BIN / "pre-commit", "validate-config", FILE], check=True, capture_output=True)


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook["id"])
def test_a_hook_needs_no_network_and_is_installed(hook: dict[str, str]) -> None:
    program = Path(hook["entry"].split()[0])
    assert hook["language"] == "system"
    assert program.parts[:2] == (".venv", "bin")
    assert (BIN / program.name).exists()

"""The README tells the truth: its commands run in order, and what it shows is what they print."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
BIN = Path(sys.executable).parent
BLOCK = re.compile(r"```(console|python|yaml)\n(.*?)```", re.DOTALL)


def blocks(language: str) -> list[str]:
    return [body for name, body in BLOCK.findall(README.read_text(encoding="utf-8")) if name == language]


def commands() -> list[tuple[str, list[str]]]:
    """Return each `$ command` of the console blocks with the lines that the README shows under it."""
    found: list[tuple[str, list[str]]] = []
    for block in blocks("console"):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            elif line.strip():
                found[-1][1].append(line)
    return found


def shape(text: str) -> str:
    """Return a line without what differs from run to run: numbers, units, spaces, rules of tables."""
    text = re.sub(r"\b[kMGT]?B\b", "", text)
    return re.sub(r"[\d.,:%\s·–—─━|+-]+", " ", text).strip()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return a folder with a small demo in it, for the other commands to work on, and what it printed."""
    folder = tmp_path_factory.mktemp("readme")
    command = [BIN / "curate", "demo", "--samples", "400"]
    result = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=600)
    return folder, result.stdout


def printed_by(command: str, folder: Path) -> str:
    result = subprocess.run(
        f"{BIN}/{command}", shell=True, cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, f"{command}\n{result.stderr}"
    return result.stdout + result.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_command_runs_and_prints_what_is_shown(demo: tuple[Path, str]) -> None:
    home, demo_output = demo
    tried = [(command, shown) for command, shown in commands() if command.startswith("curate ")]
    assert len(tried) >= 4
    for command, shown in tried:
        # The fixture ran the demo, smaller.
        output = demo_output if command == "curate demo" else printed_by(command, home)
        printed = {shape(line) for line in output.splitlines()}
        for line in shown:
            assert shape(line) in printed, f"{command} does not print {line!r}, but\n{output}"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_python_example_runs(demo: tuple[Path, str]) -> None:
    home, _ = demo
    for example in blocks("python"):
        script = home / "example.py"
        script.write_text(example)
        result = subprocess.run(
            [sys.executable, script], cwd=home, capture_output=True, text=True, timeout=300
        )
        assert result.returncode == 0, result.stderr


def test_every_make_target_that_is_named_exists() -> None:
    makefile = (README.parent / "Makefile").read_text()
    for target in re.findall(r"\bmake ([a-z]+)", README.read_text(encoding="utf-8")):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_configuration_that_is_shown_is_valid() -> None:
    import yaml

    from curate.config import load

    whole = [yaml.safe_load(block) for block in blocks("yaml")]
    assert whole
    for content in whole:
        load(content)


def test_every_file_that_is_linked_exists() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README.read_text(encoding="utf-8")):
        assert (README.parent / target).exists(), target

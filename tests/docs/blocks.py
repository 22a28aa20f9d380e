"""The blocks of code on the pages."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

_BLOCK = re.compile(r"^(?P<indent> *)```(?P<language>[^\n]*)\n(?P<body>.*?)^ *```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block: what it is written in, its text, and where it stands."""

    language: str
    body: str
    place: str


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found = _BLOCK.finditer(text)
    return [Block(each["language"].strip(), each["body"], _place(page, text, each.start())) for each in found]


def _place(page: Path, text: str, start: int) -> str:
    return f"{page.name}:{text[:start].count(chr(10)) + 1}"


def commands(block: Block) -> list[list[str]]:
    """Return the commands of a block of shell as lists of words, without comments and shown output."""
    lines = block.body.replace("\\\n", " ").splitlines()
    if block.language == "console":
        lines = [line[2:] for line in lines if line.startswith("$ ")]
    return [words for line in lines if (words := shlex.split(line, comments=True))]

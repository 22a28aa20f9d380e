"""Tables in Markdown, whatever stands in their cells."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; bars and line breaks in cells don't end them."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    """Return a text in one line, with what Markdown would take for its own made plain, but in code."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    plain = [part if part[:1] == "`" else part.replace("*", "\\*").replace("<", "&lt;") for part in parts]
    return "".join(plain).replace("|", "\\|")

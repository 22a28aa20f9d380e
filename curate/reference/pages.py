"""The pages that hold generated text: two that are nothing else, and tables between marks in the others."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import BaseModel

from curate.reference.commands import commands_page
from curate.reference.configuration import configuration_page, keys, models
from pipelines.errors import ConfigError
from pipelines.pool.config import PoolConfig

_BLOCK = re.compile(r"(<!-- keys of ([^>]+?) -->\n).*?(<!-- end of keys -->)", re.DOTALL)


def pages(docs: Path) -> dict[Path, str]:
    """Return every page with generated text as it should be.

    Parameters
    ----------
    docs
        The folder of the pages. A page takes in a table of keys by the marks `<!-- keys of keep -->` and
        `<!-- end of keys -->`, each on a line of its own.

    Raises
    ------
    ConfigError
        When a mark names neither a stage nor a score, nor the pool.
    """
    made = {docs / "configuration.md": configuration_page(), docs / "commands.md": commands_page()}
    for page in sorted(docs.glob("*.md")):
        if page not in made and _BLOCK.search(text := page.read_text(encoding="utf-8")):
            made[page] = _filled(text, page)
    return made


def _filled(text: str, page: Path) -> str:
    known: dict[str, type[BaseModel]] = {"pool": PoolConfig, **models()}

    def block(match: re.Match[str]) -> str:
        opening, name, closing = match.groups()
        if name not in known:
            raise ConfigError(f"{page}: there are no keys of {name!r}; there are those of {', '.join(known)}")
        return f"{opening}\n{keys(known[name])}\n{closing}"

    return _BLOCK.sub(block, text)

"""Which plugins are installed, by what distributions say of themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # who just asks for names need not load what plugins build on
    from pipelines.plugins.use import Sort

GROUPS: Mapping[Sort, str] = {"filter": "curate.filters", "scorer": "curate.scorers"}
"""Where installed distributions name their plugins: groups of entry points."""


def installed() -> Iterator[tuple[Sort, EntryPoint]]:
    """Yield the entry points of installed distributions; nothing of them is imported."""
    for sort, group in GROUPS.items():
        yield from ((sort, point) for point in sorted(entry_points(group=group)))

"""Load what a user's file holds, once for each state of the file."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Loaded = TypeVar("Loaded")


def once_per_content(load: Callable[[str], Loaded]) -> Callable[[str], Loaded]:
    """Return a loader that reads a file again only when its time or size has changed."""

    @functools.lru_cache(maxsize=4)
    def cached(path: str, mtime: int, size: int) -> Loaded:
        return load(path)

    @functools.wraps(load)
    def wrapper(path: str) -> Loaded:
        facts = Path(path).stat()
        return cached(path, facts.st_mtime_ns, facts.st_size)

    return wrapper

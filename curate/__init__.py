"""Raw image-text shards and a compute budget in, the shards to train on out.

`from curate import run` does what `curate run` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from curate.api import run

__all__ = ["run"]


def __getattr__(name: str) -> Any:
    # Loaded when asked for, so that `curate --help` answers at once.
    if name == "run":
        from curate.api import run

        return run
    raise AttributeError(f"module 'curate' has no attribute {name!r}")

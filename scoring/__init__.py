"""One number for a sample: images, encoders, and scores from their vectors.

Scores are functions on arrays: `from scoring import clip_score, s_clip_loss, norm_sim, norm_sim_dynamic`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scoring.contrast import equal_batches, s_clip_loss
    from scoring.scorer import Scorer
    from scoring.similarity import clip_score
    from scoring.target import norm_sim, norm_sim_dynamic

__all__ = ["Scorer", "clip_score", "equal_batches", "norm_sim", "norm_sim_dynamic", "s_clip_loss"]

_HOMES = {
    "Scorer": "scoring.scorer",
    "clip_score": "scoring.similarity",
    "equal_batches": "scoring.contrast",
    "norm_sim": "scoring.target",
    "norm_sim_dynamic": "scoring.target",
    "s_clip_loss": "scoring.contrast",
}


def __getattr__(name: str) -> Any:
    """Import a score when it is first asked for: torch takes seconds."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)

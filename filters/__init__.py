"""Who stays: rules, duplicates, thresholds, selections and draws, as functions on arrays and Arrow tables.

What is named here is imported when it is first used: `from filters import soft_cap`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from filters.base import Decision, Filter, PoolFilter, Rule
    from filters.baselines import Baseline
    from filters.fusion import M_FLYT, fuse, min_max, rank, z_score
    from filters.keep import Keep
    from filters.language_id import language
    from filters.rules import Rules
    from filters.select import Select
    from filters.soft_cap_sampling import soft_cap, soft_cap_mean

_HOMES = {
    "Baseline": "baselines",
    "Decision": "base",
    "Filter": "base",
    "Keep": "keep",
    "M_FLYT": "fusion",
    "PoolFilter": "base",
    "Rule": "base",
    "Rules": "rules",
    "Select": "select",
    "fuse": "fusion",
    "language": "language_id",
    "min_max": "fusion",
    "rank": "fusion",
    "soft_cap": "soft_cap_sampling",
    "soft_cap_mean": "soft_cap_sampling",
    "z_score": "fusion",
}

__all__ = [
    "M_FLYT",
    "Baseline",
    "Decision",
    "Filter",
    "Keep",
    "PoolFilter",
    "Rule",
    "Rules",
    "Select",
    "fuse",
    "language",
    "min_max",
    "rank",
    "soft_cap",
    "soft_cap_mean",
    "z_score",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"filters.{_HOMES[name]}"), name)

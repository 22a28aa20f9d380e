"""Results as JSON: every number with its interval, null where there is none."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from scaling_laws.choice import BudgetChoice, Choice, Contender
from scaling_laws.range_check import OutsideRangeError
from scaling_laws.rollout import Rollout
from scaling_laws.study import interval_to_json


def choice_to_json(choice: Choice) -> dict[str, Any]:
    """Return a choice: per budget the best, its rivals and the margin; the switches; what simpler rules
    choose.
    """
    return {
        "level": choice.level,
        "n_draws": choice.n_draws,
        "n_candidates": len(choice.candidates),
        "warnings": list(choice.warnings),
        "budgets": [_budget(item) for item in choice.budgets],
        "switches": [
            {
                "before": switch.before,
                "after": switch.after,
                "samples_seen": interval_to_json(switch.budget),
                "extrapolated": switch.extrapolated,
            }
            for switch in choice.switches
        ],
        "baselines": table_to_json(choice.baselines),
    }


def rollout_to_json(result: Rollout, laws: pd.DataFrame | None = None) -> dict[str, Any]:
    """Return a rollout: verdict first, then the summary, every row, and the comparison of laws if given."""
    document = {
        "verdict": result.verdict,
        "summary": table_to_json(result.summary().reset_index()),
        "rows": table_to_json(result.table),
    }
    if laws is not None:
        document["laws"] = table_to_json(laws)
    return document


def refusal_to_json(refusal: OutsideRangeError) -> dict[str, Any]:
    """Return why there is no answer."""
    return {"refused": True, "reasons": refusal.problems}


def table_to_json(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return one object per row, with null for what is no finite number."""
    return [
        {str(name): _plain(value) for name, value in row.items()} for row in table.to_dict(orient="records")
    ]


def _budget(item: BudgetChoice) -> dict[str, Any]:
    return {
        "samples_seen": item.budget,
        "best": _contender(item.best),
        "runner_up": item.runner_up,
        "margin": _plain(item.margin),
        "margin_exceeds_noise": item.beyond_noise,
        "n_contenders": item.n_contenders,
        "contenders": [_contender(contender) for contender in item.contenders],
    }


def _contender(contender: Contender) -> dict[str, Any]:
    return {name: _plain(value) for name, value in vars(contender).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value.item() if hasattr(value, "item") else value

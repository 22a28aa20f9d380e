"""Choosing among laws: by held-out extrapolation first, by AICc second."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from scaling_laws.baselines import default_laws, quiet_fit
from scaling_laws.pool_fit import RepetitionFit
from scaling_laws.rollout import rollout
from scaling_laws.runs import Metric, RunsError, check_runs

SAME_EVIDENCE = 2.0
"""A difference in AICc below this is no evidence (Burnham and Anderson 2002, section 2.6)."""


def compare_laws(
    runs: pd.DataFrame, laws: Mapping[str, RepetitionFit] | None = None, *, metric: Metric = "error"
) -> pd.DataFrame:
    """Return the laws of one model's runs, best first.

    Parameters
    ----------
    runs
        Columns as in `check_runs`, of one model.
    laws
        Unfitted laws by name; default: `default_laws`.

    Returns
    -------
    pandas.DataFrame
        Columns ``law``, ``held_out_rmse`` (mean over the rollout's cutoffs at which every usable law could be
        fitted; nan if there is none), ``aicc`` (``inf`` with too few runs), ``delta_aicc``, ``rmse`` on all
        runs, ``n_parameters``, ``indistinguishable`` (from the first, by AICc) and ``note``.
    """
    laws = default_laws() if laws is None else dict(laws)
    checked = check_runs(runs, metric)
    held_out = _held_out(checked, laws, metric)
    rows = []
    for name, law in laws.items():
        fit = quiet_fit(law, checked)
        if isinstance(fit, str):
            rows.append((name, np.nan, np.inf, np.nan, 0, fit))
        else:
            rows.append((name, held_out.get(name, np.nan), fit.aicc_, fit.rmse_, fit.n_parameters_, ""))
    table = pd.DataFrame(rows, columns=["law", "held_out_rmse", "aicc", "rmse", "n_parameters", "note"])
    table = table.sort_values(["held_out_rmse", "aicc"], kind="stable").reset_index(drop=True)
    finite = np.isfinite(table["aicc"])
    least = table.loc[finite, "aicc"].min() if finite.any() else np.nan
    table.insert(3, "delta_aicc", table["aicc"].where(finite) - least)
    apart = (table["aicc"] - table["aicc"].iloc[0]).abs()
    table.insert(6, "indistinguishable", (apart < SAME_EVIDENCE) & finite)
    return table


def _held_out(runs: pd.DataFrame, laws: Mapping[str, RepetitionFit], metric: Metric) -> dict[str, float]:
    try:
        scores = rollout(runs, laws, metric=metric, n_draws=0).table
    except RunsError:
        return {}
    own = scores[scores["method"].isin(list(laws))]
    wide = own.pivot_table(index="cutoff", columns="method", values="rmse")
    return {str(name): float(value) for name, value in wide.dropna().mean().items()}

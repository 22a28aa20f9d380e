"""The simpler rules that every report stands beside."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.effective_data import Floats
from scaling_laws.fit_flags import FitWarning
from scaling_laws.fitted_pools import FittedPools
from scaling_laws.pool_fit import RepetitionFit
from scaling_laws.runs import RunsError

LEVEL_RATIO = 1.12
"""Runs whose samples seen differ by less than this factor count as one budget."""
RANKING = "single-scale ranking"
LARGEST, SMALLEST, RANDOM = "largest pool", "smallest pool", "random"
RULES = (RANKING, LARGEST, SMALLEST, RANDOM)


def budget_levels(samples_seen: Floats) -> NDArray[np.intp]:
    """Return the index of each run's budget, counting up from the least; shape (n_runs,).

    Runs meant for one budget seldom see exactly as many samples, so a level reaches up to 1.12 times its
    first.
    """
    levels = np.zeros(len(samples_seen), np.intp)
    first, level = 0.0, -1
    for position in np.argsort(samples_seen, kind="stable"):
        if samples_seen[position] > first * LEVEL_RATIO:
            first, level = float(samples_seen[position]), level + 1
        levels[position] = level
    return levels


def default_laws(law: RepetitionFit | None = None) -> dict[str, RepetitionFit]:
    """Return the law in question beside its two rivals: no decay, and the data-constrained law."""
    main = law or RepetitionFit()
    return {
        "repetition": main,
        "no decay": replace(main, form="paper", half_life=float("inf")),
        "data-constrained": replace(main, form="saturating"),
    }


def ranking_errors(runs: pd.DataFrame) -> pd.Series | None:
    """Return each pool's mean error at the largest budget that all pools share, best first.

    Without a budget common to all pools: the largest with two pools or more. None if there is none.
    """
    level = pd.Series(budget_levels(runs["samples_seen"].to_numpy(float)), index=runs.index)
    errors = runs.groupby([level, "pool"])["error"].mean().unstack("pool")
    for shared in (errors.dropna(), errors[errors.notna().sum(axis=1) >= 2]):
        if len(shared):
            return shared.iloc[-1].dropna().sort_values(kind="stable")
    return None


def fit_baselines(runs: pd.DataFrame, law: RepetitionFit | None = None) -> dict[str, FittedPools | str]:
    """Return what `choose` compares with: the rival laws fitted, and the pool that the ranking picks.

    A rival that these runs cannot determine is left out.
    """
    found: dict[str, FittedPools | str] = {}
    for name, rival in rivals(default_laws(law)).items():
        fit = quiet_fit(rival, runs)
        if isinstance(fit, RepetitionFit):
            found[name] = fit.pools_
    ranking = ranking_errors(runs)
    if ranking is not None:
        found[RANKING] = str(ranking.index[0])
    return found


def rivals(laws: Mapping[str, RepetitionFit]) -> dict[str, RepetitionFit]:
    """Return the laws without the one in question."""
    return {name: law for name, law in laws.items() if name != "repetition"}


def quiet_fit(law: RepetitionFit, runs: pd.DataFrame) -> RepetitionFit | str:
    """Return a fresh fit of a law, or the reason why these runs cannot determine it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        try:
            return replace(law).fit(runs)
        except RunsError as reason:
            return str(reason)

"""The published grid reproduced, and beaten by the continuous fit."""

import pandas as pd
import pytest

from scaling_laws import RepetitionFit, grid_search

FORMS = {"func_effective_data": "effective_data", "func_effective_utility": "code"}
SIZE = 12.8e6
ROUNDING = 1e-28
"""A noiseless fit on a grid that holds the truth leaves rounding errors only."""


def test_grid_optimum_is_the_published_one(grid_runs):
    for run in grid_runs:
        scale, _, _, floor = run["true"]
        found = grid_search(run["samples_seen"], run["errors"], SIZE, 1e5 / scale, floor, FORMS[run["func"]])
        _, exponent, half_life, _ = run["grid_best_params"]
        assert found.exponent == pytest.approx(exponent, rel=1e-12)
        assert found.half_life == pytest.approx(half_life, rel=1e-12)
        assert found.rss == pytest.approx(run["grid_best_sse"], rel=1e-9, abs=ROUNDING)


def test_continuous_fit_is_never_worse_than_the_grid(grid_runs):
    for run in grid_runs:
        scale, _, _, floor = run["true"]
        runs = pd.DataFrame(
            {"pool": "p", "pool_size": SIZE, "samples_seen": run["samples_seen"], "error": run["errors"]}
        )
        fit = RepetitionFit(form=FORMS[run["func"]], anchor=1e5 / scale, irreducible=floor).fit(runs)
        assert fit.rss_ <= run["grid_best_sse"] * (1 + 1e-9) + ROUNDING

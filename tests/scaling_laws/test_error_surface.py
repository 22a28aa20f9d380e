"""The fast surface over draws against the exact law, form by form."""

import math
import warnings

import numpy as np
import pytest

from scaling_laws import (
    FORMS,
    FittedPools,
    FitWarning,
    RepetitionFit,
    bootstrap,
    make_candidates,
    mixture,
    point_errors,
)
from scaling_laws.effective_data import log_effective_samples
from scaling_laws.error_surface import ErrorSurface, log_data_table

BUDGETS = np.array([1.4e6, 12.8e6, 3e7, 128e6, 640e6, 3e9])


def draws_of(form, noisy_runs, n_draws=40):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        fit = RepetitionFit(form=form).fit(noisy_runs)
    return fit.pools_, bootstrap(fit, n_draws).pools


@pytest.mark.parametrize("form", FORMS)
def test_surface_agrees_with_the_exact_law_on_every_draw(form, noisy_runs):
    pools, draws = draws_of(form, noisy_runs)
    candidates = make_candidates(pools, "subsets", (1.0, 0.5))
    for column, errors in enumerate(ErrorSurface(draws, candidates, BUDGETS)):
        for draw in (0, 17, 39):
            exact = point_errors(draws.take(draw), candidates, BUDGETS[column : column + 1])[:, 0]
            assert errors[:, draw] == pytest.approx(exact, abs=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_point_errors_are_those_of_the_mixture(form, noisy_runs):
    pools, _ = draws_of(form, noisy_runs, 2)
    candidates = make_candidates(pools, "subsets")
    errors = point_errors(pools, candidates, BUDGETS)
    everything = candidates.names.index(" + ".join(pools.names))
    assert errors[everything] == pytest.approx(mixture(pools.pools()).predict(BUDGETS), abs=1e-13)
    first = candidates.names.index(pools.names[0])
    assert errors[first] == pytest.approx(pools.pool(pools.names[0]).predict(BUDGETS), abs=1e-13)


@pytest.mark.parametrize("form", FORMS)
def test_the_running_table_is_the_sum_over_epochs(form):
    half_lives = np.array([0.1, 2.0, 30.0, math.inf])
    budgets = np.array([0.3, 1.0, 1.5, 2.0, 7.3, 40.0]) * 1e7
    exact = log_effective_samples(budgets, 1e7, half_lives[:, None], form)
    assert log_data_table(budgets, 1e7, half_lives, form) == pytest.approx(exact, abs=1e-12)


def test_draws_without_decay_are_interpolated_too():
    half_lives = np.array([[3.0, math.inf], [8.0, 900.0], [math.inf, 40.0]])
    draws = FittedPools(
        ("a", "b"), np.array([1e7, 3e7]), "paper", np.full((3, 2), -0.15), half_lives,
        np.full(3, 4e6), np.full(3, 0.1),
    )  # fmt: skip
    candidates = make_candidates(draws.take(0), "subsets")
    for column, errors in enumerate(ErrorSurface(draws, candidates, BUDGETS)):
        for draw in range(3):
            exact = point_errors(draws.take(draw), candidates, BUDGETS[column : column + 1])[:, 0]
            assert errors[:, draw] == pytest.approx(exact, abs=2e-6)


def test_candidates_of_every_kind(noisy_runs):
    pools, _ = draws_of("paper", noisy_runs, 2)
    assert len(make_candidates(pools, "subsets")) == 15
    prefixes = make_candidates(pools, "prefixes")
    assert prefixes.names == ("a", "a + b", "a + b + c", "a + b + c + d")
    assert prefixes.sizes == pytest.approx(12.8e6 * np.arange(1, 5))
    assert make_candidates(pools, "pools", (1.0, 0.25)).names[1] == "0.25 of a"
    own = make_candidates(pools, [{"a": 1.0, "d": 0.5}])
    assert own.names == ("a + 0.5 of d",)
    assert own.sizes == pytest.approx([1.5 * 12.8e6])


@pytest.mark.parametrize(
    ("kind", "ratios", "message"),
    [
        ("subsets", (0.0,), "keep ratios"),
        ("everything", (1.0,), "unknown kind"),
        ([{"z": 1.0}], (1.0,), "no pool 'z'"),
        ([{"a": 2.0}], (1.0,), "must lie in"),
        ([{}], (1.0,), "without pools"),
    ],
)
def test_bad_candidates_are_named(noisy_runs, kind, ratios, message):
    pools, _ = draws_of("paper", noisy_runs, 2)
    with pytest.raises(ValueError, match=message):
        make_candidates(pools, kind, ratios)


def test_more_than_twelve_pools_have_too_many_subsets():
    ones = np.ones(13)
    pools = FittedPools(
        tuple(f"p{i}" for i in range(13)),
        ones * 1e7,
        "paper",
        -0.1 * ones,
        ones,
        np.array(1e6),
        np.array(0.1),
    )
    with pytest.raises(ValueError, match="at most 12"):
        make_candidates(pools, "subsets")

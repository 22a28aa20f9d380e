"""Profile likelihoods: the least cost at the estimate, right intervals, open ends said aloud."""

import math
import warnings

import numpy as np
import pytest

from scaling_laws import FitWarning, Interval, ProfileCurve, RepetitionFit, profile, profile_interval
from scaling_laws.intervals import percentile_interval
from tests.scaling_laws.simulated import ANCHOR, IRREDUCIBLE, simulate


@pytest.fixture
def fit(noisy_runs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        return RepetitionFit().fit(noisy_runs)


@pytest.mark.parametrize("name", ["half_life[a]", "exponent[b]", "anchor", "irreducible"])
def test_the_estimate_is_the_least_cost_and_values_ascend(fit, name):
    curve = profile(fit, name)
    assert (np.diff(curve.values) > 0).all()
    assert curve.cost.min() == pytest.approx(fit.rss_, rel=1e-6)
    best = curve.values[curve.cost.argmin()]
    assert best == pytest.approx(fit.parameters_[fit.parameter_names_.index(name)], rel=1e-4)


def test_every_point_of_a_profile_costs_no_less_than_the_fit(fit):
    assert (profile(fit, "half_life[a]").cost >= fit.rss_ * (1 - 1e-9)).all()


def test_interval_agrees_with_the_covariance_where_that_holds(noisy_runs):
    fit = RepetitionFit(anchor=ANCHOR, irreducible=IRREDUCIBLE).fit(noisy_runs)
    found = profile_interval(fit, "exponent[a]")
    half = 1.96 * math.sqrt(fit.covariance_[0, 0])
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.1)


def test_a_profile_without_bound_is_open_and_warned_about():
    runs = simulate(0.002, truth={"fresh": (-0.2, math.inf), "other": (-0.1, 3.0)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        fit = RepetitionFit(anchor=ANCHOR, irreducible=IRREDUCIBLE).fit(runs)
    with pytest.warns(FitWarning, match="no bound above"):
        found = profile_interval(fit, "half_life[fresh]")
    assert found.high == math.inf
    assert 10 < found.low < math.inf
    assert found.one_sided


def test_an_unknown_parameter_is_named(fit):
    with pytest.raises(KeyError, match="half_life"):
        profile(fit, "colour")


def test_intervals_say_which_side_is_open():
    assert str(Interval(3.0, 2.0, 4.0)) == "3 [2, 4]"
    assert str(Interval(3.0, -math.inf, 4.0)) == "< 4 (no lower bound)"
    assert str(Interval(3.0, -math.inf, math.inf)) == "3 (unbounded)"
    assert not Interval(3.0, -math.inf, math.inf).one_sided


def test_percentiles_with_infinite_draws_are_open_not_invented():
    draws = np.array([1.0, 2.0, 3.0] * 10 + [math.inf] * 10)
    assert percentile_interval(2.0, draws).high == math.inf
    assert percentile_interval(2.0, draws).low == 1.0


def test_a_cut_between_scanned_values_is_interpolated():
    values = np.geomspace(1, 100, 41)
    curve = ProfileCurve("x", values, 1 + np.log(values / 10) ** 2)
    found = curve.interval(n_points=12, n_parameters=2)
    half = math.sqrt(3.841459 / 10)
    assert found.low == pytest.approx(10 * math.exp(-half), rel=0.01)
    assert found.high == pytest.approx(10 * math.exp(half), rel=0.01)

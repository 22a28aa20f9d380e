"""Bootstraps: calibrated, reproducible, and open where data set no bound."""

import math
import warnings

import numpy as np
import pytest

from scaling_laws import FitWarning, RepetitionFit, RunsError, bootstrap, run_noise_sd, seed_noise_sd
from tests.scaling_laws.simulated import ANCHOR, IRREDUCIBLE, TRUTH, simulate


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        yield


def test_draws_are_the_same_for_the_same_seed(noisy_runs):
    fit = RepetitionFit().fit(noisy_runs)
    one, same, other = (bootstrap(fit, 50, random_state=seed).parameters for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_known_half_life_interval():
    """Sheet, section 2: scale and d fixed, noise .0025, top 10 % pool: tau in [5.7, 8.3].

    The profile likelihood gives [5.67, 8.16] with this noise, and so do 20,000 draws; the sheet's upper end
    has the error of its fewer draws.
    """
    fit = RepetitionFit(anchor=ANCHOR, irreducible=IRREDUCIBLE).fit(simulate(truth={"top": (-0.16, 6.7273)}))
    found = bootstrap(fit, 4000, kind="parametric", noise_sd=0.0025).intervals(fit)["half_life[top]"]
    assert (found.low, found.high) == pytest.approx((5.67, 8.16), abs=0.05)
    assert (found.low, found.high) == pytest.approx((5.7, 8.3), abs=0.2)


@pytest.mark.parametrize("kind", ["residual", "parametric"])
def test_intervals_cover_the_truth_about_as_often_as_they_say(kind):
    inside = []
    for seed in range(40):
        fit = RepetitionFit(anchor=ANCHOR, irreducible=IRREDUCIBLE).fit(simulate(0.0025, seed))
        intervals = bootstrap(fit, 200, kind=kind, random_state=seed).intervals(fit)
        inside += [
            intervals[f"exponent[{name}]"].low <= truth[0] <= intervals[f"exponent[{name}]"].high
            for name, truth in TRUTH.items()
        ]
    assert 0.86 <= np.mean(inside) <= 0.99


def test_fixing_anchor_and_irreducible_error_is_optimistic(noisy_runs):
    free = RepetitionFit().fit(noisy_runs)
    fixed = RepetitionFit(anchor=ANCHOR, irreducible=IRREDUCIBLE).fit(noisy_runs)
    width = [np.ptp(np.quantile(bootstrap(f, 300).parameters[:, 0], [0.05, 0.95])) for f in (free, fixed)]
    assert width[0] > 3 * width[1]


def test_noise_comes_from_seeds_where_there_are_any():
    runs = simulate(0.01, n_seeds=8)
    assert seed_noise_sd(runs) == pytest.approx(0.01, rel=0.15)
    assert seed_noise_sd(simulate(0.01)) is None
    fit = RepetitionFit(anchor=ANCHOR).fit(runs)
    assert run_noise_sd(fit) == seed_noise_sd(fit.runs_)
    draws = bootstrap(fit, 200, kind="seed")
    assert draws.parameters[:, 0].std() == pytest.approx(
        bootstrap(fit, 200, kind="parametric").parameters[:, 0].std(), rel=0.4
    )


def test_no_decay_leaves_the_interval_open_above():
    runs = simulate(0.002, truth={"fresh": (-0.2, math.inf), "other": (-0.1, 3.0)})
    fit = RepetitionFit(anchor=ANCHOR, irreducible=IRREDUCIBLE).fit(runs)
    found = bootstrap(fit, 300).intervals(fit)["half_life[fresh]"]
    assert found.high == math.inf
    assert found.low > 20
    assert "no upper bound" in str(found)


def test_what_the_data_cannot_give_is_refused(noisy_runs):
    fit = RepetitionFit().fit(noisy_runs)
    with pytest.raises(RunsError, match="add seeds"):
        bootstrap(fit, kind="seed")
    exact = RepetitionFit(anchor=ANCHOR).fit(simulate(epochs=(2, 6, 10), truth={"a": (-0.16, 6.0)}))
    with pytest.raises(RunsError, match="noise_sd="):
        bootstrap(exact, kind="residual")
    with pytest.raises(RunsError, match="noise_sd="):
        bootstrap(exact, kind="parametric")

"""The plan: measuring where it matters, and the promise kept when the run is made."""

import warnings

import numpy as np
import pandas as pd
import pytest

from scaling_laws import FitWarning, RepetitionFit, bootstrap, choose, plan_next_run
from tests.scaling_laws.simulated import ANCHOR, IRREDUCIBLE, SIZE, TRUTH, simulate

NOISE = 0.003


@pytest.fixture(scope="module")
def planned():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        fit = RepetitionFit(anchor=ANCHOR, irreducible=IRREDUCIBLE).fit(simulate(NOISE))
    draws = bootstrap(fit, 800, kind="parametric", noise_sd=NOISE).pools
    return fit, draws, choose([1e8], fit.pools_, "prefixes", draws=draws)


def test_only_the_pools_on_either_side_of_the_switch_narrow_it_much(planned):
    _, draws, choice = planned
    assert (choice.switches[0].before, choice.switches[0].after) == ("a", "a + b")
    table = plan_next_run(choice, draws, NOISE)
    best = table.groupby("pool")["narrowing"].max()
    assert set(best.nlargest(2).index) == {"a", "b"}
    assert table["expected_width"].is_monotonic_increasing
    assert table["pool"].iloc[0] in ("a", "b")


def test_less_noise_narrows_more(planned):
    _, draws, choice = planned
    coarse, fine = (plan_next_run(choice, draws, sd)["narrowing"].max() for sd in (0.03, 0.001))
    assert fine > coarse


def test_the_plan_is_the_same_for_the_same_seed(planned):
    _, draws, choice = planned
    pd.testing.assert_frame_equal(plan_next_run(choice, draws, NOISE), plan_next_run(choice, draws, NOISE))


def test_making_the_planned_run_narrows_the_switch_as_promised(planned):
    _, draws, choice = planned
    top = plan_next_run(choice, draws, NOISE).iloc[0]
    runs = simulate(NOISE)
    exact = simulate(0.0, epochs=(top["epochs"],), truth={top["pool"]: TRUTH[top["pool"]]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        fit = RepetitionFit(anchor=ANCHOR, irreducible=IRREDUCIBLE).fit(pd.concat([runs, exact]))
    after = bootstrap(fit, 800, kind="parametric", noise_sd=NOISE).pools
    new = choose([1e8], fit.pools_, "prefixes", draws=after).switches[0].budget
    assert np.log(new.high / new.low) == pytest.approx(np.log(top["expected_width"]), rel=0.35)
    assert new.high / new.low < top["width_now"]


def test_nothing_to_narrow_is_said(planned):
    fit, draws, _ = planned
    alone = choose([3e7], fit.pools_, [{"a": 1.0}])
    with pytest.raises(ValueError, match="no switch"):
        plan_next_run(alone, draws, NOISE)
    with pytest.raises(ValueError, match="noise_sd"):
        plan_next_run(alone, draws, 0.0)


def test_budgets_to_consider_can_be_given(planned):
    _, draws, choice = planned
    table = plan_next_run(choice, draws, NOISE, budgets=[4 * SIZE])
    assert table["epochs"].tolist() == [4.0] * 4

"""The joint fit: truth recovered, units irrelevant, bounds and degeneracies said aloud."""

import math
import warnings

import numpy as np
import pandas as pd
import pytest

from scaling_laws import FORMS, FitWarning, RepetitionFit, RunsError, make_pool_law
from scaling_laws.pool_problem import problem_from_runs
from tests.scaling_laws.simulated import ANCHOR, IRREDUCIBLE, SIZE, TRUTH, simulate


def quiet(law, runs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        return law.fit(runs)


def test_noiseless_truth_comes_back_with_everything_fitted():
    fit = quiet(RepetitionFit(), simulate())
    assert fit.rss_ < 1e-18
    assert fit.pools_.exponents == pytest.approx([e for e, _ in TRUTH.values()], rel=1e-4)
    assert fit.pools_.half_lives == pytest.approx([h for _, h in TRUTH.values()], rel=1e-4)
    assert float(fit.pools_.anchor) == pytest.approx(ANCHOR, rel=1e-3)
    assert float(fit.pools_.irreducible) == pytest.approx(IRREDUCIBLE, abs=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_fits_its_own_noiseless_runs(form):
    law = make_pool_law(form, -0.2, 3.0, 2e6, 0.15)
    n = np.arange(1, 9) * 1.3e7
    runs = pd.DataFrame({"pool": "p", "pool_size": 1e7, "samples_seen": n, "error": law.predict(n, 1e7)})
    fit = quiet(RepetitionFit(form=form), runs)
    assert fit.rmse_ < 1e-8
    assert fit.predict(2e8, "p") == pytest.approx(law.predict(2e8, 1e7), abs=1e-5)


def test_predictions_do_not_depend_on_the_unit_of_samples(noisy_runs):
    millions = noisy_runs.assign(
        pool_size=noisy_runs["pool_size"] / 1e6, samples_seen=noisy_runs["samples_seen"] / 1e6
    )
    raw, scaled = quiet(RepetitionFit(), noisy_runs), quiet(RepetitionFit(), millions)
    assert scaled.rss_ == pytest.approx(raw.rss_, rel=1e-8)
    assert scaled.predict(300.0, "a") == pytest.approx(raw.predict(3e8, "a"), abs=1e-5)


def test_row_order_does_not_matter(noisy_runs):
    shuffled = noisy_runs.sample(frac=1, random_state=3)
    one, other = quiet(RepetitionFit(), noisy_runs), quiet(RepetitionFit(), shuffled)
    assert one.parameters_ == pytest.approx(other.parameters_)


def test_the_jacobian_is_the_derivative(noisy_runs):
    for form in FORMS:
        problem = problem_from_runs(
            noisy_runs.assign(pool=noisy_runs["pool"]), form=form, loss="squared", share_exponent=False,
            share_half_life=False, half_life_growth=0.0, anchor=None, irreducible=None, half_life=None,
            max_irreducible=0.98,
        )  # fmt: skip
        point = np.concatenate([np.full(4, np.log(0.15)), np.log([3.0, 5, 7, 9]), [np.log(3e6), 0.1]])[None]
        errors = noisy_runs["error"].to_numpy()[None]
        jacobian = problem.residuals(point, errors)[1][0]
        for column in range(point.shape[1]):
            step = np.zeros_like(point)
            step[0, column] = 1e-6
            up, down = (problem.residuals(point + s, errors)[0][0] for s in (step, -step))
            assert jacobian[:, column] == pytest.approx((up - down) / 2e-6, abs=1e-7)


def test_known_identifiability_of_the_half_life():
    """Sheet, section 2: scale and d fixed, five checkpoints, noise .0025: sd(b) .0020, corr(b, tau) .94."""
    runs = simulate(truth={"top": (-0.16, 6.7273)})
    fit = quiet(RepetitionFit(anchor=ANCHOR, irreducible=IRREDUCIBLE), runs)
    spread = np.linalg.inv(np.linalg.inv(fit.covariance_ / fit.noise_sd_**2)) * 0.0025**2
    assert np.sqrt(spread[0, 0]) == pytest.approx(0.0020, abs=1e-4)
    assert fit.correlation_[0, 1] == pytest.approx(0.94, abs=0.01)


def test_no_decay_in_the_data_gives_an_unbounded_half_life_not_a_bound():
    runs = simulate(truth={"fresh": (-0.2, math.inf)})
    with pytest.warns(FitWarning, match=r"half_life\[fresh\] is unbounded above"):
        fit = RepetitionFit(anchor=ANCHOR, irreducible=IRREDUCIBLE).fit(runs)
    assert fit.pools_.half_lives[0] == math.inf
    assert any("no decay observed" in message for message in fit.warnings_)


def test_irreducible_error_at_its_bounds_is_said():
    runs = simulate()
    with pytest.warns(FitWarning, match="irreducible is 0"):
        RepetitionFit(anchor=ANCHOR).fit(runs.assign(error=runs["error"] - IRREDUCIBLE - 0.02))


def test_degenerate_parameters_are_said(noisy_runs):
    with pytest.warns(FitWarning, match=r"degenerate.*anchor and irreducible"):
        RepetitionFit().fit(noisy_runs)


def test_log_huber_withstands_a_gross_error():
    runs = simulate()
    runs.loc[3, "error"] += 0.1
    robust = quiet(RepetitionFit(loss="log_huber", anchor=ANCHOR, irreducible=IRREDUCIBLE), runs)
    plain = quiet(RepetitionFit(anchor=ANCHOR, irreducible=IRREDUCIBLE), runs)
    truth = np.array([e for e, _ in TRUTH.values()])
    assert np.abs(robust.pools_.exponents - truth).max() < 1e-3
    assert np.abs(plain.pools_.exponents - truth).max() > 1e-2


def test_weights_let_exact_runs_lead():
    runs = simulate()
    wrong = runs.assign(error=runs["error"] - 0.05, weight=1e-9)
    both = pd.concat([runs.assign(weight=1.0), wrong], ignore_index=True)
    fit = quiet(RepetitionFit(anchor=ANCHOR, irreducible=IRREDUCIBLE), both)
    assert fit.pools_.exponents == pytest.approx([e for e, _ in TRUTH.values()], abs=1e-5)


def test_repetition_cuts_the_error_of_the_clip_fits_to_a_fifth(cherti):
    """Sheet, section 5.1: .033 to .043 without decay, .005 to .007 with any repetition law."""
    for model in sorted(set(cherti["model"])):
        runs = cherti[cherti["model"] == model]
        shared = {"share_exponent": True, "share_half_life": True}
        without = quiet(RepetitionFit(half_life=math.inf, **shared), runs).rmse_
        assert 0.033 <= round(without, 3) <= 0.043
        for form in FORMS[:1] + FORMS[2:]:
            fit = quiet(RepetitionFit(form=form, **shared), runs)
            assert 0.005 <= round(fit.rmse_, 3) <= 0.007
            assert fit.rmse_ / without < 0.22


def test_half_lives_that_grow_with_the_pool_agree_with_the_datacomp_buckets(cherti):
    """Sheet, section 5.2: 3.4 to 5.4 epochs per 12.8 M samples, with no bound on the irreducible error."""
    found = []
    for model in sorted(set(cherti["model"])):
        law = RepetitionFit(
            share_exponent=True, share_half_life=True, half_life_growth=1.0, max_irreducible=1.3
        )
        pools = quiet(law, cherti[cherti["model"] == model]).pools_
        per_bucket = pools.half_lives / pools.sizes * 12.8e6
        assert np.ptp(per_bucket) < 1e-9
        found.append(round(float(per_bucket[0]), 1))
    assert (min(found), max(found)) == (3.4, 5.4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r[r["samples_seen"] == r["samples_seen"].min()], "one budget"),
        (lambda r: r.assign(pool_size=1e9), "no run repeats a, b, c, d"),
        (lambda r: r.groupby("pool").head(2), "8 distinct points for 10 parameters"),
        (lambda r: pd.concat([r[r["pool"] != "a"], r[r["pool"] == "a"].head(1)]), "pool 'a' has 1 budget"),
    ],
)
def test_runs_that_cannot_determine_the_law_are_refused_with_a_remedy(change, message):
    with pytest.raises(RunsError, match=message) as refused:
        RepetitionFit().fit(change(simulate()))
    assert any(word in str(refused.value) for word in ("add", "Add"))


def test_an_irreducible_error_above_the_data_is_refused():
    with pytest.raises(RunsError, match="lower it"):
        RepetitionFit(irreducible=0.95).fit(simulate())


def test_an_unknown_form_is_refused():
    with pytest.raises(ValueError, match="choose one of paper"):
        RepetitionFit(form="cubic").fit(simulate())


def test_aicc_needs_spare_runs(noisy_runs):
    fit = quiet(RepetitionFit(), noisy_runs)
    assert math.isfinite(fit.aicc_)
    few = noisy_runs[noisy_runs["samples_seen"] < 7 * SIZE]
    assert quiet(RepetitionFit(), few).aicc_ == math.inf

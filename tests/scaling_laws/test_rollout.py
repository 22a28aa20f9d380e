"""The rollout: what the sheet says of the CLIP table, and honest words where a law adds nothing."""

import math
import warnings

import numpy as np
import pandas as pd
import pytest

from scaling_laws import (
    FitWarning,
    RepetitionFit,
    RunsError,
    budget_levels,
    compare_laws,
    default_laws,
    ranking_errors,
    rollout,
)
from tests.scaling_laws.simulated import ANCHOR, SIZE, simulate

SHARED = RepetitionFit(share_exponent=True, share_half_life=True)


@pytest.fixture(scope="module")
def clip(cherti):
    return rollout(cherti, default_laws(SHARED))


def test_predicting_the_longest_clip_runs_needs_the_repetition_term(clip):
    """Sheet, section 5.1: 34 B from 3 B and 13 B: RMSE .010 to .017, without decay .040 to .047."""
    last = clip.table[clip.table["cutoff"] > 1e10].set_index(["method", "model"])["rmse"]
    for method in ("repetition", "data-constrained"):
        assert ((last[method] >= 0.010) & (last[method] <= 0.0175)).all()
    assert ((last["no decay"] >= 0.0400) & (last["no decay"] <= 0.0475)).all()


def test_the_law_decides_rightly_where_ranking_fails_but_so_does_the_largest_pool(clip):
    summary = clip.summary()
    assert summary.loc["repetition", "decisions"] == 1.0
    assert summary.loc["single-scale ranking", "decisions"] < 0.9
    assert "beats single-scale ranking" in clip.verdict
    assert "adds nothing to largest pool" in clip.verdict


def test_a_cutoff_with_too_few_runs_says_why(clip):
    first = clip.table[(clip.table["cutoff"] < 1e10) & (clip.table["method"] == "repetition")]
    assert first["note"].str.contains("3 distinct points for 4 parameters").all()


def test_nothing_after_the_cutoff_reaches_the_fit():
    runs = simulate(0.002)
    spoilt = runs.assign(error=np.where(runs["samples_seen"] > 8.5 * SIZE, 0.5, runs["error"]))
    laws = {"law": RepetitionFit(anchor=ANCHOR)}
    one, other = (rollout(table, laws, n_draws=0).table for table in (runs, spoilt))
    key = (one["method"] == "law") & (one["cutoff"] < 7 * SIZE)
    assert (one[key]["n_train"] == other[key]["n_train"]).all()
    assert not (one[key]["rmse"].dropna() == other[key]["rmse"].dropna()).any()
    last = one["cutoff"] > 7.5 * SIZE
    predicted = other[last & (other["method"] == "law")]["max_error"]
    assert (predicted > 0.2).all()


def test_a_law_that_adds_nothing_is_called_so():
    assert rollout(simulate(0.0005), n_draws=0).verdict.startswith("No law beats single-scale ranking")


def test_a_crossing_that_ranking_misses_is_credited():
    truth = {"small": (-0.2, 1.0), "diverse": (-0.12, 60.0)}
    runs = simulate(0.0005, truth=truth, epochs=(1, 2, 3, 4, 6, 8, 12))
    levels = runs.groupby("samples_seen")["error"].apply(lambda e: e.iloc[0] < e.iloc[1])
    assert levels.iloc[0] != levels.iloc[-1]
    result = rollout(runs, {"law": RepetitionFit(anchor=ANCHOR, irreducible=0.1)}, n_draws=0)
    assert result.verdict.startswith("The law 'law' beats single-scale ranking")


def test_coverage_is_near_its_level_when_the_law_is_true():
    found = []
    for seed in range(6):
        runs = simulate(0.003, seed, epochs=(2, 3, 4, 6, 8, 10))
        laws = {"law": RepetitionFit(anchor=ANCHOR, irreducible=0.1)}
        table = rollout(runs, laws, random_state=seed).table
        found += table.loc[table["method"] == "law", "coverage"].dropna().tolist()
    assert 0.8 < np.mean(found) <= 1.0


def test_pairs_inside_the_noise_are_ties_and_counted_apart():
    runs = simulate(0.0)
    all_pairs = rollout(runs, {}, n_draws=0).table
    tied = rollout(runs, {}, noise_sd=10.0, n_draws=0).table
    assert all_pairs["n_ties"].sum() == 0
    ranked = tied["method"] == "single-scale ranking"
    assert (tied.loc[ranked, "n_pairs"] == 0).all()
    assert (tied.loc[ranked, "n_ties"] > 0).all()


def test_random_is_half_right_and_equal_sizes_have_no_largest():
    table = rollout(simulate(0.0), {}, n_draws=0).table.set_index("method")
    assert (table.loc["random", "decisions"] == 0.5).all()
    assert (table.loc["largest pool", "note"] == "the pools are equally large").all()


def test_one_budget_cannot_be_rolled_out():
    with pytest.raises(RunsError, match="two budgets"):
        rollout(simulate(epochs=(2,)), {})


def test_budgets_meant_to_be_one_are_one():
    levels = budget_levels(np.array([2.44e9, 2.56e9, 1.28e10, 1.32e10, 3.2e10, 3.47e10]))
    assert levels.tolist() == [0, 0, 1, 1, 2, 2]


def test_ranking_uses_the_largest_budget_that_all_pools_share():
    runs = simulate()
    runs = runs[~((runs["pool"] == "a") & (runs["samples_seen"] > 9 * SIZE))]
    ranked = ranking_errors(runs)
    at_eight = simulate(epochs=(8,)).set_index("pool")["error"]
    assert ranked["b"] == pytest.approx(at_eight["b"])
    assert ranked.index[0] == "a"


def test_laws_are_compared_by_what_they_predict(cherti):
    runs = cherti[cherti["model"] == "ViT-B-16"]
    with warnings.catch_warnings():
        warnings.simplefilter("error", FitWarning)
        table = compare_laws(runs, default_laws(SHARED)).set_index("law")
    assert table.index[-1] == "no decay"
    assert table.loc["no decay", "held_out_rmse"] > 3 * table.loc["repetition", "held_out_rmse"]
    # Sheet, section 5.2: the two repetition laws cannot be told apart on these runs.
    assert table.loc[["repetition", "data-constrained"], "indistinguishable"].all()
    assert not table.loc["no decay", "indistinguishable"]


def test_a_law_that_cannot_be_fitted_is_listed_last_with_the_reason():
    runs = simulate(0.001).assign(pool_size=1e9)
    table = compare_laws(runs)
    assert table.iloc[-1]["note"].startswith("no run repeats")
    assert math.isinf(table.iloc[-1]["aicc"])
    assert table.iloc[0]["law"] == "no decay"


def test_open_clip_filters_rank_differently_at_two_budgets(table):
    """Sheet, section 5.7: ranking at 12.8 M misjudges pairs at 128 M; the two identical rows are left out."""
    results = table("openclip_datacomp_filters.csv")
    results = results[~results["pool"].isin(["image", "datacomp_image_and_clip"])]
    runs = pd.DataFrame(
        {
            "pool": results["pool"],
            "pool_size": 1e6,
            "samples_seen": results["samples_seen"].astype(float),
            "error": 1 - results["ImageNet 1k"],
        }
    )
    ranked = rollout(runs, {}, n_draws=0).table.set_index("method").loc["single-scale ranking"]
    assert ranked["n_pairs"] == 10
    assert ranked["decisions"] == pytest.approx(0.9)

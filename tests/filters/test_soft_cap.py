"""Soft cap sampling draws as the published sampler does, and the same whatever the cut of the pool."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from filters.soft_cap_sampling import SoftCap, soft_cap, soft_cap_mean
from tests.passes import cut, decide

VECTORS = Path(__file__).parent / "vectors" / "soft_cap"
BANDS = ((0, 10), (10, 50), (50, 200), (200, 600), (600, 2000))
RUNS = 60

scores = st.lists(
    st.one_of(st.floats(-5, 5, width=32), st.sampled_from([0.0, 9.0, float("nan"), float("-inf")])),
    max_size=30,
)
alphas = st.one_of(st.floats(0.05, 2), st.just(0.15))


@pytest.fixture(scope="module")
def published() -> dict[str, NDArray[Any]]:
    """Return the vectors' scores by rank, with the mean copies that the published sampler drew."""
    table = pq.read_table(VECTORS / "scores.parquet")
    found = np.load(VECTORS / "mean_counts_alpha015_total2000.npz")
    order = np.argsort(-table["score"].to_numpy(), kind="stable")
    means = {name: found[name][order] for name in ("notebook_b1", "clock", "fluid")}
    return {"score": table["score"].to_numpy()[order], "uid": np.array(table["uid"])[order], **means}


@pytest.fixture(scope="module")
def runs(published: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
    score, uid = published["score"], published["uid"]
    return np.stack([soft_cap(score, 2000, alpha=0.15, seed=seed, uids=uid) for seed in range(RUNS)])


def table(score: list[float]) -> pa.Table:
    uid = [f"{n * 7919:032x}" for n in range(len(score))]
    return pa.table({"fused": pa.array(score, pa.float32()), "uid": pa.array(uid, pa.string())})


def test_as_many_samples_are_drawn_as_the_published_sampler_draws(runs: NDArray[np.int64]) -> None:
    unique = (runs > 0).sum(axis=1)
    error = np.hypot(unique.std(ddof=1) / RUNS**0.5, 1.5)
    assert abs(unique.mean() - 585.7) < 4 * error
    assert (runs.sum(axis=1) == 2000).all()


@pytest.mark.parametrize("band", BANDS)
def test_every_band_of_ranks_gets_its_published_share(
    published: dict[str, NDArray[Any]], runs: NDArray[np.int64], band: tuple[int, int]
) -> None:
    rows = slice(*band)
    assert runs.mean(axis=0)[rows].sum() == pytest.approx(published["notebook_b1"][rows].sum(), rel=0.03)


def test_the_mean_in_closed_form_is_the_published_one(published: dict[str, NDArray[Any]]) -> None:
    mean = soft_cap_mean(published["score"], 2000, alpha=0.15)
    assert mean == pytest.approx(published["fluid"], rel=1e-9)
    assert mean.sum() == pytest.approx(2000)


@pytest.mark.parametrize("band", BANDS)
def test_the_mean_in_closed_form_is_near_that_of_the_clocks(
    published: dict[str, NDArray[Any]], band: tuple[int, int]
) -> None:
    mean = soft_cap_mean(published["score"], 2000, alpha=0.15)[slice(*band)].sum()
    assert mean == pytest.approx(published["clock"][slice(*band)].sum(), rel=0.04)


def test_a_hard_cap_is_drawn_as_the_published_sampler_draws(published: dict[str, NDArray[Any]]) -> None:
    drawn = np.load(VECTORS / "hcs_15_b100.npz")["counts"]
    score, uid = published["score"], published["uid"]
    ours = [soft_cap(score, 2000, alpha=0, max_copies=15, seed=seed, uids=uid) for seed in range(20)]
    unique = [int((counts > 0).sum()) for counts in ours]
    assert max(counts.max() for counts in ours) == drawn.max() == 15
    assert abs((drawn > 0).sum() - np.mean(unique)) < 4 * np.std(unique)


@pytest.mark.parametrize(("name", "batch_bias"), [("a015_b1", 0.0), ("a025_b100", 0.02), ("a06_b50", 0.02)])
def test_a_single_published_draw_is_one_that_we_could_draw(
    published: dict[str, NDArray[Any]], name: str, batch_bias: float
) -> None:
    drawn = np.load(VECTORS / f"scs_{name}.npz")  # in batches, which favours unique samples by up to 2 %
    total, alpha = int(drawn["total"]), float(drawn["alpha"])
    score, uid = published["score"], published["uid"]
    ours = np.stack([soft_cap(score, total, alpha=alpha, seed=seed, uids=uid) for seed in range(20)])
    unique, theirs = (ours > 0).sum(axis=1), int((drawn["counts"] > 0).sum())
    assert abs(theirs - unique.mean()) < 4 * unique.std(ddof=1) + batch_bias * theirs
    most = ours.max(axis=1)
    assert abs(int(drawn["counts"].max()) - most.mean()) < 4 * max(1.0, most.std(ddof=1))
    assert int(drawn["counts"].sum()) == total == ours[0].sum()


@given(scores, alphas, st.integers(1, 60), st.randoms(use_true_random=False))
def test_how_the_pool_is_cut_and_merged_means_nothing(
    score: list[float], alpha: float, total: int, chance: random.Random
) -> None:
    pool = table(score)
    draw = SoftCap(by="fused", total=total, alpha=alpha, seed=3)
    whole = decide(draw, pool)
    in_shards = decide(draw, cut(pool, chance), chance)
    assert in_shards.weight.tolist() == whole.weight.tolist()
    assert whole.weight.sum() == (total if np.isfinite(score).any() else 0)
    assert [r is None for r in whole.reason.to_pylist()] == (whole.weight > 0).tolist()


@given(scores, st.integers(1, 40), st.integers(0, 5), st.randoms(use_true_random=False))
def test_the_order_of_the_samples_means_nothing(
    score: list[float], total: int, seed: int, chance: random.Random
) -> None:
    uid = [f"{n:032x}" for n in range(len(score))]
    order = chance.sample(range(len(score)), len(score))
    here = soft_cap(score, total, alpha=0.3, seed=seed, uids=uid)
    there = soft_cap([score[n] for n in order], total, alpha=0.3, seed=seed, uids=[uid[n] for n in order])
    assert there.tolist() == [here[n] for n in order]


@given(scores, st.integers(1, 40))
def test_one_draw_more_only_adds_one(score: list[float], total: int) -> None:
    if np.isfinite(score).any():
        more = soft_cap(score, total + 1, alpha=0.2, seed=1) - soft_cap(score, total, alpha=0.2, seed=1)
        assert sorted(more)[-1] == 1
        assert more.sum() == 1


def test_another_seed_draws_others_and_the_same_seed_the_same() -> None:
    score = np.random.default_rng(0).normal(size=500)
    draws = [soft_cap(score, 300, alpha=0.15, seed=seed).tolist() for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


@given(scores.filter(lambda s: bool(np.isfinite(s).any())), st.integers(1, 4))
@settings(max_examples=50)
def test_no_sample_gets_more_copies_than_allowed(score: list[float], most: int) -> None:
    total = int(np.isfinite(score).sum()) * most
    counts = soft_cap(score, total, alpha=0, max_copies=most, seed=0)
    assert counts.tolist() == [most if np.isfinite(each) else 0 for each in score]
    with pytest.raises(ValueError, match="lower total or raise max_copies"):
        soft_cap(score, total + 1, alpha=0, max_copies=most, seed=0)


def test_a_total_can_be_times_the_samples() -> None:
    pool = table([0.1] * 50 + [float("nan")] * 9)
    decision = decide(SoftCap(by="fused", total=1.5), pool)
    assert decision.weight.sum() == 75
    assert decision.reason.to_pylist()[50:] == ["no_fused"] * 9


@pytest.mark.parametrize("scale", [0.0, 1e-3, 100.0, 1e4, 1e30])
def test_scores_of_any_size_are_drawn_from(scale: float) -> None:
    counts = soft_cap(np.linspace(-scale, scale, 40), 60, alpha=0.5, seed=0)
    assert counts.sum() == 60
    if scale >= 1e4:
        assert counts[-1] == 60  # it leads by more than 60 draws can lower it


def test_samples_of_one_uid_and_one_score_are_drawn_together() -> None:
    pool = pa.table({"fused": pa.array([0.5, 0.5], pa.float32()), "uid": ["a" * 32] * 2})
    assert decide(SoftCap(by="fused", total=2), pool).weight.tolist() == [1, 1]


def test_uids_must_be_as_many_as_scores() -> None:
    with pytest.raises(ValueError, match="2 scores and 1 uids"):
        soft_cap([1, 2], 1, alpha=0.1, seed=0, uids=["a" * 32])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"by": "s", "total": 5, "alpha": 0}, "above 0, or max_copies"),
        ({"by": "s", "total": 0}, "greater than 0"),
        ({"by": "s", "total": 5, "alpha": -1}, "greater than or equal to 0"),
        ({"by": "s", "total": 5, "max_copies": 0}, "greater than 0"),
        ({"total": 5}, "required"),
    ],
)
def test_what_makes_no_sense_is_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SoftCap.model_validate(parameters)


@pytest.mark.parametrize("score", [[], [1.0, float("nan")]])
def test_a_mean_needs_finite_scores(score: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        soft_cap_mean(score, 3, alpha=0.1)

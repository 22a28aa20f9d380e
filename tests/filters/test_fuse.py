"""Scores on a common scale, and their weighted sum: exact, however the pool is cut and merged."""

from __future__ import annotations

import functools
import math
import random
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from filters.fusion import M_FLYT, SCALES, Fuse, fuse, min_max, rank, z_score
from filters.radix_select import ordered_bits, scores_of_bits
from tests.passes import cut, final_state

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
likely = st.one_of(finite, st.floats(-1, 1, width=32), st.sampled_from([0.0, -0.0, 0.25, 1e-45]))
arrays = st.lists(likely, min_size=2, max_size=50).map(lambda values: np.array(values, np.float32))


def differ(scores: NDArray[np.float32]) -> bool:
    return len(np.unique(scores)) > 1


@given(arrays.filter(differ))
def test_mean_and_deviation_are_those_of_exact_sums(scores: NDArray[np.float32]) -> None:
    scale = SCALES["z_score"]
    state = scale.advance({}, scale.measure(scores, {}))
    exact = [Fraction(float(score)) for score in scores]
    mean = sum(exact) / len(exact)
    variance = sum((score - mean) ** 2 for score in exact) / len(exact)
    assert state == {"n": len(scores), "mean": float(mean), "std": math.sqrt(variance)}


def test_a_z_score_has_mean_0_and_deviation_1() -> None:
    scores = np.random.default_rng(0).normal(0.25, 0.05, 10_000).astype(np.float32)
    scaled = z_score(scores)
    assert abs(scaled.mean()) < 1e-9
    assert abs(scaled.std() - 1) < 1e-9
    wide = scores.astype(np.float64)
    assert np.allclose(scaled, (wide - wide.mean()) / wide.std(), atol=1e-9)


@given(arrays.filter(differ))
def test_min_max_goes_from_0_to_1_in_order(scores: NDArray[np.float32]) -> None:
    scaled = min_max(scores)
    assert (scaled.min(), scaled.max()) == (0, 1)
    assert (np.diff(scaled[np.argsort(scores)]) >= 0).all()


@given(arrays)
def test_in_a_small_pool_ranks_are_exact(scores: NDArray[np.float32]) -> None:
    below = (scores[:, None] > scores).sum(1) + (scores[:, None] == scores).sum(1) / 2
    assert np.allclose(rank(scores), below / len(scores), atol=1e-12)


@pytest.mark.parametrize("kind", ["normal", "fp16", "outliers", "heavy tie", "around zero"])
def test_in_a_large_pool_ranks_keep_their_resolution(kind: str) -> None:
    rng = np.random.default_rng(1)
    scores = rng.normal(0.25, 0.05, 100_000).astype(np.float32)
    if kind == "fp16":
        scores = scores.astype(np.float16).astype(np.float32)
    elif kind == "outliers":
        scores[:10] = [-3e38, 3e38, 1e9, -1e9, 1e-40, 7, 8, 9, 10, 11]
    elif kind == "heavy tie":
        scores[:60_000] = 0.25
    elif kind == "around zero":
        scores -= np.float32(0.25)
    ordered = np.sort(scores)
    left, right = np.searchsorted(ordered, scores), np.searchsorted(ordered, scores, "right")
    error = np.abs(rank(scores) - (left + right) / 2 / len(scores))
    assert error.max() < 1 / 2048
    assert error.mean() < 1 / 10_000


@given(st.lists(finite, max_size=20).map(lambda values: np.array(values, np.float32)))
def test_ordered_bits_sort_as_the_scores_do_and_come_back(scores: NDArray[np.float32]) -> None:
    bits = ordered_bits(scores)
    assert np.array_equal(scores_of_bits(bits), scores)
    assert np.array_equal(scores[np.argsort(bits, kind="stable")], np.sort(scores))


def state_or_error(recipe: Fuse, shards: list[pa.Table], order: random.Random | None = None) -> Any:
    try:
        return final_state(recipe, shards, order)
    except ValueError as error:
        return str(error)


@given(
    st.lists(st.tuples(likely, st.one_of(likely, st.just(math.nan), st.just(math.inf))), max_size=40),
    st.sampled_from(["z_score", "rank", "min_max"]),
    st.randoms(use_true_random=False),
)
def test_how_the_pool_is_cut_and_merged_means_nothing(
    samples: list[tuple[float, float]], by: str, chance: random.Random
) -> None:
    rows = np.array(samples, np.float32).reshape(-1, 2)
    pool = pa.table({"a": rows[:, 0], "b": rows[:, 1]})
    recipe = Fuse.model_validate({"as": "mixed", "of": {"a": 0.3, "b": -0.7}, "by": by})
    shards = cut(pool, chance)
    whole = state_or_error(recipe, [pool])
    assert state_or_error(recipe, shards, chance) == whole
    if isinstance(whole, str):
        assert "can't be fused" in whole
        return
    values = np.concatenate([recipe.values(shard, whole) for shard in shards])
    assert np.array_equal(values, recipe.values(pool, whole), equal_nan=True)
    assert np.array_equal(np.isnan(values), ~np.isfinite(rows).all(axis=1))


@pytest.mark.parametrize(("by", "scaled"), [("z_score", z_score), ("rank", rank), ("min_max", min_max)])
def test_the_fused_score_is_the_weighted_sum(by: Any, scaled: Any) -> None:
    rng = np.random.default_rng(2)
    scores = {"clip": rng.normal(0.2, 0.1, 500), "dfn": rng.normal(9, 3, 500)}
    weights = {"clip": 0.3, "dfn": 0.7}
    expected = sum(weights[name] * scaled(scores[name]) for name in weights)
    assert np.allclose(fuse(scores, weights, by), expected, atol=1e-6)


def test_scores_whose_ranks_take_fewer_passes_wait_for_the_others() -> None:
    smooth = np.linspace(1, 2, 50_000, dtype=np.float32)
    tied = np.repeat(np.arange(5, dtype=np.float32), 10_000)
    mixed = fuse({"smooth": smooth, "tied": tied}, {"smooth": 1, "tied": 2}, "rank")
    assert np.allclose(mixed, rank(smooth) + 2 * rank(tied), atol=1e-6)


def test_a_sample_without_one_of_the_scores_counts_nowhere() -> None:
    a, b = np.array([1, 2, 3, 99.0]), np.array([3, 1, 2, np.nan])
    mixed = fuse({"a": a, "b": b}, {"a": 1, "b": 1})
    assert np.isnan(mixed[3])
    assert np.array_equal(mixed[:3], fuse({"a": a[:3], "b": b[:3]}, {"a": 1, "b": 1}))


def test_m_flyt_needs_its_twelve_inputs_and_says_which_are_missing() -> None:
    rng = np.random.default_rng(3)
    scores = {name: rng.normal(size=50) for name in M_FLYT}
    expected = functools.reduce(np.add, (weight * z_score(scores[name]) for name, weight in M_FLYT.items()))
    assert np.allclose(fuse(scores, M_FLYT), expected, atol=1e-6)
    del scores["flyt"], scores["dfn_ft"]
    with pytest.raises(ValueError, match="not there: dfn_ft, flyt"):
        fuse(scores, M_FLYT)


def test_inputs_may_go_by_other_names() -> None:
    recipe = Fuse.model_validate({"as": "mixed", "weights": "m_flyt", "inputs": {"flyt": "mine"}})
    assert recipe.weight_of["mine"] == 0.65
    assert "flyt" not in recipe.scores
    assert len(recipe.scores) == 12


@pytest.mark.parametrize("by", ["z_score", "min_max"])
def test_a_score_that_is_the_same_everywhere_is_named(by: Any) -> None:
    with pytest.raises(ValueError, match=r"the score 'b' can't be fused: all .* 0.5; leave it out"):
        fuse({"a": np.arange(3), "b": np.full(3, 0.5)}, {"a": 1, "b": 1}, by)


@pytest.mark.parametrize("by", ["z_score", "min_max", "rank"])
def test_scores_that_no_sample_has_are_named(by: Any) -> None:
    with pytest.raises(ValueError, match="the score 'a' can't be fused: no sample has it"):
        fuse({"a": np.full(3, np.nan)}, {"a": 1}, by)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"as": "m"}, "one of `of`"),
        ({"as": "m", "of": {"a": 1}, "weights": "m_flyt"}, "one of `of`"),
        ({"as": "m", "of": {}}, "at least 1"),
        ({"as": "m", "of": {"a": float("nan")}}, "finite"),
        ({"as": "../m", "of": {"a": 1}}, "pattern"),
        ({"of": {"a": 1}}, "required"),
        ({"as": "m", "weights": "m_flyt", "by": "rank"}, "for z-scores"),
        ({"as": "m", "weights": "m_flyt", "inputs": {"clip": "c"}}, "no input 'clip'; there are clip_b32"),
        ({"as": "m", "weights": "m_flyt", "inputs": {"flyt": "c", "dfn_ft": "c"}}, "same score"),
        ({"as": "m", "of": {"a": 1}, "inputs": {"flyt": "c"}}, "go with weights"),
    ],
)
def test_what_makes_no_sense_is_refused(recipe: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Fuse.model_validate(recipe)

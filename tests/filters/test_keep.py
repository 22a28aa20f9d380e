"""The samples kept are those that a sort by score, ties by uid, puts first: exactly, however they lie."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from filters.keep import Keep
from filters.radix_select import Boundary, keeps, rank_digits
from tests.passes import decide

Samples = Sequence[tuple[float, str]]

scores = st.one_of(
    st.floats(width=32, allow_nan=False),
    st.sampled_from([0.0, -0.0, 0.28, 0.3, float("inf"), float("-inf"), 1e-45, -1e-45]),
)
uids = st.integers(0, (1 << 128) - 1).map(lambda n: f"{n:032x}")
few_uids = st.integers(0, 40).map(lambda n: f"{n:016x}" * 2)
pools = st.lists(
    st.tuples(scores, st.one_of(uids, few_uids)), max_size=60, unique_by=lambda sample: sample[1]
)


def table(samples: Samples) -> pa.Table:
    return pa.table(
        {
            "clip": pa.array([score for score, _ in samples], pa.float32()),
            "uid": pa.array([uid for _, uid in samples], pa.string()),
        }
    )


def kept(keep: Keep, shards: Sequence[Samples], order: random.Random | None = None) -> set[str]:
    """Run all passes over shards, their parts merged in some order, and return who is kept."""
    weights = iter(decide(keep, [table(shard) for shard in shards], order).weight)
    return {uid for shard in shards for _, uid in shard if next(weights)}


def first(samples: Samples, n: int) -> set[str]:
    """Return the best by a plain sort of float32 scores, ties by uid."""
    ranked = sorted(samples, key=lambda sample: (-np.float32(sample[0]), sample[1]))
    return {uid for _, uid in ranked[:n]}


@given(pools, st.integers(1, 70))
def test_a_number_of_samples_is_that_number_of_a_sort(samples: Samples, n: int) -> None:
    assert kept(Keep(by="clip", top=n), [samples]) == first(samples, n)


@given(pools, st.floats(0.001, 1.0))
def test_a_share_of_samples_is_that_share_of_a_sort(samples: Samples, share: float) -> None:
    expected = first(samples, int(np.floor(share * len(samples) + 0.5)))
    assert kept(Keep(by="clip", top=share), [samples]) == expected


@given(pools, st.integers(1, 70), st.randoms(use_true_random=False))
def test_how_the_pool_is_cut_and_merged_means_nothing(
    samples: Samples, n: int, chance: random.Random
) -> None:
    mixed = chance.sample(samples, len(samples))
    cuts = sorted(chance.randrange(len(mixed) + 1) for _ in range(3))
    shards = [mixed[a:b] for a, b in itertools.pairwise([0, *cuts, len(mixed)])]
    assert kept(Keep(by="clip", top=n), shards, chance) == first(samples, n)


@given(st.lists(few_uids, unique=True, min_size=1), st.integers(1, 50))
def test_among_equal_scores_the_lower_uids_stay(uids: list[str], n: int) -> None:
    assert kept(Keep(by="clip", top=n), [[(0.3, uid) for uid in uids]]) == set(sorted(uids)[:n])


def test_minus_zero_is_zero() -> None:
    samples = [(-0.0, "0" * 32), (0.0, "1" * 32), (0.0, "2" * 32)]
    assert kept(Keep(by="clip", top=2), [samples]) == {"0" * 32, "1" * 32}


def test_infinities_have_their_place() -> None:
    inf = float("inf")
    samples = [(-inf, "0" * 32), (3e38, "1" * 32), (inf, "2" * 32), (-3e38, "3" * 32)]
    for n in range(1, 5):
        assert kept(Keep(by="clip", top=n), [samples]) == first(samples, n)


def test_samples_of_one_score_and_one_uid_stay_or_go_together() -> None:
    samples = [(0.5, "a" * 32), (0.5, "a" * 32), (0.1, "b" * 32)]
    decided = table(samples)
    keep = Keep(by="clip", top=1)
    state = keep.start()
    while not keep.finished(state):
        state = keep.advance(state, keep.measure(decided, state))
    assert keep.decide(decided, state).weight.tolist() == [1, 1, 0]


@pytest.mark.parametrize(
    ("top", "n", "expected"), [(0.3, 10, 3), (0.25, 10, 3), (0.24, 10, 2), (1.0, 7, 7), (1, 7, 1), (50, 7, 7)]
)
def test_a_share_goes_to_the_nearest_number(top: float, n: int, expected: int) -> None:
    samples = [(float(number), f"{number:032x}") for number in range(n)]
    assert len(kept(Keep(by="clip", top=top), [samples])) == expected


def test_an_empty_pool_keeps_nothing() -> None:
    assert kept(Keep(by="clip", top=0.3), [[], []]) == set()


def test_many_samples_need_two_passes_where_no_scores_tie() -> None:
    rng = np.random.default_rng(0)
    score = rng.permutation(np.linspace(-1, 1, 20_000, dtype=np.float32))
    samples = [(float(s), f"{n:032x}") for n, s in enumerate(score)]
    keep, state, passes = Keep(by="clip", top=0.3), Keep(by="clip", top=0.3).start(), 0
    data = table(samples)
    while not keep.finished(state):
        state, passes = keep.advance(state, keep.measure(data, state)), passes + 1
    assert passes == 2
    weight = keep.decide(data, state).weight
    assert score[weight > 0].min() > score[weight == 0].max()
    assert weight.sum() == 6000


@given(pools, st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_threshold_keeps_all_that_reach_it(samples: Samples, least: float) -> None:
    expected = {uid for score, uid in samples if np.float32(score) >= np.float32(least)}
    assert kept(Keep(by="clip", at_least=least), [samples]) == expected


def test_a_threshold_is_meant_in_the_scores_own_precision() -> None:
    assert float(np.float32(0.28)) != 0.28
    for text in ("0.28", "0.1", "0.3", "0.7"):
        assert kept(Keep(by="clip", at_least=float(text)), [[(float(text), "a" * 32)]]) == {"a" * 32}


@given(pools, st.floats(0, 0.98), st.floats(0.01, 1))
def test_a_band_lies_between_two_ranks(samples: Samples, begin: float, width: float) -> None:
    end = min(1.0, begin + width)
    ranks = [int(np.floor(share * len(samples) + 0.5)) for share in (begin, end)]
    expected = first(samples, ranks[1]) - first(samples, ranks[0])
    assert kept(Keep(by="clip", band=(begin, end)), [samples]) == expected


@given(pools, st.floats(0.001, 1.0))
def test_bands_that_touch_cut_the_pool_without_gap_or_overlap(samples: Samples, edge: float) -> None:
    best = kept(Keep(by="clip", band=(0, edge)), [samples])
    assert best == kept(Keep(by="clip", top=edge), [samples])
    if edge < 1:
        rest = kept(Keep(by="clip", band=(edge, 1)), [samples])
        assert best | rest == {uid for _, uid in samples}
        assert not best & rest


def test_a_band_says_on_which_side_a_sample_lies() -> None:
    data = table([(0.1 * n, f"{n:032x}") for n in range(4)])
    decision = decide(Keep(by="clip", band=(0.25, 0.5)), data)
    assert decision.reason.to_pylist() == ["low_clip", "low_clip", None, "high_clip"]


@given(pools.filter(len), st.floats(0.001, 1.0))
def test_datacomp_keeps_one_more_and_all_that_tie(samples: Samples, share: float) -> None:
    falling = np.sort(np.array([score for score, _ in samples], np.float32))[::-1]
    place = int(len(samples) * share)
    least = falling[place] if place < len(samples) else -np.inf
    expected = {uid for score, uid in samples if np.float32(score) >= least}
    assert kept(Keep(by="clip", top=share, compat="datacomp"), [samples]) == expected


def test_samples_without_a_score_are_dropped_and_not_counted() -> None:
    scores = pa.array([0.3, None, float("nan"), 0.1, 0.2, 0.4], pa.float32())
    data = pa.table({"clip": scores, "uid": [f"{n:032x}" for n in range(6)]})
    for keep in (Keep(by="clip", top=0.5), Keep(by="clip", at_least=0.25), Keep(by="clip", band=(0, 0.5))):
        reasons = decide(keep, data).reason.to_pylist()
        assert reasons == [None, "no_clip", "no_clip", "low_clip", "low_clip", None]


def test_a_threshold_may_bound_from_above() -> None:
    data = table([(0.1, "a" * 32), (0.5, "b" * 32), (0.9, "c" * 32)])
    decision = decide(Keep(by="clip", at_least=0.2, at_most=0.5), data)
    assert decision.reason.to_pylist() == ["low_clip", None, "high_clip"]


def test_the_reason_names_the_score() -> None:
    decision = decide(Keep(by="clip", at_least=0.5), table([(0.4, "a" * 32), (0.6, "b" * 32)]))
    assert decision.reason.to_pylist() == ["low_clip", None]
    assert decision.weight.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"by": "clip"}, "give one of top, band and at_least"),
        ({"by": "clip", "top": 0.3, "at_least": 0.2}, "give one of top, band and at_least"),
        ({"by": "clip", "top": 0.3, "band": [0.1, 0.2]}, "give one of top"),
        ({"by": "clip", "band": [0.3, 0.1]}, "from < to"),
        ({"by": "clip", "band": [0, 2]}, "from < to"),
        ({"by": "clip", "top": 10, "compat": "datacomp"}, "goes with a share"),
        ({"by": "clip", "top": 1.5}, "at most 1.0, or a whole number"),
        ({"by": "clip", "top": 0}, "greater than 0"),
        ({"by": "clip", "top": -0.1}, "greater than 0"),
        ({"by": "clip", "at_least": float("nan")}, "finite"),
        ({"top": 0.3}, "required"),
        ({"by": "clip", "topp": 0.3}, "not permitted"),
    ],
)
def test_what_makes_no_sense_is_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Keep.model_validate(parameters)


@given(pools)
def test_digits_spell_the_rank(samples: Samples) -> None:
    digits = rank_digits(np.array([s for s, _ in samples], np.float32), [u for _, u in samples], 10)
    ranked = sorted(range(len(samples)), key=lambda n: (-np.float32(samples[n][0]), samples[n][1]))
    assert sorted(range(len(samples)), key=lambda n: digits[n].tolist()) == ranked


def test_without_anything_wanted_nothing_is_kept() -> None:
    digits = rank_digits(np.array([1.0, 2.0], np.float32), (), 1)
    assert not keeps(digits, Boundary(exact=True)).any()

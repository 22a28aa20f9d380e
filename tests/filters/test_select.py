"""Selections combine as sets do, every part judged on the same samples, however the pool is cut."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from filters.keep import Keep
from filters.packing import pack, unpack
from filters.select import Select
from tests.passes import cut, decide

SCORES = ("clip", "norm_sim", "dfn")

few_values = st.one_of(st.sampled_from([0.1, 0.2, 0.3, float("nan")]), st.floats(-1, 1, width=32))
pools = st.lists(st.tuples(few_values, few_values, few_values), max_size=40)
shares = st.floats(0.05, 1.0)
keeps = st.one_of(
    st.builds(lambda by, top: {"by": by, "top": top}, st.sampled_from(SCORES), shares),
    st.builds(lambda by, top: {"by": by, "top": top}, st.sampled_from(SCORES), st.integers(1, 30)),
    st.builds(lambda by, n: {"by": by, "band": [0.1, n]}, st.sampled_from(SCORES), st.floats(0.2, 1)),
    st.builds(lambda by, n: {"by": by, "at_least": n}, st.sampled_from(SCORES), st.floats(-1, 1)),
    st.builds(lambda by, n: {"by": by, "at_most": n}, st.sampled_from(SCORES), st.floats(-1, 1)),
)
nodes = st.recursive(
    keeps,
    lambda parts: st.fixed_dictionaries({}, optional={"except": st.lists(parts, max_size=2)}).flatmap(
        lambda rest: st.builds(
            lambda kind, some: {kind: some, **rest},
            st.sampled_from(["all", "any"]),
            st.lists(parts, min_size=1, max_size=3),
        )
    ),
    max_leaves=6,
)
selections = nodes.filter(lambda node: "by" not in node)


def table(samples: list[tuple[float, float, float]]) -> pa.Table:
    rows = np.array(samples, np.float32).reshape(-1, 3)
    columns = {name: rows[:, n] for n, name in enumerate(SCORES)}
    return pa.table({"uid": pa.array([f"{n * 7919:032x}" for n in range(len(rows))], pa.string()), **columns})


def by_sets(node: dict[str, Any], pool: pa.Table) -> set[int]:
    """Return the rows that a selection keeps, by set algebra on what its leaves keep alone."""
    if "by" in node:
        return set(np.flatnonzero(decide(Keep.model_validate(node), pool).weight))
    parts = [by_sets(part, pool) for part in node.get("all", node.get("any"))]
    kept = set.intersection(*parts) if "all" in node else set.union(*parts)
    return kept.difference(*(by_sets(part, pool) for part in node.get("except", [])))


@given(pools, selections)
def test_selections_are_set_algebra(samples: list[tuple[float, float, float]], node: dict[str, Any]) -> None:
    pool = table(samples)
    decision = decide(Select.model_validate(node), pool)
    assert set(np.flatnonzero(decision.weight)) == by_sets(node, pool)
    assert [reason is None for reason in decision.reason.to_pylist()] == [w == 1 for w in decision.weight]


@given(pools, selections, st.randoms(use_true_random=False))
def test_how_the_pool_is_cut_and_merged_means_nothing(
    samples: list[tuple[float, float, float]], node: dict[str, Any], chance: random.Random
) -> None:
    pool, select = table(samples), Select.model_validate(node)
    whole, in_shards = decide(select, pool), decide(select, cut(pool, chance), chance)
    assert in_shards.weight.tolist() == whole.weight.tolist()
    assert in_shards.reason.to_pylist() == whole.reason.to_pylist()


@given(pools, keeps, keeps)
def test_not_both_is_the_rest_of_either(
    samples: list[tuple[float, float, float]], a: dict[str, Any], b: dict[str, Any]
) -> None:
    pool = table(samples)

    def kept(node: dict[str, Any]) -> set[int]:
        return set(np.flatnonzero(decide(Select.model_validate(node), pool).weight))

    assert kept({"any": [a], "except": [b]}) == kept({"all": [a]}) - kept({"all": [a, b]})


@given(selections)
def test_what_is_written_down_is_read_again(node: dict[str, Any]) -> None:
    select = Select.model_validate(node)
    assert Select.model_validate(select.model_dump()) == select


def test_a_threshold_does_not_move_with_the_other_parts() -> None:
    pool = table([(0.9, 0.0, 0), (0.8, 0.9, 0), (0.1, 0.8, 0), (0.2, 0.1, 0)])
    halves = {"all": [{"by": "clip", "top": 0.5}, {"by": "norm_sim", "top": 0.5}]}
    assert decide(Select.model_validate(halves), pool).weight.tolist() == [0, 1, 0, 0]


def test_the_reason_names_the_part_that_failed() -> None:
    pool = table([(0.9, 0.9, 0.9), (0.9, 0.1, 0.1), (0.1, 0.1, 0.1), (0.9, 0.9, 0.1)])
    inner = {"any": [{"by": "norm_sim", "at_least": 0.5}, {"by": "norm_sim", "at_least": 0.7}]}
    node = {"all": [{"by": "clip", "top": 3}, inner], "except": [{"by": "dfn", "at_least": 0.5}]}
    reasons = decide(Select.model_validate(node), pool).reason.to_pylist()
    assert reasons == ["in_except_1", "part_2.in_no_part", "part_1.low_clip", None]


def test_rules_may_be_a_part() -> None:
    captions = pa.table({"caption": ["one", "one two"], "width": [9, 9], "height": [9, 9]})
    pool = pa.concat_tables([table([(0.5, 0, 0), (0.5, 0, 0)])])
    for name in captions.column_names:
        pool = pool.append_column(name, captions[name])
    node = {"all": [{"rules": {"caption_words": [2, 9]}}, {"by": "clip", "at_least": 0.1}]}
    select = Select.model_validate(node)
    assert decide(select, pool).reason.to_pylist() == ["part_1.caption_words", None]
    assert select.scores == ("clip",)
    assert Select.model_validate(select.model_dump()) == select


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({}, "one of all and any"),
        ({"all": []}, "at least 1 item"),
        ({"all": [{"by": "clip", "top": 1}], "any": [{"by": "clip", "top": 1}]}, "one of all and any"),
        ({"except": [{"by": "clip", "top": 1}]}, "one of all and any"),
        ({"all": [{"clip": 0.3}]}, "a part is"),
        ({"all": ["clip"]}, "a part is"),
        ({"all": [{"by": "clip", "topp": 1}]}, "topp"),
        ({"all": [{"any": [{"by": "clip"}]}]}, "give one of top, band and at_least"),
    ],
)
def test_what_makes_no_sense_is_refused(node: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Select.model_validate(node)


@given(st.lists(st.lists(st.integers(-9, 9), max_size=5), max_size=5))
def test_packed_arrays_come_out_again(parts: list[list[int]]) -> None:
    packed = pack([np.array(part, np.int64) for part in parts])
    assert [part.tolist() for part in unpack(packed)] == parts

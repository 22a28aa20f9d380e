"""Of each group that shares a key, all but the lowest uid are copies."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from filters.duplicates import Duplicates, find_copies

Samples = list[tuple[str | None, str]]  # key, uid

samples = st.lists(
    st.tuples(st.one_of(st.none(), st.sampled_from("abcde")), st.integers(0, 30).map(lambda n: f"{n:032x}")),
    max_size=30,
)


def copies(pool: Samples, place: list[int] | None = None) -> dict[int, int]:
    """Return {position of a copy: position of its survivor}."""
    found = find_copies(
        pa.array([key for key, _ in pool], pa.string()),
        pa.array([uid for _, uid in pool], pa.string()),
        pa.array(range(len(pool)) if place is None else place, pa.int64()),
    )
    assert len(set(found.copy.tolist())) == len(found.copy)
    return dict(zip(found.copy.tolist(), found.survivor.tolist(), strict=True))


def by_dictionary(pool: Samples) -> dict[int, int]:
    groups: dict[str, list[tuple[str, int]]] = {}
    for position, (key, uid) in enumerate(pool):
        if key is not None:
            groups.setdefault(key, []).append((uid, position))
    return {
        position: min(group)[1]
        for group in groups.values()
        for _, position in group
        if position != min(group)[1]
    }


@given(samples)
def test_copies_are_those_that_a_dictionary_finds(pool: Samples) -> None:
    assert copies(pool) == by_dictionary(pool)


@given(samples, st.randoms(use_true_random=False))
def test_the_order_of_samples_means_nothing(pool: Samples, chance: object) -> None:
    order = chance.sample(range(len(pool)), len(pool))  # type: ignore[attr-defined]
    shuffled = copies([pool[n] for n in order], place=order)
    assert {order[copy]: order[survivor] for copy, survivor in shuffled.items()} == copies(pool)


def test_the_lowest_uid_survives() -> None:
    assert copies([("a", "2"), ("a", "1"), ("b", "0"), ("a", "3")]) == {0: 1, 3: 1}


def test_where_uids_are_equal_the_first_place_survives() -> None:
    assert copies([("a", "1"), ("a", "1")], place=[7, 3]) == {0: 1}


def test_samples_without_a_key_are_nobodys_copies() -> None:
    assert copies([(None, "1"), (None, "2")]) == {}


def test_an_empty_pool_has_no_copies() -> None:
    assert copies([]) == {}


@pytest.mark.parametrize(("exact", "key"), [(True, "pixels"), ("bytes", "sha256")])
def test_what_must_agree_is_chosen(exact: object, key: str) -> None:
    assert Duplicates.model_validate({"exact": exact}).key == key


@pytest.mark.parametrize("exact", [False, "pixels", 1.5])
def test_other_choices_are_refused(exact: object) -> None:
    with pytest.raises(ValidationError):
        Duplicates.model_validate({"exact": exact})

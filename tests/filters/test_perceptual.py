"""The search within a Hamming radius is exact, however it is shared out, and groups are chains."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters import perceptual
from filters.groups import join, with_earlier
from filters.perceptual import alike, like_earlier, search_parts


def hashes(n: int, seed: int, flips: int) -> np.ndarray:
    """Return hashes in families: copies of a few with some bits flipped."""
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 1 << 63, max(1, n // 5), np.uint64)
    found = base[rng.integers(0, len(base), n)]
    for _ in range(flips):
        found = found ^ (np.uint64(1) << rng.integers(0, 64, n).astype(np.uint64))
    return found


def by_hand(found: np.ndarray, waves: np.ndarray, radius: int, similarity: float) -> np.ndarray:
    near = np.bitwise_count(found[:, None] ^ found[None, :]) <= radius
    unit = waves / np.linalg.norm(waves, axis=1, keepdims=True)
    a, b = np.nonzero(np.triu(near & (unit @ unit.T >= similarity - 1e-6), 1))
    return join(np.arange(len(found)), np.stack([a, b], 1))


@pytest.mark.parametrize("radius", [0, 3, 4, 7, 8, 12])
@pytest.mark.parametrize("similarity", [-1.0, 0.3])
def test_finds_every_pair(radius: int, similarity: float) -> None:
    found = hashes(150, radius, 5)
    waves = np.random.default_rng(1).integers(-127, 127, (150, 6)).astype(np.int8)
    pairs = alike(found, waves, search_parts(radius), radius=radius, similarity=similarity)
    group = join(np.arange(150), pairs)
    np.testing.assert_array_equal(group, by_hand(found, waves.astype(float), radius, similarity))


@given(st.integers(0, 40), st.integers(0, 9), st.integers(1, 6), st.integers(0, 30))
def test_shared_out_it_finds_the_same_groups(n: int, radius: int, shares: int, seed: int) -> None:
    found, waves = hashes(n, seed, 4), np.ones((n, 2), np.int8)
    parts = search_parts(radius)
    whole = join(np.arange(n), alike(found, waves, parts, radius=radius, similarity=0))
    some = [alike(found, waves, parts[k::shares], radius=radius, similarity=0) for k in range(shares)]
    shared = reduce(join, reversed(some), np.arange(n))
    np.testing.assert_array_equal(whole, shared)


@given(st.integers(0, 60), st.integers(0, 9), st.integers(1, 4), st.integers(0, 30))
def test_generations_come_to_what_each_would_have_decided_at_its_time(
    n: int, radius: int, n_generations: int, seed: int
) -> None:
    found, waves = hashes(n, seed, 4), np.ones((n, 2), np.int8)
    generation = np.random.default_rng(seed).integers(0, n_generations, n).astype(np.int32)
    parts = search_parts(radius)
    limits = {"radius": radius, "similarity": 0.0}
    group = join(np.arange(n), alike(found, waves, parts, **limits, generation=generation))
    earlier = np.full(n, n)
    for k in range(3):  # shared out
        like = like_earlier(found, waves, parts[k::3], **limits, generation=generation)
        np.minimum.at(earlier, like[:, 0], like[:, 1])
    survivor = with_earlier(group, group, earlier, generation)  # a group is named after its first member
    kept = np.zeros(n, bool)
    for number in range(n_generations):  # all that is there, in chains; what was decided stays
        there = np.flatnonzero(generation <= number)
        chains = there[by_hand(found[there], waves[there].astype(float), radius, 0)]
        for chain in np.unique(chains):
            members = there[chains == chain]
            new = members[generation[members] == number]
            kept[new[:1]] |= len(new) == len(members)
    np.testing.assert_array_equal(survivor == np.arange(n), kept)
    assert kept[survivor].all()


def test_all_of_one_hash_stay_within_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perceptual, "_PAIRS", 100)
    same = np.full(300, 7, np.uint64)
    pairs = alike(same, np.ones((300, 2), np.int8), search_parts(4), radius=4, similarity=0.9)
    assert (join(np.arange(300), pairs) == 0).all()


def test_nothing_is_found_among_nothing() -> None:
    none = np.zeros(0, np.uint64)
    assert alike(none, np.zeros((0, 2), np.int8), search_parts(4), radius=4, similarity=0.9).shape == (0, 2)

"""SemDeDup's three rules: the stored flags, the matrix by hand, and what ties and chains do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters import semantic_duplicates
from filters.semantic_duplicates import first_of_components, greedy, nearest_earlier, nearest_of
from tests.making import SHARED

VECTORS = {
    "five clusters": Path(__file__).parent / "vectors" / "density" / "semdedup_5_clusters.npz",
    "all forty": SHARED / "reference" / "vectors" / "density_pruning" / "e2e_d32_k100_part.npz",
}


def unit(n: int, d: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(n, d))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("eps", ["0.01", "0.02", "0.05", "0.1"])
@pytest.mark.parametrize("rule", ["published", "greedy", "component"])
@pytest.mark.parametrize("part", VECTORS)
def test_stored_flags(part: str, rule: str, eps: str) -> None:
    if not VECTORS[part].exists():
        pytest.skip("all of them lie in ../shared/reference only, which is not here")
    with np.load(VECTORS[part]) as stored:
        case = dict(stored)
    keep = np.ones(len(case["nearest"]), bool)
    for cluster in np.unique(case["nearest"]):
        rows = np.flatnonzero(case["nearest"] == cluster)
        rows = rows[np.argsort(case["sim_to_centroid"][rows], kind="stable")]  # the farthest first
        vectors, threshold = case["embeddings"][rows], 1 - float(eps)
        if rule == "published":
            keep[rows] = nearest_earlier(vectors).similarity <= np.float32(threshold)
        else:
            keep[rows] = (greedy if rule == "greedy" else first_of_components)(vectors, threshold)
    np.testing.assert_array_equal(keep, case[f"semdedup_keep_{rule}_eps{eps}"])


@pytest.mark.parametrize("n", [0, 1, 2, 40])
def test_nearest_earlier_is_that_of_the_whole_matrix(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(semantic_duplicates, "_TILE", 7)
    vectors = unit(n, 3, 0)
    found = nearest_earlier(vectors)
    similarity = np.where(np.tri(n, k=-1, dtype=bool), vectors @ vectors.T, -np.inf)
    if n > 1:
        np.testing.assert_allclose(found.similarity[1:], similarity.max(1)[1:], atol=1e-6)
        np.testing.assert_array_equal(found.place[1:], similarity.argmax(1)[1:])
    if n:
        assert (found.similarity[0], found.place[0]) == (-np.inf, -1)


def test_queries_see_only_those_that_stand_before_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(semantic_duplicates, "_TILE", 4)
    vectors, queries = unit(20, 3, 0), unit(15, 3, 1)
    limit = np.random.default_rng(2).integers(0, 21, 15)
    found = nearest_of(queries, vectors, limit)
    for row in range(15):
        earlier = queries[row] @ vectors[: limit[row]].T
        assert found.place[row] == (earlier.argmax() if limit[row] else -1)


@given(st.integers(1, 60), st.floats(-0.5, 0.99), st.integers(0, 20))
def test_the_rules_are_nested_and_greedy_is_what_it_says(n: int, threshold: float, seed: int) -> None:
    vectors = unit(n, 2, seed)
    published = nearest_earlier(vectors).similarity <= np.float32(threshold)
    loose, strict = greedy(vectors, threshold), first_of_components(vectors, threshold)
    assert (strict <= published).all()
    assert (published <= loose).all()
    similar = vectors @ vectors.T > np.float32(threshold)
    for row in range(n):
        assert loose[row] == (not (similar[row, :row] & loose[:row]).any())


def test_a_chain_and_identical_vectors() -> None:
    angle = np.radians([0, 10, 20, 30])
    chain = np.stack([np.cos(angle), np.sin(angle)], 1)
    threshold = np.cos(np.radians(15))
    assert (nearest_earlier(chain).similarity <= threshold).tolist() == [True, False, False, False]
    assert greedy(chain, threshold).tolist() == [True, False, True, False]
    assert first_of_components(chain, threshold).tolist() == [True, False, False, False]
    same = np.ones((3000, 1), np.float16)
    for keep in (greedy(same, 0.9), first_of_components(same, 0.9), nearest_earlier(same).similarity <= 0.9):
        assert np.flatnonzero(keep).tolist() == [0]

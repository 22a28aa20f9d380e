"""Spherical k-means finds what is there, the same with any number of threads, and refuses the impossible."""

from __future__ import annotations

import faiss
import numpy as np
import pytest

from filters.clusters import (
    assign,
    lloyd_sums,
    nearest_others,
    normalised,
    number_of_clusters,
    spherical_kmeans,
)


def blobs(n: int = 600, k: int = 6, d: int = 16) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    centres = normalised(rng.normal(size=(k, d)))
    label = rng.integers(0, k, n)
    return normalised(centres[label] + 0.1 * rng.normal(size=(n, d))), label


def test_finds_planted_clusters() -> None:
    vectors, label = blobs()
    found = spherical_kmeans(vectors, 6, seed=1)
    np.testing.assert_allclose(np.linalg.norm(found.centroids, axis=1), 1, atol=1e-6)
    nearest, similarity = assign(vectors.astype(np.float16), found.centroids)
    together = np.zeros((6, 6))
    np.add.at(together, (nearest, label), 1)
    assert together.max(1).sum() > 0.8 * len(label)  # k-means may miss one of six; it mixes no others
    expected = np.einsum("ij,ij->i", vectors, found.centroids[nearest])
    np.testing.assert_allclose(similarity, expected, atol=1e-3)
    assert found.similarity[-1] >= found.similarity[0]


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, _ = blobs(5000, 20)
    monkeypatch.setattr("filters.clusters.usable_cores", lambda: 1)
    one = spherical_kmeans(vectors, 40)
    monkeypatch.setattr("filters.clusters.usable_cores", lambda: 2)
    two = spherical_kmeans(vectors, 40)
    np.testing.assert_array_equal(one.centroids, two.centroids)


def test_the_number_of_threads_is_as_it_was() -> None:
    before = faiss.omp_get_max_threads()
    spherical_kmeans(blobs()[0], 3)
    assert faiss.omp_get_max_threads() == before


def test_seeds_differ_and_repeat() -> None:
    vectors, _ = blobs(900, 30)
    first = spherical_kmeans(vectors, 30, iterations=1, seed=0).centroids
    np.testing.assert_array_equal(first, spherical_kmeans(vectors, 30, iterations=1, seed=0).centroids)
    assert not np.array_equal(first, spherical_kmeans(vectors, 30, iterations=1, seed=1).centroids)


def test_identical_vectors_and_one_cluster() -> None:
    same = np.tile(normalised(np.ones((1, 4))), (50, 1))
    for k in (1, 5):
        nearest, similarity = assign(same, spherical_kmeans(same, k).centroids)
        assert len(set(nearest.tolist())) == 1
        np.testing.assert_allclose(similarity, 1, atol=1e-3)


def test_as_many_clusters_as_vectors() -> None:
    vectors, _ = blobs(12)
    nearest, _ = assign(vectors, spherical_kmeans(vectors, 12).centroids)
    assert len(set(nearest.tolist())) == 12


def test_refusals() -> None:
    vectors, _ = blobs(12)
    with pytest.raises(ValueError, match="can't make 13 clusters of 12 vectors"):
        spherical_kmeans(vectors, 13)
    vectors[3, 2] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        spherical_kmeans(vectors, 2)


def test_blocks_do_not_show_and_empty_input_is_fine() -> None:
    vectors, _ = blobs(9000, 3)
    centroids = spherical_kmeans(vectors[:500], 7).centroids
    nearest, similarity = assign(vectors, centroids)
    products = vectors @ centroids.T
    np.testing.assert_allclose(similarity, products.max(1), atol=1e-6)
    assert (products[np.arange(9000), nearest] >= products.max(1) - 1e-6).all()
    assert assign(vectors[:0], centroids)[0].shape == (0,)


def test_the_nearest_others_leave_out_ones_own() -> None:
    vectors, _ = blobs(9000, 12)
    centroids = spherical_kmeans(vectors[:500], 12).centroids
    own = np.random.default_rng(0).integers(0, 12, len(vectors))
    products = vectors @ centroids.T
    products[np.arange(len(vectors)), own] = -np.inf
    expected = np.argsort(-products, axis=1)[:, :3]
    np.testing.assert_array_equal(nearest_others(vectors, centroids, own, 3), expected)
    assert nearest_others(vectors[:0], centroids, own[:0], 2).shape == (0, 2)


def test_sums_of_clusters() -> None:
    vectors, label = blobs(200)
    expected = np.stack([vectors[label == g].sum(0, dtype=np.float64) for g in range(8)])
    np.testing.assert_allclose(lloyd_sums(vectors, label, 8), expected)
    assert lloyd_sums(vectors[:0], label[:0], 3).shape == (3, 16)


@pytest.mark.parametrize(
    ("n", "purpose", "k"),
    [(50, "pruning", 1), (8000, "pruning", 40), (10**9, "pruning", 500), (10**6, "duplicates", 1000)],
)
def test_a_chosen_number_comes_with_its_reason(n: int, purpose: str, k: int) -> None:
    found, reason = number_of_clusters(n, purpose)  # type: ignore[arg-type]
    assert found == k
    assert f"{k:,}" in reason

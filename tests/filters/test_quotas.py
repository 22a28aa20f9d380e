"""Quotas are the exact optimum: the stored edge cases to the integer, and a certificate on anything else."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from filters.density import allocate, between_clusters, complexity, project, quotas
from filters.quotas import scale, whole_numbers

VECTORS = Path(__file__).parent / "vectors" / "density"


def stored(name: str) -> dict[str, np.ndarray]:
    with np.load(VECTORS / f"{name}.npz") as found:
        return dict(found)


@pytest.mark.parametrize("number", range(8))
def test_stored_edge_cases(number: int) -> None:
    case = {k.split("_", 1)[1]: v for k, v in stored("edge_cases").items() if k.startswith(f"case{number}_")}
    low, high, total = case["lb"].astype(np.int64), case["ub"].astype(np.int64), int(case["M"])
    np.testing.assert_allclose(project(case["b"], low, high, total), case["exact_x"], rtol=1e-9, atol=1e-9)
    counts = whole_numbers(case["b"], low, high, total)
    np.testing.assert_array_equal(counts, case["exact_int_N"])
    assert ((counts - case["b"]) ** 2).sum() == pytest.approx(float(case["objective_int"]), rel=1e-7)


problem = st.integers(1, 12).flatmap(
    lambda k: st.tuples(
        st.lists(st.floats(-50, 200), min_size=k, max_size=k),
        st.lists(st.integers(0, 5), min_size=k, max_size=k),
        st.lists(st.integers(0, 60), min_size=k, max_size=k),
        st.floats(0, 1),
    )
)


@given(problem)
@example(([-16.0, -28.379281077886905], [0, 0], [22, 4], 0.875))  # the second fills up at a rounded place
def test_no_exchange_of_one_sample_would_be_better(
    case: tuple[list[float], list[int], list[int], float],
) -> None:
    target, low = np.array(case[0]), np.array(case[1])
    high = low + np.array(case[2])
    total = int(low.sum() + round(case[3] * (high - low).sum()))
    counts = whole_numbers(target, low, high, total)
    assert counts.sum() == total
    assert (low <= counts).all()
    assert (counts <= high).all()
    excess = counts - target
    if (counts > low).any() and (counts < high).any():
        assert excess[counts > low].max() - excess[counts < high].min() <= 1 + 1e-6
    exact = project(target, low, high, total)
    assert exact.sum() == pytest.approx(total)
    assert np.abs(counts - exact).max() < 1 + 1e-6


def test_equal_to_trying_everything() -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        k = int(rng.integers(2, 5))
        low, high = rng.integers(0, 2, k), rng.integers(2, 6, k)
        total = int(rng.integers(low.sum(), high.sum() + 1))
        target = rng.normal(2, 3, k)
        every = itertools.product(*(range(a, b + 1) for a, b in zip(low, high, strict=True)))
        best = min(((np.array(n) - target) ** 2).sum() for n in every if sum(n) == total)
        found = ((whole_numbers(target, low, high, total) - target) ** 2).sum()
        assert found == pytest.approx(best, abs=1e-9)


def test_proportional_filling_keeps_the_ratios_of_those_that_are_not_full() -> None:
    sizes = np.array([1000, 1000, 5])
    found = allocate([1, 1, 1], [0.1, 0.2, 0.5], sizes, 400, fill="proportional")
    assert found.quota.sum() == 400
    assert found.quota[2] == 5
    assert found.full.tolist() == [False, False, True]
    assert found.quota[1] / found.quota[0] == pytest.approx(np.exp(1), rel=0.01)
    assert scale([1.0, 3.0], [0, 0], [10, 10], 8) == pytest.approx(2)


@pytest.mark.parametrize("temperature", [0.003, 0.01, 0.03, 0.1, 1.0])
def test_proportional_filling_holds_at_any_temperature(temperature: float) -> None:
    rng = np.random.default_rng(0)
    d_inter, d_intra = rng.uniform(0.3, 0.9, 50), rng.uniform(0.2, 0.8, 50)
    found = allocate(
        d_inter, d_intra, np.full(50, 1000), 25_000, temperature=temperature, fill="proportional"
    )
    low, high = -50.0, 400.0  # of log α
    for _ in range(200):
        middle = (low + high) / 2
        total = np.clip(np.exp(np.log(found.target) + middle), 1, 1000).sum()
        low, high = (middle, high) if total <= 25_000 else (low, middle)
    expected = np.clip(np.exp(np.log(found.target) + low), 1, 1000)
    assert np.abs(found.quota - expected).max() < 1 + 1e-6


def test_empty_clusters_keep_nothing_whatever_their_distances() -> None:
    found = quotas([np.nan, 0.2, 0.3], [np.nan, 0.2, 0.3], [0, 10, 10], 7)
    assert found[0] == 0
    assert found.sum() == 7


def test_one_cluster_and_identical_embeddings() -> None:
    assert quotas([0.0], [0.0], [9], 4).tolist() == [4]
    assert quotas(np.zeros(3), np.zeros(3), [5, 5, 5], 7).tolist() == [3, 2, 2]
    assert between_clusters(np.eye(1, 3), [5]).tolist() == [0]
    assert between_clusters(np.ones((3, 1)), [5, 5, 5]).tolist() == [0, 0, 0]


def test_fewer_clusters_than_neighbours_means_all_others() -> None:
    centroids = np.eye(3)
    np.testing.assert_allclose(between_clusters(centroids, [1, 1, 1], neighbours=20), 1)
    np.testing.assert_allclose(between_clusters(centroids, [1, 0, 1], neighbours=20), [1, 0, 1])


def test_the_nearest_others_leave_out_oneself_even_where_two_coincide() -> None:
    centroids = np.array([[1.0, 0], [1, 0], [0, 1]])
    np.testing.assert_allclose(between_clusters(centroids, [1, 1, 1], neighbours=1), [0, 0, 1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: quotas([0.1] * 3, [0.1] * 3, [5, 5, 5], 2), "can't keep 2 samples: 3 clusters .* need 3"),
        (lambda: quotas([0.1], [0.1], [5], 6), "all together they have 5"),
        (lambda: quotas([np.nan, 1], [0.1, 1], [5, 5], 6), "complexity of cluster 0 is not a number"),
        (lambda: quotas([0.1], [0.1], [5], 3, temperature=0), "temperature is 0"),
        (lambda: quotas([0.1], [0.1], [5], 3.5), "keep is 3.5, and should be a whole number"),
        (lambda: quotas([0.1], [0.1], [5, 5], 3), r"distances \(1,\) and sizes \(2,\) should be alike"),
        (
            lambda: quotas([0, 1], [1, 1], [5, 5], 5, temperature=1e-4, fill="proportional"),
            "at temperature 0.0001 some clusters' share is 0: raise it",
        ),
        (lambda: project([1], [2], [1], 1), "lower bound is above the upper one in group 0"),
        (lambda: project([1, np.inf], [0, 0], [1, 1], 1), "target is not finite in group 1"),
        (
            lambda: project([1, 2], [0, 0], [1, 1], 3),
            "a total of 3 can't be had: .* 0 and the upper ones to 2",
        ),
        (lambda: project([1, 2], [0], [1, 1], 3), "should be alike"),
        (lambda: scale([1, 0], [0, 0], [1, 1], 1), "targets above 0; the least is 0"),
    ],
)
def test_what_can_not_be_is_said_with_the_numbers(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]


def test_complexity_is_the_product() -> None:
    np.testing.assert_allclose(complexity([0.2, 0.5], [0.4, 0.1]), [0.08, 0.05])

"""Density pruning against stored results: the integer optimum, the authors' counts, whole keep sets.

Large problems are read from ../shared, where it is there.
"""

from __future__ import annotations

from functools import reduce
from pathlib import Path

import numpy as np
import pytest

from filters.clusters import assign
from filters.density import allocate, between_clusters, complexity, project, quotas, softmax
from filters.grouped_select import count, digits_for, keeps, merge, narrow, start
from filters.quotas import shift, whole_numbers
from tests.making import SHARED

HERE = Path(__file__).parent / "vectors" / "density"
THERE = SHARED / "reference" / "vectors" / "density_pruning"
NAMES = [
    *(f"syn10_{rest}" for rest in ("tau0.1_cb0.0_r0.3", "tau0.5_cb0.5_r0.3")),
    *(f"syn100_tau0.1_cb0.0_r{share}" for share in ("0.05", "0.2", "0.6")),
    *(f"syn100_{rest}" for rest in ("tau0.1_cb0.5_r0.3", "tau0.5_cb0.0_r0.3")),
    *(f"syn500_tau0.1_cb0.0_r{share}" for share in ("0.1", "0.3", "0.9")),
    "syn500_tau0.5_cb0.5_r0.3",
    *(f"syn1000_{rest}" for rest in ("tau0.1_cb0.5_r0.3", "tau0.5_cb0.0_r0.3")),
    *(f"syn5000_tau0.1_cb0.0_r{share}" for share in ("0.05", "0.2", "0.9")),
    *(f"syn5000_{rest}" for rest in ("tau0.1_cb0.5_r0.3", "tau0.5_cb0.0_r0.3")),
    "syn50000_tau0.1_cb0.0_r0.3",
]
CONFIGS = ("tau0.1_cb0.0", "tau0.5_cb0.5")


def stored(name: str) -> dict[str, np.ndarray]:
    path = next((home / f"{name}.npz" for home in (HERE, THERE) if (home / f"{name}.npz").exists()), None)
    if path is None:
        pytest.skip(f"{name} lies in ../shared/reference only, which is not here")
    with np.load(path) as found:
        return dict(found)


def bounds(sizes: np.ndarray, floor: float, total: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the bounds that the published script sets."""
    return np.minimum(int(floor * total / len(sizes)), sizes - 1).astype(np.int64), sizes.astype(np.int64)


@pytest.mark.parametrize("name", NAMES)
def test_allocations(name: str) -> None:
    case = stored(name)
    low, high = (case[side].astype(np.int64) for side in ("lb", "ub"))
    total = int(case["M"])
    assert shift(case["b"], low, high, total) == pytest.approx(float(case["exact_lambda"]), abs=1e-6)
    if "exact_x" in case:
        exact = project(case["b"], low, high, total)
        np.testing.assert_allclose(exact, case["exact_x"], rtol=0, atol=1e-6 * high.max())
    counts = whole_numbers(case["b"], low, high, total)
    np.testing.assert_array_equal(counts, case["exact_int_N"])
    assert counts.sum() == total
    assert np.abs(case["authors_N"] - counts).sum() / total < 5e-3
    assert abs(case["authors_N"].sum() - total) / total < 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_targets_from_distances(name: str) -> None:
    case = stored(name)
    total, tau = int(case["M"]), float(case["tau"])
    target = total * softmax(complexity(case["d_inter"], case["d_intra"]) / tau)
    np.testing.assert_allclose(target, case["b"], rtol=0, atol=1e-6 * case["b"].max())
    floor = int(case["lb"].max())
    found = quotas(case["d_inter"], case["d_intra"], case["sizes"], total, temperature=tau, floor=floor)
    assert found.dtype == np.int64
    assert found.sum() == total
    assert np.abs(found - case["exact_int_N"]).max() <= 2  # the stored targets come from float32


@pytest.fixture(scope="module")
def whole() -> dict[str, np.ndarray]:
    """A set of 50,000 from vectors to keep sets: the statistics of all clusters, the rows of forty."""
    return stored("selection_40_clusters")


def test_assignment_and_distances(whole: dict[str, np.ndarray]) -> None:
    rows = stored("semdedup_5_clusters")
    nearest, similarity = assign(rows["embeddings"], whole["centroids"])
    np.testing.assert_array_equal(nearest, rows["nearest"])
    np.testing.assert_allclose(similarity, rows["sim_to_centroid"], rtol=0, atol=5e-7)
    between = between_clusters(whole["centroids"], whole["sizes"], neighbours=20)
    np.testing.assert_allclose(between, whole["d_inter"], rtol=0, atol=2e-7)
    for cluster in whole["clusters_included"]:
        own = whole["sim_to_centroid"][whole["nearest"] == cluster].astype(np.float64)
        assert len(own) == whole["sizes"][cluster]
        assert (1 - own).mean() == pytest.approx(whole["d_intra"][cluster], abs=2e-7)


@pytest.mark.parametrize("name", CONFIGS)
def test_quotas_of_the_whole_set(whole: dict[str, np.ndarray], name: str) -> None:
    tau, floor = (float(part[3 - (number > 0) :]) for number, part in enumerate(name.split("_")))
    total = int(whole["M"])
    low, high = bounds(whole["sizes"], floor, total)
    target = total * softmax(complexity(whole["d_inter"], whole["d_intra"]) / tau)
    np.testing.assert_array_equal(whole_numbers(target, low, high, total), whole[f"exact_N_{name}"])
    assert shift(target, low, high, total) == pytest.approx(float(whole[f"exact_lambda_{name}"]), abs=1e-2)
    found = allocate(
        whole["d_inter"],
        whole["d_intra"],
        whole["sizes"],
        total,
        temperature=tau,
        floor=int(floor * total / len(high)),
    )
    np.testing.assert_array_equal(found.quota, whole[f"exact_N_{name}"])


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("whose", ["exact", "authors"])
@pytest.mark.parametrize("cuts", [1, 7])
def test_keep_sets_of_the_whole_set(whole: dict[str, np.ndarray], name: str, whose: str, cuts: int) -> None:
    group, score = whole["nearest"].astype(np.int64), -whole["sim_to_centroid"]
    uid = [f"{number:032x}" for number in whole["sample_id"]]
    inside = np.isin(np.arange(len(whole["sizes"])), whole["clusters_included"])
    quota = np.where(inside, whole[f"{whose}_N_{name}"], 0)
    parts, state = np.array_split(np.arange(len(uid)), cuts), start(quota)

    def digits(rows: np.ndarray) -> np.ndarray:
        return digits_for(score[rows], lambda: [uid[row] for row in rows], state)

    while not state.finished:
        state = narrow(state, reduce(merge, [count(digits(rows), group[rows], state) for rows in parts]))
    kept = np.concatenate([keeps(digits(rows), group[rows], state, quota) for rows in parts])
    np.testing.assert_array_equal(whole["sample_id"][kept], whole[f"{whose}_kept_ids_{name}"])

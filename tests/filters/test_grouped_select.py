"""Every group keeps exactly its best, however the pool is cut, ties by uid."""

from __future__ import annotations

from functools import reduce

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from filters.grouped_select import Boundaries, count, digits_for, keeps, merge, narrow, start


def search(score: np.ndarray, uid: list[str], group: np.ndarray, quota: np.ndarray, cuts: int) -> np.ndarray:
    """Return what is kept, the pool being measured in so many parts."""
    state: Boundaries = start(quota)
    parts = np.array_split(np.arange(len(score)), cuts)

    def digits(rows: np.ndarray) -> np.ndarray:
        return digits_for(score[rows], lambda: [uid[row] for row in rows], state)

    while not state.finished:
        state = narrow(state, reduce(merge, [count(digits(rows), group[rows], state) for rows in parts]))
    state = Boundaries.model_validate_json(state.model_dump_json())
    kept = [keeps(digits(rows), group[rows], state, quota) for rows in parts]
    return np.concatenate(kept)


samples = st.lists(
    st.tuples(st.sampled_from([-0.0, 0.0, 0.25, 0.2500001, 1.0, -1.0]), st.integers(0, 3)), max_size=40
)


@given(samples, st.integers(1, 4), st.integers(0, 100))
def test_each_group_keeps_its_best(drawn: list[tuple[float, int]], cuts: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    score = np.array([s for s, _ in drawn], np.float32)
    group = np.array([g for _, g in drawn], np.int64)
    uid = [f"{n:032x}" for n in rng.permutation(len(drawn))]
    sizes = np.bincount(group, minlength=4)
    quota = rng.integers(0, sizes + 1)
    kept = search(score, uid, group, quota, cuts)
    np.testing.assert_array_equal(np.bincount(group[kept], minlength=4), quota)
    for g in range(4):
        rows = np.flatnonzero(group == g)
        best = sorted(rows, key=lambda row: (-(score[row] + 0.0), uid[row]))[: quota[g]]
        assert set(best) == set(rows[kept[rows]])


def test_two_passes_do_when_nothing_ties() -> None:
    rng = np.random.default_rng(0)
    score, group = rng.random(5000).astype(np.float32), rng.integers(0, 50, 5000)
    quota = np.bincount(group, minlength=50) // 3
    state, passes = start(quota), 0
    while not state.finished:
        state = narrow(state, count(digits_for(score, list, state), group, state))
        passes += 1
    assert passes == 2
    assert keeps(digits_for(score, list, state), group, state, quota).sum() == quota.sum()

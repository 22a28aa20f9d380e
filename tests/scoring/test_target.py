"""NormSim does what its formula says, tile by tile, and refuses vectors that don't belong together."""

from __future__ import annotations

import math

import numpy as np
import pytest

from scoring import norm_sim, norm_sim_dynamic


def unit(n: int, d: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(n, d))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


@pytest.mark.parametrize("p", [2, math.inf])
def test_is_the_norm_of_the_similarities(p: float) -> None:
    image, target = unit(1500, 12, 0), unit(1200, 12, 1)
    expected = np.linalg.norm(image.astype(np.float64) @ target.astype(np.float64).T, ord=p, axis=1)
    np.testing.assert_allclose(norm_sim(image, target, p=p), expected, rtol=2e-6)


def test_dynamic_drops_the_outliers_first() -> None:
    main = np.tile(unit(1, 6, 0), (50, 1)) + 0.01 * unit(50, 6, 1)
    strange = unit(10, 6, 2)
    kept = norm_sim_dynamic(np.concatenate([strange, main]), keep=50, iterations=5)
    assert kept.tolist() == list(range(10, 60))


@pytest.mark.parametrize(("keep", "iterations"), [(0, 3), (7, 3), (30, 500), (30, 1)])
def test_dynamic_keeps_exactly_what_is_asked(keep: int, iterations: int) -> None:
    kept = norm_sim_dynamic(unit(30, 5, 0), keep=keep, iterations=iterations)
    assert len(kept) == keep == len(set(kept.tolist()))


def test_refusals() -> None:
    with pytest.raises(ValueError, match="image vectors have 5 numbers and target vectors 6"):
        norm_sim(unit(3, 5, 0), unit(3, 6, 0), p=2)
    with pytest.raises(ValueError, match="no target vectors"):
        norm_sim(unit(3, 5, 0), unit(3, 5, 0)[:0], p=2)
    with pytest.raises(ValueError, match="p is 3, and should be 2 or infinity"):
        norm_sim(unit(3, 5, 0), unit(3, 5, 0), p=3)
    with pytest.raises(ValueError, match="can't keep 4 of 3 rows"):
        norm_sim_dynamic(unit(3, 5, 0), keep=4)

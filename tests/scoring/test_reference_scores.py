"""s-CLIPLoss and NormSim agree with the authors' functions and with float64, on their vectors."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from scoring import norm_sim, norm_sim_dynamic, s_clip_loss

VECTORS = Path(__file__).parent / "vectors" / "cliploss"


def stored(name: str) -> dict[str, np.ndarray]:
    with np.load(VECTORS / f"{name}.npz") as found:
        return dict(found)


INPUTS = stored("inputs")


@pytest.mark.parametrize("name", ["full", "b250k10", "b250k10_t007", "b300k10_ragged"])
def test_s_clip_loss(name: str) -> None:
    case = stored(name)
    size = int(case["batch"])
    partitions = [[perm[i : i + size] for i in range(0, len(perm), size)] for perm in case["perms"]]
    found = s_clip_loss(
        INPUTS["img"], INPUTS["txt"], temperature=float(case["temperature"]), partitions=partitions
    )
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, case["ref_float64"], atol=1e-6)
    np.testing.assert_allclose(found, case["authors_score"], atol=1e-6)


def test_norm_sim_and_vas() -> None:
    case = stored("selection")
    image, target = INPUTS["img"], INPUTS["target"]
    two = norm_sim(image, target, p=2)
    np.testing.assert_allclose(two, case["authors_normsim_2"], atol=5e-6)
    np.testing.assert_allclose(two**2 / len(target), case["authors_vas"], atol=1e-6)
    np.testing.assert_allclose(norm_sim(image, target, p=math.inf), case["authors_normsim_inf"], atol=5e-6)


def test_the_published_two_stages() -> None:
    case = stored("selection")
    score = stored("b250k10")["ref_float64"]
    top = np.sort(np.argsort(-score, kind="stable")[:300])
    np.testing.assert_array_equal(top, case["ncl_top30"])
    near = norm_sim(INPUTS["img"][top], INPUTS["target"], p=math.inf)
    kept = np.sort(top[np.argsort(-near, kind="stable")[:200]])
    np.testing.assert_array_equal(kept, case["ncl30_then_normsim_inf_20"])
    dynamic = top[norm_sim_dynamic(INPUTS["img"][top], keep=200, iterations=10)]
    np.testing.assert_array_equal(dynamic, case["normsim2d_200_of_ncl30_iters10"])

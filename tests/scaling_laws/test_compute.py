"""Budgets in samples, FLOPs and GPU-hours."""

import math

import pytest

from scaling_laws import Compute

COST = Compute(flops_per_sample=4.4e10, flops_per_gpu_second=1e14)


@pytest.mark.parametrize(
    ("text", "samples"),
    [
        ("128e6", 128e6),
        ("128M", 128e6),
        (3e9, 3e9),
        ("3B samples", 3e9),
        ("1.5k", 1500.0),
        ("4.4e19 flops", 1e9),
        ("44T flop", 1e3),
        ("11 gpu-hours", 11 * 3600 * 1e14 / 4.4e10),
        ("11h", 11 * 3600 * 1e14 / 4.4e10),
    ],
)
def test_budgets_become_samples(text, samples):
    assert COST.parse(text) == pytest.approx(samples)


@pytest.mark.parametrize("text", ["", "many", "-5", "0", "5 light-years", "nan", "1e400"])
def test_what_is_no_budget_is_named(text):
    with pytest.raises(ValueError, match="budget"):
        COST.parse(text)


def test_a_unit_without_a_cost_says_what_is_missing():
    with pytest.raises(ValueError, match="FLOPs per sample"):
        Compute().parse("1e19 flops")
    with pytest.raises(ValueError, match="FLOPs per second"):
        Compute(flops_per_sample=1e10).parse("3 gpu-hours")
    with pytest.raises(ValueError, match="flops_per_sample"):
        Compute(flops_per_sample=-1)
    with pytest.raises(ValueError, match="flops_per_gpu_second"):
        Compute(flops_per_gpu_second=math.inf)

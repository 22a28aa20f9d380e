"""Budgets in samples, FLOPs or GPU-hours."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

_SUFFIXES = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "B": 1e9, "T": 1e12}
_NUMBER = r"([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)"
_BUDGET = re.compile(rf"^\s*{_NUMBER}\s*([kMGBT]?)\s*(samples|flops?|gpu-?hours?|h)?\s*$")


@dataclass(frozen=True)
class Compute:
    """What a sample costs to train on, to turn FLOPs and GPU-hours into samples.

    Parameters
    ----------
    flops_per_sample
        Training FLOPs of one image-text pair: forward and backward, about 6 times the multiply-adds of the
        forward pass.
    flops_per_gpu_second
        FLOPs per second that one GPU sustains in training, not its peak.
    """

    flops_per_sample: float | None = None
    flops_per_gpu_second: float | None = None

    def __post_init__(self) -> None:
        for name in ("flops_per_sample", "flops_per_gpu_second"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be a positive number, got {value}")

    def samples_from_flops(self, flops: float) -> float:
        """Return how many samples ``flops`` pay for.

        Raises
        ------
        ValueError
            If the FLOPs per sample are not known.
        """
        if self.flops_per_sample is None:
            raise ValueError("a budget in FLOPs needs the model's FLOPs per sample")
        return flops / self.flops_per_sample

    def samples_from_gpu_hours(self, hours: float) -> float:
        """Return how many samples ``hours`` of one GPU pay for.

        Raises
        ------
        ValueError
            If the FLOPs per sample or the GPU's rate are not known.
        """
        if self.flops_per_gpu_second is None:
            raise ValueError("a budget in GPU-hours needs the FLOPs per second that a GPU sustains")
        return self.samples_from_flops(hours * 3600.0 * self.flops_per_gpu_second)

    def parse(self, budget: str | float) -> float:
        """Return samples from a number or a text such as ``128M``, ``3e9``, ``2e19 flops`` or ``512
        gpu-hours``.

        Raises
        ------
        ValueError
            If the text is no budget, is not positive, or its unit needs a cost that is not known.
        """
        match = _BUDGET.match(str(budget))
        if match is None:
            raise ValueError(f"{budget!r} is no budget: write 128e6, 128M, '2e19 flops' or '512 gpu-hours'")
        amount = float(match[1]) * _SUFFIXES[match[2]]
        unit = (match[3] or "samples").lower()
        if not (amount > 0 and math.isfinite(amount)):
            raise ValueError(f"a budget must be positive, got {budget!r}")
        if unit.startswith("flop"):
            return self.samples_from_flops(amount)
        return amount if unit == "samples" else self.samples_from_gpu_hours(amount)

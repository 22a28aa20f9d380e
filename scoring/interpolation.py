"""Networks between two networks."""

from __future__ import annotations

from collections.abc import Mapping

import torch


def interpolated(
    first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor], weight: float
) -> dict[str, torch.Tensor]:
    """Return (1 - weight) first + weight second, tensor by tensor (WiSE-FT, Wortsman et al. 2022, section 3).

    Parameters
    ----------
    first, second
        Weights by name, before and after fine-tuning; the same names and shapes. What are no floating-point
        numbers, such as counters, is taken from the second.
    weight
        From 0 to 1; the ends return the one or the other to the bit.

    Raises
    ------
    ValueError
        When they are not of one architecture, or the weight is out of range.
    """
    if not 0 <= weight <= 1:
        raise ValueError(f"the weight should lie from 0 to 1, and is {weight}")
    if strays := sorted(first.keys() ^ second.keys()):
        raise ValueError(f"only one of them has {strays[0]}")
    for name, value in first.items():
        if value.shape != second[name].shape:
            raise ValueError(f"{name} has shape {tuple(value.shape)} and {tuple(second[name].shape)}")
    if weight in (0, 1):
        return {name: value.clone() for name, value in (second if weight else first).items()}
    return {
        name: ((1 - weight) * first[name] + weight * value if value.is_floating_point() else value.clone())
        for name, value in second.items()
    }

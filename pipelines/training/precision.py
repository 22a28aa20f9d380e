"""In which numbers the model computes; its weights, the loss and the optimizer stay float32."""

from __future__ import annotations

import torch

_HALF = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def computing_in(precision: str, device: torch.device) -> torch.autocast:
    """Return a block in which the model's products are computed in a precision (Micikevicius et al. 2018)."""
    return torch.autocast(device.type, dtype=_HALF.get(precision), enabled=precision in _HALF)


def make_scaler(precision: str, device: torch.device) -> torch.amp.GradScaler:
    """Return what keeps float16's small gradients from vanishing; in other precisions it does nothing."""
    return torch.amp.GradScaler(device.type, enabled=precision == "float16")

"""Products of vectors on a GPU where there is one, else on the CPU, to the precision of float32.

Stored vectors are float16. A GPU multiplies those exactly and adds up in float32, so its tensor cores give
what the CPU's float32 gives, but for the order of the sum.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


def device() -> torch.device:
    """Return where products are made: a CUDA device where torch sees one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def placed(vectors: NDArray[Any], where: torch.device) -> torch.Tensor:
    """Return vectors (n, d) as a tensor on a device; arrays that can't be written to are copied."""
    return torch.from_numpy(np.require(vectors, requirements=["C", "W"])).to(where)


def exact(left: torch.Tensor, right: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return matrices for `products` that have the products of (n, d) and (m, d), ready for the device.

    On a GPU float16 stays as it is, and a float32 `right` becomes the sum of two float16 halves, side by
    side: 22 bits of each number, at the speed that TF32 would have with 11.
    """
    if not left.is_cuda or left.dtype != torch.float16:
        return left.to(torch.float32), right.to(torch.float32)
    if right.dtype == torch.float16:
        return left, right
    high = right.to(torch.float16)
    low = (right - high.to(right.dtype)).to(torch.float16)
    return torch.cat([left, left], 1), torch.cat([high, low], 1)


def products(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Return all dot products, float32 of shape (n, m), of what `exact` made."""
    if left.dtype == torch.float16:
        return torch.mm(left, right.T, out_dtype=torch.float32)
    return left @ right.T

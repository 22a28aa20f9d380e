"""Products of vectors on a GPU where there is one, else on the CPU, to the precision of float32.

Stored vectors are float16. A GPU multiplies those exactly and adds up in float32, so its tensor cores give
what the CPU's float32 gives, but for the order of the sum.
"""

from __future__ import annotations

from importlib.util import find_spec
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


def products(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Return all dot products, float32 of shape (n, m), of vectors (n, d) and (m, d) on one device."""
    if left.is_cuda and left.dtype == right.dtype == torch.float16:
        return torch.mm(left, right.T, out_dtype=torch.float32)
    return left.to(torch.float32) @ right.to(torch.float32).T


def greatest(product: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the greatest number of each row, and the first place where it stands, both (n,)."""
    if product.is_cuda:
        found = product.max(1)
        return found.values, found.indices
    place = torch.from_numpy(product.numpy().argmax(1))  # several times as fast as torch's
    return product.gather(1, place[:, None])[:, 0], place


def nearest(
    rows: torch.Tensor, columns: torch.Tensor, limit: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Return what `fused_nearest.nearest` finds; None where it can't serve, as on a CPU."""
    if not (rows.is_cuda and rows.dtype == torch.float16 and find_spec("triton")):
        return None
    from scoring import fused_nearest

    return fused_nearest.nearest(rows, columns, limit)

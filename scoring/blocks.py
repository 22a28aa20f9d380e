"""Matrix products too large to hold, tile by tile; numpy in and out, torch inside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

TILE = 1024  # rows and columns: a tile of float32 stays in the cache while it is worked on


def as_matrix(vectors: NDArray[Any], name: str) -> torch.Tensor:
    """Return vectors as a float32 matrix (n, d), without a copy where they are one.

    Raises
    ------
    ValueError
        When they are no matrix, or a number in them is not finite.
    """
    if vectors.ndim != 2:
        raise ValueError(f"{name} vectors of shape {vectors.shape} should be a matrix (n, d)")
    matrix = torch.from_numpy(np.array(vectors, np.float32, order="C", copy=None))
    if not bool(torch.isfinite(matrix.sum())) and not bool(torch.isfinite(matrix).all()):
        row = int((~torch.isfinite(matrix)).any(1).nonzero()[0])
        raise ValueError(f"{name} vectors hold a number that is not finite, first in row {row}")
    return matrix


def require_pairs(image: torch.Tensor, text: torch.Tensor) -> None:
    """Raise `ValueError` unless there are as many images as captions, of one width."""
    if image.shape != text.shape:
        raise ValueError(
            f"image vectors of shape {tuple(image.shape)} and text vectors of shape {tuple(text.shape)} "
            "should be alike: take them from one encoder, with as many images as captions"
        )


def tiles(left: torch.Tensor, right: torch.Tensor) -> Iterator[tuple[slice, slice, torch.Tensor]]:
    """Yield (rows, columns, product) of `left @ right.T`; the product's memory is used again for the next."""
    space = torch.empty(min(TILE, len(left)), min(TILE, len(right)))
    for top in range(0, len(left), TILE):
        rows = slice(top, min(top + TILE, len(left)))
        for start in range(0, len(right), TILE):
            columns = slice(start, min(start + TILE, len(right)))
            shape = rows.stop - rows.start, columns.stop - columns.start
            product = space.view(-1)[: shape[0] * shape[1]].view(shape)
            yield rows, columns, torch.mm(left[rows], right[columns].T, out=product)

"""Semantic duplicates inside a concept cluster (SemDeDup): who is too similar to somebody earlier.

Abbas et al. 2023, arXiv 2303.09540. The vectors come in the order in which they are worth keeping: the copy
that stands first survives. Similarities are computed tile by tile, never as a whole matrix, half of it at
most.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from filters.groups import join
from scoring.on_device import device, greatest, nearest, placed, products

_TILE = 1024
_TILE_ON_GPU = 8192


class Nearest(NamedTuple):
    """For each vector the greatest similarity to an earlier one, float32, and which that is, int64; both
    (n,).

    Where there is none earlier, they are -inf and -1.
    """

    similarity: NDArray[np.float32]
    place: NDArray[np.int64]


def nearest_earlier(vectors: NDArray[Any]) -> Nearest:
    """Return each vector's most similar earlier one; of equals the first.

    Any threshold afterwards is free: the published rule of SemDeDup removes a sample when it is more similar
    than the threshold to any earlier one, also to one that is itself removed.

    Parameters
    ----------
    vectors
        Unit vectors in the order of preference, (n, d), float16 or wider; memory is n + a tile.
    """
    if (fused := _on_gpu(vectors, vectors, np.arange(len(vectors)))) is not None:
        return fused
    found = Nearest(np.full(len(vectors), -np.inf, np.float32), np.full(len(vectors), -1, np.int64))
    for rows, columns, product in _tiles(vectors, vectors, earlier=True):
        _take(found, rows, columns, product)
    return found


def nearest_of(queries: NDArray[Any], vectors: NDArray[Any], n_earlier: NDArray[np.int64]) -> Nearest:
    """Return each query's most similar among the first `n_earlier` vectors, (n,): those before itself."""
    if (fused := _on_gpu(queries, vectors, n_earlier)) is not None:
        return fused
    found = Nearest(np.full(len(queries), -np.inf, np.float32), np.full(len(queries), -1, np.int64))
    limit = torch.from_numpy(n_earlier)
    for rows, columns, product in _tiles(queries, vectors, earlier=False):
        number = torch.arange(columns.start, columns.stop, device=product.device)
        product[number[None, :] >= limit[rows].to(product.device)[:, None]] = -torch.inf
        _take(found, rows, columns, product)
    return found


def _on_gpu(queries: NDArray[Any], vectors: NDArray[Any], limit: NDArray[np.int64]) -> Nearest | None:
    where = device()
    if where.type == "cpu":
        return None
    rows = placed(queries, where)
    columns = rows if vectors is queries else placed(vectors, where)
    found = nearest(rows, columns, torch.from_numpy(limit.astype(np.int32)).to(where))
    return None if found is None else Nearest(*(each.cpu().numpy() for each in found))


def greedy(vectors: NDArray[Any], threshold: float) -> NDArray[np.bool_]:
    """Return which survive when only survivors remove others (non-maximum suppression), shape (n,)."""
    keep = np.zeros(len(vectors), bool)
    for start in range(0, len(vectors), _TILE):
        rows = slice(start, min(start + _TILE, len(vectors)))
        free = nearest_of(
            vectors[rows], vectors[keep], np.full(rows.stop - start, int(keep.sum()))
        ).similarity <= np.float32(threshold)
        block = np.asarray(vectors[rows], np.float32)
        similar = block @ block.T > np.float32(threshold)
        for row in np.flatnonzero(free):
            keep[start + row] = not (similar[row, :row] & keep[start : start + row]).any()
    return keep


def first_of_components(vectors: NDArray[Any], threshold: float) -> NDArray[np.bool_]:
    """Return which samples are the first of their group, groups being chains of similar ones, shape (n,)."""
    n = len(vectors)
    label = np.arange(n)
    for rows, columns, product in _tiles(vectors, vectors, earlier=True):
        below, above = (product > threshold).nonzero().T.cpu().numpy()
        if len(below):
            label = join(label, np.stack([rows.start + below, columns.start + above], 1))
    first: NDArray[np.bool_] = label == np.arange(n)
    return first


def _take(found: Nearest, rows: slice, columns: slice, product: torch.Tensor) -> None:
    value, place = (each.cpu().numpy() for each in greatest(product))
    better = value > found.similarity[rows]
    found.similarity[rows] = np.where(better, value, found.similarity[rows])
    found.place[rows] = np.where(better, columns.start + place, found.place[rows])


def _tiles(
    left: NDArray[Any], right: NDArray[Any], *, earlier: bool
) -> Iterator[tuple[slice, slice, torch.Tensor]]:
    """Yield (rows, columns, similarities), with `earlier` only those of a row to columns before it."""
    where = device()
    tile = _TILE if where.type == "cpu" else _TILE_ON_GPU
    with torch.inference_mode():
        below = placed(left, where)
        above = below if right is left else placed(right, where)
        for top in range(0, len(left), tile):
            rows = slice(top, min(top + tile, len(left)))
            for start in range(0, rows.stop if earlier else len(right), tile):
                columns = slice(start, min(start + tile, rows.stop if earlier else len(right)))
                product = products(below[rows], above[columns])
                if earlier and start == top:
                    product.masked_fill_(torch.ones_like(product, dtype=torch.bool).triu_(), -torch.inf)
                yield rows, columns, product

"""Density-based pruning: dense concept clusters keep less, and of each cluster the least typical stay.

Abbas et al. 2024, arXiv 2401.04578, "Effective pruning of web-scale datasets based on complexity of concept
clusters".
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from filters.quotas import project, round_shares, scale, shift

__all__ = ["Allocation", "allocate", "between_clusters", "complexity", "project", "quotas", "softmax"]

Fill = Literal["additive", "proportional"]

_ROWS = 1024  # centroids whose distances to all others are held at once


class Allocation(NamedTuple):
    """How many samples each cluster keeps, all of shape (k,) but the last two.

    `target` is the share that the complexity asks for, in samples; `quota` what it gets; `full` whether that
    is all it has. `moved` is λ, what additive filling adds to the targets of the others, or α, what
    proportional filling multiplies them with.
    """

    complexity: NDArray[np.float64]
    target: NDArray[np.float64]
    quota: NDArray[np.int64]
    full: NDArray[np.bool_]
    moved: float


def complexity(d_inter: ArrayLike, d_intra: ArrayLike) -> NDArray[np.float64]:
    """Return the complexity of clusters, d_inter · d_intra, shape (k,) (section 3.2 of the paper).

    Parameters
    ----------
    d_inter
        Mean cosine distance of a centroid to its nearest others, shape (k,).
    d_intra
        Mean cosine distance of a cluster's members to its centroid, shape (k,).
    """
    return np.asarray(d_inter, np.float64) * np.asarray(d_intra, np.float64)


def quotas(
    d_inter: ArrayLike,
    d_intra: ArrayLike,
    sizes: ArrayLike,
    keep: int,
    *,
    temperature: float = 0.1,
    floor: int = 1,
    fill: Fill = "additive",
) -> NDArray[np.int64]:
    """Return how many samples each cluster keeps, int64 of shape (k,), `keep` in all; see `allocate`.

    Parameters
    ----------
    d_inter, d_intra
        Cosine distances, shape (k,); see `complexity`.
    sizes
        Samples in each cluster, shape (k,); empty ones keep none, and their distances don't matter.
    keep
        Samples to keep in all.
    temperature
        Of the softmax: 0.1 in the paper; higher is more even.
    floor
        Least number that a cluster keeps, if it has so many.
    fill
        Where the targets of full clusters go: `additive`, to all others alike, as in the paper, or
        `proportional` to the others' targets.

    Raises
    ------
    ValueError
        When distances are not finite or the total can't be had; the message holds the numbers.
    """
    allocation = allocate(d_inter, d_intra, sizes, keep, temperature=temperature, floor=floor, fill=fill)
    return allocation.quota


def allocate(
    d_inter: ArrayLike,
    d_intra: ArrayLike,
    sizes: ArrayLike,
    keep: int,
    *,
    temperature: float = 0.1,
    floor: int = 1,
    fill: Fill = "additive",
) -> Allocation:
    """Return the quotas of density-based pruning with what led to them; for the parameters see `quotas`.

    A cluster's target is `keep` times the softmax of complexity over temperature (section 3.2). The quotas
    are the whole numbers nearest to the targets, in the sum of squares, between the floor and the cluster's
    size.

    Raises
    ------
    ValueError
        When distances are not finite or the total can't be had; the message holds the numbers.
    """
    size = np.asarray(sizes, np.int64)
    c = complexity(d_inter, d_intra)
    if c.shape != size.shape or c.ndim != 1:
        raise ValueError(f"distances {c.shape} and sizes {size.shape} should be alike: (k,)")
    if keep != int(keep):
        raise ValueError(f"keep is {keep}, and should be a whole number of samples")
    inhabited = size > 0
    n = size[inhabited]
    if not np.isfinite(c[inhabited]).all():
        bad = np.flatnonzero(inhabited & ~np.isfinite(c))
        raise ValueError(f"the complexity of cluster {', '.join(map(str, bad[:5]))} is not a number")
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}, and should be above 0")
    least = np.minimum(floor, n)
    if not least.sum() <= keep <= n.sum():
        raise ValueError(
            f"can't keep {keep:,} samples: {len(n):,} clusters with at least {floor} each need "
            f"{int(least.sum()):,}, and all together they have {int(n.sum()):,}"
        )
    target = keep * softmax(c[inhabited] / temperature)
    if fill == "proportional" and len(target) and not target.min() > 0:
        raise ValueError(
            f"at temperature {temperature:g} some clusters' share is 0: raise it to fill in proportion"
        )
    moved = (shift if fill == "additive" else scale)(target, least, n, keep)
    wanted = target + moved if fill == "additive" else target * moved
    allocation = Allocation(
        c, np.zeros(len(size)), np.zeros(len(size), np.int64), np.zeros(len(size), bool), moved
    )
    allocation.target[inhabited] = target
    allocation.quota[inhabited] = round_shares(wanted, least, n, keep)
    allocation.full[:] = inhabited & (allocation.quota == size)
    return allocation


def softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return exp(values) over its sum, shape (k,)."""
    raised = np.exp(values - values.max(initial=-np.inf)) if len(values) else values
    shares: NDArray[np.float64] = raised / raised.sum()
    return shares


def between_clusters(
    centroids: NDArray[Any], sizes: ArrayLike, *, neighbours: int = 20
) -> NDArray[np.float64]:
    """Return each centroid's mean cosine distance to its nearest others, float64 of shape (k,).

    Empty clusters are nobody's neighbours and have 0; so has a cluster that is alone. Fewer clusters than
    neighbours means that all others count.

    Parameters
    ----------
    centroids
        Unit vectors, shape (k, d).
    sizes
        Samples in each cluster, shape (k,).
    neighbours
        How many of the nearest others; 20 in the paper.
    """
    inhabited = np.flatnonzero(np.asarray(sizes) > 0)
    distance = np.zeros(len(centroids))
    count = min(neighbours, len(inhabited) - 1)
    if count < 1:
        return distance
    points = np.asarray(centroids[inhabited], np.float64)
    for start in range(0, len(points), _ROWS):
        similarity = points[start : start + _ROWS] @ points.T
        rows = np.arange(len(similarity))
        similarity[rows, start + rows] = -np.inf  # itself, by number: another may lie in the same place
        nearest = np.partition(similarity, -count, axis=1)[:, -count:]
        distance[inhabited[start : start + _ROWS]] = np.maximum(1 - nearest, 0).mean(1)
    return distance

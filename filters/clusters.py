"""Concept clusters: spherical k-means by FAISS, on a GPU where there is one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from scoring.cores import usable_cores

if TYPE_CHECKING:
    from torch import Tensor

_PRODUCTS = 1 << 19  # of vectors and centroids, made at once on a CPU: they stay in its cache
_ROWS = 4096  # vectors that are compared with all centroids at once elsewhere
_ROWS_PLACED = 1 << 15  # vectors that are copied to a GPU at once
_LARGEST_FOR_PRUNING = 500  # the best of five on 277 M samples (Abbas et al. 2024, arXiv 2401.04578)
_SAMPLES_PER_CLUSTER = 200  # fewer, and a cluster's mean distance says little


class Clusters(BaseModel):
    """How a pool is cut into concept clusters."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    clusters: Literal["auto"] | int = Field(
        "auto", description="how many, or auto: by the size of the pool; the reasoning is printed"
    )
    encoder: str | None = Field(
        None, description="whose vectors: a name from `encoders`; without it, those of `encoder`"
    )
    of: Literal["image", "text"] = Field("image", description="which vectors")
    iterations: int = Field(25, ge=1, description="of k-means, on the training sample")
    points_per_centroid: int = Field(
        256, ge=1, description="size of the training sample, in samples per cluster; the whole pool at most"
    )
    full_passes: int = Field(0, ge=0, description="further iterations of k-means over the whole pool")


class Found(NamedTuple):
    """Unit centroids, float32 of shape (k, d), and the mean similarity to them after each iteration."""

    centroids: NDArray[np.float32]
    similarity: list[float]


def number_of_clusters(n_samples: int, purpose: Literal["pruning", "duplicates"]) -> tuple[int, str]:
    """Return a number of clusters for a pool, and why."""
    if purpose == "duplicates":
        k = max(1, math.isqrt(n_samples))
        return k, f"{k:,} clusters, the square root of {n_samples:,}: assigning costs what comparing does"
    k = min(_LARGEST_FOR_PRUNING, max(1, n_samples // _SAMPLES_PER_CLUSTER))
    if k == _LARGEST_FOR_PRUNING:
        return k, f"{k} clusters, the paper's best on 277 M samples, for {n_samples:,}"
    return k, f"{k} clusters for {n_samples:,} samples: about {_SAMPLES_PER_CLUSTER} in each"


def spherical_kmeans(vectors: NDArray[np.float32], k: int, *, iterations: int = 25, seed: int = 0) -> Found:
    """Return centroids of spherical k-means.

    Parameters
    ----------
    vectors
        Unit vectors, float32 of shape (n, d).
    k
        Number of clusters.
    iterations
        Of Lloyd's algorithm.
    seed
        Of the first centroids, which are vectors.

    Raises
    ------
    ValueError
        When there are fewer vectors than clusters, or a number is not finite.
    """
    import faiss

    n, d = vectors.shape
    if not 1 <= k <= n:
        raise ValueError(f"can't make {k:,} clusters of {n:,} vectors: ask for {n:,} at most")
    if not np.isfinite(vectors).all():
        raise ValueError("the vectors to be clustered hold numbers that are not finite")
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(usable_cores())  # a pool waits for its centroids: nothing else runs
    try:
        means = faiss.Kmeans(
            d,
            k,
            niter=iterations,
            seed=seed + 1,
            spherical=True,
            gpu=faiss.get_num_gpus() > 0,
            min_points_per_centroid=1,
            max_points_per_centroid=-(-n // k),  # all: the sample was drawn before
        )
        means.train(np.ascontiguousarray(vectors, np.float32))
        centroids, objective = np.asarray(means.centroids), np.asarray(means.obj)
    finally:
        faiss.omp_set_num_threads(before)
    return Found(normalised(centroids), (objective / n).tolist())


def normalised(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """Return vectors of length 1, (n, d); one of length 0 stays."""
    wide = np.asarray(vectors, np.float64)
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    return (wide / np.where(length > 0, length, 1)).astype(np.float32)


def assign(vectors: NDArray[Any], centroids: NDArray[Any]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return the nearest centroid of each vector and the similarity to it, both of shape (n,).

    On a GPU where there is one: fastest where both are float16, and with the CPU's results but for the order
    in which products are added up.

    Parameters
    ----------
    vectors
        Unit vectors, (n, d), float16 or wider.
    centroids
        Unit vectors, (k, d), float16 or wider.
    """
    import torch

    from scoring.on_device import device, placed

    where = device()
    nearest = np.empty(len(vectors), np.int32)
    similarity = np.empty(len(vectors), np.float32)
    with torch.inference_mode():
        columns = placed(centroids, where)
        for start in range(0, len(vectors), _ROWS_PLACED):
            part = slice(start, start + _ROWS_PLACED)
            values, indices = nearest_columns(placed(vectors[part], where), columns)
            similarity[part], nearest[part] = values.cpu(), indices.cpu()
    return nearest, similarity


def nearest_columns(rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Return the greatest product of each row (n, d) with columns (k, d) and which that is, both (n,)."""
    import torch

    from scoring import on_device

    if (found := on_device.nearest(rows, columns)) is not None:
        return found
    columns = columns.to(torch.float32)
    step = _ROWS if rows.is_cuda else max(64, _PRODUCTS // len(columns))
    values = torch.empty(len(rows), dtype=torch.float32, device=rows.device)
    indices = torch.empty(len(rows), dtype=torch.int64, device=rows.device)
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        values[part], indices[part] = on_device.greatest(on_device.products(rows[part], columns))
    return values, indices


def nearest_others(
    vectors: NDArray[Any], centroids: NDArray[Any], own: NDArray[np.integer[Any]], count: int
) -> NDArray[np.int64]:
    """Return the nearest centroids but the own one of each vector, the nearest first, shape (n, count)."""
    import torch

    from scoring.on_device import device, placed, products

    found = np.empty((len(vectors), count), np.int64)
    with torch.inference_mode():
        columns = placed(centroids, device())
        for start in range(0, len(vectors), _ROWS):
            part = slice(start, start + _ROWS)
            similarity = products(placed(vectors[part], columns.device), columns)
            mine = torch.from_numpy(own[part].astype(np.int64)).to(columns.device)
            similarity.scatter_(1, mine[:, None], -torch.inf)
            found[part] = similarity.topk(count, 1).indices.cpu().numpy()
    return found


def lloyd_sums(vectors: NDArray[Any], nearest: NDArray[np.integer[Any]], k: int) -> NDArray[np.float64]:
    """Return the sum of the vectors of each cluster, float64 of shape (k, d)."""
    sums = np.zeros((k, vectors.shape[1]), np.float64)
    order = np.argsort(nearest, kind="stable")
    inhabited, first = np.unique(nearest[order], return_index=True)
    if len(order):
        sums[inhabited] = np.add.reduceat(vectors[order].astype(np.float64), first, axis=0)
    return sums

"""The steps of pruning against what one would write without them, both in one run, in turns.

    OMP_NUM_THREADS=1 python -m benchmarks.pruning_peers

- quotas of a million clusters, against 3 seconds;
- semantic duplicates inside clusters, against a torch loop that makes each cluster's whole matrix: time, and
  memory beyond the vectors, each in a process of its own;
- clusters, against bare FAISS with the same sample and iterations: centroids, and assigning to them.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import threading
from collections.abc import Callable
from typing import Any

import faiss
import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from benchmarks.timing import interleaved
from filters.clusters import assign, spherical_kmeans
from filters.density import quotas
from filters.semantic_duplicates import nearest_earlier

Array = NDArray[Any]


def unit_vectors(n: int, width: int, seed: int, centres: int = 500) -> Array:
    """Return float16 vectors of length 1 around random centres, (n, width)."""
    rng = np.random.default_rng(seed)
    around = rng.standard_normal((centres, width), np.float32) / np.float32(np.sqrt(width))
    noise = rng.standard_normal((n, width), np.float32) / np.float32(np.sqrt(width))
    found = around[rng.integers(0, centres, n)] + noise
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float16)


def in_turns(repeats: int, **steps: Callable[[], object]) -> dict[str, float]:
    """Return the median seconds of each step, taken in turns."""
    return {name: float(np.median(times)) for name, times in interleaved(steps, repeats).items()}


def say(**facts: Any) -> None:
    """Print facts as one line of JSON."""
    print(json.dumps({k: round(v, 3) if isinstance(v, float) else v for k, v in facts.items()}), flush=True)


def measure_quotas(n_clusters: int) -> None:
    """Time the quotas of a million clusters, in which both bounds bind."""
    rng = np.random.default_rng(0)
    d_inter, d_intra = rng.uniform(0.2, 0.8, n_clusters), rng.uniform(0.2, 0.8, n_clusters)
    sizes = rng.integers(1, 4000, n_clusters)
    keep = int(0.3 * sizes.sum())
    found = quotas(d_inter, d_intra, sizes, keep)
    assert found.sum() == keep
    taken = in_turns(3, quotas=lambda: quotas(d_inter, d_intra, sizes, keep))
    say(clusters=n_clusters, quotas_seconds=taken["quotas"], full=int((found == sizes).sum()))


@torch.inference_mode()
def whole_matrix(vectors: Array) -> Array:
    """Return each vector's greatest similarity to an earlier one by the matrix of all."""
    x = torch.from_numpy(vectors).float()
    similarity = (x @ x.T).tril_(-1)
    similarity[0, 0] = -1
    greatest: Array = similarity.max(1).values.numpy()
    return greatest


def tile_by_tile(vectors: Array) -> Array:
    """Return the same from the library."""
    found: Array = nearest_earlier(vectors).similarity
    return found


def extra_memory(function: Callable[[Array], Array], size: int, width: int) -> float:
    """Return by how many MB a process grows at most while it works on one cluster."""
    vectors = unit_vectors(size, width, 1)
    function(vectors[:64])  # what torch allocates once
    here, stop, peak = psutil.Process(), threading.Event(), [0]
    before = here.memory_info().rss

    def watch() -> None:
        while not stop.wait(0.002):
            peak[0] = max(peak[0], here.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    function(vectors)
    stop.set()
    watcher.join()
    return (max(peak[0], here.memory_info().rss) - before) / 1e6


def measure_duplicates(sizes: list[int], width: int, repeats: int) -> None:
    """Compare with the whole matrix, over clusters of several sizes."""
    clusters = [unit_vectors(size, width, seed) for seed, size in enumerate(sizes)]
    for vectors in clusters:
        np.testing.assert_allclose(
            np.maximum(tile_by_tile(vectors), 0)[1:], np.maximum(whole_matrix(vectors), 0)[1:], atol=1e-5
        )
    taken = in_turns(
        repeats,
        ours=lambda: [tile_by_tile(each) for each in clusters],
        torch_loop=lambda: [whole_matrix(each) for each in clusters],
    )
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        memory = {
            name: pool.apply(extra_memory, (function, max(sizes), width))
            for name, function in {"ours": tile_by_tile, "torch_loop": whole_matrix}.items()
        }
    say(
        clusters=sizes, width=width, ours_seconds=taken["ours"], torch_loop_seconds=taken["torch_loop"],
        time_ratio=taken["ours"] / taken["torch_loop"], ours_MB=memory["ours"],
        torch_loop_MB=memory["torch_loop"], memory_ratio=memory["ours"] / memory["torch_loop"],
    )  # fmt: skip


def measure_clusters(n: int, k: int, points: int, width: int, repeats: int) -> None:
    """Compare centroids and assignment with FAISS as one would call it."""
    vectors = unit_vectors(n, width, 2)
    sample = vectors[: points * k].astype(np.float32)
    faiss.omp_set_num_threads(len(os.sched_getaffinity(0)))

    def bare() -> Any:
        means = faiss.Kmeans(
            width,
            k,
            niter=10,
            seed=1,
            spherical=True,
            min_points_per_centroid=1,
            max_points_per_centroid=points,
        )
        means.train(sample)
        return means

    train = in_turns(repeats, ours=lambda: spherical_kmeans(sample, k, iterations=10), faiss=bare)
    centroids, index = spherical_kmeans(sample, k, iterations=10).centroids, faiss.IndexFlatIP(width)
    index.add(centroids)
    faiss.omp_set_num_threads(1)  # a worker has one core

    def search() -> Array:
        found: Array = np.concatenate(
            [index.search(part.astype(np.float32), 1)[1] for part in np.array_split(vectors, 8)]
        )
        return found[:, 0]

    assert (assign(vectors, centroids)[0] == search()).mean() > 0.9999  # ties by rounding
    place = in_turns(repeats, ours=lambda: assign(vectors, centroids), faiss=search)
    say(
        vectors=n, k=k, sample=len(sample), centroids_seconds=train["ours"], faiss_centroids=train["faiss"],
        centroids_ratio=train["ours"] / train["faiss"], assign_seconds=place["ours"],
        faiss_assign=place["faiss"], assign_ratio=place["ours"] / place["faiss"],
        both_ratio=(train["ours"] + place["ours"]) / (train["faiss"] + place["faiss"]),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--sizes", type=int, nargs="+", default=[2000, 4000, 8000, 12000])
    parser.add_argument("--samples", type=int, default=200_000)
    parser.add_argument("--clusters", type=int, default=1000)
    parser.add_argument("--points", type=int, default=64, help="training samples per cluster")
    args = parser.parse_args()
    torch.set_num_threads(1)  # as in a worker
    measure_quotas(1_000_000)
    measure_duplicates(args.sizes, args.width, args.repeats)
    measure_clusters(args.samples, args.clusters, args.points, args.width, args.repeats)


if __name__ == "__main__":
    main()

"""Concept clusters and semantic duplicates on a GPU against its matrix-product limit, and against the CPU.

    python -m benchmarks.gpu_clusters
    python -m benchmarks.gpu_clusters --samples 1000000 --blocks

Needs a CUDA device. The limit is a product of two 8192 × 8192 matrices in TF32 or float16, measured here.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import faiss
import numpy as np
import torch
from numpy.typing import NDArray

from filters.clusters import assign, nearest_columns, spherical_kmeans
from filters.density import allocate, between_clusters
from filters.semantic_duplicates import nearest_earlier
from scoring.fused_nearest import Blocks, nearest

Array = NDArray[Any]

_LIMIT_SIDE = 8192
CUTS = (
    Blocks(),
    Blocks(stages=4),
    Blocks(columns=128),
    Blocks(columns=128, warps=4, stages=4),
    Blocks(rows=256, columns=128),
    Blocks(depth=32, stages=5),
    Blocks(depth=128, stages=2),
)


def seconds(step: Callable[[], object], repeats: int = 5) -> float:
    """Return the median time of a step, after two that don't count."""
    times = []
    for number in range(repeats + 2):
        torch.cuda.synchronize()
        started = time.perf_counter()
        step()
        torch.cuda.synchronize()
        if number > 1:
            times.append(time.perf_counter() - started)
    return float(np.median(times))


def limit(dtype: torch.dtype, *, tf32: bool = False) -> float:
    """Return the TFLOP/s of a large product."""
    torch.backends.cuda.matmul.allow_tf32 = tf32
    a, b = (torch.randn(_LIMIT_SIDE, _LIMIT_SIDE, device="cuda").to(dtype) for _ in "ab")
    rate = 2 * _LIMIT_SIDE**3 / seconds(lambda: a @ b, 20) / 1e12
    torch.backends.cuda.matmul.allow_tf32 = False
    return rate


def bandwidth() -> float:
    """Return the GB/s of a copy on the device, bytes read and written."""
    a = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    b = torch.empty_like(a)
    return 2 * a.numel() / seconds(lambda: b.copy_(a)) / 1e9


@torch.inference_mode()
def vectors(n: int, width: int, centres: int = 3000) -> torch.Tensor:
    """Return float16 unit vectors around random centres, on the device."""
    torch.manual_seed(0)
    around = torch.nn.functional.normalize(torch.randn(centres, width, device="cuda"), dim=1)
    found = torch.empty(n, width, dtype=torch.float16, device="cuda")
    for part in found.split(1 << 18):
        noise = torch.randn(len(part), width, device="cuda") / width**0.5
        at = torch.randint(0, centres, (len(part),), device="cuda")
        part.copy_(torch.nn.functional.normalize(around[at] + noise, dim=1))
    return found


def on_cpu(step: Callable[[], Any]) -> Any:
    """Return what a step finds where there is no GPU."""
    available, gpus = torch.cuda.is_available, faiss.get_num_gpus
    torch.cuda.is_available, faiss.get_num_gpus = lambda: False, lambda: 0
    try:
        return step()
    finally:
        torch.cuda.is_available, faiss.get_num_gpus = available, gpus


def say(**facts: Any) -> None:
    """Print facts as one line of JSON."""
    print(json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in facts.items()}), flush=True)


def kmeans(x: torch.Tensor, k: int, tf32: float) -> Array:
    """Train centroids by FAISS on the GPU and on the CPU's cores; return the GPU's."""
    sample = x[: 256 * k].float().cpu().numpy()
    iterations = 25
    spherical_kmeans(sample[: 40 * k], k, iterations=1)  # FAISS allocates what it needs
    started = time.perf_counter()
    found = spherical_kmeans(sample, k, iterations=iterations)
    gpu = time.perf_counter() - started
    started = time.perf_counter()
    few = 3
    other = on_cpu(lambda: spherical_kmeans(sample, k, iterations=few)).similarity[-1]
    cpu = (time.perf_counter() - started) * iterations / few
    same = found.similarity[few - 1]
    work = 2 * len(sample) * k * x.shape[1] * iterations / 1e12
    say(
        kmeans_points=len(sample), k=k, gpu_seconds=gpu, cpu_seconds_about=cpu, of_tf32=work / gpu / tf32,
        similarity_gpu=same, similarity_cpu=other, apart=abs(1 - same / other),
    )  # fmt: skip
    return found.centroids


def assignment(x: torch.Tensor, centroids: Array, tf32: float, half: float) -> None:
    """Assign vectors that lie on the device, and that come from host memory."""
    columns = torch.from_numpy(centroids).cuda()
    work = 2 * len(x) * columns.numel() / 1e12
    with torch.inference_mode():
        there = seconds(lambda: [nearest_columns(part, columns) for part in x.split(1 << 20)], 3)
    host = x[: 1 << 20].cpu().numpy()
    from_host = seconds(lambda: assign(host, centroids), 3)
    say(
        assigned=len(x), k=len(centroids), width=x.shape[1], seconds=there, of_tf32=work / there / tf32,
        of_float16=work / there / half, from_host_per_second=len(host) / from_host,
    )  # fmt: skip


def cuts(x: torch.Tensor, centroids: Array) -> None:
    """Time the kernel with its work cut in other ways."""
    columns = torch.from_numpy(centroids).cuda()
    for blocks in CUTS:
        try:
            taken = seconds(lambda: nearest(x[: 1 << 20], columns, blocks=blocks), 3)  # noqa: B023
            say(blocks=list(blocks), million_in=taken)
        except Exception as error:
            say(blocks=list(blocks), problem=str(error)[:90])


def same_as_cpu(x: torch.Tensor, centroids: Array, keep: float = 0.3) -> None:
    """Prune by both devices' distances; say in how many decisions they differ."""
    host = x[:500_000].cpu().numpy()
    gpu, cpu = assign(host, centroids), on_cpu(lambda: assign(host, centroids))
    kept = [pruned(nearest, similarity, centroids, keep) for nearest, similarity in (gpu, cpu)]
    say(
        compared=len(host), other_cluster=int((gpu[0] != cpu[0]).sum()),
        largest_difference=float(np.abs(gpu[1] - cpu[1]).max()),
        other_quota=int((kept[0][1] != kept[1][1]).sum()),
        other_decision=int((kept[0][0] != kept[1][0]).sum()),
    )  # fmt: skip


def pruned(
    nearest: Array,
    similarity: Array,
    centroids: Array,
    keep: float,
) -> tuple[Array, Array]:
    """Return who is kept, and the quotas: the hardest of each cluster."""
    sizes = np.bincount(nearest, minlength=len(centroids))
    intra = np.bincount(nearest, 1 - similarity.astype(float), len(centroids)) / np.maximum(sizes, 1)
    quota = allocate(between_clusters(centroids, sizes), intra, sizes, int(keep * len(nearest))).quota
    order = np.lexsort((np.arange(len(nearest)), similarity, nearest))
    rank = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    chosen = np.zeros(len(nearest), bool)
    chosen[order] = rank < quota[nearest[order]]
    return chosen, quota


def duplicates(x: torch.Tensor, tf32: float, half: float) -> None:
    """Compare inside clusters of several sizes, from host memory."""
    for size in (3000, 30_000, 200_000):
        host = x[:size].cpu().numpy()
        taken = seconds(lambda: nearest_earlier(host), 3)  # noqa: B023
        work = size**2 * x.shape[1] / 1e12  # half of the pairs
        say(
            cluster=size, seconds=taken, samples_per_second=size / taken, of_tf32=work / taken / tf32,
            of_float16=work / taken / half,
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--samples", type=int, default=10_000_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--clusters", type=int, nargs="+", default=[500, 2000])
    parser.add_argument("--blocks", action="store_true", help="also try other cuts of the kernel's work")
    args = parser.parse_args()
    tf32, half = limit(torch.float32, tf32=True), limit(torch.float16)
    say(device=torch.cuda.get_device_name(), torch=torch.__version__, faiss=faiss.__version__, tf32=tf32,
        float16=half, float32=limit(torch.float32), copy_GB_s=bandwidth())  # fmt: skip
    x = vectors(args.samples, args.width)
    for k in args.clusters:
        centroids = kmeans(x, k, tf32)
        assignment(x, centroids, tf32, half)
        if args.blocks:
            cuts(x, centroids)
    same_as_cpu(x, centroids)
    duplicates(x, tf32, half)


if __name__ == "__main__":
    main()

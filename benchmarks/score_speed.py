"""Time s-CLIPLoss and NormSim over a million stored vectors against one bare matrix product of the same size.

The vectors are float16 files that are read through memory maps, so that what is held is a batch and not the
pool. The peer multiplies the same number of float32 vectors by as many others, with `torch.mm` into memory
that is there: no exp, no reading, nothing else.

    OMP_NUM_THREADS=2 python -m benchmarks.score_speed
"""

from __future__ import annotations

import argparse
import math
import resource
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.timing import interleaved, print_table
from scoring import norm_sim
from scoring.blocks import TILE, as_matrix
from scoring.contrast import batch_s_clip_loss

BLOCK = 65_536


def stored(folder: Path, name: str, n: int, width: int, seed: int) -> NDArray[np.float16]:
    """Return n random vectors of length 1 in a file, float16 of shape (n, width), as a memory map."""
    path = folder / f"{name}.npy"
    rng = np.random.default_rng(seed)
    file = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(n, width))
    for start in range(0, n, BLOCK):
        rows = rng.standard_normal((min(BLOCK, n - start), width), dtype=np.float32)
        file[start : start + BLOCK] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    file.flush()
    return np.load(path, mmap_mode="r")


def losses(image: NDArray[np.float16], text: NDArray[np.float16], batch_size: int) -> None:
    """Score all pairs by s-CLIPLoss, one batch of stored rows after another."""
    for start in range(0, len(image), batch_size):
        rows = slice(start, start + batch_size)
        batch_s_clip_loss(as_matrix(image[rows], "image"), as_matrix(text[rows], "text"), 0.07)


def closeness(image: NDArray[np.float16], target: NDArray[np.float16], p: float) -> None:
    """Score all images by NormSim, block by block."""
    for start in range(0, len(image), BLOCK):
        norm_sim(image[start : start + BLOCK], target, p=p)


def bare(n: int, others: NDArray[np.float16]) -> None:
    """Multiply n vectors by others, and nothing else."""
    right = torch.from_numpy(others.astype(np.float32)).T
    left = right.T[:TILE].contiguous()
    space = torch.empty(len(left), len(others))
    for _ in range(0, n, len(left)):
        torch.mm(left, right, out=space)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--batch-size", type=int, default=4096)
    parser.add_argument("--targets", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as place:
        image = stored(Path(place), "image", args.samples, args.width, 0)
        text = stored(Path(place), "text", args.samples, args.width, 1)
        target = stored(Path(place), "target", args.targets, args.width, 2)
        print(f"{args.samples:,} vectors of {args.width}, {torch.get_num_threads()} threads")
        tasks: dict[str, tuple[Callable[[], None], Callable[[], None]]] = {
            f"s-CLIPLoss, batches of {args.batch_size}": (
                partial(losses, image, text, args.batch_size),
                partial(bare, args.samples, text[: args.batch_size]),
            ),
            f"NormSim infinity, {args.targets} targets": (
                partial(closeness, image, target, math.inf),
                partial(bare, args.samples, target),
            ),
        }
        for title, (ours, peer) in tasks.items():
            seconds = interleaved({"bare product": peer, "curate": ours}, args.rounds)
            print_table(title, seconds, "bare product", args.samples, 2 * args.samples * args.width)
        print(f"largest memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")


if __name__ == "__main__":
    main()

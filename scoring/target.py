"""NormSim: how close an image is to a set of target images, or to the pool's own main directions."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scoring.blocks import TILE, as_matrix, tiles


def norm_sim(image: NDArray[Any], target: NDArray[Any], *, p: float) -> NDArray[np.float32]:
    """Return the p-norm of each image's similarities to all targets, float32 of shape (n,).

    Wang et al. 2024, arXiv 2405.19547, equation 4. With p = 2 it is done by the targets' second moment, in
    time that does not depend on their number; its square over the number of targets is the variance alignment
    score (VAS). With p = infinity it is the greatest absolute similarity.

    Parameters
    ----------
    image
        Unit vectors, shape (n, d).
    target
        Unit vectors, shape (m, d), of the images that the trained model should do well on.
    p
        2 or `math.inf`.

    Raises
    ------
    ValueError
        When widths differ, numbers are not finite, there is no target, or p is another number.
    """
    x, f = as_matrix(image, "image"), as_matrix(target, "target")
    require_width(x.shape[1], f.shape[1], "target")
    if not len(f):
        raise ValueError("there are no target vectors to compare with")
    if p == 2:
        return np.sqrt(np.maximum(second_moment_score(image, moment(target)), 0)).astype(np.float32)
    if p != np.inf:
        raise ValueError(f"p is {p}, and should be 2 or infinity")
    greatest = torch.zeros(len(x))
    for rows, _, product in tiles(x, f):
        torch.maximum(greatest[rows], product.abs_().amax(1), out=greatest[rows])
    return greatest.numpy()


def require_width(here: int, there: int, name: str) -> None:
    """Raise `ValueError` unless two sets of vectors have one width."""
    if here != there:
        raise ValueError(
            f"image vectors have {here} numbers and {name} vectors {there}: take both from one encoder"
        )


def moment(vectors: NDArray[Any]) -> NDArray[np.float64]:
    """Return the sum of the outer products of vectors (n, d) with themselves, float64 of shape (d, d)."""
    total = np.zeros((vectors.shape[1], vectors.shape[1]), np.float64)
    for start in range(0, len(vectors), 8 * TILE):
        block = np.asarray(vectors[start : start + 8 * TILE], np.float64)
        total += block.T @ block
    return total


def second_moment_score(image: NDArray[Any], moment: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return x M x' for each row x of (n, d) and one matrix M of (d, d), shape (n,)."""
    x, m = as_matrix(image, "image"), torch.from_numpy(moment.astype(np.float32))
    score = torch.empty(len(x))
    for start in range(0, len(x), TILE):
        rows = slice(start, start + TILE)
        score[rows] = torch.einsum("ij,ij->i", x[rows] @ m, x[rows])
    return score.numpy().astype(np.float64)


def norm_sim_dynamic(image: NDArray[Any], *, keep: int, iterations: int = 500) -> NDArray[np.int64]:
    """Return the rows that NormSim without a target keeps, sorted, shape (keep,).

    NormSim_2-D (Wang et al. 2024, arXiv 2405.19547, algorithm 1): the rows that are left are the target, and
    those least like them are dropped, over and over until `keep` are left. Ties go to the lower row.

    Parameters
    ----------
    image
        Unit vectors of the candidates, best those that a quality score has kept, shape (n, d).
    keep
        How many rows are left at the end.
    iterations
        In how many equal steps.
    """
    if not 0 <= keep <= len(image) or iterations < 1:
        raise ValueError(f"can't keep {keep} of {len(image)} rows in {iterations} iterations")
    rows = np.arange(len(image))
    per_step = -(-(len(image) - keep) // iterations)
    while len(rows) > keep:
        left = image[rows]
        score = second_moment_score(left, moment(left) / len(rows))
        n_next = max(keep, len(rows) - per_step)
        best = np.argsort(-score, kind="stable")[:n_next]
        rows = rows[np.sort(best)]
    return rows

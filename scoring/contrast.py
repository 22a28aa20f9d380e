"""s-CLIPLoss: the CLIP score of a pair less what its image and its caption score with strangers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scoring.blocks import as_matrix, require_pairs, tiles

Partition = Sequence[NDArray[np.integer[Any]]]

_SMALLEST_SUM = 1e-28  # below it, what float32 lost to underflow could be seen


def s_clip_loss(
    image: NDArray[Any], text: NDArray[Any], *, temperature: float, partitions: Sequence[Partition]
) -> NDArray[np.float32]:
    """Return the s-CLIPLoss of each pair, float32 of shape (n,): at most 0, higher is better.

    For a pair i of a batch b, with unit vectors v and t and temperature T (Wang et al. 2024, arXiv
    2405.19547, equation 2)::

        <v_i, t_i> - T/2 [ log sum_j exp(<v_i, t_j> / T) + log sum_j exp(<v_j, t_i> / T) ],   j in b

    averaged over the partitions of the pool into batches.

    Parameters
    ----------
    image, text
        Vectors of length 1, of shape (n, d), float16 or wider.
    temperature
        Of the training of the model that made the vectors: 0.01 for OpenAI's CLIPs, 0.07 for DFN-public.
    partitions
        Each a sequence of batches, each an array of row numbers; see `equal_batches`. A batch that is
        shorter than the others scores higher, by about T log(B / B_short).

    Raises
    ------
    ValueError
        When shapes don't match, numbers are not finite, or a partition is not one: every row once.
    """
    v, t = as_matrix(image, "image"), as_matrix(text, "text")
    require_pairs(v, t)
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}, and should be above 0")
    if not partitions:
        raise ValueError("partitions is empty: give at least one, such as [equal_batches(n, 32768, seed=0)]")
    total = np.zeros(len(v), np.float64)
    for number, partition in enumerate(partitions):
        _require_partition(partition, len(v), number)
        for batch in partition:
            rows = torch.from_numpy(np.asarray(batch, np.int64))
            total[batch] += batch_s_clip_loss(v[rows], t[rows], temperature)
    return (total / len(partitions)).astype(np.float32)


def equal_batches(n: int, batch_size: int, *, seed: int) -> list[NDArray[np.int64]]:
    """Return a random partition of n rows into batches of at most `batch_size`, whose sizes differ by one.

    Parameters
    ----------
    n
        Number of rows.
    batch_size
        The largest batch.
    seed
        Of the partition.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}, and should be at least 1")
    order = np.random.default_rng(seed).permutation(n)
    n_batches = max(1, -(-n // batch_size))
    return [order[start::n_batches] for start in range(n_batches)]


def batch_s_clip_loss(image: torch.Tensor, text: torch.Tensor, temperature: float) -> NDArray[np.float64]:
    """Return the s-CLIPLoss of the pairs of one batch, shape (n,): matrices (n, d), float32."""
    matched = torch.einsum("ij,ij->i", image, text)
    rows, columns = _log_sum_exps(image / temperature, text)
    return np.asarray(matched - temperature / 2 * (rows + columns), np.float64)


def _log_sum_exps(left: torch.Tensor, right: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the log-sum-exp of every row and every column of `left @ right.T`, each shape (n,).

    One product and one exp serve both directions, shifted by one bound for all of them (Cauchy-Schwarz). Rows
    and columns far below the bound are done again, each by its own maximum.
    """
    bound = (left.norm(dim=1).max() * right.norm(dim=1).max()) if len(left) else torch.tensor(0.0)
    by_row, by_column = torch.zeros(len(left)), torch.zeros(len(right))
    for rows, columns, product in tiles(left, right):
        product.sub_(bound).exp_()
        by_row[rows] += product.sum(1)
        by_column[columns] += product.sum(0)
    found = by_row.log() + bound, by_column.log() + bound
    _repair(found[0], by_row, left, right)
    _repair(found[1], by_column, right, left)
    return found


def _repair(log_sum: torch.Tensor, total: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
    low = (total < _SMALLEST_SUM).nonzero()[:, 0]
    for start in range(0, len(low), 256):
        some = low[start : start + 256]
        log_sum[some] = torch.logsumexp(left[some] @ right.T, 1)


def _require_partition(partition: Partition, n: int, number: int) -> None:
    counts = np.zeros(n, np.int64)
    for batch in partition:
        rows = np.asarray(batch)
        if len(rows) and not 0 <= rows.min() <= rows.max() < n:
            raise ValueError(f"partition {number} names rows outside 0 … {n - 1}")
        np.add.at(counts, rows, 1)
    if (counts != 1).any():
        row = int(np.flatnonzero(counts != 1)[0])
        raise ValueError(
            f"partition {number} is none: row {row} is in {counts[row]} of its batches, and should be in one"
        )

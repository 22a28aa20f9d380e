"""The most similar of many vectors, found on a GPU without ever writing the products down.

A product of matrices is over before its result has been written to memory and read again. So each block of
rows goes through all columns at once, and only the greatest product of each row leaves the chip.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl

_DOUBTFUL = 1 << 14  # rows that are done again at once
_ROUNDING = 2e-6  # of float32 sums of unit vectors' products


class Blocks(NamedTuple):
    """How a kernel cuts its work: rows, columns and depth of a block, its warps, and loads that run ahead."""

    rows: int = 128
    columns: int = 256
    depth: int = 64
    warps: int = 8
    stages: int = 3


def nearest(
    rows: torch.Tensor, columns: torch.Tensor, limit: torch.Tensor | None = None, blocks: Blocks | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return each row's greatest product with a column, float32 (n,), and which that is, int64 (n,).

    The products are made in float16, which is exact for float16 columns. For float32 columns it finds the
    winner wherever it wins by more than what float16 can hide; the other rows are done again in full, so the
    result is float32's either way. Of equals the first wins.

    Parameters
    ----------
    rows
        float16 (n, d), on a CUDA device.
    columns
        float16 or float32 (m, d), on the same.
    limit
        For each row, int32 (n,): only so many columns count, the first ones. A row with none has -inf and -1.
    blocks
        How the work is cut; it changes the time, and no more than the last bits of the results.
    """
    blocks = blocks or Blocks()
    n, depth = rows.shape
    high = columns.to(torch.float16)
    hidden = 0.0
    if columns.dtype != torch.float16:
        hidden = 2 * float((columns - high.to(columns.dtype)).norm(dim=1).max()) + _ROUNDING
    similarity = torch.empty(n, dtype=torch.float32, device=rows.device)
    place = torch.empty(n, dtype=torch.int64, device=rows.device)
    doubt = torch.zeros(n, dtype=torch.bool, device=rows.device)
    _kernel[(triton.cdiv(n, blocks.rows),)](
        rows, high, columns, limit, similarity, place, doubt, n, len(columns), hidden,
        LIMITED=limit is not None, D=depth, ROWS=blocks.rows, COLUMNS=blocks.columns, DEPTH=blocks.depth,
        num_warps=blocks.warps, num_stages=blocks.stages,
    )  # fmt: skip
    if hidden:
        _decide(rows, columns, limit, similarity, place, doubt.nonzero()[:, 0])
    return similarity, place


def _decide(
    rows: torch.Tensor,
    columns: torch.Tensor,
    limit: torch.Tensor | None,
    similarity: torch.Tensor,
    place: torch.Tensor,
    doubtful: torch.Tensor,
) -> None:
    """Do the rows again in float32 whose winner float16 can't tell."""
    number = torch.arange(len(columns), device=rows.device)
    for start in range(0, len(doubtful), _DOUBTFUL):
        some = doubtful[start : start + _DOUBTFUL]
        product = rows[some].to(torch.float32) @ columns.T
        if limit is not None:
            product.masked_fill_(number >= limit[some, None], -torch.inf)
        best = product.max(1)
        similarity[some], place[some] = best.values, best.indices


@triton.jit  # type: ignore[untyped-decorator]
def _kernel(  # type: ignore[no-untyped-def]
    rows, columns, whole, limit, similarity, place, doubt, n, m, hidden,
    LIMITED: tl.constexpr, D: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    own = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    there = own < n
    last = tl.full([ROWS], 0, tl.int32) + m
    if LIMITED:
        last = tl.load(limit + own, mask=there, other=0)
    best = tl.full([ROWS], float("-inf"), tl.float32)
    second = tl.full([ROWS], float("-inf"), tl.float32)
    at = tl.full([ROWS], -1, tl.int32)
    for start in range(0, tl.max(last, 0), COLUMNS):
        other = start + tl.arange(0, COLUMNS)
        product = tl.zeros([ROWS, COLUMNS], tl.float32)
        for depth in range(0, D, DEPTH):
            d = depth + tl.arange(0, DEPTH)
            inside = there[:, None] & (d[None, :] < D)
            left = tl.load(rows + own[:, None] * D + d[None, :], mask=inside, other=0.0)
            inside = (other[None, :] < m) & (d[:, None] < D)
            right = tl.load(columns + other[None, :] * D + d[:, None], mask=inside, other=0.0)
            product = tl.dot(left, right, product)
        product = tl.where(there[:, None] & (other[None, :] < last[:, None]), product, float("-inf"))
        top, which = tl.max(product, 1, return_indices=True)
        rest = tl.max(tl.where(tl.arange(0, COLUMNS)[None, :] == which[:, None], float("-inf"), product), 1)
        second = tl.maximum(tl.maximum(second, rest), tl.minimum(best, top))
        at = tl.where(top > best, start + which, at)
        best = tl.maximum(best, top)
    # The winner's product once more, with its own numbers: float32 as they are.
    total = tl.zeros([ROWS], tl.float32)
    squares = tl.zeros([ROWS], tl.float32)
    chosen = tl.maximum(at, 0).to(tl.int64)
    for depth in range(0, D, DEPTH):
        d = depth + tl.arange(0, DEPTH)
        inside = (at >= 0)[:, None] & (d[None, :] < D)
        left = tl.load(rows + own[:, None] * D + d[None, :], mask=inside, other=0.0).to(tl.float32)
        right = tl.load(whole + chosen[:, None] * D + d[None, :], mask=inside, other=0.0).to(tl.float32)
        total += tl.sum(left * right, 1)
        squares += tl.sum(left * left, 1)
    tl.store(similarity + own, tl.where(at >= 0, total, float("-inf")), mask=there)
    tl.store(place + own, at.to(tl.int64), mask=there)
    tl.store(doubt + own, (at >= 0) & (best - second < hidden * tl.sqrt(squares)), mask=there)

"""Pictures that look alike: hashes within a Hamming radius, found exactly, and confirmed by their waves."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from filters.groups import join

BANDS = 4
_BAND_BITS = 16
_PAIRS = 1 << 21  # candidates that are looked at together


def search_parts(radius: int) -> list[tuple[int, int]]:
    """Return the (band, flipped bits) whose candidates together hold every pair within a radius.

    Of two hashes that differ in at most r bits, some 16 of their 64 bits differ in at most r / 4 (the
    pigeonhole principle; Norouzi, Punjani and Fleet 2012, multi-index hashing). So all pairs turn up among
    those that agree in one band after flipping no more bits than that.
    """
    flips = [
        sum(1 << bit for bit in bits)
        for count in range(radius // BANDS + 1)
        for bits in itertools.combinations(range(_BAND_BITS), count)
    ]
    return [(band, flip) for band in range(BANDS) for flip in flips]


def alike(
    hashes: NDArray[np.uint64],
    waves: NDArray[np.int8],
    parts: list[tuple[int, int]],
    *,
    radius: int,
    similarity: float,
    generation: NDArray[np.int32] | None = None,
) -> NDArray[np.int64]:
    """Return pairs that hold all groups of like pictures together, int64 of shape (n_pairs, 2).

    Parameters
    ----------
    hashes
        Shape (n,).
    waves
        Shape (n, 63).
    parts
        Of the search, from `search_parts`; several processes can share them.
    radius
        Largest number of bits in which two hashes differ.
    similarity
        Least cosine of their waves.
    generation
        Shape (n,), where only pictures of one generation make groups.
    """
    group = np.arange(len(hashes))
    for a, b in _candidates(hashes, parts):
        near = np.bitwise_count(hashes[a] ^ hashes[b]) <= radius
        near &= group[a] != group[b]  # already known
        if generation is not None:
            near &= generation[a] == generation[b]
        a, b = a[near], b[near]
        same = _cosine(waves[a], waves[b]) >= similarity
        if same.any():
            group = join(group, np.stack([a[same], b[same]], 1))
    members = np.flatnonzero(group != np.arange(len(group)))
    return np.stack([group[members], members], 1)


def like_earlier(
    hashes: NDArray[np.uint64],
    waves: NDArray[np.int8],
    parts: list[tuple[int, int]],
    *,
    radius: int,
    similarity: float,
    generation: NDArray[np.int32],
) -> NDArray[np.int64]:
    """Return, for each picture that is like one of an earlier generation, itself and the first such.

    Parameters are those of `alike`. The result is int64 of shape (n_found, 2), without one that is no better
    than another: several processes' results are brought together by the lowest of each picture.
    """
    first = np.full(len(hashes), len(hashes))
    for a, b in _candidates(hashes, parts):
        later = generation[a] > generation[b]
        a, b = np.where(later, a, b), np.where(later, b, a)
        near = np.bitwise_count(hashes[a] ^ hashes[b]) <= radius
        near &= (generation[a] != generation[b]) & (b < first[a])
        a, b = a[near], b[near]
        same = _cosine(waves[a], waves[b]) >= similarity
        np.minimum.at(first, a[same], b[same])
    found = np.flatnonzero(first < len(hashes))
    return np.stack([found, first[found]], 1)


def _candidates(
    hashes: NDArray[np.uint64], parts: list[tuple[int, int]]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield pairs (a, b) whose hashes agree in a band, some of its bits flipped, a few million at a time."""
    for band, of_band in itertools.groupby(parts, key=lambda part: part[0]):
        key = ((hashes >> np.uint64(band * _BAND_BITS)) & np.uint64(0xFFFF)).astype(np.int64)
        order = np.argsort(key, kind="stable")
        ends = np.cumsum(np.bincount(key, minlength=1 << _BAND_BITS))
        starts = np.concatenate([[0], ends[:-1]])
        place = np.empty(len(key), np.int64)
        place[order] = np.arange(len(key))
        for _, flip in of_band:
            # Each pair once: within a bucket those behind, between two buckets from the lower one.
            other = key ^ flip
            first = place + 1 if flip == 0 else starts[other]
            count = np.where(other >= key, ends[other] - first, 0)
            yield from _pairs(np.flatnonzero(count), first, count, order)


def _pairs(
    rows: NDArray[np.int64], first: NDArray[np.int64], count: NDArray[np.int64], order: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield each row with those of `order` from its first on."""
    total = np.cumsum(count[rows])
    start = 0
    while start < len(rows):
        done = total[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(total, done + _PAIRS, side="right")))
        some = rows[start:stop]
        sizes = count[some]
        offset = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        yield np.repeat(some, sizes), order[np.repeat(first[some], sizes) + offset]
        start = stop


def _cosine(a: NDArray[np.int8], b: NDArray[np.int8]) -> NDArray[np.float32]:
    x, y = a.astype(np.float32), b.astype(np.float32)
    dot, squares = np.einsum("ij,ij->i", x, y), np.einsum("ij,ij->i", x, x) * np.einsum("ij,ij->i", y, y)
    cosine: NDArray[np.float32] = dot / np.sqrt(np.maximum(squares, 1))
    return cosine

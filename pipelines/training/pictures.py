"""The pictures of a training: the first ones decoded, as far as memory goes, of the others where they lie."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from pipelines.limits import memory_limit
from pipelines.pool.shards import Shard
from pipelines.storage import RangeReader
from scoring.ahead import work_ahead
from scoring.cores import usable_cores

_PIECE = 32  # pictures that a thread decodes at once


class Place(NamedTuple):
    """Where the bytes of a picture lie."""

    shard: int
    offset: int
    size: int


class Pictures:
    """All pictures by number; `decode` gives them one shape.

    Parameters
    ----------
    shards
        Where they come from.
    decode
        Image bytes to uint8 (height, width, 3).
    room
        Bytes of memory for decoded ones; what holds no picture yet is not in use.
    pinned
        Whether to lay out batches where a GPU fetches them without being handed each part.
    """

    def __init__(
        self, shards: Sequence[Shard], decode: Callable[[bytes], torch.Tensor], room: int, *, pinned: bool
    ) -> None:
        self._shards, self._decode, self._room, self._pinned = shards, decode, room, pinned
        self._held = torch.zeros((0, 0, 0, 3), dtype=torch.uint8)
        self._n_held = 0
        self._places: list[Place] = []  # of those that found no room

    def __len__(self) -> int:
        return self._n_held + len(self._places)

    def add(self, picture: torch.Tensor, place: Place) -> None:
        """Take in one more picture."""
        if not len(self):
            # More than there is would be refused at once; what is not written to is not there yet.
            n = min(self._room, memory_limit() or self._room) // picture.nbytes
            self._held = torch.empty((n, *picture.shape), dtype=torch.uint8)
        if self._n_held == len(self._held):
            self._places.append(place)
        else:
            self._held[self._n_held] = picture
            self._n_held += 1

    def take(self, rows: NDArray[np.int64]) -> torch.Tensor:
        """Return some pictures, uint8 (n, height, width, 3)."""
        taken = torch.empty((len(rows), *self._held.shape[1:]), dtype=torch.uint8, pin_memory=self._pinned)
        if self._n_held:
            torch.index_select(self._held, 0, torch.from_numpy(rows.clip(max=self._n_held - 1)), out=taken)
        missing = np.flatnonzero(rows >= self._n_held)
        read = dict(self._read(sorted({int(row) for row in rows[missing]}, key=self._place)))
        for n in missing:
            taken[n] = read[int(rows[n])]
        return taken

    def _place(self, row: int) -> Place:
        return self._places[row - self._n_held]

    def _read(self, rows: list[int]) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield rows, given in the order of their places, with their pictures, decoded by all cores."""

        def decoded(piece: list[int]) -> list[tuple[int, torch.Tensor]]:
            with RangeReader(self._shards[self._place(piece[0]).shard].url) as tar:
                return [
                    (row, self._decode(tar.read(place.offset, place.size)))
                    for row, place in ((row, self._place(row)) for row in piece)
                ]

        pieces = [
            piece
            for _, group in itertools.groupby(rows, key=lambda row: self._place(row).shard)
            for piece in _pieces(list(group))
        ]
        threads = decoding_threads()
        return itertools.chain.from_iterable(work_ahead(pieces, decoded, threads=threads, depth=2 * threads))


def _pieces(rows: list[int]) -> Iterator[list[int]]:
    return (rows[start : start + _PIECE] for start in range(0, len(rows), _PIECE))


def decoding_threads() -> int:
    """Return how many threads decode; more of them wait for Python."""
    return min(16, usable_cores())

"""The samples that a filter network learns from: every batch is a function of seed and step alone."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from pipelines.output.subset import halves, weights_of
from pipelines.pool.samples import read_annotated, read_whole, uid_of
from pipelines.pool.shards import Shard
from pipelines.storage import COPY_BYTES, open_stream
from pipelines.training.pictures import Pictures, Place, decoding_threads
from scoring.ahead import work_ahead
from scoring.images import ImageProblem

Item = TypeVar("Item")

_PIECE = 32
_THREADS = 2  # that put batches together
_BATCHES_AHEAD = 3


class Preparing(NamedTuple):
    """How a model wants its input: image bytes to uint8 (height, width, 3), captions to int64 (n, length)."""

    image: Callable[[bytes], torch.Tensor]
    texts: Callable[[list[str]], torch.Tensor]


class Batch(NamedTuple):
    """One step's samples: images uint8 (n, height, width, 3), tokens int64 (n, length)."""

    images: torch.Tensor
    tokens: torch.Tensor


class _Sample(NamedTuple):
    place: Place
    data: bytes
    caption: str
    weight: int = 1


class _Seen(NamedTuple):
    """A sample that was looked at: what the model takes of it, or why it is left out."""

    place: Place
    weight: int
    outcome: Any


@dataclass
class TrainingSet:
    """The samples of a training: captions as tokens, and the pictures.

    Attributes
    ----------
    preparing
        How the model wants them.
    pictures
        By row.
    tokens
        int32 of shape (n_rows, length).
    draws
        For each draw of an epoch, whose number is the set's length, the row of its sample: a sample of
        weight n is drawn n times.
    skipped
        How many samples were left out, by reason.
    """

    preparing: Preparing
    pictures: Pictures
    tokens: NDArray[np.int32] = field(default_factory=lambda: np.zeros((0, 0), np.int32))
    draws: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    skipped: Counter[str] = field(default_factory=Counter)

    @classmethod
    def read(
        cls,
        shards: Sequence[Shard],
        preparing: Preparing,
        cache_bytes: int,
        subset: NDArray[np.void] | None = None,
        *,
        pinned: bool = False,
    ) -> TrainingSet:
        """Look at every sample once; pictures that can't be read and empty captions are left out.

        Parameters
        ----------
        shards, preparing, cache_bytes
            What to read, how, and how much of it to hold.
        subset
            What `read_subset` returns: only these samples, each as often as it stands there. None: all.
        pinned
            Whether batches go to a GPU.
        """
        found = cls(preparing, Pictures(shards, preparing.image, cache_bytes, pinned=pinned))
        samples = itertools.chain.from_iterable(_samples(n, shard, subset) for n, shard in enumerate(shards))
        threads = decoding_threads()
        pieces = work_ahead(_batched(samples, _PIECE), found._prepare, threads=threads, depth=4 * threads)
        found._take_in(itertools.chain.from_iterable(pieces))
        missing = 0 if subset is None else len(subset) - len(found) - sum(found.skipped.values())
        if missing:
            found.skipped["not_in_the_shards"] = missing
        return found

    def __len__(self) -> int:
        return len(self.draws)

    def batches(
        self, seed: int, size: int, steps: Iterable[int], rows: slice = slice(None)
    ) -> Iterator[Batch]:
        """Yield the batch of each step, or some rows of it, prepared ahead."""
        return work_ahead(
            steps,
            lambda step: self._batch(self.draws[rows_of_step(len(self), seed, size, step)[rows]]),
            threads=_THREADS,
            depth=_BATCHES_AHEAD,
        )

    def _take_in(self, samples: Iterable[_Seen]) -> None:
        tokens, weights = [], []
        for seen in samples:
            if isinstance(seen.outcome, str):
                self.skipped[seen.outcome] += seen.weight
                continue
            picture, row = seen.outcome
            self.pictures.add(picture, seen.place)
            tokens.append(row)
            weights.append(seen.weight)
        if tokens:
            self.tokens = np.stack(tokens)
        self.draws = np.repeat(np.arange(len(weights)), weights)

    def _batch(self, rows: NDArray[np.int64]) -> Batch:
        return Batch(self.pictures.take(rows), torch.from_numpy(self.tokens[rows]).long())

    def _prepare(self, samples: list[_Sample]) -> list[_Seen]:
        tokens = self.preparing.texts([sample.caption for sample in samples]).numpy().astype(np.int32)
        seen: list[_Seen] = []
        for sample, row in zip(samples, tokens, strict=True):
            outcome: Any
            try:
                outcome = self.preparing.image(sample.data), row
            except ImageProblem as problem:
                outcome = problem.reason
            if not sample.caption.strip():
                outcome = "empty_caption"
            seen.append(_Seen(sample.place, sample.weight, outcome))
        return seen


def rows_of_step(n_samples: int, seed: int, size: int, step: int) -> NDArray[np.int64]:
    """Return the rows, int64 of shape (size,), of a step: every epoch is a new order of all the samples.

    A batch holds no row twice unless there are fewer than it has room for; the samples that are
    over at the end of an epoch sit it out.
    """
    size_of_epoch = max(size, n_samples - n_samples % size)
    epoch, start = divmod(step * size, size_of_epoch)
    return np.resize(_order(n_samples, seed, epoch), size_of_epoch)[start : start + size]


@lru_cache(maxsize=2)
def _order(n_samples: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(n_samples)


def content_sha256(shard: Shard) -> str:
    """Return the sha256 of a shard's bytes."""
    digest = hashlib.sha256()
    with open_stream(shard.url) as stream:
        while piece := stream.read(COPY_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def _samples(number: int, shard: Shard, subset: NDArray[np.void] | None) -> Iterator[_Sample]:
    if subset is None:
        for _, image, caption in read_whole(shard.url):
            yield _Sample(Place(number, image.offset, image.size), image.data or b"", caption)
        return
    for piece in _batched(read_annotated(shard.url), _PIECE):
        uids = halves([uid_of(shard.name, sample.key, sample.metadata) for sample in piece])
        for sample, weight in zip(piece, weights_of(subset, uids).tolist(), strict=True):
            if weight:
                image = sample.image
                place = Place(number, image.offset, image.size)
                yield _Sample(place, image.data or b"", sample.caption, weight)


def _batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch

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
from pipelines.storage import COPY_BYTES, RangeReader, open_stream
from scoring.ahead import work_ahead
from scoring.images import ImageProblem

Item = TypeVar("Item")

_PIECE = 32
_THREADS = 2
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
    shard: int
    offset: int
    size: int
    data: bytes
    caption: str
    weight: int = 1


class _Place(NamedTuple):
    shard: int
    offset: int
    size: int


class _Seen(NamedTuple):
    """A sample that was looked at: what the model takes of it, or why it is left out."""

    place: _Place
    weight: int
    outcome: Any


@dataclass
class TrainingSet:
    """Captions as tokens, pictures decoded as far as `cache_bytes` goes, the places of the others.

    Attributes
    ----------
    draws
        For each draw of an epoch, whose number is the set's length, the row of its sample: a sample of
        weight n is drawn n times.
    skipped
        How many samples were left out, by reason.
    """

    shards: Sequence[Shard]
    preparing: Preparing
    cache_bytes: int
    tokens: list[NDArray[np.int32]] = field(default_factory=list)
    pictures: list[torch.Tensor | _Place] = field(default_factory=list)
    draws: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    skipped: Counter[str] = field(default_factory=Counter)

    @classmethod
    def read(
        cls,
        shards: Sequence[Shard],
        preparing: Preparing,
        cache_bytes: int,
        subset: NDArray[np.void] | None = None,
    ) -> TrainingSet:
        """Look at every sample once; pictures that can't be read and empty captions are left out.

        Parameters
        ----------
        shards, preparing, cache_bytes
            What to read, how, and how much of it to hold.
        subset
            What `read_subset` returns: only these samples, each as often as it stands there. None: all.
        """
        found = cls(shards, preparing, cache_bytes)
        samples = itertools.chain.from_iterable(_samples(n, shard, subset) for n, shard in enumerate(shards))
        pieces = work_ahead(_batched(samples, _PIECE), found._prepare, threads=_THREADS, depth=16)
        weights = [found._take(seen) for piece in pieces for seen in piece]
        found.draws = np.repeat(np.arange(len(found.pictures)), [weight for weight in weights if weight])
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
            seen.append(_Seen(_Place(sample.shard, sample.offset, sample.size), sample.weight, outcome))
        return seen

    def _take(self, seen: _Seen) -> int:
        """Take a sample in, and return how often it is drawn in an epoch."""
        if isinstance(seen.outcome, str):
            self.skipped[seen.outcome] += seen.weight
            return 0
        picture, row = seen.outcome
        fits = (len(self.pictures) + 1) * picture.nbytes <= self.cache_bytes
        self.pictures.append(picture if fits else seen.place)
        self.tokens.append(row)
        return seen.weight

    def _batch(self, rows: NDArray[np.int64]) -> Batch:
        chosen = {row: self.pictures[row] for row in rows.tolist()}
        places = {row: place for row, place in chosen.items() if isinstance(place, _Place)}
        read = self._read_places(places)
        images = [read[row] if row in read else chosen[row] for row in rows.tolist()]
        tokens = torch.from_numpy(np.stack([self.tokens[row] for row in rows])).long()
        return Batch(torch.stack(images), tokens)

    def _read_places(self, places: dict[int, _Place]) -> dict[int, torch.Tensor]:
        found: dict[int, torch.Tensor] = {}
        in_order = sorted(places.items(), key=lambda item: item[1])
        for shard, group in itertools.groupby(in_order, key=lambda item: item[1].shard):
            with RangeReader(self.shards[shard].url) as tar:
                for row, place in group:
                    found[row] = self.preparing.image(tar.read(place.offset, place.size))
        return found


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
            yield _Sample(number, image.offset, image.size, image.data or b"", caption)
        return
    for piece in _batched(read_annotated(shard.url), _PIECE):
        uids = halves([uid_of(shard.name, sample.key, sample.metadata) for sample in piece])
        for sample, weight in zip(piece, weights_of(subset, uids).tolist(), strict=True):
            if weight:
                image = sample.image
                yield _Sample(number, image.offset, image.size, image.data or b"", sample.caption, weight)


def _batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch

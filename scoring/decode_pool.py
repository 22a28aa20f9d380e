"""Decoding for a GPU: processes that read, decode and tokenize into memory that they share with the model.

Threads feed a model on a CPU well enough. A GPU asks for tens of thousands of samples a second, more than one
Python process can hand over, so here only the places of samples cross between processes, never pixels.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import queue
import shutil
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.shared_memory import SharedMemory
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from scoring.encoder_spec import EncoderError
from scoring.images import ImageProblem
from scoring.main_module import no_main_module
from scoring.tokenizing import Tokenizer
from scoring.transform import Transform

Read = Callable[[list[Any]], list[bytes]]

_PIECE = 64  # samples that a process takes at once
_SLOTS = 6  # batches that are being decoded, wait, or are in the model


class Layout(NamedTuple):
    """The arrays of one batch: images (batch, *image_shape) of a dtype, tokens int64 (batch, n_tokens)."""

    batch_size: int
    image_shape: tuple[int, ...]
    image_dtype: str
    n_tokens: int

    @property
    def image_bytes(self) -> int:
        """Of a batch."""
        return int(np.prod((self.batch_size, *self.image_shape)) * np.dtype(self.image_dtype).itemsize)

    @property
    def slot_bytes(self) -> int:
        """Of a batch, images and tokens, rounded up to whole pages."""
        return -(-(self.image_bytes + 8 * self.batch_size * self.n_tokens) // 4096) * 4096

    def arrays(self, memory: SharedMemory, slot: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Return views of the images and the tokens of a slot."""
        start = slot * self.slot_bytes
        images = np.ndarray((self.batch_size, *self.image_shape), self.image_dtype, memory.buf, start)
        tokens = np.ndarray((self.batch_size, self.n_tokens), np.int64, memory.buf, start + self.image_bytes)
        return images, tokens


@dataclass(frozen=True)
class Batch:
    """A decoded batch: its slot's tensors, of which the first `n_samples` rows count, and their problems."""

    slot: int
    images: torch.Tensor
    tokens: torch.Tensor
    n_samples: int
    problems: list[str | None]


class DecodePool:
    """Processes that decode; several threads may draw batches from one pool.

    Parameters
    ----------
    transform, tokenizer
        The model's own; they are sent to the processes.
    layout
        The arrays of a batch.
    processes
        How many.
    """

    def __init__(self, transform: Transform, tokenizer: Tokenizer, layout: Layout, *, processes: int) -> None:
        size = _SLOTS * layout.slot_bytes
        _require_shared_memory(size)
        self._layout = layout
        self.memory = SharedMemory(create=True, size=size)
        self._free: queue.Queue[int] = queue.Queue()
        for slot in range(_SLOTS):
            self._free.put(slot)
        context = multiprocessing.get_context("forkserver")
        # All that unpickling the arguments imports; else processes would start one behind the other.
        context.set_forkserver_preload(["scoring.encoder"])
        arguments = (transform, tokenizer, layout, self.memory.name)
        self._pool = ProcessPoolExecutor(processes, context, initializer=_start, initargs=arguments)
        with no_main_module():  # as many calls as processes: all of them start now
            wait_for([self._pool.submit(os.getpid) for _ in range(processes)])

    def batches(self, pairs: Iterable[tuple[Any, str]], read: Read, max_pixels: int) -> Iterator[Batch]:
        """Yield batches in order, decoded ahead; each slot must be given back with `release`."""
        todo = _batched(pairs, self._layout.batch_size)
        waiting: deque[tuple[int, list[Future[list[str | None]]]]] = deque()
        try:
            while True:
                while (slot := self._take(must=not waiting)) is not None:
                    samples = next(todo, None)
                    if samples is None:
                        self.release(slot)
                        break
                    waiting.append((slot, self._submit(slot, samples, read, max_pixels)))
                if not waiting:
                    return
                batch = self._finished(*waiting[0])
                waiting.popleft()
                yield batch
        finally:
            for slot, parts in waiting:  # an error, or nobody wants the rest
                wait_for(parts)
                self.release(slot)

    def release(self, slot: int) -> None:
        """Let a slot be filled again."""
        self._free.put(slot)

    def close(self) -> None:
        """End the processes and free the memory."""
        self._pool.shutdown(cancel_futures=True)
        self.memory.close()
        self.memory.unlink()

    def _take(self, *, must: bool) -> int | None:
        try:
            return self._free.get(block=must)
        except queue.Empty:
            return None

    def _submit(
        self, slot: int, batch: list[tuple[Any, str]], read: Read, max_pixels: int
    ) -> list[Future[list[str | None]]]:
        return [
            self._pool.submit(_decode, slot, start, batch[start : start + _PIECE], read, max_pixels)
            for start in range(0, len(batch), _PIECE)
        ]

    def _finished(self, slot: int, parts: list[Future[list[str | None]]]) -> Batch:
        problems = list(itertools.chain.from_iterable(part.result() for part in parts))
        images, tokens = self._layout.arrays(self.memory, slot)
        return Batch(slot, torch.from_numpy(images), torch.from_numpy(tokens), len(problems), problems)


def _require_shared_memory(size: int) -> None:
    free = shutil.disk_usage("/dev/shm").free if os.path.isdir("/dev/shm") else size  # noqa: PTH112, S108
    if free < size:
        raise EncoderError(
            f"decoding for the GPU shares {size >> 20} MiB between processes, and /dev/shm has "
            f"{free >> 20} MiB free: raise it (docker run --shm-size) or lower encoder.batch_size"
        )


class _Worker(NamedTuple):
    transform: Transform
    tokenizer: Tokenizer
    layout: Layout
    memory: SharedMemory


_worker: list[_Worker] = []


def _start(transform: Transform, tokenizer: Tokenizer, layout: Layout, memory: str) -> None:
    torch.set_num_threads(1)
    _worker.append(_Worker(transform, tokenizer, layout, SharedMemory(memory)))
    parent = multiprocessing.parent_process()
    assert parent is not None
    # A parent that is killed can't end its children: they look after themselves.
    threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()


def _decode(
    slot: int, start: int, samples: list[tuple[Any, str]], read: Read, max_pixels: int
) -> list[str | None]:
    """Fill the rows of a slot from `start`; return the problem of each sample: what a process runs."""
    worker = _worker[0]
    images, tokens = worker.layout.arrays(worker.memory, slot)
    rows = slice(start, start + len(samples))
    tokens[rows] = worker.tokenizer([caption for _, caption in samples]).numpy()
    problems: list[str | None] = []
    for row, data in enumerate(read([source for source, _ in samples]), start):
        try:
            images[row] = worker.transform.read(data, max_pixels=max_pixels).numpy()
            problems.append(None)
        except ImageProblem as problem:
            images[row] = 0
            problems.append(problem.reason)
    return problems


def _batched(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch

"""The two towers of a model on a GPU: copies beside computing, one CUDA graph for a whole batch."""

from __future__ import annotations

import threading
from collections.abc import Callable
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import torch

from scoring.decode_pool import Batch, Layout

_WARM_UPS = 3


class Pending:
    """The vectors of a batch that is in the model."""

    def __init__(self, batch: Batch, image: torch.Tensor, text: torch.Tensor, done: torch.cuda.Event) -> None:
        self.batch = batch
        self._image, self._text, self._done = image, text, done

    def wait(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return image and text vectors, float16 of shape (n, d), when they are there."""
        self._done.synchronize()
        n = self.batch.n_samples
        return self._image[:n], self._text[:n]


class CudaModel:
    """Runs batches of one shape; several threads may launch.

    A small model is over before Python has launched its kernels one by one, so a batch is recorded once as a
    CUDA graph, image and text tower side by side, and replayed. A model that can't be recorded runs as it is.

    Parameters
    ----------
    encode_image, encode_text
        Decoded images, or tokens, to vectors: tensors on the device, of a whole batch.
    layout
        The shapes of a batch.
    dim
        Width of the vectors.
    memory
        Where batches are decoded; it is pinned, so that copies run beside the model.
    device
        A CUDA device.
    """

    def __init__(
        self,
        encode_image: Callable[[torch.Tensor], torch.Tensor],
        encode_text: Callable[[torch.Tensor], torch.Tensor],
        *,
        layout: Layout,
        dim: int,
        memory: SharedMemory,
        device: torch.device,
    ) -> None:
        self._encode_image, self._encode_text = encode_image, encode_text
        self._device = device
        self._lock = threading.Lock()
        n, dtype = layout.batch_size, getattr(torch, layout.image_dtype)
        self._arrived = torch.zeros((n, *layout.image_shape), dtype=dtype, device=device)
        self._images = torch.zeros_like(self._arrived)
        self._tokens = torch.zeros((n, layout.n_tokens), dtype=torch.int64, device=device)
        self._image, self._text = (torch.zeros((n, dim), dtype=torch.float16, device=device) for _ in "it")
        self._copying, self._computing, self._beside = (_stream(device) for _ in range(3))
        self._taken = _event()
        _pin(memory)
        self._run = self._recorded()

    @torch.inference_mode()
    def launch(self, batch: Batch) -> Pending:
        """Start a batch, and return before it is done."""
        with self._lock, torch.cuda.device(self._device):
            with torch.cuda.stream(self._copying):
                self._copying.wait_event(self._taken)
                self._arrived.copy_(batch.images, non_blocking=True)
                here = _event()
            with torch.cuda.stream(self._computing):
                self._computing.wait_event(here)
                self._images.copy_(self._arrived)
                self._taken.record(self._computing)
                self._tokens.copy_(batch.tokens, non_blocking=True)
                self._run()
                image, text = (_on_host(vectors) for vectors in (self._image, self._text))
                done = _event()
        return Pending(batch, image, text, done)

    def _forward(self) -> None:
        main = torch.cuda.current_stream()
        self._beside.wait_stream(main)
        with torch.cuda.stream(self._beside):
            self._text.copy_(self._encode_text(self._tokens))
        self._image.copy_(self._encode_image(self._images))
        main.wait_stream(self._beside)

    @torch.inference_mode()
    def _recorded(self) -> Callable[[], Any]:
        """Return the forward pass as a graph, or as it is where it can't be recorded."""
        with torch.cuda.device(self._device), torch.cuda.stream(self._computing):
            for _ in range(_WARM_UPS):
                self._forward()
            self._computing.synchronize()
            graph = torch.cuda.CUDAGraph()
            try:
                with torch.cuda.graph(graph, stream=self._computing):
                    self._forward()
            except RuntimeError:  # some tower asks the GPU for a number, or allocates on its own
                torch.cuda.synchronize(self._device)
                return self._forward
        return graph.replay


def _stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def _event() -> torch.cuda.Event:
    """Return an event of what the current stream has been asked to do so far."""
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record()
    return event


def _on_host(vectors: torch.Tensor) -> torch.Tensor:
    host = torch.empty(vectors.shape, dtype=vectors.dtype, pin_memory=True)
    return host.copy_(vectors, non_blocking=True)


def _pin(memory: SharedMemory) -> None:
    address = torch.frombuffer(memory.buf, dtype=torch.uint8).data_ptr()
    problem = torch.cuda.cudart().cudaHostRegister(address, memory.size, 0)  # type: ignore[no-untyped-call]
    if int(problem) != 0:
        raise RuntimeError(f"CUDA can't pin the shared memory of the decoders: error {problem}")

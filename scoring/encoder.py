"""Image and text vectors of one encoder, the decoding done ahead of the model."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray

from scoring.ahead import work_ahead
from scoring.cores import usable_cores
from scoring.cuda_model import CudaModel, Pending
from scoring.decode_pool import DecodePool, Layout, Read
from scoring.encoder_spec import EncoderError, EncoderSpec
from scoring.images import MAX_PIXELS, ImageProblem
from scoring.model_loading import LoadedModel, load_model
from scoring.transform import Preprocessing, make_transform

_PIECE = 32  # samples that a thread takes at once
_BATCHES_AHEAD = 2


class Encoded(NamedTuple):
    """What an encoder made of n samples, in their order.

    `image` and `text` are float16 of shape (n, d), rows of length 1; where an image could not be read, its
    row is zero and `problems` holds the reason (else None).
    """

    image: NDArray[np.float16]
    text: NDArray[np.float16]
    problems: list[str | None]


class _Prepared(NamedTuple):
    tokens: torch.Tensor
    image: torch.Tensor | None
    problem: str | None


class Encoder:
    """An image-text encoder; load it once with `Encoder.load`.

    Attributes
    ----------
    dim
        Width of its vectors.
    provenance
        What made the vectors, as JSON values: name, pretrained, weights_sha256, transform, precision,
        versions.
    """

    def __init__(self, spec: EncoderSpec, loaded: LoadedModel, device: torch.device) -> None:
        self.dim = loaded.dim
        self._spec = spec
        self._model = loaded.model
        self._tokenizer = loaded.tokenizer
        self._device = device
        preprocessing = Preprocessing.of(loaded.model)
        self._transform = make_transform(preprocessing, spec.resize)
        self._starting = threading.Lock()
        self._started: tuple[DecodePool, CudaModel] | None = None
        self.provenance: dict[str, object] = {
            "name": spec.model,
            "pretrained": spec.pretrained,
            "weights_sha256": loaded.weights_sha256,
            "transform": {**preprocessing.as_dict(), "resize": spec.resize},
            "precision": spec.precision,
            "open_clip": open_clip.__version__,
            "torch": torch.__version__,
        }

    @classmethod
    def load(cls, spec: EncoderSpec, *, base: Path | None = None) -> Encoder:
        """Load the encoder that a specification names; relative paths in it start at `base`.

        Raises
        ------
        EncoderError
            When it is not there or can't be right.
        """
        device = usable_device(spec.device)
        return cls(spec, load_model(spec, device, base=base), device)

    def encode(
        self, pairs: Iterable[tuple[Any, str]], *, max_pixels: int = MAX_PIXELS, read: Read = list
    ) -> Encoded:
        """Return the vectors of images and their captions.

        Only the batches in work are in memory, beside the vectors. A row may differ in its last bits with
        the batch size and with its neighbours in the batch; nothing outside the call has a say. Several
        threads may call at once.

        Parameters
        ----------
        pairs
            (image bytes, caption) of each sample; may be endless in size, it is read as it is needed.
        max_pixels
            Images with more pixels are not decoded; their problem is `too_many_pixels`.
        read
            Turns a list of the pairs' first halves into image bytes, for pairs that say where an image is;
            called where images are decoded, in another process when the model is on a GPU.
        """
        image, text = [np.zeros((0, self.dim), np.float16)], [np.zeros((0, self.dim), np.float16)]
        problems: list[str | None] = []
        on_gpu = self._device.type == "cuda"
        for part in (self._encode_on_gpu if on_gpu else self._encode_on_cpu)(pairs, read, max_pixels):
            image.append(part.image)
            text.append(part.text)
            problems += part.problems
        return Encoded(np.concatenate(image), np.concatenate(text), problems)

    def _encode_on_cpu(
        self, pairs: Iterable[tuple[Any, str]], read: Read, max_pixels: int
    ) -> Iterator[Encoded]:
        for batch in self._batches(pairs, read, max_pixels):
            whole = np.array([sample.image is not None for sample in batch])
            image = np.zeros((len(batch), self.dim), np.float16)
            if whole.any():
                stack = torch.stack([sample.image for sample in batch if sample.image is not None])
                image[whole] = self.encode_images(stack)
            text = self.encode_tokens(torch.stack([sample.tokens for sample in batch]))
            yield Encoded(image, text, [sample.problem for sample in batch])

    def _encode_on_gpu(
        self, pairs: Iterable[tuple[Any, str]], read: Read, max_pixels: int
    ) -> Iterator[Encoded]:
        pool, model = self._gpu
        launched: deque[Pending] = deque()
        for batch in pool.batches(pairs, read, max_pixels):
            launched.append(model.launch(batch))
            if len(launched) > 1:
                yield _arrived(launched.popleft(), pool)
        while launched:
            yield _arrived(launched.popleft(), pool)

    @property
    def _gpu(self) -> tuple[DecodePool, CudaModel]:
        """The decoders and the recorded model, made when they are first needed."""
        with self._starting:
            if self._started is None:
                self._started = self._start()
            return self._started

    def _start(self) -> tuple[DecodePool, CudaModel]:
        shape, dtype = self._transform.layout
        n_tokens = self.prepare_texts([""]).shape[1]
        layout = Layout(self._spec.batch_size, shape, dtype, n_tokens)
        processes = self._spec.decoders or max(1, usable_cores() // max(1, torch.cuda.device_count()))
        pool = DecodePool(self._transform, self._tokenizer, layout, processes=processes)
        model = CudaModel(
            self._image_vectors,
            self._text_vectors,
            layout=layout,
            dim=self.dim,
            memory=pool.memory,
            device=self._device,
        )
        return pool, model

    def prepare_image(self, data: bytes, *, max_pixels: int = MAX_PIXELS) -> torch.Tensor:
        """Return one image as `encode_images` takes it in stacks; raises `ImageProblem`."""
        return self._transform.read(data, max_pixels=max_pixels)

    def prepare_texts(self, captions: list[str]) -> torch.Tensor:
        """Return the tokens of captions, int64 of shape (n, context length)."""
        return self._tokenizer(captions)

    @torch.inference_mode()
    def encode_images(self, images: torch.Tensor) -> NDArray[np.float16]:
        """Return the vectors of prepared images, float16 of shape (n, d)."""
        return np.asarray(self._image_vectors(images.to(self._device)).cpu())

    @torch.inference_mode()
    def encode_tokens(self, tokens: torch.Tensor) -> NDArray[np.float16]:
        """Return the vectors of tokenized captions, float16 of shape (n, d)."""
        return np.asarray(self._text_vectors(tokens.to(self._device)).cpu())

    def _image_vectors(self, images: torch.Tensor) -> torch.Tensor:
        ready = self._transform.finish(images)
        if self._spec.precision == "bfloat16":
            ready = ready.to(torch.bfloat16)
        return _normalised(self._model.encode_image(ready))

    def _text_vectors(self, tokens: torch.Tensor) -> torch.Tensor:
        return _normalised(self._model.encode_text(tokens))

    def _batches(
        self, pairs: Iterable[tuple[Any, str]], read: Read, max_pixels: int
    ) -> Iterator[list[_Prepared]]:
        size = self._spec.batch_size
        piece = min(_PIECE, size)

        def prepare(samples: list[tuple[Any, str]]) -> list[_Prepared]:
            images = read([source for source, _ in samples])
            tokens = self.prepare_texts([caption for _, caption in samples])
            return [
                _Prepared(row, *self._try_image(data, max_pixels))
                for data, row in zip(images, tokens, strict=True)
            ]

        depth = _BATCHES_AHEAD * -(-size // piece)
        pieces = work_ahead(_batched(pairs, piece), prepare, threads=min(16, usable_cores()), depth=depth)
        return _batched(itertools.chain.from_iterable(pieces), size)

    def _try_image(self, data: bytes, max_pixels: int) -> tuple[torch.Tensor | None, str | None]:
        try:
            return self.prepare_image(data, max_pixels=max_pixels), None
        except ImageProblem as problem:
            return None, problem.reason


def _arrived(pending: Pending, pool: DecodePool) -> Encoded:
    """Wait for a batch's vectors and give its slot back."""
    image, text = (vectors.numpy().copy() for vectors in pending.wait())
    problems = pending.batch.problems
    pool.release(pending.batch.slot)
    image[[problem is not None for problem in problems]] = 0
    return Encoded(image, text, problems)


def _normalised(vectors: torch.Tensor) -> torch.Tensor:
    """Return vectors of length 1; normalised in float32, for half precision would lose the small ones."""
    return torch.nn.functional.normalize(vectors.to(torch.float32), dim=-1).to(torch.float16)


def _batched(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def usable_device(name: str) -> torch.device:
    """Return the device of a name, `auto` being cuda where there is one.

    Raises
    ------
    EncoderError
        When it can't be used here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise EncoderError(
            f"device: {name!r} is not usable here ({reason}); auto takes what there is"
        ) from error
    return device

"""Captions to tokens, whatever the captions hold and from whichever thread."""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch

_CHARACTERS_PER_TOKEN = 64  # what stands later could not become a token: megabytes cost what a page does


class Tokenizer:
    """An open_clip tokenizer that takes hostile text and several threads."""

    def __init__(self, tokenize: Callable[[list[str]], torch.Tensor]) -> None:
        self.wrapped = tokenize
        self._limit = _CHARACTERS_PER_TOKEN * int(getattr(tokenize, "context_length", None) or 77)
        self._lock = threading.Lock()  # some tokenizers of Hugging Face are not for two threads

    def __reduce__(self) -> tuple[type[Tokenizer], tuple[Callable[[list[str]], torch.Tensor]]]:
        return Tokenizer, (self.wrapped,)  # each process has its own lock

    def __call__(self, captions: list[str]) -> torch.Tensor:
        """Return the tokens, int64 of shape (n, context length)."""
        # Lone surrogates, which JSON may hold, have no bytes; tokenizers work on bytes.
        texts = [caption[: self._limit].encode("utf-8", "replace").decode("utf-8") for caption in captions]
        with self._lock:
            return self.wrapped(texts)

"""What a picture looks like, in 64 bits and 63 small numbers: nearly the same for a rescaled copy."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

WAVES = 63

_SIDE = 32
_USUAL_SIDE = 2048  # pixels: matrices for longer sides are not kept, or a pool of odd sizes would fill memory
_KEPT = 8
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_FLAT = 2.0  # grey levels: below this deviation there is nothing to see


class Looks(NamedTuple):
    """A picture's `hash`, and its `waves`: int8 of shape (63,), whose directions are compared."""

    hash: int
    waves: NDArray[np.int8]


def looks(pixels: NDArray[np.uint8]) -> Looks | None:
    """Return what an image looks like; None where all of it has about one colour.

    The image in grey, averaged down to 32 x 32, its 8 x 8 lowest frequencies (DCT-II) without the mean:
    these are the waves, and each bit of the hash says whether one of them is above their median. Brightness
    and contrast cancel out of both.

    Parameters
    ----------
    pixels
        uint8 of shape (height, width, 3).
    """
    height, width, _ = pixels.shape
    rows = (_averages(height) @ pixels.reshape(height, -1).astype(np.float32)).reshape(_SIDE, width, 3)
    small = rows @ _LUMA @ _averages(width).T
    if small.std() < _FLAT:
        return None
    base = _cosines()
    waves = (base @ small @ base.T).ravel()[1:]
    bits = np.concatenate([[False], waves > np.median(waves)])
    scaled = np.rint(waves / np.abs(waves).max() * 127).astype(np.int8)
    return Looks(int.from_bytes(np.packbits(bits).tobytes()), scaled)


def _averages(n: int) -> NDArray[np.float32]:
    """Return the matrix (32, n) that averages n values into 32 stretches of equal length."""
    return _usual_averages(n) if n <= _USUAL_SIDE else _made_averages(n)


def _made_averages(n: int) -> NDArray[np.float32]:
    edges = np.arange(_SIDE + 1) * n / _SIDE
    low, high = edges[:-1, None], edges[1:, None]
    places = np.arange(n)[None, :]
    overlap = np.clip(np.minimum(high, places + 1) - np.maximum(low, places), 0, None)
    weights: NDArray[Any] = overlap / overlap.sum(1, keepdims=True)
    return weights.astype(np.float32)


_usual_averages = lru_cache(maxsize=512)(_made_averages)


@lru_cache(maxsize=1)
def _cosines() -> NDArray[np.float32]:
    """Return the first 8 waves of the orthonormal DCT-II of 32 values but for a factor, (8, 32)."""
    k, n = np.arange(_KEPT)[:, None], np.arange(_SIDE)[None, :]
    base = np.cos(np.pi * k * (n + 0.5) / _SIDE)
    base[0] /= np.sqrt(2)
    return base.astype(np.float32)

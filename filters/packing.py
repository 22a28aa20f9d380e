"""Measurements of several kinds as one array: what a filter made of others adds up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def pack(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return arrays of any length as one: how many there are, their lengths, their values."""
    flat = [np.asarray(part, np.int64).ravel() for part in parts]
    return np.concatenate([[len(flat)], [len(part) for part in flat], *flat]).astype(np.int64)


def unpack(packed: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the arrays that `pack` was given, flat."""
    n = int(packed[0])
    return np.split(packed[1 + n :], np.cumsum(packed[1 : 1 + n])[:-1]) if n else []

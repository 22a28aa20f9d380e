"""Random choices that depend on nothing but their names, so samples can be made in any order."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def generator(*names: object) -> np.random.Generator:
    """Return the generator that belongs to these names, e.g. ``generator(seed, "scene", 12)``."""
    text = "/".join(map(str, names)).encode()
    return np.random.default_rng(int.from_bytes(blake2b(text, digest_size=16).digest()))


def pick(rng: np.random.Generator, choices: Sequence[T]) -> T:
    """Return one of the choices, all equally likely, as it is (numpy would make an array of it)."""
    return choices[int(rng.integers(len(choices)))]

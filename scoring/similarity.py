"""CLIP score: how well an image and its caption go together, as one number."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_BLOCK_BYTES = 8 << 20


def clip_score(image: NDArray[Any], text: NDArray[Any]) -> NDArray[np.float32]:
    """Return the cosine similarity of each image and its caption, float32 of shape (n,).

    The dot product of row i of both matrices (Radford et al. 2021, arXiv 2103.00020, section 2.3), without
    CLIPScore's factor of 2.5 and without clipping at zero. It accumulates in float32; a NaN stays NaN.

    Parameters
    ----------
    image, text
        Vectors of length 1, of shape (n, d), float16 or wider.

    Raises
    ------
    ValueError
        When the two are not matrices of one shape.
    """
    if image.ndim != 2 or image.shape != text.shape:
        raise ValueError(
            f"image vectors of shape {image.shape} and text vectors of shape {text.shape} should both be "
            "(n, d): take them from one encoder, with as many images as captions"
        )
    score = np.empty(len(image), np.float32)
    rows = max(1, _BLOCK_BYTES // (4 * max(1, image.shape[1])))  # a copy of a block in float32 stays in cache
    for start in range(0, len(image), rows):
        block = slice(start, start + rows)
        left, right = image[block].astype(np.float32), text[block].astype(np.float32)
        score[block] = np.einsum("ij,ij->i", left, right)
    return score

"""CLIP score: how well a caption fits its image, as the encoder sees it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def clip_score(image: NDArray[Any], text: NDArray[Any]) -> NDArray[np.float32]:
    """Return the cosine similarity of each image with its own caption (Radford et al. 2021, 2103.00020).

    Parameters
    ----------
    image, text
        L2-normalised vectors, any float type, both of shape (n, d); a row is a pair.

    Returns
    -------
    numpy.ndarray
        float32, shape (n,); summed in float32. NaN where a vector holds NaN.

    Raises
    ------
    ValueError
        When the shapes differ.
    """
    if image.shape != text.shape or image.ndim != 2:
        raise ValueError(
            f"image and text vectors should be of one shape (n, d), not {image.shape} and {text.shape}"
        )
    score: NDArray[np.float32] = np.einsum("nd,nd->n", image.astype(np.float32), text.astype(np.float32))
    return score

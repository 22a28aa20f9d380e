"""What a model can do, from its vectors: find the caption of an image, name what is on it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_BLOCK = 2048


def recall_at(k: int, query: NDArray[Any], answer: NDArray[Any]) -> float:
    """Return the share of queries whose own answer is among the k most similar.

    Answers that are as similar as the right one count against it, so a model that sees no difference scores
    no better than chance would have it at worst.

    Parameters
    ----------
    k
        From 1.
    query, answer
        Vectors of shape (n, d); row i of both belong together.
    """
    if query.shape != answer.shape or k < 1:
        raise ValueError(
            f"queries {query.shape} and answers {answer.shape} should be alike, and k at least 1"
        )
    found = 0
    every = np.asarray(answer, np.float32)
    for start in range(0, len(query), _BLOCK):
        some = np.asarray(query[start : start + _BLOCK], np.float32)
        similarity = some @ every.T
        right = similarity[np.arange(len(some)), start + np.arange(len(some))]
        # Written so that what is no number, from a model that diverged, counts against it too.
        found += int(((~(similarity < right[:, None])).sum(1) <= k).sum())
    return found / max(1, len(query))


def retrieval_recall(k: int, image: NDArray[Any], text: NDArray[Any]) -> float:
    """Return the mean of recall at k from images to captions and from captions to images."""
    return (recall_at(k, image, text) + recall_at(k, text, image)) / 2


def zero_shot_accuracy(image: NDArray[Any], classes: NDArray[Any], label: NDArray[np.integer[Any]]) -> float:
    """Return the share of images whose most similar class is their own (Radford et al. 2021, section 3.1).

    Parameters
    ----------
    image
        Shape (n, d).
    classes
        One vector per class, such as the mean over prompts, shape (n_classes, d).
    label
        The class of each image, shape (n,).
    """
    nearest = (np.asarray(image, np.float32) @ np.asarray(classes, np.float32).T).argmax(1)
    return float((nearest == label).mean())

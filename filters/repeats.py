"""Captions and images that stand too often in a pool: texts from a template, placeholders in their stead."""

from __future__ import annotations

from typing import Self

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator


class Repeats(BaseModel):
    """Drop every sample whose caption, or image, stands more often than that in what gets here.

    Unlike duplicates, none survives: what a hundred samples share says nothing of any of them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_caption_repeats: int | None = Field(
        None, gt=0, description="how often a caption may stand; capitals and white space don't count"
    )
    max_image_repeats: int | None = Field(
        None, gt=0, description="how often an image, byte for byte, may stand, whatever its captions"
    )

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.max_caption_repeats is None and self.max_image_repeats is None:
            raise ValueError("give max_caption_repeats, max_image_repeats or both")
        return self

    @property
    def limits(self) -> dict[str, int]:
        """How often what may stand, by the reason for which samples are dropped."""
        both = {"caption_repeats": self.max_caption_repeats, "image_repeats": self.max_image_repeats}
        return {reason: most for reason, most in both.items() if most is not None}

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns read by `repeat_keys`."""
        read = {"caption_repeats": "caption", "image_repeats": "sha256"}
        return tuple(read[reason] for reason in self.limits)


def repeat_keys(table: pa.Table, reason: str) -> NDArray[np.uint64]:
    """Return what must agree for samples to repeat each other, as 64-bit hashes, shape (n,).

    Parameters
    ----------
    table
        With `caption`, or `sha256` in hex digits; samples without it are nobody's repeat.
    reason
        caption_repeats or image_repeats.
    """
    if reason == "image_repeats":
        texts = table["sha256"].to_pylist()
    else:
        texts = [" ".join((text or "").casefold().split()) for text in table["caption"].to_pylist()]
    unlike = [f"{reason} {uid}" for uid in table["uid"].to_pylist()]
    keys = (
        xxhash.xxh3_64_intdigest((text or other).encode()) for text, other in zip(texts, unlike, strict=True)
    )
    return np.fromiter(keys, np.uint64, len(texts))


def too_frequent(keys: NDArray[np.uint64], most: int) -> NDArray[np.uint64]:
    """Return the keys that stand more than `most` times, sorted."""
    found, counts = np.unique(keys, return_counts=True)
    return found[counts > most]

"""Duplicates: what counts as one, and which samples repeat a key, such as a hash of their pixels."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator


class Semantic(BaseModel):
    """Pairs that an encoder takes for nearly the same, inside concept clusters (arXiv 2303.09540)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    threshold: float = Field(
        0.95, gt=-1, le=1, description="cosine above which the later of two samples is dropped"
    )
    keep: Literal["farthest", "best", "first"] = Field(
        "farthest",
        description="the copy that survives: farthest from its centroid, of the best score, first by uid",
    )
    by: str | None = Field(None, description="the score that `keep: best` goes by")
    rule: Literal["published", "greedy", "component"] = Field(
        "published",
        description="drop what is similar to any earlier sample, to a surviving one, or to its group's first",
    )
    across: int = Field(0, ge=0, le=16, description="how many neighbouring clusters are searched too")
    clusters: Literal["auto"] | int | None = Field(
        None, description="how many, in a clustering of its own; else the one before is used, or made: auto"
    )
    encoder: str | None = Field(None, description="whose image vectors, for a clustering of its own")

    @model_validator(mode="after")
    def _sense(self) -> Self:
        if (self.keep == "best") != (self.by is not None):
            raise ValueError("keep: best needs `by`, the name of a score, and nothing else does")
        if self.across and self.rule != "published":
            raise ValueError("across works with rule: published only")
        if self.encoder is not None and self.clusters is None:
            raise ValueError("encoder is for a clustering of its own: give clusters too, a number or auto")
        return self


class Perceptual(BaseModel):
    """Pictures that look the same: rescaled, recompressed, brightened a little."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    radius: int = Field(
        12, ge=0, le=20, description="largest number of the hash's 64 bits in which two pictures may differ"
    )
    similarity: float = Field(
        0.85, ge=0, le=1, description="least cosine of their 63 lowest frequencies, which confirms it"
    )


class Duplicates(BaseModel):
    """Which duplicates are found: exact ones unless another kind is named."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    exact: Literal[True, "bytes"] | None = Field(
        None,
        description="true: same bytes or same decoded pixels; bytes: same bytes only, nothing is decoded",
    )
    perceptual: Perceptual | None = Field(None, description="pictures that look the same")
    semantic: Semantic | None = Field(None, description="pictures that an encoder takes for the same")

    @model_validator(mode="before")
    @classmethod
    def _one_kind(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        kinds = [name for name in ("exact", "perceptual", "semantic") if value.get(name) is not None]
        if len(kinds) > 1:
            raise ValueError(f"give one of {' and '.join(kinds)}; a second stage can look for the other")
        return value if kinds else {**value, "exact": True}

    @property
    def key(self) -> str:
        """The column in which exact duplicates agree; equal bytes have equal pixels."""
        return "sha256" if self.exact == "bytes" else "pixels"


class Copies(NamedTuple):
    """Positions of the duplicates, and of the sample that each is a duplicate of; both shape (n_copies,)."""

    copy: NDArray[np.int64]
    survivor: NDArray[np.int64]


def find_copies(key: pa.Array, uid: pa.Array, place: pa.Array) -> Copies:
    """Return every sample that repeats another one's key, with the survivor of its group.

    Parameters
    ----------
    key
        Strings, shape (n,); equal keys mean duplicates. Null keys are nobody's duplicate.
    uid
        Strings, shape (n,); the lowest of a group survives.
    place
        Integers, shape (n,), unique; they decide where even the uids are equal.
    """
    group = key.dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False)
    sizes = np.bincount(group[group >= 0], minlength=1)
    position = np.flatnonzero((group >= 0) & (sizes[group] > 1))
    candidates = pa.table(
        {
            "group": group[position],
            "uid": uid.take(pa.array(position)),
            "place": place.take(pa.array(position)),
            "position": position,
        }
    )
    ordered = candidates.sort_by([(name, "ascending") for name in ("group", "uid", "place")])
    position, group = ordered["position"].to_numpy(), ordered["group"].to_numpy()
    first = np.ones(len(group), bool)
    first[1:] = group[1:] != group[:-1]
    survivor = position[first][np.cumsum(first) - 1]
    return Copies(position[~first], survivor[~first])

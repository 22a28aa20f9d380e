"""Exact duplicates: samples whose images have the same bytes, or the same pixels in another file."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field


class Duplicates(BaseModel):
    """Which duplicates are found; the first by uid survives."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    exact: Literal[True, "bytes"] = Field(
        True,
        description="true: same bytes or same decoded pixels; bytes: same bytes only, nothing is decoded",
    )

    @property
    def key(self) -> str:
        """The column in which duplicates agree; equal bytes have equal pixels."""
        return "pixels" if self.exact is True else "sha256"


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

"""What a plugin returned, checked: a wrong shape or a number that is none goes no further."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.plugins.code import WrongResultError


def checked_scores(found: Any, rows: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
    """Return the scores of samples, given by their rows in the shard, as float32, NaN for None.

    Raises
    ------
    WrongResultError
        When there is not one finite number, or None, for each.
    """
    n = len(rows)
    if isinstance(found, list | tuple):
        try:
            found = pa.array(found, from_pandas=False)
        except (pa.ArrowException, TypeError) as error:
            raise WrongResultError(f"score returned a list that is not one of numbers: {error}") from None
    none = np.zeros(0, bool)
    if isinstance(found, pa.Array | pa.ChunkedArray):
        none = np.asarray(found.is_null())
        found = found.cast(pa.float64(), safe=False).fill_null(0.0) if _is_number(found.type) else found
    values = np.asarray(found)
    if values.shape != (n,) or values.dtype.kind not in "fiub":
        raise WrongResultError(
            f"score should return {n} numbers here, one for each sample, and returned "
            f"{type(found).__name__} of {values.dtype}, shape {values.shape}"
        )
    with np.errstate(over="ignore"):
        score = values.astype(np.float32)
    if (bad := ~np.isfinite(score)).any():
        place = int(bad.argmax())
        raise WrongResultError(
            f"score returned {values[place]} for the sample in row {rows[place]}; for a sample without a "
            "score, return None in a list"
        )
    score[none.nonzero()] = np.nan
    return score


def _is_number(kind: pa.DataType) -> bool:
    tests = (pa.types.is_floating, pa.types.is_integer, pa.types.is_boolean, pa.types.is_null)
    return any(test(kind) for test in tests)


def checked_decision(found: Any, n: int) -> tuple[pa.Array, pa.Array]:
    """Return the weights, int32, and the reasons of n rows.

    Raises
    ------
    WrongResultError
        When weights are no whole numbers from 0 up, or reasons don't stand just where the weight is 0.
    """
    if not isinstance(found, tuple) or len(found) != 2:
        raise WrongResultError(f"decide should return a filters.Decision, not {type(found).__name__}")
    weight, reason = np.asarray(found[0]), found[1]
    if weight.shape != (n,) or weight.dtype.kind not in "iu" or (n and weight.min() < 0):
        raise WrongResultError(
            f"weight should hold {n} whole numbers, 0 or more, and is {weight.dtype} of shape {weight.shape}"
        )
    try:
        reason = reason if isinstance(reason, pa.Array | pa.ChunkedArray) else pa.array(reason)
        reason = reason.cast(pa.string())
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise WrongResultError(f"reason should hold texts, and nulls where a sample stays: {error}") from None
    if len(reason) != n or not np.array_equal(np.asarray(reason.is_null()), weight > 0):
        raise WrongResultError(
            f"reason should be {n} long, a text where the weight is 0 and null everywhere else"
        )
    return pa.array(weight, pa.int32()), reason

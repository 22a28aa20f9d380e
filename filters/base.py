"""What a filter is: its parameters, the columns it reads, and a weight and a reason for every sample."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict


class Decision(NamedTuple):
    """What a filter says of each row.

    `weight` is how often the sample is kept (0 drop, 1 keep, n repeat), shape (n,); `reason` is why it is
    dropped, null where it is kept.
    """

    weight: NDArray[np.int32]
    reason: pa.Array


class Filter(BaseModel, ABC):
    """A filter that judges every sample by itself. Its fields are its parameters, as in the config."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: ClassVar[str]  # what a configuration calls it, and the folder of its columns
    version: ClassVar[int] = 1  # raise it when the same parameters give other decisions
    files: ClassVar[tuple[str, ...]] = ()  # parameters that name a file; what is in it counts, not its place

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """The columns that `decide` and `measure` read."""

    @property
    def scores(self) -> tuple[str, ...]:
        """Those of the columns that must be scores: numbers to rank by."""
        return ()

    @property
    def vectors(self) -> Mapping[str, str | None]:
        """Those of the columns that are vectors, with the name of their encoder; None for the run's own."""
        return {}

    def check(self) -> None:
        """Raise `ValueError` when a file that a parameter names is not what it should be."""

    @abstractmethod
    def decide(self, table: pa.Table, state: Any) -> Decision:
        """Return the decision on every row of a table that holds `columns`."""


class Passes(ABC):
    """What is measured over the whole pool, in passes of small mergeable measurements.

    `state` starts as `start()`. In each pass every shard gives `measure(table, state)`, the parts are merged
    in any order, and `advance` makes the next state of them, until `finished(state)`. States are JSON values;
    parts are arrays that `merge` adds up exactly.
    """

    @abstractmethod
    def start(self) -> Any:
        """Return the state before the first pass."""

    @abstractmethod
    def measure(self, table: pa.Table, state: Any) -> NDArray[np.int64]:
        """Return what one shard adds to the next state."""

    def merge(self, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return two parts as one; by default their sum."""
        return a + b

    @abstractmethod
    def advance(self, state: Any, part: NDArray[np.int64]) -> Any:
        """Return the state after a pass whose merged part is given.

        Raises
        ------
        ValueError
            When what was measured makes the parameters impossible.
        """

    @abstractmethod
    def finished(self, state: Any) -> bool:
        """Tell whether the state is enough to decide by."""


class PoolFilter(Filter, Passes):
    """A filter that must see the whole pool first; the state in which its passes end goes to `decide`."""


def drop_first_reason(reasons: list[tuple[str, NDArray[np.bool_]]], n_rows: int) -> Decision:
    """Return a decision that drops a row for the first reason that holds for it.

    Parameters
    ----------
    reasons
        Pairs of a reason and a mask of shape (n_rows,), in order of precedence.
    n_rows
        Number of rows.
    """
    codes = np.full(n_rows, -1, np.int32)
    for code, (_, mask) in enumerate(reasons):
        codes[(codes < 0) & mask] = code
    names = pa.array([name for name, _ in reasons], pa.string())
    reason = names.take(pa.array(codes, mask=codes < 0))
    return Decision((codes < 0).astype(np.int32), reason)


class Rule(Filter):
    """A filter that says yes or no to every sample, from the columns that it `needs`."""

    needs: ClassVar[tuple[str, ...]]
    reason: ClassVar[str] = "no"  # under which samples are dropped

    @property
    def columns(self) -> tuple[str, ...]:
        """What it needs."""
        return self.needs

    @abstractmethod
    def keep(self, table: pa.Table) -> NDArray[np.bool_]:
        """Return, for each row of a table with the columns it needs, whether the sample stays."""

    def decide(self, table: pa.Table, state: Any) -> Decision:
        """Drop what the rule says no to.

        Raises
        ------
        ValueError
            When it says something else than yes or no to each row.
        """
        stays = np.asarray(self.keep(table))
        if stays.dtype != bool or stays.shape != (len(table),):
            raise ValueError(
                f"keep should return True or False for each of {len(table)} rows, and returned "
                f"{stays.dtype} of shape {stays.shape}"
            )
        return drop_first_reason([(self.reason, ~stays)], len(table))

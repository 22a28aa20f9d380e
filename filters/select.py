"""Selections combined: and, or, minus. Every part judges the same samples, those that get here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

from filters.base import Decision, Filter, PoolFilter, drop_first_reason
from filters.baselines import Baseline
from filters.keep import Keep
from filters.packing import pack, unpack
from filters.rules import Rules

_NAMED: dict[str, type[Filter]] = {"baseline": Baseline, "rules": Rules}
_COMBINING = {"all", "any", "all_of", "any_of"}


def _part(value: Any) -> Any:
    """Return the filter that a part of a selection describes."""
    if isinstance(value, Filter):
        return value
    value = value if isinstance(value, dict) else {}
    if "by" in value:
        return Keep.model_validate(value)
    if _COMBINING & value.keys():
        return Select.model_validate(value)
    name = next(iter(value), None)
    if len(value) == 1 and name in _NAMED:
        return _NAMED[name].model_validate(value[name])
    raise ValueError("a part is {by: …} as in keep, {all: […]} or {any: […]}, {rules: {…}}, {baseline: {…}}")


def _written(part: Filter) -> dict[str, Any]:
    content = part.model_dump()
    return {part.kind: content} if part.kind in _NAMED else content


Part = Annotated[Filter, BeforeValidator(_part), PlainSerializer(_written)]


class Select(PoolFilter):
    """Keep what all, or any, of several selections keep, except what others select; parts may be nested.

    Thresholds of every part are found on the same samples, which is what an intersection in DataComp's sense
    needs. The reason names the first part, counted from 1, for which a sample fails.
    """

    model_config = ConfigDict(populate_by_name=True)
    kind = "select"

    all_of: tuple[Part, ...] | None = Field(
        None, alias="all", min_length=1, description="kept by each of these"
    )
    any_of: tuple[Part, ...] | None = Field(
        None, alias="any", min_length=1, description="kept by at least one of these"
    )
    but: tuple[Part, ...] = Field((), alias="except", description="and by none of these")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.all_of is None) == (self.any_of is None):
            raise ValueError("give one of all and any, each a list of selections, and except if you like")
        return self

    @property
    def parts(self) -> tuple[Filter, ...]:
        """All parts, those of `except` last."""
        return (*(self.all_of or ()), *(self.any_of or ()), *self.but)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the parts read."""
        return tuple(dict.fromkeys(name for part in self.parts for name in part.columns))

    @property
    def scores(self) -> tuple[str, ...]:
        """The scores that the parts rank by."""
        return tuple(dict.fromkeys(name for part in self.parts for name in part.scores))

    @property
    def vectors(self) -> Mapping[str, str | None]:
        """The vectors that the parts read."""
        return {name: encoder for part in self.parts for name, encoder in part.vectors.items()}

    def check(self) -> None:
        """Raise `ValueError` when a file is not what it should be, or two parts want other encoders."""
        for part in self.parts:
            part.check()
            if any(self.vectors[name] != encoder for name, encoder in part.vectors.items()):
                raise ValueError("all parts of a selection must use the vectors of one encoder")

    def start(self) -> list[Any]:
        """Return every part's first state."""
        return [part.start() if isinstance(part, PoolFilter) else None for part in self.parts]

    def finished(self, state: list[Any]) -> bool:
        """Tell whether all parts are ready to decide."""
        return not any(self._open(state))

    def _open(self, state: Sequence[Any]) -> list[bool]:
        pairs = zip(self.parts, state, strict=True)
        return [isinstance(part, PoolFilter) and not part.finished(own) for part, own in pairs]

    def measure(self, table: pa.Table, state: list[Any]) -> NDArray[np.int64]:
        """Return what one shard adds to every part, packed; nothing to those that are finished."""
        measured = [np.zeros(0, np.int64)] * len(self.parts)
        for n, (part, is_open) in enumerate(zip(self.parts, self._open(state), strict=True)):
            if is_open and isinstance(part, PoolFilter):
                measured[n] = part.measure(table, state[n])
        return pack(measured)

    def merge(self, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return two measurements as one, every part's merged in its own way."""
        pairs = zip(self.parts, unpack(a), unpack(b), strict=True)
        return pack([p.merge(x, y) if isinstance(p, PoolFilter) and len(x) else x for p, x, y in pairs])

    def advance(self, state: list[Any], part: NDArray[np.int64]) -> list[Any]:
        """Return the states with every part that is not finished one pass further."""
        rows = zip(self.parts, state, unpack(part), strict=True)
        return [
            p.advance(own, new) if isinstance(p, PoolFilter) and len(new) else own for p, own, new in rows
        ]

    def decide(self, table: pa.Table, state: list[Any]) -> Decision:
        """Return which rows are kept."""
        decisions = [part.decide(table, own) for part, own in zip(self.parts, state, strict=True)]
        n_but = len(decisions) - len(self.but)
        wanted, unwanted = decisions[:n_but], decisions[n_but:]
        if self.all_of:
            reasons = [each for n, part in enumerate(wanted, 1) for each in _reasons(part, f"part_{n}.")]
        else:
            reasons = [("in_no_part", np.all([part.weight == 0 for part in wanted], axis=0))]
        reasons += [(f"in_except_{n}", part.weight > 0) for n, part in enumerate(unwanted, 1)]
        return drop_first_reason(reasons, len(table))


def _reasons(decision: Decision, prefix: str) -> list[tuple[str, NDArray[np.bool_]]]:
    reason = decision.reason
    return [
        (f"{prefix}{name}", pc.fill_null(pc.equal(reason, name), False).to_numpy(zero_copy_only=False))
        for name in sorted(reason.drop_null().unique().to_pylist())
    ]

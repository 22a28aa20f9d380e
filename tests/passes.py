"""Run a filter over tables as the machine does: pass by pass, parts merged in any order, states as JSON."""

from __future__ import annotations

import functools
import itertools
import json
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from filters.base import Decision, Filter, Passes, PoolFilter


def final_state(measure: Passes, tables: Sequence[pa.Table], order: random.Random | None = None) -> Any:
    """Return the state after all passes; at most 20 of them."""
    state: Any = measure.start()
    for _ in range(20):
        if measure.finished(state):
            return state
        parts = [measure.measure(table, state) for table in tables]
        if order:
            order.shuffle(parts)
        state = json.loads(json.dumps(measure.advance(state, functools.reduce(measure.merge, parts))))
    raise AssertionError("it takes more than 20 passes")


def decide(
    filter: Filter, tables: Sequence[pa.Table] | pa.Table, order: random.Random | None = None
) -> Decision:
    """Return a filter's decision on all rows of some tables, which are the pool's shards."""
    shards = [tables] if isinstance(tables, pa.Table) else list(tables)
    state = final_state(filter, shards, order) if isinstance(filter, PoolFilter) else None
    decisions = [filter.decide(shard, state) for shard in shards]
    reason = pa.chunked_array([each.reason for each in decisions], pa.string()).combine_chunks()
    return Decision(np.concatenate([each.weight for each in decisions]), reason)


def cut(table: pa.Table, chance: random.Random, n_shards: int = 4) -> list[pa.Table]:
    """Return a table as some shards, cut anywhere; some may be empty."""
    cuts = sorted(chance.randrange(len(table) + 1) for _ in range(n_shards - 1))
    return [table.slice(a, b - a) for a, b in itertools.pairwise([0, *cuts, len(table)])]

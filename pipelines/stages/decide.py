"""The last word on every sample: kept or not, and by which stage for which reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.columns import DECISIONS, survives
from pipelines.stage import ShardColumns, Stage


@dataclass(frozen=True)
class Decide(Stage):
    """Follows every sample of a shard through the stages to the one that stopped it, or to the end."""

    gates: tuple[str, ...]

    @property
    def name(self) -> str:
        """The folder of the decisions."""
        return DECISIONS

    @property
    def reads(self) -> tuple[str, ...]:
        """All stages."""
        return self.gates

    def settings(self) -> Mapping[str, Any]:
        """Return the order of the stages."""
        return {"gates": self.gates}

    def compute(self, columns: ShardColumns, summary: Any) -> pa.Table:
        """Return uid, key, shard, kept, weight, stage, reason, set_aside: one row per sample of the shard."""
        samples = columns.read(self.gates[0], ("uid", "key"))
        n = len(samples)
        weight = np.ones(n, np.int32)
        stage, reason = np.full(n, None, object), np.full(n, None, object)
        set_aside = np.zeros(n, bool)
        for gate in self.gates:
            outcome = columns.outcome(gate)
            rows = outcome["row"].to_numpy()
            if "weight" in outcome.column_names:
                weight[rows] *= outcome["weight"].to_numpy()  # a copy of a copy counts as often
            stopped = outcome.filter(pa.array(~survives(outcome)))
            rows = stopped["row"].to_numpy()
            problem = _texts(stopped, "problem")
            set_aside[rows] = np.not_equal(problem, None)
            stage[rows], weight[rows] = gate, 0
            reason[rows] = np.where(set_aside[rows], problem, _texts(stopped, "reason"))
        return pa.table(
            {
                "uid": samples["uid"],
                "key": samples["key"],
                "shard": pa.repeat(columns.shard.name, n),
                "kept": weight > 0,
                "weight": weight,
                "stage": pa.array(stage, pa.string()),
                "reason": pa.array(reason, pa.string()),
                "set_aside": set_aside,
            }
        )


def _texts(table: pa.Table, column: str) -> NDArray[np.object_]:
    """Return a column of texts, None where there is none."""
    if column not in table.column_names:
        return np.full(len(table), None, object)
    return np.asarray(table[column].to_numpy(zero_copy_only=False), object)

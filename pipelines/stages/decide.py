"""The last word on every sample: kept or not, and by which stage for which reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.columns import DECISIONS, survives, why_stopped
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
            problem, why = why_stopped(stopped)
            stage[rows], weight[rows] = gate, 0
            set_aside[rows] = problem.is_valid().to_numpy(zero_copy_only=False)
            reason[rows] = why.to_numpy(zero_copy_only=False)
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

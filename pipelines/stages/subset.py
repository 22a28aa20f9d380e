"""Keep what a DataComp subset lists, each sample as often as it stands there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from filters.base import drop_first_reason
from pipelines.output.subset import SubsetConfig, halves, read_subset, weights_of
from pipelines.plan import Plan
from pipelines.stage import NamedStage, ShardColumns
from pipelines.user_files import file_digest, require_files


@dataclass(frozen=True)
class SubsetStage(NamedStage):
    """Weighs samples by how often their uid stands in the file."""

    config: SubsetConfig
    gate: str

    @property
    def reads(self) -> tuple[str, ...]:
        """The gate, and the stage with the uids."""
        return tuple(dict.fromkeys([self.gate, "ingest"]))

    def settings(self) -> Mapping[str, Any]:
        """Return what is in the file."""
        return {"file": file_digest(self.config.file)}

    def compute(self, columns: ShardColumns, summary: Any) -> pa.Table:
        """Return weight and reason of every sample that comes through the gate."""
        table = columns.survivors(self.gate, {"uid": "ingest"})
        weight = weights_of(_read(self.config.file, file_digest(self.config.file)), halves(table["uid"]))
        reason = drop_first_reason([("not_in_subset", weight == 0)], len(table)).reason
        return pa.table({"row": table["row"], "weight": pa.array(weight, pa.int32()), "reason": reason})


@lru_cache(maxsize=2)
def _read(path: str, digest: str) -> NDArray[np.void]:
    return read_subset(path)


def plan_subset(plan: Plan, parameters: SubsetConfig, where: str) -> None:
    """Add a subset to a plan, once it is known to be one."""
    require_files(parameters, where)
    _read(parameters.file, file_digest(parameters.file))
    plan.add(SubsetStage(plan.unused_name("subset"), parameters, plan.last))

"""The first stage: every sample of a shard as a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from pipelines.pool.ingest import SAMPLES, Limits, ingest
from pipelines.pool.shards import Shard, unchanged
from pipelines.pool.tar_reader import read_members
from pipelines.stage import ShardColumns, Stage
from pipelines.storage import open_stream

SAMPLE_COLUMNS = tuple(SAMPLES.names)


@dataclass(frozen=True)
class Ingest(Stage):
    """Reads the tar once; all later stages but the encoder and the writer read columns only."""

    pixels: Literal["looks", "hash", "decode", "header"]
    limits: Limits
    scores: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Always the same."""
        return "ingest"

    @property
    def reads(self) -> tuple[str, ...]:
        """Nothing: the tar itself stands in for it."""
        return ()

    def files(self, shard: Shard) -> list[Any]:
        """Return what identifies the tar."""
        return [shard.name, shard.size, shard.version]

    def settings(self) -> Mapping[str, Any]:
        """Return how closely images are looked at, the limits, and the scores."""
        settings = {"pixels": self.pixels, "limits": self.limits.model_dump()}
        return settings | ({"scores": self.scores} if self.scores else {})

    def compute(self, columns: ShardColumns, summary: Any) -> pa.Table:
        """Return the shard's samples."""
        shard = columns.shard
        with unchanged(shard), open_stream(shard.url) as stream:
            members = read_members(stream, max_member_bytes=self.limits.member_bytes)
            return ingest(shard.name, members, pixels=self.pixels, limits=self.limits, scores=self.scores)

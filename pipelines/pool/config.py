"""What a pool is: shards with images, or tables that describe samples and bring their vectors."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipelines.pool.ingest import Limits
from pipelines.score_config import ColumnName


class PoolConfig(BaseModel):
    """The raw shards, or the metadata of a pool without them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    shards: str | list[str] | None = Field(
        None, description="brace range, glob, folder, URL, or a list of these"
    )
    metadata: str | list[str] | None = Field(
        None, description="instead of shards: Parquet files, a row per sample, spelled in the same ways"
    )
    columns: dict[ColumnName, str] = Field(
        default_factory=dict,
        description="metadata: what a column is called there, where it isn't by a usual name: "
        "{caption: alt_text}; and further columns to take along, numbers as scores: {language: LANG}",
    )
    scores: list[ColumnName] | None = Field(
        None,
        description="numbers that samples bring along, to rank by: keys of their JSON, or columns of the "
        "metadata, whose numbers are all taken unless this names some",
    )
    verify: Literal["decode", "header"] = Field(
        "decode", description="decode: prove that every image decodes; header: read its size only"
    )
    max_set_aside: float = Field(
        0.5, ge=0, le=1, description="stop when more than this share of the samples can't be read"
    )
    limits: Limits = Field(default_factory=Limits, description="sizes beyond which a sample is set aside")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.shards is None) == (self.metadata is None):
            raise ValueError("give one of shards (tars) and metadata (Parquet files of a pool without them)")
        if self.columns and self.metadata is None:
            raise ValueError("columns goes with metadata")
        return self

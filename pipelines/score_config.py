"""Which score a stage computes, with its parameters."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

_COLUMN = r"^[A-Za-z][A-Za-z0-9_.-]*$"


class ScoreConfig(BaseModel):
    """What all scores have."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    files: ClassVar[tuple[str, ...]] = ()

    name: str
    encoder: str | None = Field(
        None, description="whose vectors: a name from `encoders`; without it, those of `encoder`"
    )
    column: Annotated[str, StringConstraints(pattern=_COLUMN)] | None = Field(
        None,
        alias="as",
        description="what later stages call the score; default: its name, and the encoder's if one is given",
    )

    @property
    def called(self) -> str:
        """The name of the score's column."""
        return self.column or (self.name if self.encoder is None else f"{self.name}_{self.encoder}")


class Similarity(ScoreConfig):
    """The dot product of a sample's image and text vectors."""

    name: Literal["clip", "dfn"] = Field(
        description="clip, or dfn where the encoder is a filter network: the same number by another network"
    )


class SClipLoss(ScoreConfig):
    """The CLIP score less what image and caption score with strangers (arXiv 2405.19547)."""

    name: Literal["s_clip_loss"]
    temperature: float = Field(
        0.01, gt=0, description="of the model's training: 0.01 for OpenAI's CLIPs, 0.07 for DFN-public"
    )
    batch_size: int = Field(32_768, ge=2, description="strangers that a pair is compared with")
    partitions: int = Field(10, ge=1, le=1000, description="random cuts into batches that are averaged")


class NormSim(ScoreConfig):
    """How close an image is to a set of target images (arXiv 2405.19547)."""

    files: ClassVar[tuple[str, ...]] = ("target",)

    name: Literal["norm_sim"]
    target: str = Field(description="an .npy of the target images' vectors (m, d), by the same encoder")
    p: Literal[2, "inf"] = Field("inf", description="2: like the targets on the whole; inf: like one of them")


SCORES: dict[str, type[ScoreConfig]] = {
    "clip": Similarity,
    "dfn": Similarity,
    "s_clip_loss": SClipLoss,
    "norm_sim": NormSim,
}
"""Every score that a config can name, with its parameters; `score: clip` is short for its name alone."""

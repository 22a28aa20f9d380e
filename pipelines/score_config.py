"""Which score a stage computes, with its parameters."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

ColumnName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_.-]*$")]
_JOINED_ON = ("uid", "key", "url")


class ScoreConfig(BaseModel):
    """What all scores have."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    files: ClassVar[tuple[str, ...]] = ()

    name: str
    encoder: str | None = Field(
        None, description="whose vectors: a name from `encoders`; without it, those of `encoder`"
    )
    column: ColumnName | None = Field(
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

    name: Literal["s_clip_loss"] = Field(description="which score")
    temperature: float = Field(
        0.01, gt=0, description="of the model's training: 0.01 for OpenAI's CLIPs, 0.07 for DFN-public"
    )
    batch_size: int = Field(32_768, ge=2, description="strangers that a pair is compared with")
    partitions: int = Field(10, ge=1, le=1000, description="random cuts into batches that are averaged")


class NormSim(ScoreConfig):
    """How close an image is to a set of target images (arXiv 2405.19547)."""

    files: ClassVar[tuple[str, ...]] = ("target",)

    name: Literal["norm_sim"] = Field(description="which score")
    target: str = Field(description="an .npy of the target images' vectors (m, d), by the same encoder")
    p: Literal[2, "inf"] = Field("inf", description="2: like the targets on the whole; inf: like one of them")


class FileScores(BaseModel):
    """Scores from the user's own Parquet files, several at once."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    patterns: ClassVar[tuple[str, ...]] = ("source",)

    name: Literal["columns"] = Field("columns", description="needs not be given beside `from`")
    source: tuple[str, ...] = Field(
        alias="from",
        min_length=1,
        description="the files: glob, brace range, folder, URL, or a list",
    )
    columns: dict[ColumnName, str] = Field(
        min_length=1, description="the scores: [aesthetic, nsfw], or {aesthetic: its name in the files}"
    )
    match: str | dict[str, str] = Field(
        "uid", description="what files and samples are joined on: uid, key or url, or {uid: its name there}"
    )

    @field_validator("source", mode="before")
    @classmethod
    def _several(cls, given: Any) -> Any:
        listed = [given] if isinstance(given, str) else given
        return [part for each in listed for part in each.split("::")] if _are_texts(listed) else given

    @field_validator("columns", mode="before")
    @classmethod
    def _named(cls, given: Any) -> Any:
        listed = [given] if isinstance(given, str) else given
        return {name: name for name in listed} if _are_texts(listed) else given

    @field_validator("match")
    @classmethod
    def _known(cls, given: str | dict[str, str]) -> str | dict[str, str]:
        names = [given] if isinstance(given, str) else list(given)
        if len(names) != 1 or names[0] not in _JOINED_ON:
            raise ValueError(f"is one of {', '.join(_JOINED_ON)}, or one of them with its name in the files")
        return given

    @property
    def ours(self) -> str:
        """The samples' column that is joined on."""
        return self.match if isinstance(self.match, str) else next(iter(self.match))

    @property
    def theirs(self) -> str:
        """What the files call it."""
        return self.match if isinstance(self.match, str) else next(iter(self.match.values()))


def _are_texts(given: Any) -> bool:
    return isinstance(given, list | tuple) and all(isinstance(each, str) for each in given)


SCORES: dict[str, type[BaseModel]] = {
    "clip": Similarity,
    "dfn": Similarity,
    "s_clip_loss": SClipLoss,
    "norm_sim": NormSim,
    "columns": FileScores,
}
"""Every score that a config can name, with its parameters; `score: clip` is short for its name alone."""

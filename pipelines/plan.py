"""The stages of a run while they are put together: each finds there what those before it make."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pipelines.config import RunConfig
from pipelines.errors import ConfigError
from pipelines.pool.vectors import StoredVectors
from pipelines.stage import Stage
from pipelines.stages.embed import Embed, encoder_identity
from pipelines.stages.stored import Stored
from scoring.encoder_spec import EncoderSpec


@dataclass
class Plan:
    """The stages of a run in order; the last one decides.

    Attributes
    ----------
    config
        The run's configuration.
    stages
        The stages so far.
    sources
        For every column the stage that makes it, but for vectors: several stages may make those.
    scores
        The columns that are numbers to rank by.
    pixels
        What some stage needs of the decoded images: their hash, or what they look like too.
    """

    config: RunConfig
    stages: list[Stage] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)
    scores: list[str] = field(default_factory=list)
    pixels: Literal["hash", "looks"] | None = None

    @property
    def last(self) -> str:
        """The stage whose survivors are all that is left so far."""
        return self.stages[-1].name

    @property
    def stored_vectors(self) -> list[str]:
        """What the pool calls the vectors that stages read out of it."""
        stored = [stage for stage in self.stages if isinstance(stage, Stored)]
        return [name for stage in stored for name in stage.spec.names.values()]

    def add(self, stage: Stage, columns: Sequence[str] = (), scores: Sequence[str] = ()) -> None:
        """Append a stage and say which columns and scores it makes for those behind it."""
        if clash := [name for name in columns if name in self.scores]:
            raise ConfigError(
                f"the stage {stage.name} makes a column {clash[0]!r}, and there is a score of that name: "
                "rename the score (pool.columns, or `as` of its stage), or leave it out of pool.scores"
            )
        self.stages.append(stage)
        self.sources |= dict.fromkeys([*columns, *scores], stage.name)
        self.scores += scores

    def unused_name(self, name: str) -> str:
        """Return a stage name that is free: the second `keep` is `keep-2`."""
        taken = {stage.name for stage in self.stages}
        numbered = (f"{name}-{number}" for number in range(2, len(taken) + 3))
        return name if name not in taken else next(free for free in numbered if free not in taken)

    def vectors(self, encoder: str | None, where: str, of: Iterable[str] = ("image", "text")) -> str:
        """Return the stage with the `image` and `text` vectors of an encoder, added if it isn't there yet.

        Parameters
        ----------
        encoder
            A name from the configuration's `encoders`; None for `encoder`.
        where
            The place in the configuration that asks, for errors.
        of
            Which of the two are needed.
        """
        name = "embed" if encoder is None else f"embed-{encoder}"
        spec = self._encoder(encoder, where)
        if isinstance(spec, StoredVectors) and (lacking := [kind for kind in of if kind not in spec.names]):
            raise ConfigError(f"{where} needs {lacking[0]} vectors: say in the encoder what they are called")
        if isinstance(spec, EncoderSpec) and "text" in of and not spec.reads_text:
            raise ConfigError(f"{where} needs text vectors, and {spec.model} sees images only")
        if all(stage.name != name for stage in self.stages):
            self.add(self._embedding(name, spec, where))
        return name

    def _embedding(self, name: str, spec: EncoderSpec | StoredVectors, where: str) -> Stage:
        if isinstance(spec, StoredVectors):
            return Stored(name, spec, self.last)
        self.require_images(where, "for a model to see; its own vectors are an encoder such as datacomp:l14")
        encoder_identity(spec)  # its files are there, or nothing starts
        return Embed(name, spec, self.last, "ingest", self.config.pool.limits.pixels)

    def require_images(self, where: str, why: str) -> None:
        """Raise `ConfigError` when the pool has no images."""
        if self.config.pool.shards is None:
            raise ConfigError(f"{where}: a pool of metadata has no images {why}")

    def _encoder(self, name: str | None, where: str) -> EncoderSpec | StoredVectors:
        spec = self.config.encoder if name is None else self.config.encoders.get(name)
        if isinstance(spec, StoredVectors) and self.config.pool.metadata is None:
            raise ConfigError(
                f"{where}: the encoder names stored vectors ({', '.join(spec.names.values())}), which come "
                "with pool.metadata, and this pool is one of shards: name a model"
            )
        if spec is not None:
            return spec
        if name is None:
            raise ConfigError(
                f"{where} needs vectors: give an encoder, such as {{model: ViT-B-32, pretrained: openai}}"
            )
        known = ", ".join(self.config.encoders) or "none are given"
        raise ConfigError(f"{where}: there is no encoder {name!r} under encoders: ({known})")

    def refuse_taken(self, column: str, where: str) -> None:
        """Raise `ConfigError` when a column of this name is there already."""
        if column in self.sources:
            raise ConfigError(f"{where}: the score {column!r} is there already")

    def require_columns(self, names: Iterable[str], where: str) -> None:
        """Raise `ConfigError` when one of these columns is not there at this point."""
        if missing := [name for name in names if name not in self.sources]:
            raise ConfigError(f"{where}: there is no column {missing[0]!r} at this point")

    def require_scores(self, names: Sequence[str], where: str) -> None:
        """Raise `ConfigError` when one of these is not a score at this point."""
        missing = [name for name in names if name not in self.scores]
        if missing:
            there = (
                f"the scores there are: {', '.join(self.scores)}"
                if self.scores
                else "no score stands before it"
            )
            raise ConfigError(f"{where}: there is no score {missing[0]!r} at this point; {there}")

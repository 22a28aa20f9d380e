"""A plugin as a stage of a run: what a plan must know of it, and what its code makes of a shard."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, model_serializer

from filters.base import Filter
from pipelines.errors import ConfigError
from pipelines.plugins.code import Code
from pipelines.user_files import with_file_digests
from scoring.scorer import Scorer

Sort = Literal["filter", "scorer"]
VECTORS = {"image_vectors": "image", "text_vectors": "text"}  # what a scorer calls them, and their columns


class Facts(BaseModel):
    """What is known of a stage without running any code: a run folder keeps it for those who just look.

    Attributes
    ----------
    sort, kind
        What it is and how the configuration calls it.
    columns
        What it reads; of a scorer also `images`.
    scores
        Those of the columns that must be scores.
    vectors
        Those of the columns that are vectors, with the encoder.
    makes
        The score that it makes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sort: Sort
    kind: str
    columns: tuple[str, ...] = ()
    scores: tuple[str, ...] = ()
    vectors: dict[str, str | None] = {}
    makes: str | None = None


class PluginUse(BaseModel):
    """A stage that a plugin does: which, with which parameters."""

    model_config = ConfigDict(frozen=True)

    code: Code
    facts: Facts
    given: dict[str, Any]  # as in a configuration, with absolute paths
    parameters: dict[str, Any]  # those of the plugin's own class
    named_files: tuple[str, ...] = ()  # by parameters

    @model_serializer
    def _as_in_a_configuration(self) -> dict[str, Any]:
        return self.given

    @property
    def own(self) -> Filter | Scorer:
        """The plugin itself; its code has run."""
        own: Filter | Scorer = _made(self.code, self.facts.kind, orjson.dumps(self.parameters).decode())
        return own

    def by_contents(self) -> PluginUse:
        """Return the same for a manifest, which names no places: code and files by what is in them."""
        called = {"name": self.facts.kind, "as": self.facts.makes} if self.facts.makes else {}
        return self.model_copy(update={"given": {**called, **self.identity()}})

    def identity(self) -> dict[str, Any]:
        """Return what decides its results, as JSON values."""
        own = self.own
        place = {"encoder"} if isinstance(own, Scorer) else set()  # its vectors are an input of the stage
        parameters = with_file_digests(own).model_dump(mode="json", exclude=place)
        return {"plugin": self.code.sha256, "version": type(own).version, "parameters": parameters}


@lru_cache(maxsize=64)
def _made(code: Code, kind: str, parameters: str) -> Any:
    return class_of(code, kind).model_validate(orjson.loads(parameters))


def class_of(code: Code, kind: str) -> type[Any]:
    """Return the class of this kind among those that code defines."""
    found = [each for each in code.classes() if getattr(each, "kind", None) == kind]
    if not found:
        raise ConfigError(f"plugins: {code.name} has no {kind!r}")
    return found[0]

"""What a run is asked to do, checked as far as it can be without looking at the pool."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterator
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    SerializeAsAny,
    StringConstraints,
    Tag,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from filters.baselines import Baseline
from filters.clusters import Clusters
from filters.duplicates import Duplicates
from filters.fusion import Fuse
from filters.keep import Keep
from filters.prune import Prune
from filters.repeats import Repeats
from filters.rules import Rules
from filters.select import Select
from filters.soft_cap_sampling import SoftCap
from pipelines.engine import EngineConfig
from pipelines.errors import ConfigError
from pipelines.output.subset import SubsetConfig
from pipelines.plugins.offers import PluginFile, Plugins
from pipelines.plugins.use import PluginUse, Sort
from pipelines.pool.config import PoolConfig
from pipelines.pool.vectors import StoredVectors
from pipelines.refit import Refit
from pipelines.refit import checked as checked_refit
from pipelines.score_config import SCORES, ScoreConfig
from scoring.encoder_spec import EncoderSpec


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


STAGES: dict[str, type[BaseModel]] = {
    "rules": Rules,
    "duplicates": Duplicates,
    "score": ScoreConfig,
    "keep": Keep,
    "select": Select,
    "baseline": Baseline,
    "fuse": Fuse,
    "soft_cap": SoftCap,
    "repeats": Repeats,
    "cluster": Clusters,
    "prune": Prune,
    "subset": SubsetConfig,
}
"""Every stage that a config can name, with its parameters."""

EncoderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


_TAGS: dict[str, type[BaseModel]] = {"an-encoder": EncoderSpec, "stored-vectors": StoredVectors}


def _kind_of_encoder(given: Any) -> str:
    stored = isinstance(given, str | StoredVectors) or (
        isinstance(given, dict) and {"image", "text"} & {*given}
    )
    return "stored-vectors" if stored else "an-encoder"


AnyEncoder = Annotated[
    Annotated[EncoderSpec, Tag("an-encoder")] | Annotated[StoredVectors, Tag("stored-vectors")],
    Discriminator(_kind_of_encoder),
]


class OutputConfig(_Strict):
    """The shards to train on, or a list of them."""

    shards: str | None = Field(None, description="folder or URL of the new shards")
    samples_per_shard: int = Field(10_000, gt=0, description="samples in each new shard but the last")
    subset: str | None = Field(None, description="write the kept uids as a DataComp subset, .npy")
    versions: int = Field(
        2, ge=1, description="how many versions, the newest among them, keep all their files for a rollback"
    )

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.shards is None and self.subset is None:
            raise ValueError("give shards (a folder), subset (an .npy), or both")
        return self

    @property
    def folder(self) -> str:
        """Where the manifest lies: with the shards, or else beside the subset."""
        return self.shards if self.shards is not None else (self.subset or "").rpartition("/")[0]


class RunConfig(_Strict):
    """One run: a pool, the stages in order, and where the result goes."""

    name: str = Field(min_length=1, description="what the run is called in its manifest")
    pool: PoolConfig = Field(description="what is curated: shards, or metadata without them")
    run: str = Field(description="the run folder: columns, decisions and state, local or a URL")
    seed: int = Field(0, ge=0, description="of every random choice")
    engine: EngineConfig = Field(
        default_factory=EngineConfig, description="where to run; never changes results"
    )
    encoder: AnyEncoder | None = Field(
        None, description="needed by stages that use vectors: a model, or the vectors of the pool's metadata"
    )
    encoders: dict[EncoderName, AnyEncoder] = Field(
        default_factory=dict, description="further encoders, which stages ask for by these names"
    )
    plugins: list[PluginFile] = Field(
        default_factory=list, description="Python files with stages and scores of your own, docs/plugins.md"
    )
    stages: list[dict[str, SerializeAsAny[BaseModel]]] = Field(
        description="in order, each on the survivors of the one before"
    )
    output: OutputConfig = Field(description="new shards, a list of uids, or both")
    refit: Refit = Field(
        "always",
        description="what is fitted over the pool, when it has grown: always, never again, or when_grown_by: "
        "0.1, a share of what was fitted; what is held leaves earlier shards as they are",
    )

    @field_validator("refit", mode="before")
    @classmethod
    def _check_refit(cls, given: Any) -> Any:
        return checked_refit(given)

    @model_validator(mode="after")
    def _images_where_needed(self) -> Self:
        if self.pool.metadata is not None and self.output.shards is not None:
            raise ValueError(
                "output.shards: metadata has no images to write; give output.subset alone, and write shards "
                "by a second run, over the tars, with the stage `subset`"
            )
        return self

    @field_validator("stages", mode="before")
    @classmethod
    def _parse_stages(cls, stages: Any, info: ValidationInfo) -> Any:
        if not isinstance(stages, list):
            raise ValueError("should be a list, each entry a stage such as `- keep: {by: clip, top: 0.3}`")
        plugins = (info.context or {}).get("plugins") or Plugins()
        for offer in plugins.offers:
            if offer.kind in (STAGES if offer.sort == "filter" else SCORES):
                raise ValueError(f"plugins: {offer.code.name}: curate has a {offer.kind!r} of its own")
        return [_parse_stage(number, entry, plugins) for number, entry in enumerate(stages, 1)]


def _parse_stage(number: int, entry: Any, plugins: Plugins) -> dict[str, BaseModel]:
    if isinstance(entry, str):
        entry = {entry: {}}
    if not isinstance(entry, dict) or len(entry) != 1:
        raise ValueError(f"stage {number} should be one name with its parameters, such as `- score: clip`")
    kind, parameters = next(iter(entry.items()))
    if isinstance(parameters, BaseModel):
        return entry
    parameters = {} if parameters is None else parameters
    if kind == "score":
        named = {"name": parameters} if isinstance(parameters, str) else parameters
        return {kind: _score(number, named, plugins)}
    if kind in STAGES:
        return {kind: _checked(STAGES[kind], parameters, f"stage {number} ({kind})")}
    found = _plugged(number, "filter", kind, parameters, plugins)
    if found is None:
        there = ", ".join([*STAGES, *plugins.kinds("filter")])
        raise ValueError(f"stage {number}: there is no stage {kind!r}; there are {there}")
    return {kind: found}


def _score(number: int, parameters: Any, plugins: Plugins) -> BaseModel:
    given = parameters if isinstance(parameters, dict) else {}
    name = given.get("name", "columns" if "from" in given else None)
    if name in SCORES:
        return _checked(SCORES[name], parameters, f"stage {number} (score)")
    found = _plugged(number, "scorer", str(name), given, plugins)
    if found is None:
        there = ", ".join([*SCORES, *plugins.kinds("scorer")])
        raise ValueError(f"stage {number} (score): there is no score {name!r}; there are {there}")
    return found


def _plugged(number: int, sort: Sort, kind: str, given: Any, plugins: Plugins) -> PluginUse | None:
    """Return a stage that a plugin does, None when no plugin is called so."""
    where = f"stage {number} ({kind})"
    offer = plugins.find(sort, kind)
    if offer is None:
        return plugins.known(number, sort, kind, given)
    if not isinstance(given, dict):
        raise ValueError(
            f"{where}: its parameters should be keys and values, such as {{a: 1}}, not {given!r}"
        )
    try:
        return offer.use(given, plugins.base)
    except ValidationError as error:
        raise ValueError(f"{where}: {'; '.join(explain(error, offer.model))}") from None
    except (ValueError, ConfigError) as error:
        raise ValueError(f"{where}: {error}") from None


def _checked(model: type[BaseModel], parameters: Any, where: str) -> BaseModel:
    try:
        return model.model_validate(parameters)
    except ValidationError as error:
        raise ValueError(f"{where}: {'; '.join(explain(error, model))}") from None


def explain(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Return what is wrong with a configuration, a line each: where, what, and the nearest known name."""
    return [_line(problem, model) for problem in error.errors()]


def _line(problem: Any, model: type[BaseModel]) -> str:
    parts = [str(part) for part in problem["loc"] if part not in _TAGS]
    place = ".".join(part for part in parts if not part.startswith("function-"))
    if problem["type"] == "extra_forbidden":
        known = list(_model_at(model, problem["loc"][:-1]).model_fields)
        near = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
        return f"{place}: unknown key; {hint}"
    if problem["type"] == "missing":
        return f"{place}: is missing"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message


def _model_at(model: type[BaseModel], place: tuple[int | str, ...]) -> type[BaseModel]:
    for part in place:
        field = model.model_fields.get(str(part))
        inner = next(_models(field.annotation), None) if field else None
        model = _TAGS.get(str(part)) or inner or model
    return model


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _models(argument)

"""What a model can do on held-out shards: retrieval, zero-shot classification, or a user's own measure."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from pipelines.errors import ConfigError, StoppedError
from pipelines.pool.samples import read_annotated
from pipelines.pool.shards import Shard, expand
from pipelines.storage import resolve
from scoring.encoder_spec import EncoderError, EncoderSpec
from scoring.evaluation import recall_at, zero_shot_accuracy

if TYPE_CHECKING:
    from scoring.encoder import Encoder

Template = Annotated[str, StringConstraints(pattern=r"\{\}")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Retrieval(_Strict):
    """Find an image's caption, and a caption's image, among all of the held-out ones."""

    shards: str | list[str] = Field(description="held-out shards: brace range, glob, folder, URL, or a list")
    k: tuple[int, ...] = Field((1, 10), min_length=1, description="found among so many counts as found")


class ZeroShot(_Strict):
    """Name what is on an image: the label whose prompts are the most similar."""

    shards: str | list[str] = Field(description="labelled shards: brace range, glob, folder, URL, or a list")
    label: str = Field("label", description="the key of the label in the samples' JSON")
    templates: tuple[Template, ...] = Field(
        ("a photo of {}", "{}"), min_length=1, description="prompts; {} is the label"
    )


class Evaluation(_Strict):
    """One measurement; exactly one of its three kinds is given."""

    retrieval: Retrieval | None = Field(None, description="captions and images find each other")
    zero_shot: ZeroShot | None = Field(None, description="labels are named from prompts")
    call: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
        description="module:function, called with the encoder; returns a number or a mapping of numbers",
    )
    called: str | None = Field(None, min_length=1, description="put before the measures' names, with a dot")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if [self.retrieval, self.zero_shot, self.call].count(None) != 2:
            raise ValueError("give one of retrieval, zero_shot and call")
        return self

    def at(self, base: str | Path) -> Evaluation:
        """Return the evaluation with relative paths starting at `base`."""
        for kind in ("retrieval", "zero_shot"):
            own = getattr(self, kind)
            if own is not None:
                shards = [own.shards] if isinstance(own.shards, str) else own.shards
                parts = [resolve(part, base) for entry in shards for part in entry.split("::") if part]
                return self.model_copy(update={kind: own.model_copy(update={"shards": parts})})
        return self

    @property
    def names(self) -> list[str] | None:
        """The measures it gives, the main one first; None where only the call knows."""
        before = f"{self.called}." if self.called else ""
        if self.retrieval is not None:
            ways = ("recall", "image_to_text", "text_to_image")
            return [f"{before}{way}_at_{k}" for k in self.retrieval.k for way in ways]
        return [f"{before}zero_shot"] if self.zero_shot is not None else None


class _HeldOut(NamedTuple):
    image: list[bytes]
    caption: list[str]
    label: list[str]


def shards_that_decide(pool: str | list[str], evaluations: Sequence[Evaluation]) -> dict[str, Shard]:
    """Return the shards of a pool and what each evaluation is measured on, by names that tell them apart."""
    found = {shard.name: shard for shard in expand(pool)}
    for number, evaluation in enumerate(evaluations):
        if (task := evaluation.retrieval or evaluation.zero_shot) is not None:
            found |= {f"(held out {number}) {shard.name}": shard for shard in expand(task.shards)}
    return found


def evaluate_model(
    model: EncoderSpec | str, evaluations: Sequence[Evaluation], *, allow: Collection[str] = ()
) -> dict[str, float]:
    """Return every measure of a trained model, by name.

    Parameters
    ----------
    model
        An encoder, or the folder of a trained network.
    evaluations
        What to measure.
    allow
        The calls that may be made: code that a configuration names never runs without having been allowed.

    Raises
    ------
    ConfigError
        When the model or held-out shards can't be read, or a call is not allowed.
    """
    check_evaluations(evaluations, allow)
    from scoring.encoder import Encoder

    spec = EncoderSpec(model=f"local-dir:{model}") if isinstance(model, str) else model
    try:
        encoder = Encoder.load(spec)
    except EncoderError as error:
        raise ConfigError(str(error)) from error
    return evaluate(encoder, evaluations)


def check_evaluations(evaluations: Sequence[Evaluation], allow: Collection[str]) -> None:
    """Raise `ConfigError` when an evaluation can't be made, or calls what was not allowed."""
    names = [name for evaluation in evaluations for name in evaluation.names or ()]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"evaluations: two measures are called {twice[0]}; give one of them `called`")
    for evaluation in evaluations:
        kind = evaluation.retrieval or evaluation.zero_shot
        if kind is not None:
            expand(kind.shards)
        if evaluation.call is None:
            continue
        if evaluation.call not in allow:
            raise ConfigError(
                f"evaluations: {evaluation.call} is code of yours; to let it run, say so on the command "
                f"line: --allow {evaluation.call}"
            )
        _function(evaluation.call)


def evaluate(encoder: Encoder, evaluations: Sequence[Evaluation]) -> dict[str, float]:
    """Return every measure of a loaded model, by name; calls have been allowed by `check_evaluations`."""
    found: dict[str, float] = {}
    for evaluation in evaluations:
        if evaluation.retrieval is not None:
            own = _retrieval(encoder, evaluation.retrieval)
        elif evaluation.zero_shot is not None:
            own = {"zero_shot": _zero_shot(encoder, evaluation.zero_shot)}
        else:
            own = _called(encoder, evaluation.call or "")
        before = f"{evaluation.called}." if evaluation.called else ""
        found |= {before + name: value for name, value in own.items()}
    return found


def _retrieval(encoder: Encoder, task: Retrieval) -> dict[str, float]:
    held_out = _held_out(tuple(_listed(task.shards)), None)
    image, text, _ = _encoded(encoder, held_out, task.shards)
    found: dict[str, float] = {}
    for k in task.k:
        there, back = recall_at(k, image, text), recall_at(k, text, image)
        values = {"recall": (there + back) / 2, "image_to_text": there, "text_to_image": back}
        found |= {f"{way}_at_{k}": value for way, value in values.items()}
    return found


def _zero_shot(encoder: Encoder, task: ZeroShot) -> float:
    held_out = _held_out(tuple(_listed(task.shards)), task.label)
    image, _, kept = _encoded(encoder, held_out, task.shards)
    labels = [held_out.label[row] for row in kept]
    names = sorted(set(labels))
    classes = class_vectors(encoder, names, task.templates)
    place = {name: number for number, name in enumerate(names)}
    return zero_shot_accuracy(image, classes, np.array([place[label] for label in labels]))


def class_vectors(encoder: Encoder, names: Sequence[str], templates: Sequence[str]) -> NDArray[np.float32]:
    """Return one vector per class, of length 1: the mean over its prompts' (Radford et al. 2021, 3.1.4)."""
    prompts = [template.replace("{}", name) for name in names for template in templates]
    vectors = encoder.encode_tokens(encoder.prepare_texts(prompts)).astype(np.float32)
    mean = vectors.reshape(len(names), len(templates), -1).mean(axis=1)
    return np.asarray(mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12))


def _encoded(
    encoder: Encoder, held_out: _HeldOut, shards: str | list[str]
) -> tuple[NDArray[np.float16], NDArray[np.float16], list[int]]:
    """Return vectors of the images that can be read and of their captions, and their places."""
    found = encoder.encode(zip(held_out.image, held_out.caption, strict=True))
    kept = [row for row, problem in enumerate(found.problems) if problem is None]
    if not kept:
        raise StoppedError(f"evaluations: no image in {shards} can be read")
    return found.image[kept], found.text[kept], kept


def _listed(shards: str | list[str]) -> list[str]:
    return [shards] if isinstance(shards, str) else shards


@lru_cache(maxsize=4)  # a proxy is evaluated again and again on the same shards
def _held_out(shards: tuple[str, ...], label: str | None) -> _HeldOut:
    """Read held-out samples; with `label`, those that have it in their JSON."""
    found = _HeldOut([], [], [])
    for shard in expand(list(shards)):
        for sample in read_annotated(shard.url):
            name = "" if label is None else sample.metadata.get(label)
            if name is None or not sample.caption.strip():
                continue
            found.image.append(sample.image.data or b"")
            found.caption.append(sample.caption)
            found.label.append(str(name))
    if not found.image:
        wanted = "an image and a caption" if label is None else f"an image and {label!r} in its JSON"
        raise ConfigError(f"evaluations: no sample of {', '.join(shards)} has {wanted}")
    return found


def _called(encoder: Encoder, call: str) -> dict[str, float]:
    result = _function(call)(encoder)
    name = call.partition(":")[2]
    found = dict(result) if isinstance(result, Mapping) else {name: result}
    for key, value in found.items():
        if isinstance(value, bool) or not isinstance(value, int | float | np.number) or math.isnan(value):
            raise StoppedError(f"evaluations: {call} should return numbers, and {key} is {value!r}")
    return {str(key): float(value) for key, value in found.items()}


def _function(call: str) -> Callable[[Any], Any]:
    module, _, name = call.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # the user's module stands where the command is run, or is installed
    try:
        found: Callable[[Any], Any] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"evaluations: there is no {call} ({error})") from None
    return found

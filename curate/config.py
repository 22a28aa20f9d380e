"""From a YAML file and `a.b=c` overrides to a checked configuration."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from pipelines.config import RunConfig, explain
from pipelines.errors import ConfigError
from pipelines.object_store import refuse_credentials_in
from pipelines.plugins.offers import Plugins
from pipelines.pool.vectors import StoredVectors
from pipelines.storage import resolve
from pipelines.user_files import with_absolute_files
from scoring.encoder_spec import EncoderSpec

Model = TypeVar("Model", bound=BaseModel)


def load(
    source: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    allow_plugin: Collection[str] = (),
) -> tuple[RunConfig, Path]:
    """Return a checked configuration, and the folder where its relative paths start.

    Parameters
    ----------
    source
        A YAML file, whose folder is where paths start, or a mapping, whose paths start here.
    overrides
        `a.b=c`: the value is YAML; a list is entered by number, the stages also by name
        (`stages.keep.top=0.2`).
    allow_plugin
        The files of `plugins` that may run: code that a configuration names never runs without having been
        allowed.

    Raises
    ------
    ConfigError
        With one line for everything that is wrong.
    """
    content, base, name = _read(source, overrides)
    plugins = Plugins.named(content.get("plugins"), base, allow_plugin)
    config = _checked(RunConfig, content, name, {"plugins": plugins})
    config = config.model_copy(update={"plugins": plugins.noted(config.stages)})
    return _with_paths_from(config, base), base


def load_as(
    model: type[Model], source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()
) -> tuple[Model, Path]:
    """Return any kind of configuration, checked, and the folder where its relative paths start."""
    content, base, name = _read(source, overrides)
    return _checked(model, content, name), base


def _checked(
    model: type[Model], content: dict[str, Any], name: str, context: dict[str, Any] | None = None
) -> Model:
    try:
        return model.model_validate(content, context=context)
    except ValidationError as error:
        lines = explain(error, model)
        raise ConfigError("\n  ".join([f"{name} is not a configuration that can run:", *lines])) from None


def _read(
    source: str | Path | Mapping[str, Any], overrides: Sequence[str]
) -> tuple[dict[str, Any], Path, str]:
    content, base, name = _content(source)
    for override in overrides:
        _override(content, override)
    refuse_credentials_in(content)
    return content, base, name


def _content(source: str | Path | Mapping[str, Any]) -> tuple[dict[str, Any], Path, str]:
    if isinstance(source, Mapping):
        return copy.deepcopy(dict(source)), Path.cwd(), "the configuration"
    path = Path(source)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        hint = "there is no such file; `curate init` writes one"
        raise ConfigError(f"the configuration {path} can't be read: {hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the configuration {path} can't be read: {error}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path} should hold keys and values, such as `name: photos`")
    return content, path.absolute().parent, str(path)


def _override(content: dict[str, Any], text: str) -> None:
    place, equals, value = text.partition("=")
    if not equals or not place:
        raise ConfigError(f"an override is written a.b=c, not {text!r}")
    *parents, last = place.split(".")
    node: Any = content
    for part in parents:
        node = _enter(node, part, place)
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"the value of the override {text!r} is not YAML: {error}") from None
    if isinstance(node, dict):
        node[last] = parsed
    elif isinstance(node, list) and last.isdigit() and int(last) < len(node):
        node[int(last)] = parsed
    elif isinstance(node, list) and (entry := _named(node, last)) is not None:
        entry[last] = parsed
    else:
        raise ConfigError(f"the override {place!r} leads nowhere: {last!r} is not in {_list(node)}")


def _enter(node: Any, part: str, place: str) -> Any:
    if isinstance(node, dict):
        child = node.setdefault(part, {})
    elif isinstance(node, list) and part.isdigit() and int(part) < len(node):
        child = node[int(part)]
    elif isinstance(node, list) and (entry := _named(node, part)) is not None:
        child = entry[part]
    else:
        raise ConfigError(f"the override {place!r} leads nowhere: {part!r} is not in {_list(node)}")
    return child


def _named(entries: list[Any], name: str) -> dict[str, Any] | None:
    """Return the one entry of a list of single-key mappings that has this key."""
    found = [entry for entry in entries if isinstance(entry, dict) and name in entry]
    return found[0] if len(found) == 1 else None


def _list(node: Any) -> str:
    if isinstance(node, list):
        return ", ".join(
            f"{n} ({next(iter(entry), '')})" for n, entry in enumerate(node) if isinstance(entry, dict)
        )
    return repr(node)


def _with_paths_from(config: RunConfig, base: Path) -> RunConfig:
    """Return the configuration with the files of encoders and stages as absolute paths."""
    encoders = {name: _with_paths(encoder, base) for name, encoder in config.encoders.items()}
    encoder = config.encoder and _with_paths(config.encoder, base)
    stages = [
        {kind: with_absolute_files(own, base) for kind, own in entry.items()} for entry in config.stages
    ]
    return config.model_copy(update={"encoder": encoder, "encoders": encoders, "stages": stages})


def _with_paths(encoder: EncoderSpec | StoredVectors, base: Path) -> EncoderSpec | StoredVectors:
    if isinstance(encoder, StoredVectors):
        return encoder
    model, pretrained = encoder.model, encoder.pretrained
    if model.startswith("local-dir:"):
        model = "local-dir:" + resolve(model.removeprefix("local-dir:"), base)
    if pretrained and (Path(base) / pretrained).is_file():
        pretrained = resolve(pretrained, base)
    return encoder.model_copy(update={"model": model, "pretrained": pretrained})

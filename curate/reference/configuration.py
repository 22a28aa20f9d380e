"""Every key of every configuration, read from the JSON schemas of the models that check them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from curate.reference.tables import table
from pipelines.config import STAGES, RunConfig
from pipelines.proxies.config import ProxyPlan
from pipelines.proxies.rank_config import RankPlan
from pipelines.score_config import SCORES
from pipelines.training.config import TrainConfig

Schema = dict[str, Any]

_INTRODUCTION = """\
# Configuration

Every key of every file that the commands read, made of the models that check them. A key that is not here is
an error with the nearest known name. `--set a.b=c` changes one value for one call.
"""
_PLANS: dict[str, tuple[str, type[BaseModel]]] = {
    "A run": ("`curate run`, `check`, `autopilot`", RunConfig),
    "A training": ("`curate dfn train`", TrainConfig),
    "A ranking of networks": ("`curate dfn rank`", RankPlan),
    "Proxies": ("`curate proxy`, `advise`", ProxyPlan),
}
_STAGES = """\
## Stages

Entries of `stages`, each on the survivors of the one before. A stage without parameters may be just its name.
"""
_SCORES = """\
## Scores

Parameters of the stage `score`; `- score: clip` is short for `- score: {name: clip}`.
"""
# Where one key takes models of several kinds, their sections can't all be called after it.
_CALLED = {"EncoderSpec": "encoder: a model", "StoredVectors": "encoder: stored vectors"}
_ELSEWHERE = {"BaseModel": "parameters", "Filter": "part of a selection", "Facts": "facts"}
_TYPES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "`true` or `false`",
    "null": "nothing",
}
_BOUNDS = {
    "minimum": "at least {}",
    "ge": "at least {}",
    "exclusiveMinimum": "above {}",
    "gt": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
}


def models() -> dict[str, type[BaseModel]]:
    """Return the stages and scores by the names of their sections."""
    scores: dict[str, type[BaseModel]] = {}
    for name, model in SCORES.items():
        alike = next((title for title, known in scores.items() if known is model), None)
        scores.pop(alike or "", None)
        scores[f"{alike}, {name}" if alike else f"score: {name}"] = model
    return {name: model for name, model in STAGES.items() if name != "score"} | scores


def configuration_page() -> str:
    """Return the page of all keys."""
    done: set[str] = set()
    run, *others = _PLANS.items()
    parts = [_INTRODUCTION, *_plan(*run, done), _STAGES]
    for title, model in models().items():
        if title.startswith("score") and _SCORES not in parts:
            parts.append(_SCORES)
        parts += _sections(title, model, done)
    for plan in others:
        parts += _plan(*plan, done)
    return "\n".join(parts)


def keys(model: type[BaseModel]) -> str:
    """Return one model's table, and those of the models within it that are its own."""
    schema = model.model_json_schema()
    tables = [_keys(schema, {})]
    tables += [
        f"`{name}` takes\n\n{_keys(schema['$defs'][each], {})}"
        for name, field in schema["properties"].items()
        for each in _models_in(field)
        if each not in _ELSEWHERE
    ]
    return "\n".join(tables)


def _plan(title: str, plan: tuple[str, type[BaseModel]], done: set[str]) -> Iterator[str]:
    commands, model = plan
    yield f"## {title}\n"
    yield f"For {commands}.\n"
    yield from _sections("", model, done)


def _sections(title: str, model: type[BaseModel], done: set[str]) -> Iterator[str]:
    """Return the section of a model, and one for each model within it that has none yet."""
    schema = model.model_json_schema()
    inner: dict[str, str] = {}
    for name, called in _within(schema, title, schema.get("$defs", {})):
        inner.setdefault(name, called)  # a model that stands in several places is called by the first
    if title:
        yield f"### `{title}`\n"
        yield f"{_first_line(schema)}\n"
    yield _keys(schema, inner)
    for name, called in inner.items():
        if name not in done:
            done.add(name)
            yield f"### `{called}`\n"
            yield f"{_first_line(schema['$defs'][name])}\n"
            yield _keys(schema["$defs"][name], inner)


def _within(schema: Schema, title: str, definitions: Schema) -> Iterator[tuple[str, str]]:
    """Return every model that a model's keys take, with the name of its section."""
    for key, field in schema["properties"].items():
        for name in _models_in(field):
            if name not in _ELSEWHERE:
                called = _CALLED.get(name) or f"{title}.{key}".lstrip(".")
                yield name, called
                yield from _within(definitions[name], called, definitions)


def _models_in(field: Any) -> Iterator[str]:
    """Return the names of the models that stand anywhere in a field's schema."""
    if isinstance(field, dict):
        if "$ref" in field:
            yield field["$ref"].rpartition("/")[2]
        for value in field.values():
            yield from _models_in(value)
    elif isinstance(field, list):
        for value in field:
            yield from _models_in(value)


def _first_line(schema: Schema) -> str:
    return str(schema.get("description", "")).partition("\n")[0]


def _keys(schema: Schema, sections: dict[str, str]) -> str:
    required = schema.get("required", ())
    rows = []
    for name, field in schema["properties"].items():
        told = str(field.get("description", ""))
        rows.append((f"`{name}`", _values(field, sections), _default(name in required, field), told))
    return table(("key", "values", "default", "meaning"), rows) + "\n"


def _default(required: bool, field: Schema) -> str:
    if required:
        return "required"
    default = field.get("default")
    if default is None or default in ([], {}):
        return ""
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


def _values(field: Schema, sections: dict[str, str]) -> str:
    """Return what a key takes, in words."""
    if "$ref" in field:
        return _model(field["$ref"].rpartition("/")[2], sections)
    if several := field.get("anyOf") or field.get("oneOf"):
        spelled = [_values(each, sections) for each in several if each.get("type") != "null"]
        return _bounded(" or ".join(dict.fromkeys(spelled)), field)
    if "const" in field or "enum" in field:
        return " or ".join(f"`{_plain(each)}`" for each in field.get("enum", [field.get("const")]))
    if field.get("type") == "array":
        return _list(field, sections)
    if field.get("type") == "object":
        patterns = field.get("patternProperties", {})
        inner = field.get("additionalProperties") or next(iter(patterns.values()), None)
        return f"names with {_values(inner, sections)}" if isinstance(inner, dict) else "any keys"
    return _bounded(_TYPES.get(str(field.get("type")), "anything"), field)


def _list(field: Schema, sections: dict[str, str]) -> str:
    if pair := field.get("prefixItems"):
        return f"[{', '.join(_values(each, sections) for each in pair)}]"
    return f"[{_values(field.get('items', {}), sections)}, …]"


def _model(name: str, sections: dict[str, str]) -> str:
    if name in _ELSEWHERE:
        return _ELSEWHERE[name]
    called = sections.get(name)
    return f"[{called}](#{anchor(called)})" if called else "keys, below"


def _bounded(text: str, field: Schema) -> str:
    bounds = [words.format(_plain(field[key])) for key, words in _BOUNDS.items() if key in field]
    return ", ".join([text, *bounds])


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def anchor(title: str) -> str:
    """Return the anchor that Markdown's tools give a heading."""
    kept = "".join(letter for letter in title.lower() if letter.isalnum() or letter in " -_")
    return "-".join(kept.split())

"""Files that stages' parameters name: where they lie, and what is in them."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from pipelines.errors import ConfigError
from pipelines.storage import resolve

Model = TypeVar("Model", bound=BaseModel)


def with_absolute_files(parameters: Model, base: str | Path) -> Model:
    """Return parameters whose files, named in `files` of their class, are absolute; nested ones too.

    The fields in `patterns` hold several files each, by globs and the like.
    """
    patterns = getattr(type(parameters), "patterns", ())
    absolute = {name: tuple(resolve(each, base) for each in getattr(parameters, name)) for name in patterns}
    return _map_files(parameters.model_copy(update=absolute), lambda name, path: resolve(path, base))


def with_file_digests(parameters: Model) -> Model:
    """Return parameters with the SHA-256 of a file in place of its path, so that what is in it decides."""
    return _map_files(parameters, lambda name, path: file_digest(path))


def require_files(parameters: BaseModel, where: str) -> None:
    """Raise `ConfigError` when a file that parameters name is not there."""

    def check(name: str, path: str) -> str:
        if not Path(path).is_file():
            raise ConfigError(f"{where}: {name}: there is no file {path}")
        return path

    _map_files(parameters, check)


def file_digest(path: str) -> str:
    """Return the SHA-256 of a file as hex digits; a file that was not touched is not read again."""
    facts = Path(path).stat()
    return _digest(path, facts.st_mtime_ns, facts.st_size)


def file_times(path: str) -> list[Any]:
    """Return a file's name, size in bytes and time of its last change; just the name when it is not there."""
    try:
        facts = Path(path).stat()
    except OSError:
        return [path]
    return [path, facts.st_size, facts.st_mtime_ns]


@functools.lru_cache(maxsize=64)
def _digest(path: str, mtime: int, size: int) -> str:
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _map_files(parameters: Model, change: Callable[[str, str], str]) -> Model:
    files = getattr(type(parameters), "files", ())
    new: dict[str, Any] = {}
    for name in type(parameters).model_fields:
        value = getattr(parameters, name)
        if name in files and value is not None:
            new[name] = change(name, value)
        elif isinstance(value, BaseModel):
            new[name] = _map_files(value, change)
        elif isinstance(value, tuple) and any(isinstance(each, BaseModel) for each in value):
            new[name] = tuple(_map_files(each, change) for each in value)
    return parameters.model_copy(update=new) if new else parameters

"""The code of a plugin: a file's text, which travels to the workers, or an installed distribution's."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.abc
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

from pipelines.errors import ConfigError, CurateError, StoppedError


@dataclass(frozen=True)
class Code:
    """Where the code of a plugin lies, and what is in it.

    Attributes
    ----------
    name
        What people call it: the file, or the distribution with its version.
    sha256
        Of the file, or of the distribution's module.
    path
        Of the file; empty for a distribution.
    text
        What is in the file; None where the file has not been allowed to run, and for a distribution.
    entry_point
        A distribution's `package.module:Class`.
    """

    name: str
    sha256: str
    path: str = ""
    text: str | None = None
    entry_point: str = ""

    @property
    def may_run(self) -> bool:
        """Whether it is there to be run."""
        return bool(self.entry_point) or self.text is not None

    def classes(self) -> list[type[Any]]:
        """Return the classes that the code defines; it runs here for the first time.

        Raises
        ------
        ConfigError
            When it fails, or is not what the driver of the run has.
        """
        if self.entry_point:
            return [_installed(self)]
        module = _module(self)
        found = [each for each in vars(module).values() if inspect.isclass(each)]
        return [each for each in found if each.__module__ == module.__name__]

    def line_of(self, error: BaseException) -> str:
        """Return `NAME, line 7`: where in this code an error came from, if anywhere."""
        if isinstance(error, SyntaxError) and error.filename == self.path:
            return f"{self.name}, line {error.lineno}"
        lines = self._lines(error)
        return f"{self.name}, line {lines[-1]}" if lines else self.name

    def _lines(self, error: BaseException) -> list[int | None]:
        frames = traceback.extract_tb(error.__traceback__)
        file = self.path or _file_of(self.entry_point.partition(":")[0])
        return [frame.lineno for frame in frames if frame.filename == file]

    @contextlib.contextmanager
    def blamed(self, stage: str, shard: str | None) -> Iterator[None]:
        """Let errors inside the block name this code, the line in it, and the shard.

        Without a shard, for what is done with the whole pool, errors that don't come out of this code pass.
        """
        try:
            yield
        except CurateError:
            raise
        except Exception as error:
            if shard is None and not self._lines(error):
                raise
            where = "over the whole pool" if shard is None else f"on shard {shard}"
            raise StoppedError(f"{stage}: {self.line_of(error)}, {where}: {describe(error)}") from error


def describe(error: BaseException) -> str:
    """Return an error in one line; what curate itself found wrong needs no name in front of it."""
    return str(error) if isinstance(error, WrongResultError) else f"{type(error).__name__}: {error}"


class WrongResultError(ValueError):
    """A plugin returned what it should not."""


def code_of_file(path: str, name: str) -> Code:
    """Return the code in a file, read but not run; `ConfigError` when it can't be read."""
    try:
        data = Path(path).read_bytes()
        return Code(name, hashlib.sha256(data).hexdigest(), path, data.decode("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"plugins: {name} can't be read: {error}") from None


def code_of_entry_point(point: EntryPoint) -> Code:
    """Return the code of an installed plugin; its module is imported."""
    assert point.dist is not None
    name = f"{point.dist.name} {point.dist.version}"
    found = Code(name, "", entry_point=point.value)
    try:
        return Code(name, _digest(_imported(point.value)), entry_point=point.value)
    except Exception as error:
        raise ConfigError(f"the plugin {found.line_of(error)} can't be loaded: {describe(error)}") from error


class _Text(importlib.abc.ExecutionLoader):
    """Makes a module of a text, so that tracebacks show its lines where there is no such file."""

    def __init__(self, code: Code) -> None:
        self._code = code

    def get_filename(self, fullname: str) -> str:
        return self._code.path

    def get_source(self, fullname: str) -> str:
        return self._code.text or ""

    def is_package(self, fullname: str) -> bool:
        return False


@lru_cache(maxsize=64)
def _module(code: Code) -> ModuleType:
    if code.text is None:
        raise ConfigError(refused(code))
    name = f"curate_plugin_{code.sha256[:16]}"
    spec = importlib.util.spec_from_loader(name, _Text(code), origin=code.path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where pydantic looks annotations up
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise ConfigError(f"the plugin {code.line_of(error)} can't be loaded: {describe(error)}") from error
    return module


def refused(code: Code) -> str:
    """Return what to tell whoever has not allowed a file to run."""
    path = Path(code.path)
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return (
        f"plugins: {code.name} is code of yours; to let it run, say so on the command line: "
        f"--allow-plugin {shown}"
    )


def _file_of(module: str) -> str | None:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):  # its package fails, or it stands half-made in sys.modules
        return None
    return spec.origin if spec else None


def _imported(entry_point: str) -> type[Any]:
    found = EntryPoint("", entry_point, "").load()
    if not inspect.isclass(found):
        raise TypeError(f"{entry_point} is no class")
    return found


def _installed(code: Code) -> type[Any]:
    """Return an installed plugin's class, on a worker perhaps: it must be the one that the driver has."""
    try:
        found = _imported(code.entry_point)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"the plugin {code.name} is not installed on a worker: {error}") from None
    if _digest(found) != code.sha256:
        raise ConfigError(f"the plugin {code.name} ({code.entry_point}) is another one on a worker than here")
    return found


def _digest(found: type[Any]) -> str:
    file = inspect.getsourcefile(found)
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""

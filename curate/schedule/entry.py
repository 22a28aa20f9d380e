"""What is scheduled: entries, and the file that holds them."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.errors import ConfigError

Overlap = Literal["wait", "skip"]


class Work(BaseModel):
    """What a tick does, and what when it fails or another one is still at work."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    config: str = Field(description="the run's configuration, a file")
    overrides: tuple[str, ...] = Field((), description="changes of the configuration, a.b=c")
    allow_class: tuple[str, ...] = Field((), description="Dask cluster classes that it may name")
    allow_plugin: tuple[str, ...] = Field((), description="files of plugins that may run")
    overlap: Overlap = Field(
        "skip", description="when the run is still at work: wait for it, or skip this tick"
    )
    retries: int = Field(3, ge=0, le=100, description="further attempts of a tick that failed")
    backoff: float = Field(
        60.0, gt=0, description="seconds before the first further attempt, doubled each time"
    )
    notify_url: str | None = Field(None, description="told of every success and failure, by a POST of JSON")
    notify_command: str | None = Field(None, description="started after every success and failure, no shell")


class Entry(Work):
    """A schedule: work, when, and where its ticks are recorded."""

    name: str = Field(min_length=1, max_length=200)
    cron: str
    timezone: str = "UTC"
    run: str = Field(description="the run folder")
    since: datetime = Field(description="when it was added: no earlier tick was missed")


class Store:
    """The file with all entries, which several processes may change."""

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = Path(path) if path is not None else default_store()

    def read(self) -> list[Entry]:
        """Return all entries, by name; `ConfigError` when the file is no such store."""
        try:
            found = [Entry.model_validate(each) for each in json.loads(self.path.read_text(encoding="utf-8"))]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError, ValidationError) as error:
            raise ConfigError(f"{self.path} is not a store of schedules: {error}") from None
        return sorted(found, key=lambda entry: entry.name)

    def find(self, name: str) -> Entry:
        """Return one entry; `ConfigError` when there is none such."""
        entries = {entry.name: entry for entry in self.read()}
        if name not in entries:
            known = ", ".join(entries) or "none yet"
            raise ConfigError(f"there is no schedule {name!r} in {self.path}; there are: {known}")
        return entries[name]

    def add(self, entry: Entry) -> None:
        """Add an entry; `ConfigError` when there is one of its name."""
        with self._changing() as entries:
            if any(other.name == entry.name for other in entries):
                raise ConfigError(
                    f"there is a schedule {entry.name!r} already: give another --name, or remove it"
                )
            entries.append(entry)

    def remove(self, name: str) -> None:
        """Remove an entry; `ConfigError` when there is none such."""
        entry = self.find(name)
        with self._changing() as entries:
            entries.remove(entry)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[list[Entry]]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_name(self.path.name + ".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            entries = self.read()
            yield entries
            content = json.dumps([entry.model_dump(mode="json") for entry in entries], indent=1)
            whole = self.path.with_name(f"{self.path.name}.{os.getpid()}.tmp")
            try:
                whole.touch(mode=0o600)  # a webhook's address is often a secret
                whole.write_text(content, encoding="utf-8")
                whole.replace(self.path)
            finally:
                whole.unlink(missing_ok=True)

    @contextlib.contextmanager
    def served(self) -> Iterator[None]:
        """Be the one process that serves this store; `ConfigError` when another one does."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._serving().open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConfigError(f"another process serves {self.path}") from None
            yield

    def is_served(self) -> bool:
        """Tell whether a process serves this store now."""
        try:
            with self._serving().open() as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def _serving(self) -> Path:
        return self.path.with_name(self.path.name + ".serving")


def default_store() -> Path:
    """Return where a person's schedules lie when no file is named."""
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "curate" / "schedules.json"

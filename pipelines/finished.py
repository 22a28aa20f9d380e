"""Whether a run has anything left to do, told from listings alone: no column file or model is opened."""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from pipelines.columns import fingerprint
from pipelines.config import RunConfig
from pipelines.output.versions import MANIFEST
from pipelines.plugins.use import PluginUse
from pipelines.pool.shards import expand, facts, list_folder
from pipelines.pool.vectors import StoredVectors, npy_beside
from pipelines.storage import Folder, resolve
from pipelines.user_files import file_times
from scoring.encoder_spec import LOCAL_DIR

FINISHED = "state/finished"  # there when all that the run folder says is of one configuration

Listed = list[Any]


def seen(config: RunConfig, base: str | Path = ".") -> str:
    """Return a hash of all that a run is made from: configuration, code, and every file by size and time.

    Parameters
    ----------
    config
        The run's configuration.
    base
        Where its relative paths start.
    """
    content = config.model_dump(mode="json", serialize_as_any=True, exclude={"engine"})
    return fingerprint(metadata.version("curate-pools"), content, _pool(config, base), _named_files(config))


def note_finished(run: Folder, output: Folder, what: str) -> None:
    """Note in a run folder that all is done which `seen`, called before the run, told of."""
    run.write(FINISHED, json.dumps({"seen": what, "manifest": _manifest(output)}).encode())


def is_up_to_date(config: RunConfig, base: str | Path = ".") -> bool:
    """Tell whether a run would find nothing new; nothing is written.

    The output counts as there when its manifest is: `curate verify` looks at its files.

    Raises
    ------
    ConfigError
        When no shards match.
    """
    run = Folder(resolve(config.run, base))
    try:
        noted = json.loads(run.read(FINISHED) or b"{}")
        manifest = _manifest(Folder(resolve(config.output.folder, base)))
    except FileNotFoundError:
        return False
    return bool(noted == {"seen": seen(config, base), "manifest": manifest})


def _manifest(output: Folder) -> str:
    return hashlib.sha256(output.read(MANIFEST)).hexdigest()


def _pool(config: RunConfig, base: str | Path) -> Listed:
    if config.pool.shards is not None:
        return [[shard.url, shard.size, shard.version] for shard in expand(config.pool.shards, base)]
    assert config.pool.metadata is not None
    tables = [shard.url for shard in expand(config.pool.metadata, base, ".parquet")]
    stored = [spec for spec in (config.encoder, *config.encoders.values()) if isinstance(spec, StoredVectors)]
    names = {name for spec in stored for name in spec.names.values()}
    beside = {npy_beside(table, name) for table in tables for name in names}
    folders = {posixpath.dirname(url) for url in (*tables, *beside)}
    return [
        [folder, sorted([name, *facts(info)] for name, info in list_folder(folder).items())]
        for folder in sorted(folders)
    ]


def _named_files(config: RunConfig) -> Listed:
    """Return size and time of the files that encoders and stages name."""
    found: Listed = [
        file_times(path) for spec in (config.encoder, *config.encoders.values()) for path in _weights(spec)
    ]
    for entry in config.stages:
        for parameters in entry.values():
            found.append([file_times(path) for path in _files_of(parameters)])
            if isinstance(parameters, PluginUse):
                found.append(parameters.code.sha256)
            for name in getattr(type(parameters), "patterns", ()):
                tables = expand(list(getattr(parameters, name)), suffix=".parquet")
                found.append([[table.url, table.size, table.version] for table in tables])
    return found


def _weights(spec: Any) -> Iterator[str]:
    """Return the files of an encoder that are the user's own."""
    if spec is None or isinstance(spec, StoredVectors):
        return
    if spec.model.startswith(LOCAL_DIR):
        yield from sorted(str(path) for path in Path(spec.model.removeprefix(LOCAL_DIR)).glob("*"))
    if spec.pretrained and Path(spec.pretrained).is_file():
        yield spec.pretrained


def _files_of(parameters: BaseModel) -> Iterator[str]:
    """Return the files that a stage's parameters name, nested ones too."""
    if isinstance(parameters, PluginUse):
        yield from parameters.named_files
        return
    for name in type(parameters).model_fields:
        value = getattr(parameters, name)
        if name in getattr(type(parameters), "files", ()) and value is not None:
            yield value
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, BaseModel):
                yield from _files_of(each)

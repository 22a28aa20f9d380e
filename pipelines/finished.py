"""Whether a run has anything left to do, told from listings alone: no column file or model is opened."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from pipelines.columns import fingerprint
from pipelines.config import RunConfig
from pipelines.output.versions import MANIFEST
from pipelines.plugins.use import PluginUse
from pipelines.pool.listing import PoolFiles, list_pool
from pipelines.pool.shards import expand, facts
from pipelines.pool.vectors import StoredVectors
from pipelines.storage import Folder, resolve
from pipelines.user_files import file_times
from scoring.encoder_spec import LOCAL_DIR

FINISHED = "state/finished"  # there when all that the run folder says is of one configuration

Listed = list[Any]


def seen(config: RunConfig, pool: PoolFiles) -> str:
    """Return a hash of all that a run is made from: configuration, code, and every file by size and time.

    Parameters
    ----------
    config
        The run's configuration.
    pool
        The files of its pool, as they were listed.
    """
    content = config.model_dump(mode="json", serialize_as_any=True, exclude={"engine"})
    return fingerprint(metadata.version("curate-pools"), content, _pool(pool), _named_files(config))


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
    return bool(noted == {"seen": seen(config, list_pool(config, base)), "manifest": manifest})


def _manifest(output: Folder) -> str:
    return hashlib.sha256(output.read(MANIFEST)).hexdigest()


def _pool(pool: PoolFiles) -> Listed:
    files = [f"{file.url} {file.size} {file.version}" for file in pool.files]
    return [files, sorted([url, *facts(info)] for url, info in pool.beside.items())]


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

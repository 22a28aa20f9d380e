"""Which files a pool is of, told by one listing: what a run reads is then what it says it has seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipelines.config import RunConfig
from pipelines.pool.shards import Info, Shard, expand, list_folder
from pipelines.pool.vectors import StoredVectors, npy_beside


@dataclass(frozen=True)
class PoolFiles:
    """The files of a pool.

    `files` are its tars, or its Parquet files; `beside` is file information, by path or URL, of all that lies
    in the folders of the latter, and in those where their vectors may lie.
    """

    files: list[Shard]
    beside: Mapping[str, Info]


def list_pool(config: RunConfig, base: str | Path = ".") -> PoolFiles:
    """Return the files of a configuration's pool.

    Parameters
    ----------
    config
        The run's configuration.
    base
        Where its relative paths start.

    Raises
    ------
    ConfigError
        When nothing matches, or a named file is missing.
    """
    if config.pool.shards is not None:
        return PoolFiles(expand(config.pool.shards, base), {})
    assert config.pool.metadata is not None
    tables = expand(config.pool.metadata, base, ".parquet")
    stored = [spec for spec in (config.encoder, *config.encoders.values()) if isinstance(spec, StoredVectors)]
    names = {name for spec in stored for name in spec.names.values()}
    urls = [url for table in tables for url in (table.url, *(npy_beside(table.url, name) for name in names))]
    folders = sorted({url.rpartition("/")[0] for url in urls})
    beside = {f"{folder}/{name}": info for folder in folders for name, info in list_folder(folder).items()}
    return PoolFiles(tables, beside)

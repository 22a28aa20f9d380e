"""Subsets and runs as other tools read and write them: what `curate export` and `verify-subset` do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.config import load
from curate.status import read_run
from pipelines.config import RunConfig
from pipelines.errors import ConfigError
from pipelines.output.export import FinishedRun, export_decisions, export_subset, export_vectors
from pipelines.output.fiftyone import export_fiftyone
from pipelines.output.hugging_face import export_hugging_face
from pipelines.output.publish import put_stream
from pipelines.output.subset import UnsortedSubsetError, read_subset, read_unchecked, subset_file
from pipelines.output.verify_subset import contents, coverage, uids_of_run, uids_of_tables
from pipelines.pool.tables import layout_of, pool_shards
from pipelines.storage import Folder, resolve

_AT_ONCE = 4_000_000
FORMATS = ("datacomp", "csv", "parquet", "clip-retrieval", "hugging-face", "fiftyone")


def export(run: str, output: str, kind: str, encoder: str | None, images: bool = True) -> int:
    """Write what a finished run found in another tool's format; return how many samples or uids.

    Raises
    ------
    ConfigError
        When the run is not finished, or has not what is asked for.
    """
    finished = FinishedRun.of(read_run(run)[0])
    path = resolve(output, ".")
    if kind == "clip-retrieval":
        return export_vectors(finished, path, encoder)
    if kind == "hugging-face":
        return export_hugging_face(finished, path, images=images)
    if kind == "fiftyone":
        return export_fiftyone(finished, path)
    if kind == "datacomp":
        return export_subset(finished, path)
    if kind in ("csv", "parquet"):
        return export_decisions(finished, path, csv=kind == "csv")
    raise ConfigError(f"--as {kind}: there are {', '.join(FORMATS)}")


def verify_subset(subset: str, pool: str | None, fix: bool, output: str | None) -> dict[str, Any]:
    """Return what a subset file holds and what a pool has of it; write it anew, sorted, if asked.

    Raises
    ------
    ConfigError
        When it is no subset, or not sorted and not to be sorted.
    """
    if fix != (output is not None):
        raise ConfigError("--fix writes a sorted copy, so it goes with -o NEW.npy; the file itself stays")
    path = resolve(subset, ".")
    found: dict[str, Any] = {"subset": path}
    try:
        uids = read_subset(path)
    except UnsortedSubsetError:
        if output is None:
            raise
        found["was_sorted"] = False
        uids = read_unchecked(path)
    if output is not None:
        found["written"] = path = _write_sorted(uids, resolve(output, "."), path)
        uids = read_subset(path)
    found |= contents(uids).__dict__
    if pool is not None:
        found["pool"] = coverage(uids, uids_of_pool(pool)).__dict__
    return found


def _write_sorted(uids: NDArray[np.void], new: str, old: str) -> str:
    if new == old:
        raise ConfigError(f"-o {new}: name another file, the old one is read while the new one is written")
    folder, _, name = new.rpartition("/")
    starts = range(0, len(uids), _AT_ONCE)
    pieces = subset_file(len(uids), lambda: (uids[start : start + _AT_ONCE] for start in starts))
    put_stream(Folder(folder), name, pieces)
    return new


def uids_of_pool(pool: str) -> Iterator[NDArray[np.void]]:
    """Yield the uids of a pool, named by a run folder, a configuration, or Parquet files with uids."""
    if Folder(resolve(pool, ".")).exists("run.yaml"):
        config, folder = read_run(pool)
        return uids_of_run(folder, pool_shards(config))
    if not pool.endswith((".yaml", ".yml")):
        return uids_of_tables(resolve(pool, "."))
    config, base = load(pool)
    return _uids_of_config(config, base)


def _uids_of_config(config: RunConfig, base: Path) -> Iterator[NDArray[np.void]]:
    if config.pool.metadata is None:
        return uids_of_run(Folder(resolve(config.run, base)), pool_shards(config, base))
    patterns = [config.pool.metadata] if isinstance(config.pool.metadata, str) else config.pool.metadata
    uid = dict(layout_of(config.pool, base).samples).get("uid", "uid")
    return uids_of_tables([resolve(pattern, base) for pattern in patterns], uid)

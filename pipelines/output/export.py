"""Hand a finished run on: its subset, its decisions in one table, its vectors in clip-retrieval's layout."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines.columns import DECISIONS, ColumnStore
from pipelines.config import RunConfig
from pipelines.errors import ConfigError
from pipelines.output.subset import subset_of_run
from pipelines.plan import Plan
from pipelines.planning import plan
from pipelines.pool.shards import Shard
from pipelines.pool.tables import pool_shards
from pipelines.run import FINISHED
from pipelines.stage import ShardColumns
from pipelines.stages.score import matrix
from pipelines.storage import Folder, resolve

_DECIDED = ("uid", "key", "shard", "kept", "weight", "stage", "reason", "set_aside")
_FORMULA = r"^[=+\-@\t\r\n]"
DESCRIBED = ("uid", "url", "width", "height", "original_width", "original_height", "sha256")


@dataclass(frozen=True)
class FinishedRun:
    """A run that came to its end."""

    folder: Folder
    shards: list[Shard]
    stages: Plan

    @classmethod
    def of(cls, config: RunConfig, base: str | Path = ".") -> FinishedRun:
        """Return the run of a configuration; `ConfigError` when it isn't finished."""
        folder = Folder(resolve(config.run, base))
        if not folder.exists(FINISHED):
            raise ConfigError(f"the run {folder.url} has not come to its end: `curate run` it first")
        stages = plan(config, base)
        return cls(folder, pool_shards(config, base, stages.stored_vectors), stages)

    @property
    def columns(self) -> Iterator[ShardColumns]:
        """The columns of every shard."""
        return (ShardColumns(shard, self.folder) for shard in self.shards)


def export_subset(run: FinishedRun, path: str) -> int:
    """Write the kept uids as a DataComp subset, sorted, each as often as its weight; return how many."""
    stamps = ColumnStore(run.folder).stamps(DECISIONS, (shard.name for shard in run.shards))
    n: int = sum(weight * count for stamp in stamps.values() for weight, count in stamp.tally["weights"])
    with _create(path) as stream:
        for piece in subset_of_run(run.folder, run.shards, n):
            stream.write(piece)
    return n


def export_decisions(run: FinishedRun, path: str, *, csv: bool) -> int:
    """Write what became of every sample, with its scores, as one CSV or Parquet file; return how many.

    A score is empty where the sample never got as far.
    """
    n = 0
    writer: Any = None
    with _create(path) as stream:
        for columns in run.columns:
            table = decisions(columns, run.stages)
            table = harmless(table) if csv else table
            writer = writer or (pa_csv.CSVWriter if csv else pq.ParquetWriter)(stream, table.schema)
            writer.write_table(table)
            n += len(table)
        writer.close()
    return n


def harmless(table: pa.Table) -> pa.Table:
    """Return a table whose texts no spreadsheet takes for a formula: such texts get a ' in front.

    A key or a shard's name is whatever stood in a tar.
    """
    for number, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            texts = table[field.name]
            formula = pc.match_substring_regex(texts, _FORMULA)
            quoted = pc.binary_join_element_wise("'", texts, "")
            table = table.set_column(number, field, pc.if_else(formula, quoted, texts))
    return table


def decisions(columns: ShardColumns, stages: Plan) -> pa.Table:
    """Return what became of every sample of a shard, with its scores."""
    table = columns.read(DECISIONS, _DECIDED)
    for score in stages.scores:
        own = columns.read(stages.sources[score], ("row", score))
        place = pc.index_in(
            pa.array(np.arange(len(table)), pa.int32()), value_set=own["row"].combine_chunks()
        )
        table = table.append_column(score, own[score].take(place))
    return table


def export_vectors(run: FinishedRun, output: str, encoder: str | None) -> int:
    """Write the vectors of the kept samples in clip-retrieval's layout, each once; return how many.

    A part for every shard: img_emb/img_emb_0.npy and text_emb/text_emb_0.npy, float16, and their rows'
    metadata/metadata_0.parquet.

    Raises
    ------
    ConfigError
        When the run has no vectors by this encoder.
    """
    stage = "embed" if encoder is None else f"embed-{encoder}"
    there = [each.name for each in run.stages.stages if each.name.split("-")[0] == "embed"]
    if stage not in there:
        named = ", ".join(name.removeprefix("embed-") for name in there if name != "embed")
        hint = f"name one with --encoder: {named}" if named else "none of its stages needs any"
        whose = "its own encoder" if encoder is None else encoder
        raise ConfigError(f"the run has no vectors by {whose}: {hint}")
    kept = [columns for columns in run.columns if _kept(columns).size]
    digits = int(math.log10(max(1, len(kept)))) + 1
    n = 0
    for number, columns in enumerate(kept):
        rows = _kept(columns)
        part, folder = f"{number:0{digits}d}", Folder(output)
        for name, vectors in _vectors(columns, stage, rows).items():
            with folder.create(f"{name}/{name}_{part}.npy") as stream:
                np.lib.format.write_array(stream, vectors, version=(1, 0), allow_pickle=False)
        with folder.create(f"metadata/metadata_{part}.parquet") as stream:
            pq.write_table(_metadata(columns, run.stages, rows), stream)
        n += len(rows)
    return n


def _kept(columns: ShardColumns) -> NDArray[np.int64]:
    return np.flatnonzero(columns.read(DECISIONS, ("kept",))["kept"].to_numpy())


def _vectors(columns: ShardColumns, stage: str, rows: NDArray[np.int64]) -> dict[str, NDArray[np.float16]]:
    with columns.run.open(f"columns/{stage}/{columns.shard.name}.parquet") as stream:
        made = pq.read_schema(stream).names
    kinds = {"image": "img_emb", "text": "text_emb"}
    table = columns.rows(rows, {kind: stage for kind in kinds if kind in made})
    return {name: matrix(table[kind]) for kind, name in kinds.items() if kind in made}


def _metadata(columns: ShardColumns, stages: Plan, rows: NDArray[np.int64]) -> pa.Table:
    names = [name for name in ("key", "caption", *DESCRIBED) if name in stages.sources]
    names += [score for score in stages.scores if score not in names]
    table = columns.rows(rows, {name: stages.sources[name] for name in names}).drop_columns(["row"])
    shard = pa.repeat(columns.shard.name, len(rows))
    renamed = {"key": "image_path"}
    table = table.rename_columns([renamed.get(name, name) for name in table.column_names])
    return table.append_column("source_shard", shard)


def _create(path: str) -> AbstractContextManager[IO[bytes]]:
    folder, _, name = path.rpartition("/")
    return Folder(folder).create(name)

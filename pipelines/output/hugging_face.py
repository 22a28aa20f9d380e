"""A run's kept samples as a folder that Hugging Face's `datasets` loads: Parquet files, images and all."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from numpy.typing import NDArray

from pipelines.columns import DECISIONS, ColumnStore, Stamp, fingerprint
from pipelines.errors import ConfigError
from pipelines.output.export import DESCRIBED, FinishedRun
from pipelines.pool.samples import byte_ranges
from pipelines.pool.shards import Shard, unchanged
from pipelines.stage import ShardColumns
from pipelines.storage import Folder, RangeReader

CARD = "README.md"
VERSION = 1
_ROWS_AT_ONCE = 100  # a row group: what the hub's viewer reads at a time
_STAMP = b"curate"
_OURS = ("image", "source_shard")  # columns that a score may not be called
_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_FEATURES = {
    pa.string(): "string",
    pa.int32(): "int32",
    pa.float32(): "float32",
    pa.float64(): "float64",
    pa.bool_(): "bool",
}


@dataclass(frozen=True)
class _File:
    """One Parquet file: the kept samples of a shard."""

    name: str
    columns: ShardColumns
    made_from: str
    samples: int


def export_hugging_face(run: FinishedRun, output: str, *, images: bool) -> int:
    """Write a dataset folder; files that are there already and made from the same columns stay.

    A Parquet file for each shard of which something is kept, `data/train-00000-of-00012.parquet`, and the
    card, last. Each kept sample stands there once, with its `weight`. One row group is in memory at a time.

    Parameters
    ----------
    run
        A finished run.
    output
        The folder.
    images
        Whether images go along, as bytes; without them there are their URLs.

    Raises
    ------
    ConfigError
        When there are no images, or the folder holds a dataset of others.
    """
    if images and run.stages.config.pool.shards is None:
        raise ConfigError("a pool of metadata has no images: --no-images exports captions, URLs and scores")
    folder = Folder(output)
    there = _there(folder)
    files = list(_files(run, images))
    schema = _schema(run, images)
    for file in files:
        if there.get(file.name) != file.made_from:
            _write(file, folder, run, schema)
    for name in there.keys() - {file.name for file in files}:
        folder.remove(name)
    folder.write(CARD, _card(run, schema, files).encode())
    return sum(file.samples for file in files)


def _there(folder: Folder) -> dict[str, str | None]:
    """Return what each Parquet file of the folder was made from; `ConfigError` for one that isn't ours."""
    found: dict[str, str | None] = {}
    for name in folder.files():
        if not name.endswith(".parquet"):
            continue
        with folder.open(name) as stream:
            try:
                metadata = pq.read_schema(stream).metadata or {}
            except (pa.ArrowException, OSError):
                metadata = {}
        if _STAMP not in metadata:
            raise ConfigError(f"{folder.path(name)} is not of an export: choose another folder")
        found[name] = metadata[_STAMP].decode()
    return found


def _files(run: FinishedRun, images: bool) -> Iterator[_File]:
    names = [shard.name for shard in run.shards]
    sources = _sources(run)
    store = ColumnStore(run.folder)
    stamps = {stage: store.stamps(stage, names) for stage in dict.fromkeys([DECISIONS, *sources.values()])}
    kept = [shard for shard in run.shards if stamps[DECISIONS][shard.name].tally["kept"]]
    for number, shard in enumerate(kept):
        own: list[Stamp] = [found[shard.name] for found in stamps.values()]
        made_from = fingerprint(VERSION, images, sources, shard.name, [stamp.digest for stamp in own])
        name = f"data/train-{number:05d}-of-{len(kept):05d}.parquet"
        yield _File(name, ShardColumns(shard, run.folder), made_from, own[0].tally["kept"])


def _sources(run: FinishedRun) -> dict[str, str]:
    """Return the columns that go along, and the stages that made them."""
    sources = run.stages.sources
    names = [name for name in ("caption", "key", *DESCRIBED) if name in sources]
    return {name: sources[name] for name in dict.fromkeys([*names, *run.stages.scores])}


def _schema(run: FinishedRun, images: bool) -> pa.Schema:
    shard = ShardColumns(run.shards[0], run.folder)
    table = _rows(shard, run, np.zeros(0, np.int64))
    fields = [pa.field("image", _IMAGE)] if images else []
    return pa.schema([*fields, *(field.remove_metadata() for field in table.schema)])


def _rows(columns: ShardColumns, run: FinishedRun, rows: NDArray[np.int64]) -> pa.Table:
    table = columns.rows(rows, _sources(run)).drop_columns(["row"])
    table = table.rename_columns([f"score_{n}" if n in _OURS else n for n in table.column_names])
    weight = columns.read(DECISIONS, ("weight",))["weight"].take(pa.array(rows))
    return table.append_column("weight", weight).append_column(
        "source_shard", pa.repeat(columns.shard.name, len(rows))
    )


def _write(file: _File, folder: Folder, run: FinishedRun, schema: pa.Schema) -> None:
    columns = file.columns
    images = "image" in schema.names
    kept = np.flatnonzero(columns.read(DECISIONS, ("kept",))["kept"].to_numpy())
    table = _rows(columns, run, kept)
    members = columns.rows(kept, {"members": "ingest"})["members"] if images else None
    features = {"info": {"features": {name: _feature(schema.field(name).type) for name in schema.names}}}
    stamped = schema.with_metadata({_STAMP: file.made_from, b"huggingface": json.dumps(features)})
    compression = {"image.bytes": "none", "image.path": "none"} if images else {}
    others = dict.fromkeys(table.column_names, "zstd")
    with (
        folder.create(file.name) as stream,
        pq.ParquetWriter(
            stream, stamped, compression=compression | others, use_dictionary=["source_shard"]
        ) as writer,
        _opened(columns.shard) if images else contextlib.nullcontext() as tar,
    ):
        for start in range(0, len(kept), _ROWS_AT_ONCE):
            part = table.slice(start, _ROWS_AT_ONCE)
            if members is not None and tar is not None:
                seen = _images(tar, members.slice(start, _ROWS_AT_ONCE), part["key"].to_pylist())
                part = part.add_column(0, "image", seen)
            writer.write_table(part.cast(stamped))


@contextlib.contextmanager
def _opened(shard: Shard) -> Iterator[RangeReader]:
    """Read a shard inside the block that makes a file: where the shard has changed, no file appears."""
    with unchanged(shard), RangeReader(shard.url) as tar:
        yield tar


def _images(tar: RangeReader, members: pa.ChunkedArray, keys: Sequence[str]) -> pa.Array:
    found = [
        {"bytes": tar.read(offset, size), "path": f"{key.rpartition('/')[2]}.{suffix}"}
        for key, ((suffix, offset, size), *_) in zip(keys, byte_ranges(members), strict=True)
    ]
    return pa.array(found, _IMAGE)


def _feature(kind: pa.DataType) -> dict[str, str]:
    return {"_type": "Image"} if kind == _IMAGE else {"dtype": _dtype(kind), "_type": "Value"}


def _dtype(kind: pa.DataType) -> str:
    return _FEATURES.get(kind, str(kind))


def _card(run: FinishedRun, schema: pa.Schema, files: Sequence[_File]) -> str:
    """Return the dataset's card: what `datasets` reads of it, then what people do."""
    config = run.stages.config
    features = [
        {"name": name, "dtype": "image" if kind == _IMAGE else _dtype(kind)}
        for name, kind in zip(schema.names, schema.types, strict=True)
    ]
    n = sum(file.samples for file in files)
    split = {"split": "train", "path": f"data/train-*-of-{len(files):05d}.parquet"}
    head = {
        "pretty_name": config.name,
        "task_categories": ["zero-shot-image-classification", "image-to-text"],
        "tags": ["curate", "image-text"],
        "configs": [{"config_name": "default", "data_files": [split]}],
        "dataset_info": {"features": features, "splits": [{"name": "train", "num_examples": n}]},
    }
    lines = [
        "---",
        yaml.safe_dump(head, sort_keys=False, allow_unicode=True).strip(),
        "---",
        "",
        f"# {config.name}",
        "",
        f"{n:,} image-text pairs that `curate` kept. Each stands here once; `weight` is how often it counts.",
        "",
        "| stage | samples | go on |",
        "|---|--:|--:|",
        *_funnel(run),
        "",
        "```python",
        "from datasets import load_dataset",
        "",
        'pairs = load_dataset("THIS FOLDER", split="train", streaming=True)',
        "```",
        "",
    ]
    return "\n".join(lines)


def _funnel(run: FinishedRun) -> Iterator[str]:
    names = [shard.name for shard in run.shards]
    for stage in run.stages.stages[:-1]:
        stamps = ColumnStore(run.folder).stamps(stage.name, names).values()
        samples, kept = (sum(stamp.tally[what] for stamp in stamps) for what in ("samples", "kept"))
        yield f"| {stage.name} | {samples:,} | {kept:,} |"

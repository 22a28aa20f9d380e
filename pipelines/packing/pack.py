"""Make shards of a source: the same bytes every time, whatever the number of workers and the interruptions.

A shard is made of so many rows of the source, one after another; those that can't be packed leave it smaller.
So no shard depends on another one, and a key says which row of the source a sample was.
"""

from __future__ import annotations

import io
import itertools
import json
import posixpath
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from pipelines.engine import Engine, EngineConfig
from pipelines.errors import ConfigError
from pipelines.failures import stop_when_files_fail
from pipelines.lock import own
from pipelines.output.export import harmless
from pipelines.packing.rows import PackingProblem
from pipelines.packing.sample import SampleReader
from pipelines.packing.shard import STATE, Packer, pack_shard
from pipelines.packing.source import Source
from pipelines.storage import Folder, is_local

Emit = Callable[[dict[str, Any]], None]

VERSION = 1
SUMMARY = "PACK.json"  # there when all of it is
SET_ASIDE = "set_aside.csv"
_OPTIONS = f"{STATE}/options.json"
_LOOKED_AT = 100  # samples, before any work


@dataclass(frozen=True)
class Packed:
    """What became of a source: samples = packed + set aside.

    `passed_over` counts files that are neither images nor captions, by suffix; `new` shards were made now.
    """

    samples: int
    packed: int
    set_aside: dict[str, int]
    passed_over: dict[str, int]
    shards: int
    new: int
    bytes: int


@stop_when_files_fail()
def pack(
    source: Source,
    reader: SampleReader,
    output: Folder,
    *,
    samples_per_shard: int = 10_000,
    workers: int = 1,
    emit: Emit = lambda event: None,
) -> Packed:
    """Make shards of a source in img2dataset's layout, or go on with that.

    Parameters
    ----------
    source, reader
        What to pack, and how its samples are read.
    output
        A folder that is empty, or holds what an earlier call with the same options made.
    samples_per_shard
        Rows of the source that make a shard.
    workers
        Processes; the shards don't depend on it.
    emit
        Called with every event.

    Raises
    ------
    ConfigError
        When the folder holds something else, the source changed since, or not one of the first samples can
        be packed; nothing was overwritten.
    StoppedError
        When a file could not be written; a later call goes on.
    """
    options = _options(source, reader, samples_per_shard)
    _refuse_foreign(output, options)
    _look(source, reader, _inside(output))
    with own(output / STATE):
        output.write(_OPTIONS, json.dumps(options, indent=1).encode())
        output.sweep()
        records = _pack(source, Packer(reader, output, options), samples_per_shard, workers, emit)
        return _finish(output, records, source, options)


def _options(source: Source, reader: SampleReader, samples_per_shard: int) -> dict[str, Any]:
    """Return what decides the shards, besides the source's content."""
    columns = source.columns and {"image": source.columns.image, "caption": source.columns.caption}
    return {
        "version": VERSION,
        "source": [table.name for table in source.tables] or posixpath.basename(source.images),
        "columns": columns,
        "captions": None if columns else reader.captions,
        "samples_per_shard": samples_per_shard,
        "outside": source.outside,
        "limits": reader.limits.model_dump(),
    }


def _refuse_foreign(output: Folder, options: dict[str, Any]) -> None:
    if not output.exists(_OPTIONS):
        if there := [name for name in output.files() if not name.startswith(f"{STATE}/")]:
            raise ConfigError(
                f"{output.url} holds {there[0]} and more, which is not overwritten: name another folder by -o"
            )
        return
    before = json.loads(output.read(_OPTIONS))
    other = sorted(name for name in options if options[name] != before.get(name))
    if other:
        changes = ", ".join(f"{name} was {before.get(name)!r} and is {options[name]!r}" for name in other)
        raise ConfigError(f"{output.url} was packed in another way: {changes}. Name another folder by -o")


def _inside(output: Folder) -> str:
    return output.url if is_local(output.url) else ""


def _look(source: Source, reader: SampleReader, but: str) -> None:
    """Try the first samples; `ConfigError` with what to do when not one of them can be packed."""
    problems = []
    batch = next(source.batches(_LOOKED_AT, but), None)
    for row in batch.rows() if batch else ():
        try:
            reader.read(row)
        except PackingProblem as problem:
            problems.append((row, problem))
        else:
            return
    if not problems:
        raise ConfigError("there is nothing to pack: the table has no rows")
    most = Counter(why.reason for _, why in problems).most_common(1)[0][0]
    row, why = next(each for each in problems if each[1].reason == most)
    raise ConfigError(
        f"not one of the first {len(problems):,} samples can be packed; for example {row.spelled}: {most} "
        f"({why}){_hint(most, source)}"
    )


def _hint(reason: str, source: Source) -> str:
    start = f"Paths start at {source.images}: say where else by --images FOLDER"
    of_tables = {
        "missing_file": start,
        "outside_source": f"{start}, or allow it by --outside",
        "is_a_url": "Download the images first, with img2dataset for instance",
    }
    of_folders = {
        "no_caption": "Take them from the names of folders or images: --captions folder, --captions name",
        "outside_source": "Allow it by --outside",
    }
    hint = (of_folders if source.columns is None else of_tables).get(reason)
    return f". {hint}" if hint else ""


def _pack(
    source: Source, packer: Packer, samples_per_shard: int, workers: int, emit: Emit
) -> list[dict[str, Any]]:
    """Make the shards that are missing; return the record of each, in order."""
    started = time.monotonic()
    emit({"event": "stage", "stage": "pack", "shards": None, "done": 0})
    batches = enumerate(source.batches(samples_per_shard, _inside(packer.output)))
    first = list(itertools.islice(batches, 2))
    config = EngineConfig(workers=workers if workers > 1 and len(first) > 1 else 0, retries=0)
    records = []
    with Engine(config, ["pipelines.packing.shard"], emit) as engine:
        for record in engine.map(partial(pack_shard, packer=packer), itertools.chain(first, batches)):
            if record.get("changed"):
                raise _changed(packer.output, record["name"])
            records.append(record)
            event = {"event": "shard", "stage": "pack", "shard": record["name"], "new": record["new"]}
            emit({**event, **_counts([record])})
    names = {record["name"] for record in records}
    for file in (packer.output / STATE).files():
        if (name := file.removesuffix(".json")).isdigit() and name not in names:
            raise _changed(packer.output, name)
    counts = _counts(records)
    seconds = round(time.monotonic() - started, 3)
    new = sum(record["new"] for record in records)
    emit({"event": "stage_done", "stage": "pack", "seconds": seconds, "new": new, "dropped": {}, **counts})
    return sorted(records, key=lambda record: int(record["name"]))


def _changed(output: Folder, shard: str) -> ConfigError:
    return ConfigError(
        f"{output.path(shard)}.tar was made of other files: the source changed since. "
        "Pack it into another folder by -o; nothing was overwritten"
    )


def _counts(records: list[dict[str, Any]]) -> dict[str, Any]:
    set_aside: Counter[str] = Counter()
    for record in records:
        set_aside.update(record["set_aside"])
    kept = sum(record["packed"] for record in records)
    return {"samples": kept + set_aside.total(), "kept": kept, "set_aside": dict(sorted(set_aside.items()))}


def _finish(output: Folder, records: list[dict[str, Any]], source: Source, options: dict[str, Any]) -> Packed:
    """Write what stands beside the shards; the summary comes last."""
    counts = _counts(records)
    sizes = {f"{record['name']}.tar": record["packed"] for record in records}
    output.write("sizes.json", json.dumps(sizes, indent=1).encode())
    _write_set_aside(output, records)
    passed_over = dict(sorted(source.passed_over.items()))
    done = Packed(
        counts["samples"],
        counts["kept"],
        counts["set_aside"],
        passed_over,
        len(records),
        sum(record["new"] for record in records),
        sum(record["bytes"] for record in records),
    )
    account = {"samples": done.samples, "packed": done.packed, "set_aside": done.set_aside}
    summary = {**account, "passed_over": passed_over, "shards": done.shards, **options}
    output.write(SUMMARY, json.dumps(summary, indent=1).encode())
    return done


def _write_set_aside(output: Folder, records: list[dict[str, Any]]) -> None:
    columns = ("source", "reason", "detail")
    schema = pa.schema([(name, pa.string()) for name in columns])
    with output.create(SET_ASIDE) as stream, pa_csv.CSVWriter(stream, schema) as lines:
        for record in records:
            if record["set_aside"]:
                rows = pq.read_table(io.BytesIO(output.read(f"{record['name']}.parquet")))
                rows = rows.filter(pc.equal(rows["status"], "set_aside"))
                why = pc.split_pattern(rows["error_message"], ": ", max_splits=1)
                parts = [rows["source"], pc.list_element(why, 0), pc.list_element(why, 1)]
                lines.write_table(harmless(pa.table(parts, names=columns)))

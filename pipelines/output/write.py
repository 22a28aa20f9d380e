"""Copy the kept samples, byte for byte, into new shards in img2dataset's layout."""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import IO, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.columns import DECISIONS, fingerprint
from pipelines.output.layout import NewShard, Slice, layout
from pipelines.output.tar_writer import TarWriter
from pipelines.output.versions import MANIFEST, keep
from pipelines.pool.samples import byte_ranges
from pipelines.pool.shards import unchanged
from pipelines.runner import Runner
from pipelines.stage import ShardColumns
from pipelines.storage import Folder, RangeReader

VERSION = 1
_SUFFIXES = (".tar", ".parquet", "_stats.json")
COPIED = ("uid", "caption", "url", "width", "height", "original_width", "original_height", "sha256")


@dataclass(frozen=True)
class Writer:
    """Writes new shards. `sources` says for every column of the new Parquet files which stage made it."""

    run: Folder
    output: Folder
    samples_per_shard: int
    sources: Mapping[str, str]

    def write(self, runner: Runner) -> list[dict[str, Any]]:
        """Write the shards that are missing or were made from other columns; return a record of each."""
        weights = {n: dict(s.tally["weights"]) for n, s in runner.stamps[DECISIONS].items()}
        shards = layout(runner.in_order(), weights, self.samples_per_shard)
        wanted = {shard.name: self._made_from(shard, runner) for shard in shards}
        with ThreadPoolExecutor(16) as pool:
            records = {r["name"]: r for r in pool.map(self._record, wanted) if r}
        done = {name: r for name, r in records.items() if r["made_from"] == wanted[name]}
        missing = [
            (shard, wanted[shard.name], [self._digests(part, runner) for part in shard.slices])
            for shard in shards
            if shard.name not in done
        ]
        started = time.monotonic()
        runner.emit({"event": "stage", "stage": "write", "shards": len(shards), "done": len(done)})
        stale = self._stale({shard.name for shard in shards})
        changing = [*(shard.name for shard, *_ in missing), *stale]
        keep(self.output, [file for name in changing for file in _files(name)])
        if changing:
            self.output.remove(MANIFEST)  # what is about to change is no longer what the manifest says
        for record in runner.engine.map(partial(_write_shard, writer=self), missing):
            done[record["name"]] = record
            event = {"event": "shard", "stage": "write", "shard": record["name"]}
            runner.emit({**event, "samples": record["samples"], "kept": record["samples"]})
        for name in stale:
            for file in _files(name):
                self.output.remove(file)
            self.run.remove(_record_path(name))
        n = sum(shard.n_samples for shard in shards)
        seconds = round(time.monotonic() - started, 3)
        event = {"event": "stage_done", "stage": "write", "seconds": seconds, "new": len(missing)}
        runner.emit({**event, "samples": n, "kept": n, "dropped": {}, "set_aside": {}})
        return [done[shard.name] for shard in shards]

    def _made_from(self, shard: NewShard, runner: Runner) -> str:
        slices = [
            [part.copy, part.first, part.last, part.shard.name, *self._digests(part, runner).values()]
            for part in shard.slices
        ]
        return fingerprint(
            "write", VERSION, dict(self.sources), self.samples_per_shard, self.output.url, slices
        )

    def _digests(self, part: Slice, runner: Runner) -> dict[str, str]:
        """Return what a slice is made of: the digest of its shard's columns, by stage."""
        used = dict.fromkeys([DECISIONS, "ingest", *self.sources.values()])
        return {stage: runner.stamps[stage][part.shard.name].digest for stage in used}

    def _record(self, name: str) -> dict[str, Any] | None:
        """Return what was noted of a finished shard; None when it, or a file of it, is not there."""
        try:
            record: dict[str, Any] = json.loads(self.run.read(_record_path(name)))
        except (FileNotFoundError, ValueError):
            return None
        whole = all(self.output.size(file) == facts["size"] for file, facts in record["files"].items())
        return record if whole else None

    def _stale(self, names: set[str]) -> list[str]:
        """Return the shards of an earlier, larger output of this run, which loaders would read along."""
        there = (path.removesuffix(".json") for path in (self.run / "state/write").files())
        return [name for name in there if name not in names]


def disown(run: Folder, files: Iterable[str]) -> None:
    """Note that files of the output are no longer what the run wrote: it will write them anew."""
    for name in {file.partition(".")[0].removesuffix("_stats") for file in files if file.endswith(_SUFFIXES)}:
        _claim(run, name)
    for file in files:
        run.remove(f"state/published/{file}.json")


def _claim(run: Folder, name: str) -> None:
    """Note that a shard in the output is this run's, whatever becomes of it, and that it is not finished."""
    record = {"name": name, "made_from": "", "samples": 0, "files": {}}
    run.write(_record_path(name), json.dumps(record).encode())


def _files(name: str) -> list[str]:
    """Return the files of a new shard."""
    return [name + suffix for suffix in _SUFFIXES]


def _record_path(name: str) -> str:
    return f"state/write/{name}.json"


def _write_shard(item: tuple[NewShard, str, list[dict[str, str]]], *, writer: Writer) -> dict[str, Any]:
    """Write one new shard and its two side files: what a worker runs."""
    shard, made_from, digests = item
    files: dict[str, Any] = {}
    rows: list[pa.Table] = []
    _claim(writer.run, shard.name)
    with writer.output.create(f"{shard.name}.tar") as stream:
        with HashingStream(stream) as hashing, TarWriter(hashing) as tar:
            for part, wanted in zip(shard.slices, digests, strict=True):
                start = sum(len(table) for table in rows)
                columns = ShardColumns(part.shard, writer.run, wanted)
                rows.append(_copy(part, columns, shard, start, tar, writer))
        files[f"{shard.name}.tar"] = hashing.facts()
    files[f"{shard.name}.parquet"] = _put(writer.output, f"{shard.name}.parquet", _parquet(rows))
    stats = {"count": shard.n_samples, "successes": shard.n_samples}
    stats |= {"failed_to_download": 0, "failed_to_resize": 0}
    name = f"{shard.name}_stats.json"
    files[name] = _put(writer.output, name, json.dumps(stats, indent=4).encode())
    record = {"name": shard.name, "made_from": made_from, "samples": shard.n_samples, "files": files}
    writer.run.write(_record_path(shard.name), json.dumps(record).encode())
    return record


def _copy(
    part: Slice, columns: ShardColumns, shard: NewShard, start: int, tar: TarWriter, writer: Writer
) -> pa.Table:
    """Append a slice's samples to the tar; return their rows for the Parquet file."""
    weight = columns.read(DECISIONS, ("weight",))["weight"].to_numpy()
    rows = np.flatnonzero(weight > part.copy)[part.first : part.last]
    samples = columns.rows(rows, {"members": "ingest", "key": "ingest", **writer.sources})
    keys = [_key(shard, start + n, writer.samples_per_shard) for n in range(len(rows))]
    with unchanged(part.shard), RangeReader(part.shard.url) as source:
        for key, members in zip(keys, byte_ranges(samples["members"]), strict=True):
            for suffix, offset, size in members:
                tar.add(f"{key}.{suffix}", source.read(offset, size))
    copied = {name: samples[name] for name in writer.sources if name != "caption"}
    return pa.table(
        {
            "key": pa.array(keys, pa.string()),
            "caption": samples["caption"],
            **copied,
            "status": pa.repeat("success", len(rows)),
            "source_shard": pa.repeat(part.shard.name, len(rows)),
            "source_key": samples["key"],
        }
    )


def _key(shard: NewShard, index: int, samples_per_shard: int) -> str:
    """Return a key like img2dataset's: the shard's number, then the sample's, in a fixed width."""
    return f"{shard.name}{index:0{len(str(samples_per_shard - 1))}d}"


def _parquet(rows: list[pa.Table]) -> bytes:
    sink = io.BytesIO()
    if rows:
        pq.write_table(pa.concat_tables(rows), sink, compression="zstd")
    return sink.getvalue()


def _put(folder: Folder, name: str, data: bytes) -> dict[str, Any]:
    folder.write(name, data)
    return {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}


class HashingStream:
    """Passes what is written on to another stream; a second thread hashes it meanwhile.

    SHA-256 takes as long as all the rest of writing a shard, and it lets other threads run.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()
        self._size = 0
        self._thread = ThreadPoolExecutor(1)
        self._pending: Future[None] | None = None

    def write(self, data: bytes) -> int:
        """Write bytes."""
        self._wait()
        self._pending = self._thread.submit(self._hash.update, data)
        self._size += len(data)
        return self._stream.write(data)

    def facts(self) -> dict[str, Any]:
        """Return what a manifest says of the file so far."""
        self._wait()
        return {"sha256": self._hash.hexdigest(), "size": self._size}

    def _wait(self) -> None:
        if self._pending is not None:
            self._pending.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._thread.shutdown()

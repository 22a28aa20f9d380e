"""Make one shard: a tar, a Parquet file and its stats in img2dataset's layout, and a record of it."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.columns import fingerprint
from pipelines.output.tar_writer import TarWriter
from pipelines.packing.rows import PackingProblem, Row
from pipelines.packing.sample import SampleReader
from pipelines.packing.source import Batch
from pipelines.storage import Folder

STATE = ".pack"  # the folder of what a later call needs to go on
_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("uid", "key", "caption", "url", "source", "status")),
        ("error_message", pa.string()),
        *((name, pa.int32()) for name in ("width", "height", "original_width", "original_height")),
        ("sha256", pa.string()),
    ]
)


@dataclass(frozen=True)
class Packer:
    """What a worker needs to make any shard; `options` decide what is in it."""

    reader: SampleReader
    output: Folder
    options: dict[str, Any]

    def key(self, shard: str, row: int) -> str:
        """Return a key like img2dataset's: the shard's number, then the row's, in a fixed width."""
        return f"{shard}{row:0{len(str(self.options['samples_per_shard'] - 1))}d}"


def pack_shard(item: tuple[int, Batch], *, packer: Packer) -> dict[str, Any]:
    """Make one shard unless it is there; return its record: what a worker runs.

    A record holds `name`, `packed`, `set_aside` by reason, `bytes` of the tar, and whether it is `new`. It
    holds `changed` alone when the shard is there and was made of other files.
    """
    number, batch = item
    name, output = f"{number:05d}", packer.output
    made_from = fingerprint(packer.options, batch.identity(), _files(batch, packer.reader))
    path = f"{STATE}/{name}.json"
    if output.exists(path):
        before: dict[str, Any] = json.loads(output.read(path))
        if before["made_from"] != made_from:
            return {"name": name, "changed": True}
        if output.size(f"{name}.tar") == before["bytes"]:
            return {**before, "new": False}
    with output.create(f"{name}.tar") as stream:
        with TarWriter(stream) as tar:
            rows = list(_add(tar, batch, packer, name))
        n_bytes = stream.tell()
    set_aside = Counter(row["error_message"].split(":")[0] for row in rows if row["status"] != "success")
    packed = len(rows) - set_aside.total()
    output.write(f"{name}.parquet", _parquet(rows))
    stats: dict[str, Any] = {"count": len(rows), "successes": packed, "failed_to_download": set_aside.total()}
    stats |= {"failed_to_resize": 0, "status_dict": {"success": packed, **dict(sorted(set_aside.items()))}}
    output.write(f"{name}_stats.json", json.dumps(stats, indent=4).encode())
    record = {"name": name, "made_from": made_from, "packed": packed, "set_aside": dict(set_aside)}
    record |= {"bytes": n_bytes}
    output.write(path, json.dumps(record).encode())
    return {**record, "new": True}


def _files(batch: Batch, reader: SampleReader) -> str:
    """Return a hash of the sizes and times of all files that a shard's samples are made of."""
    seen = hashlib.blake2b(digest_size=16)
    for row in getattr(batch, "listed", ()):
        for file in reader.files(row):
            try:
                found = Path(file).stat()
            except (OSError, ValueError):
                seen.update(b"-")
            else:
                seen.update(b"%d %d " % (found.st_size, found.st_mtime_ns))
    return seen.hexdigest()


def _add(tar: TarWriter, batch: Batch, packer: Packer, name: str) -> Iterator[dict[str, Any]]:
    """Append the samples to a tar; yield the row of each in the shard's Parquet file."""
    for n, row in enumerate(batch.rows()):
        key = packer.key(name, n)
        try:
            sample = packer.reader.read(row)
            metadata = orjson.dumps({**sample.facts, "key": key}, default=str)
        except PackingProblem as problem:
            yield _failed(row, key, problem)
        except TypeError as error:  # numbers beyond 64 bits, and whatever else JSON doesn't know
            yield _failed(row, key, PackingProblem("bad_metadata", str(error)))
        else:
            tar.add(f"{key}.{sample.suffix}", sample.image)
            tar.add(f"{key}.json", metadata)
            tar.add(f"{key}.txt", sample.caption.encode())
            yield {**sample.facts, "key": key}


def _failed(row: Row, key: str, problem: PackingProblem) -> dict[str, Any]:
    message = f"{problem.reason}: {problem}"
    return {"key": key, "source": row.spelled, "status": "set_aside", "error_message": message}


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    columns = {f.name: [_fitting(row.get(f.name), f.type) for row in rows] for f in _SCHEMA}
    pq.write_table(pa.table(columns, schema=_SCHEMA), sink, compression="zstd")
    return sink.getvalue()


def _fitting(value: Any, kind: pa.DataType) -> Any:
    """Return a value where it is of a column's type: metadata from elsewhere may hold anything."""
    if kind == pa.string():
        return value if isinstance(value, str) else None
    return value if isinstance(value, int) and 0 <= value < 1 << 31 else None

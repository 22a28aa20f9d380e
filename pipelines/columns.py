"""The column store: one Parquet file per stage and shard, stamped with what it was made from.

A file's `fingerprint` says from which settings and inputs it was made, its `digest` what is in it. A stage's
fingerprint takes the digests of the files it reads, not their fingerprints: a stage that comes out the same
after an edit leaves everything behind it standing.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from pipelines.damage import is_damage, reading
from pipelines.errors import StoppedError
from pipelines.pool.placeholders import frequent_images
from pipelines.storage import Folder

DECISIONS = "decisions"
OUTCOME = ("row", "weight", "reason", "problem", "detail")
_STAMP = b"curate"
_FOOTER_READERS = 16  # footers are small and, on an object store, far away


def fingerprint(*parts: object) -> str:
    """Return a hash of JSON values that is the same on every machine and in every process."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class Stamp:
    """What is written into a column file's schema metadata."""

    fingerprint: str
    digest: str
    tally: dict[str, Any]


def survives(table: pa.Table) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return, for each row, whether the sample goes on: no `problem`, and a `weight` above 0."""
    alive = np.ones(len(table), bool)
    if "problem" in table.column_names:
        alive &= table["problem"].is_null().to_numpy()
    if "weight" in table.column_names:
        alive &= table["weight"].to_numpy() > 0
    return alive


def why_stopped(outcome: pa.Table) -> tuple[pa.Array, pa.Array]:
    """Return the problem of each row of an outcome, and the problem or else the reason; null for none."""
    problem, reason = _texts(outcome, "problem"), _texts(outcome, "reason")
    return problem, pc.coalesce(problem, reason)


def _texts(table: pa.Table, column: str) -> pa.Array:
    """Return a column of texts, null where there is none."""
    if column not in table.column_names:
        return pa.nulls(len(table), pa.string())
    return table[column].combine_chunks()


def tally(table: pa.Table) -> dict[str, Any]:
    """Return how many samples of a table go on, with which weights, are dropped and are set aside.

    Of a pool's samples also the pictures that stand under many captions.
    """
    alive = survives(table)
    weights = (
        table["weight"].to_numpy()[alive] if "weight" in table.column_names else np.ones(alive.sum(), int)
    )
    weight, count = np.unique(weights, return_counts=True)
    found = frequent_images(table)
    return {
        "samples": len(table),
        "kept": int(alive.sum()),
        "weights": [[int(w), int(n)] for w, n in zip(weight, count, strict=True)],
        "dropped": _count(table, "reason"),
        "set_aside": _count(table, "problem"),
        **({"placeholders": found} if found else {}),
    }


def _count(table: pa.Table, column: str) -> dict[str, int]:
    if column not in table.column_names:
        return {}
    counts = pc.value_counts(table[column].drop_null())
    return dict(sorted((item["values"].as_py(), item["counts"].as_py()) for item in counts))


class ColumnStore:
    """The column files of one run folder."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def write(self, stage: str, shard: str, table: pa.Table, made_from: str) -> Stamp:
        """Write one stage's columns of one shard, whole or not at all, and return its stamp."""
        stamp = Stamp(made_from, digest(table), tally(table))
        sink = io.BytesIO()
        metadata = {**(table.schema.metadata or {}), _STAMP: json.dumps(stamp.__dict__)}
        vectors = [field.name for field in table.schema if pa.types.is_fixed_size_list(field.type)]
        # Numbers of vectors hardly repeat: a dictionary of them would make reading four times as slow.
        repeating = [name for name in table.column_names if name not in vectors] if vectors else True
        pq.write_table(
            table.replace_schema_metadata(metadata),
            sink,
            compression="zstd",
            use_dictionary=repeating,
            write_page_checksum=True,
        )
        self._folder.write(_path(stage, shard), sink.getvalue())
        return stamp

    def read(
        self, stage: str, shard: str, columns: Sequence[str] | None = None, wanted: str | None = None
    ) -> pa.Table:
        """Return one stage's columns of one shard, in row order.

        Raises
        ------
        StoppedError
            When the file is damaged, or its digest is not the one that is wanted.
        """
        with self._opened(stage, shard, wanted) as file:
            return file.read(columns=list(columns) if columns is not None else None)

    def outcome(self, stage: str, shard: str, wanted: str | None = None) -> pa.Table:
        """Return `row` and those of `weight`, `reason`, `problem` and `detail` that a stage wrote."""
        with self._opened(stage, shard, wanted) as file:
            return file.read(columns=[name for name in OUTCOME if name in file.schema_arrow.names])

    @contextlib.contextmanager
    def _opened(self, stage: str, shard: str, wanted: str | None) -> Iterator[pq.ParquetFile]:
        name = _path(stage, shard)
        try:
            with (
                self._folder.open(name) as stream,
                pq.ParquetFile(stream, page_checksum_verification=True) as file,
            ):
                stamp = _stamp_of(file.schema_arrow)
                if wanted is not None and (stamp is None or stamp.digest != wanted):
                    raise StoppedError(
                        f"{self._folder.path(name)} changed during the run, perhaps by a worker that an "
                        "earlier run left behind; run again to go on from here"
                    )
                yield file
        except Exception as error:
            if not is_damage(error):
                raise
            raise StoppedError(
                f"{self._folder.path(name)} is damaged ({error}); remove it and run again"
            ) from error

    def read_plain(self, stage: str, shard: str) -> pa.Table:
        """Return all that a stage wrote of one shard but vectors and other lists."""
        with self._opened(stage, shard, None) as file:
            plain = [field.name for field in file.schema_arrow if not pa.types.is_nested(field.type)]
            return file.read(columns=plain)

    def stamp(self, stage: str, shard: str) -> Stamp | None:
        """Return the stamp of a column file; None when it is missing, damaged or not ours."""
        try:
            with self._folder.open(_path(stage, shard)) as stream, reading(_path(stage, shard)):
                return _stamp_of(pq.read_schema(stream))
        except (FileNotFoundError, StoppedError):
            return None

    def stamps(self, stage: str, shards: Iterable[str]) -> dict[str, Stamp]:
        """Return the stamps of all of a stage's files that are there."""
        names = list(shards)
        with ThreadPoolExecutor(_FOOTER_READERS) as pool:
            found = zip(names, pool.map(lambda name: self.stamp(stage, name), names), strict=True)
            return {name: stamp for name, stamp in found if stamp is not None}


def _stamp_of(schema: pa.Schema) -> Stamp | None:
    try:
        return Stamp(**json.loads((schema.metadata or {})[_STAMP]))
    except (KeyError, ValueError, TypeError):
        return None


def _path(stage: str, shard: str) -> str:
    # People read the decisions, so they lie where people look.
    folder = stage if stage == DECISIONS else f"columns/{stage}"
    return f"{folder}/{shard}.parquet"


def digest(table: pa.Table) -> str:
    """Return a hash of a table's schema and values."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return bytes_digest(memoryview(sink.getvalue()))


def bytes_digest(data: bytes | memoryview) -> str:
    """Return a hash of bytes."""
    return xxhash.xxh3_128_hexdigest(data)

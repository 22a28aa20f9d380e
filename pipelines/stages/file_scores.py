"""Scores from the user's own Parquet files, joined to the pool in memory that does not grow with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash
from numpy.typing import NDArray

from pipelines.columns import OUTCOME, digest, fingerprint
from pipelines.errors import ConfigError, StoppedError
from pipelines.regroup import read_group, write_groups
from pipelines.score_config import FileScores
from pipelines.shards import expand
from pipelines.stage import Pool, ShardColumns, Stage
from pipelines.storage import Folder, filesystem
from pipelines.tables import checked_uids, footer, require_numbers

if TYPE_CHECKING:
    from pipelines.plan import Plan

ROWS_PER_PART = 1_000_000
_ROWS_AT_ONCE = 1_000_000
_READERS = 16


@dataclass(frozen=True)
class FileScoresStage(Stage):
    """Writes the scores that files give to samples; null where they give none.

    Rows of the files and samples of the pool are shuffled by a hash of what they are joined on into parts of
    about a million. Each part is joined by itself, and a shard picks its own rows out of every part.
    `rows` is how many the files have, `made_of` a hash of their names, sizes and times.
    """

    stage_name: str
    config: FileScores
    gate: str
    rows: int
    made_of: str
    rows_per_part: int = ROWS_PER_PART

    @property
    def name(self) -> str:
        """As the plan named it."""
        return self.stage_name

    @property
    def reads(self) -> tuple[str, ...]:
        """The gate, and the stage with what samples are known by."""
        return tuple(dict.fromkeys([self.gate, "ingest"]))

    def settings(self) -> Mapping[str, Any]:
        """Return the columns, what they are joined on, and which files they come from."""
        return {"columns": self.config.columns, "match": self.config.match, "files": self.made_of}

    def summarize(self, pool: Pool) -> Any:
        """Join part by part; return where the scores lie, and a hash of each part's."""
        tables = expand(self.config.source, suffix=".parquet")
        n_parts = max(1, -(-max(self.rows, pool.n_survivors[self.gate]) // self.rows_per_part))
        urls = [table.url for table in tables]
        deal = partial(self._deal_rows, folder=pool.workspace, n_parts=n_parts)
        written = dict(pool.run_tasks(deal, enumerate(urls)))
        given = [name for number in range(len(urls)) for name in written[number]]
        ask = partial(self._deal_samples, folder=pool.workspace, n_parts=n_parts)
        list(pool.map_shards(ask))
        asked = [_asked(shard.name) for shard in pool.shards]
        join = partial(self._join, folder=pool.workspace, given=given, asked=asked, urls=urls)
        found = {part: facts for part, *facts in pool.run_tasks(join, range(n_parts))}
        for name in [*given, *asked]:
            pool.workspace.remove(name)
        matched = sum(n for n, _ in found.values())
        if not matched:
            raise StoppedError(
                f"{self.name}: none of {pool.n_survivors[self.gate]:,} samples has a row in "
                f"{', '.join(self.config.source)}: are the {self.config.theirs!r} there the samples' "
                f"{self.config.ours!r}?"
            )
        digests = [found[part][1] for part in range(n_parts)]
        return {"scores": pool.workspace.url, "matched": matched, "rows": self.rows, "digests": digests}

    def _deal_rows(self, item: tuple[int, str], *, folder: Folder, n_parts: int) -> tuple[int, list[str]]:
        """Write a file's rows by part, about a million at a time; return the names of what was written."""
        number, url = item
        names: list[str] = []
        first = 0
        fs, path = filesystem(url)
        columns = list(dict.fromkeys([self.config.theirs, *self.config.columns.values()]))
        with fs.open(path, "rb") as stream, pq.ParquetFile(stream) as file:
            for batch in file.iter_batches(_ROWS_AT_ONCE, columns=columns):
                names.append(f"given/{number:06d}-{len(names):05d}.arrow")
                key = self._keys(batch[self.config.theirs], url, first)
                values = {
                    ours: batch[theirs].cast(pa.float32(), safe=False)
                    for ours, theirs in self.config.columns.items()
                }
                table = pa.table({_KEY: key, _FILE: pa.array([number] * len(batch), pa.int32()), **values})
                table = table.filter(key.is_valid())
                write_groups(folder, names[-1], table, _part_of(table[_KEY], n_parts), n_parts)
                first += len(batch)
        return number, names

    def _deal_samples(self, columns: ShardColumns, *, folder: Folder, n_parts: int) -> None:
        table = columns.survivors(self.gate, {self.config.ours: "ingest"})
        key = self._keys(table[self.config.ours].combine_chunks(), columns.shard.name, 0)
        asked = pa.table({_KEY: key, "row": table["row"]}).filter(key.is_valid())
        write_groups(folder, _asked(columns.shard.name), asked, _part_of(asked[_KEY], n_parts), n_parts)

    def _keys(self, column: pa.Array, where: str, first: int) -> pa.Array:
        """Return what is joined on as 16 bytes: a uid's own, or a hash of a text."""
        if self.config.ours == "uid":
            data = bytes.fromhex("".join(checked_uids(column, where, first).to_pylist()))
            return _fixed(data, None)
        texts = column.cast(pa.string()).to_pylist()
        hashes = (xxhash.xxh3_128_digest(text.encode()) if text is not None else bytes(16) for text in texts)
        return _fixed(b"".join(hashes), column.is_valid())

    def _join(
        self, part: int, *, folder: Folder, given: Sequence[str], asked: Sequence[str], urls: Sequence[str]
    ) -> tuple[int, int, str]:
        """Write the scores of a part's samples, sorted by shard; return the part, how many, and a hash."""
        rows = pa.concat_tables(table for _, table in read_group(folder, given, [part])).combine_chunks()
        rows = rows.take(self._first_of_each(rows, urls))
        groups = list(read_group(folder, asked, [part]))
        samples = pa.concat_tables(table for _, table in groups)
        names = pa.array([_shard_of(name) for name, _ in groups])
        number = np.repeat(np.arange(len(groups)), [len(table) for _, table in groups])
        place = pc.index_in(samples[_KEY].combine_chunks(), value_set=rows[_KEY].combine_chunks())
        there = place.is_valid()
        own = {score: rows[score].take(place.filter(there)) for score in self.config.columns}
        shard = names.take(pa.array(number).filter(there))
        found = pa.table({"shard": shard, "row": samples["row"].filter(there), **own}).combine_chunks()
        with folder.create(_found(part)) as stream:
            pq.write_table(found, stream, row_group_size=20_000)
        return part, len(found), digest(found)

    def _first_of_each(self, rows: pa.Table, urls: Sequence[str]) -> pa.Array:
        """Return the place of the first row of every key; `StoppedError` where another row contradicts it."""
        key = rows[_KEY].combine_chunks()
        first = pc.index_in(key, value_set=key).to_numpy()
        again = np.flatnonzero(first != np.arange(len(first)))
        for score in self.config.columns:
            values = rows[score].to_numpy()
            a, b = values[first[again]], values[again]
            differs = (a != b) & ~(np.isnan(a) & np.isnan(b))
            if differs.any():
                place = int(again[differs.argmax()])
                raise self._contradiction(score, rows.take([int(first[place]), place]), urls)
        return pa.array(np.flatnonzero(first == np.arange(len(first))))

    def _contradiction(self, score: str, two: pa.Table, urls: Sequence[str]) -> StoppedError:
        what = f"uid {two[_KEY][0].as_py().hex()}" if self.config.ours == "uid" else self.config.ours
        (a, b), (x, y) = two[score].to_pylist(), (urls[number] for number in two[_FILE].to_pylist())
        return StoppedError(
            f"{self.name}: the same {what} has the {score} {a} in {x} and {b} in {y}: leave one of them"
        )

    def compute(self, columns: ShardColumns, summary: Any) -> pa.Table:
        """Return the scores of every sample that comes through the gate."""
        rows = columns.survivors(self.gate, {})["row"]
        folder = Folder(summary["scores"])
        own = pa.concat_tables(
            _of_shard(folder, part, columns.shard.name) for part in range(len(summary["digests"]))
        )
        place = pc.index_in(rows.combine_chunks(), value_set=own["row"].combine_chunks())
        return pa.table({"row": rows, **{score: own[score].take(place) for score in self.config.columns}})


_KEY, _FILE = "joined on", "from file"  # beside scores, whose names have no blanks


def _fixed(data: bytes, valid: pa.Array | None) -> pa.Array:
    n = len(data) // 16
    keys = pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), n, [None, pa.py_buffer(data)])
    return keys if valid is None else pc.if_else(valid, keys, pa.scalar(None, pa.binary(16)))


def _part_of(key: pa.ChunkedArray, n_parts: int) -> NDArray[np.int64]:
    """Return a part for every key; uids may count up, so both halves are mixed."""
    whole = key.combine_chunks()
    data = whole.buffers()[1] if len(whole) else b""
    halves = np.frombuffer(data, np.uint64).reshape(-1, 2)[whole.offset : whole.offset + len(whole)]
    mixed = (halves[:, 0] ^ (halves[:, 1] * np.uint64(0x9E3779B97F4A7C15))) * np.uint64(0xD6E8FEB86659FD93)
    return ((mixed >> np.uint64(32)) % np.uint64(n_parts)).astype(np.int64)


def _asked(shard: str) -> str:
    return f"asked/{shard}.arrow"


def _shard_of(name: str) -> str:
    return name.removeprefix("asked/").removesuffix(".arrow")


def _found(part: int) -> str:
    return f"{part:05d}.parquet"


def _of_shard(folder: Folder, part: int, shard: str) -> pa.Table:
    with folder.open(_found(part)) as stream:
        return pq.read_table(stream, filters=[("shard", "==", shard)])


def plan_file_scores(plan: Plan, parameters: FileScores, where: str) -> None:
    """Add scores from files to a plan, once the files are known to hold them."""
    for name in parameters.columns:
        plan.refuse_taken(name, where)
        if name in OUTCOME:
            raise ConfigError(f"{where}: a score can't be called {name!r}: stages use that name")
    plan.require_columns([parameters.ours], where)
    tables = expand(parameters.source, suffix=".parquet")
    with ThreadPoolExecutor(_READERS) as pool:
        sizes = list(pool.map(lambda table: _look(table.url, parameters, where), tables))
    made_of = fingerprint([[table.name, table.size, table.version] for table in tables])
    stage = FileScoresStage(plan.unused_name("scores"), parameters, plan.last, sum(sizes), made_of)
    plan.add(stage, scores=list(parameters.columns))


def _look(url: str, parameters: FileScores, where: str) -> int:
    """Return the number of a file's rows; `ConfigError` when a column is not there."""
    n_rows, schema = footer(url)
    if parameters.theirs not in schema.names:
        raise ConfigError(
            f"{where}: {url} has no column {parameters.theirs!r} to join on; its columns are "
            f"{', '.join(schema.names)}. Write match: {{{parameters.ours}: ITS NAME}}, or match key or url"
        )
    require_numbers(parameters.columns.values(), url, schema, f"{where}: columns")
    return n_rows

"""Scores from the user's own Parquet files, joined to the pool in memory that does not grow with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

from pipelines.blocks import Blocks
from pipelines.columns import OUTCOME, fingerprint
from pipelines.damage import open_parquet
from pipelines.errors import ConfigError, StoppedError
from pipelines.plan import Plan
from pipelines.pool.shards import expand
from pipelines.pool.tables import checked_uids, footer, require_numbers
from pipelines.regroup import keys_of, read_group, write_groups
from pipelines.score_config import FileScores
from pipelines.stage import NamedStage, Pool, ShardColumns
from pipelines.storage import Folder

ROWS_PER_PART = 1_000_000
_ROWS_AT_ONCE = 1_000_000
_READERS = 16


@dataclass(frozen=True)
class FileScoresStage(NamedStage):
    """Writes the scores that files give to samples; null where they give none.

    Rows of the files and samples of the pool are shuffled by a hash of what they are joined on into parts of
    about a million. Each part is joined by itself; what is found goes back to the shards by blocks. `rows` is
    how many the files have, `made_of` a hash of their names, sizes and times.
    """

    anew: ClassVar[bool] = True

    config: FileScores
    gate: str
    rows: int
    made_of: str
    rows_per_part: int = ROWS_PER_PART

    @property
    def reads(self) -> tuple[str, ...]:
        """The gate, and the stage with what samples are known by."""
        return tuple(dict.fromkeys([self.gate, "ingest"]))

    @property
    def version(self) -> int:
        """2: scores lie in blocks."""
        return 2

    def settings(self) -> Mapping[str, Any]:
        """Return the columns, what they are joined on, and which files they come from."""
        return {"columns": self.config.columns, "match": self.config.match, "files": self.made_of}

    def lasting_settings(self) -> Mapping[str, Any]:
        """Return the settings without the files: those of new shards come with new files."""
        return {name: value for name, value in self.settings().items() if name != "files"}

    def summarize(self, pool: Pool) -> Any:
        """Join part by part; return where the scores lie, and a hash of each block."""
        n_samples = pool.n_survivors[self.gate]
        blocks = Blocks.of(pool.workspace, n_samples, self.rows_per_part)
        matched, found = self._join_pool(pool, blocks)
        digests = blocks.gather(found, pool.run_tasks)
        if not matched:
            raise StoppedError(
                f"{self.name}: none of {n_samples:,} samples has a row in {', '.join(self.config.source)}: "
                f"are the {self.config.theirs!r} there the samples' {self.config.ours!r}?"
            )
        return {"scores": pool.place, "matched": matched, "rows": self.rows, "digests": digests}

    def _join_pool(self, pool: Pool, blocks: Blocks) -> tuple[int, list[str]]:
        """Write the scores of all samples, part by part; return how many have some, and the files' names."""
        folder = pool.workspace
        n_parts = max(1, -(-max(self.rows, pool.n_survivors[self.gate]) // self.rows_per_part))
        urls = [table.url for table in expand(self.config.source, suffix=".parquet")]
        deal = partial(self._deal_rows, folder=folder, n_parts=n_parts)
        written = dict(pool.run_tasks(deal, enumerate(urls)))
        given = [name for number in range(len(urls)) for name in written[number]]
        list(pool.map_shards(partial(self._deal_samples, folder=folder, n_parts=n_parts)))
        asked = [_asked(shard.name) for shard in pool.shards]
        join = partial(self._join, folder=folder, given=given, asked=asked, urls=urls, blocks=blocks)
        matched = sum(pool.run_tasks(join, range(n_parts)))
        for name in [*given, *asked]:
            folder.remove(name)
        return matched, [_found(part) for part in range(n_parts)]

    def _deal_rows(self, item: tuple[int, str], *, folder: Folder, n_parts: int) -> tuple[int, list[str]]:
        """Write a file's rows by part, about a million at a time; return the names of what was written."""
        number, url = item
        names: list[str] = []
        first = 0
        columns = list(dict.fromkeys([self.config.theirs, *self.config.columns.values()]))
        with open_parquet(url) as file:
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
            return keys_of(data)
        texts = column.cast(pa.string()).to_pylist()
        hashes = (xxhash.xxh3_128_digest(text.encode()) if text is not None else bytes(16) for text in texts)
        return pc.if_else(column.is_valid(), keys_of(b"".join(hashes)), pa.scalar(None, pa.binary(16)))

    def _join(
        self,
        part: int,
        *,
        folder: Folder,
        given: Sequence[str],
        asked: Sequence[str],
        urls: Sequence[str],
        blocks: Blocks,
    ) -> int:
        """Write the scores of a part's samples; return how many have some."""
        rows = pa.concat_tables(table for _, table in read_group(folder, given, [part])).combine_chunks()
        rows = rows.take(self._first_of_each(rows, urls))
        groups = list(read_group(folder, asked, [part]))
        samples = pa.concat_tables(table for _, table in groups)
        names = pa.array([_shard_of(name) for name, _ in groups])
        number = np.repeat(np.arange(len(groups)), [len(table) for _, table in groups])
        place = pc.index_in(samples[_KEY].combine_chunks(), value_set=rows[_KEY].combine_chunks())
        there = place.is_valid()
        own = {score: rows[score].take(place.filter(there)) for score in self.config.columns}
        shard = names.take(pa.array(number[there.to_numpy(zero_copy_only=False)]))
        found = pa.table({"shard": shard, "row": samples["row"].filter(there), **own})
        blocks.write(_found(part), found)
        return len(found)

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
        blocks = Blocks(columns.run / summary["scores"], len(summary["digests"]))
        own = blocks.read(columns.shard.name)
        place = pc.index_in(rows.combine_chunks(), value_set=own["row"].combine_chunks())
        return pa.table({"row": rows, **{score: own[score].take(place) for score in self.config.columns}})


_KEY, _FILE = "joined on", "from file"  # beside scores, whose names have no blanks


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
    return f"found/{part:05d}.arrow"


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

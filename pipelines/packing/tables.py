"""Tables of paths and captions, row by row: CSV, TSV, JSON lines; and Parquet, which may hold the images."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow.parquet as pq

from pipelines.errors import ConfigError
from pipelines.packing.columns import Columns, bad_row
from pipelines.packing.rows import Row
from pipelines.pool.samples import parse_json
from pipelines.pool.tables import footer
from pipelines.pool.vectors import row_groups

TEXT_TABLES = {".csv": "CSV", ".tsv": "TSV", ".jsonl": "JSON lines", ".ndjson": "JSON lines"}
TABLES = {**TEXT_TABLES, ".parquet": "Parquet"}
_MAX_LINE = 16 << 20
_BATCH_ROWS = 64  # each may hold an image


def column_names(table: Path) -> list[str]:
    """Return the names of a table's columns; of JSON lines, the keys of the first.

    Raises
    ------
    ConfigError
        When there are none to be read.
    """
    if table.suffix.lower() == ".parquet":
        return list(footer(str(table))[1].names)
    with _opened(table) as stream:
        if TABLES[table.suffix.lower()] == "JSON lines":
            first = next(_objects(table.name, stream), None)
            if first is None or not isinstance(first[1], dict):
                raise ConfigError(f"{table}: the first line should be a JSON object")
            return list(first[1])
        names = next(_csv(table, stream), None)
    if not names or not any(names):
        raise ConfigError(f"{table} is empty: the first line should name the columns")
    return names


def text_rows(table: Path, columns: Columns) -> Iterator[Row]:
    """Yield the rows of a CSV, TSV or file of JSON lines; those that can't be read have a problem."""
    with _opened(table) as stream:
        if TABLES[table.suffix.lower()] == "JSON lines":
            for number, found in _objects(table.name, stream):
                yield columns.row(table.name, number, found) if isinstance(found, dict) else found
            return
        lines = _csv(table, stream)
        names = next(lines, [])
        for number in itertools.count(1):
            try:
                values = next(lines, None)
            except csv.Error as error:
                yield bad_row(table.name, number, "bad_row", str(error))
                continue
            if values is None:
                return
            if values:  # a blank line is no row
                yield _checked(table.name, number, names, values, columns)


def _checked(table: str, number: int, names: list[str], values: list[str], columns: Columns) -> Row:
    if len(values) != len(names):
        detail = f"{len(values)} values for {len(names)} columns"
        return bad_row(table, number, "bad_row", detail)
    found: dict[str, Any] = dict(zip(names, values, strict=True))
    for name, value in found.items():
        if not value.isascii() and not _is_unicode(value):
            what = "caption_not_utf8" if name == columns.caption else "bad_row"
            return bad_row(table, number, what, f"column {name!r} is not UTF-8: {value[:80]!a}")
    return columns.row(table, number, found)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _opened(table: Path) -> IO[str]:
    try:
        with table.open("rb") as stream:
            if stream.read(2) in (b"\xff\xfe", b"\xfe\xff"):
                raise ConfigError(f"{table} is UTF-16: save it as UTF-8")
        return table.open(encoding="utf-8-sig", errors="surrogateescape", newline="")
    except OSError as error:
        raise ConfigError(f"{table} can't be read: {error.strerror}") from None


def _csv(table: Path, stream: IO[str]) -> Iterator[list[str]]:
    """Return the lines of a CSV, told apart by whichever of `,`, `;`, tab and `|` its first line has most."""
    csv.field_size_limit(_MAX_LINE)
    first = stream.readline()
    stream.seek(0)
    signs = "\t" if TABLES[table.suffix.lower()] == "TSV" else ",;\t|"
    return csv.reader(stream, delimiter=max(signs, key=first.count))


def _objects(table: str, stream: IO[str]) -> Iterator[tuple[int, dict[str, Any] | Row]]:
    """Yield the number and the object of each line, or a row with what is wrong with it."""
    for number in itertools.count(1):
        line = stream.readline(_MAX_LINE)
        if not line:
            return
        if len(line) == _MAX_LINE:
            while (rest := stream.readline(_MAX_LINE)) and not rest.endswith("\n"):
                pass
            yield number, bad_row(table, number, "bad_row", f"a line longer than {_MAX_LINE:,} characters")
            continue
        if not line.strip():
            continue
        try:
            found = parse_json(line.encode())
        except (ValueError, TypeError, RecursionError) as error:
            yield number, bad_row(table, number, "bad_row", f"no JSON: {error}"[:200])
            continue
        is_object = isinstance(found, dict)
        yield number, found if is_object else bad_row(table, number, "bad_row", "the line is no JSON object")


@dataclass(frozen=True, slots=True)
class ParquetRows:
    """The rows of a shard in Parquet files: (file, first row, last row (exclusive)) of each."""

    parts: tuple[tuple[str, int, int], ...]
    columns: Columns

    def rows(self) -> Iterator[Row]:
        """Yield them, a few rows of a file in memory at a time."""
        for file, first, last in self.parts:
            yield from self._part(Path(file), first, last)

    def _part(self, file: Path, first: int, last: int) -> Iterator[Row]:
        with pq.ParquetFile(file) as table:
            groups, number = row_groups(table, first, last)
            for batch in table.iter_batches(_BATCH_ROWS, row_groups=groups):
                start = max(0, first - number)
                wanted = batch.slice(start, max(0, last - number - start))
                for place, values in enumerate(wanted.to_pylist(), number + start + 1):
                    yield self.columns.row(file.name, place, values)
                number += len(batch)

    def identity(self) -> list[Any]:
        """Return what they are: places, sizes and modification times of the files."""
        found = [(file, first, last, Path(file).stat()) for file, first, last in self.parts]
        return [[Path(file).name, a, b, at.st_size, at.st_mtime_ns] for file, a, b, at in found]

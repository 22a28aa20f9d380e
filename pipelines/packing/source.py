"""What is to be packed: images below a folder, or the rows of tables; cut into what makes a shard each."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.errors import ConfigError
from pipelines.packing.columns import Columns, guess, holds_images
from pipelines.packing.rows import ListedRows, Row
from pipelines.packing.tables import TABLES, ParquetRows, column_names, text_rows
from pipelines.packing.walk import first_images, images_below
from pipelines.pool.tables import footer

Batch = ListedRows | ParquetRows


@dataclass(frozen=True)
class Source:
    """What is to be packed.

    Attributes
    ----------
    images
        The folder where the images' relative paths start, links resolved.
    tables
        The tables, all of one kind; empty where images are to be found below the folder.
    columns
        Which of the tables' columns are what.
    outside
        Whether images may lie outside the folder, by links, `..` or absolute paths.
    passed_over
        Counts what was found and is neither image nor caption, by suffix.
    """

    images: str
    tables: tuple[Path, ...] = ()
    columns: Columns | None = None
    outside: bool = False
    passed_over: Counter[str] = field(default_factory=Counter)

    def batches(self, rows_per_batch: int, but: str = "") -> Iterator[Batch]:
        """Yield the rows of each shard, in the one order that they have; `but` is a folder to leave out."""
        if self.tables and self.tables[0].suffix.lower() == ".parquet":
            yield from self._parquet(rows_per_batch)
            return
        rows = self._rows(but)
        while listed := tuple(itertools.islice(rows, rows_per_batch)):
            yield ListedRows(listed)

    def _rows(self, but: str) -> Iterator[Row]:
        if self.columns is None:
            self.passed_over.clear()
            found = images_below(self.images, self.passed_over, follow_links=self.outside, but=but)
            yield from (Row(path, path) for path in found)
            return
        for table in self.tables:
            yield from text_rows(table, self.columns)

    def _parquet(self, rows_per_batch: int) -> Iterator[ParquetRows]:
        assert self.columns is not None
        parts: list[tuple[str, int, int]] = []
        room = rows_per_batch
        for table in self.tables:
            n_rows, first = footer(str(table))[0], 0
            while first < n_rows:
                last = min(n_rows, first + room)
                parts.append((str(table), first, last))
                room, first = room - (last - first), last
                if not room:
                    yield ParquetRows(tuple(parts), self.columns)
                    parts, room = [], rows_per_batch
        if parts:
            yield ParquetRows(tuple(parts), self.columns)


def open_source(
    place: str | Path,
    *,
    images: str | Path | None = None,
    image_column: str | None = None,
    caption_column: str | None = None,
    outside: bool = False,
) -> Source:
    """Look at what is to be packed.

    Parameters
    ----------
    place
        A folder with images below it, a table of paths and captions, or a folder of Parquet files.
    images
        Where a table's relative paths start; without it, where the table lies.
    image_column, caption_column
        What the table's columns are called, where the usual names don't tell.
    outside
        Whether images may lie outside the folder.

    Raises
    ------
    ConfigError
        When it is neither, or its columns can't be told.
    """
    path = Path(place)
    if not path.exists():
        hint = "; only files on this machine's disks can be packed" if "://" in str(place) else ""
        raise ConfigError(f"{place} does not exist{hint}")
    tables = [path] if path.is_file() else tables_with_images(path)
    if not tables:
        for option, given in (("--image-column", image_column), ("--caption-column", caption_column)):
            if given is not None:
                raise ConfigError(f"{option} goes with a table, and {place} is a folder without one")
        if not first_images(str(path), 1):
            hint = "; shards need no packing: curate init" if next(path.glob("*.tar"), None) else ""
            raise ConfigError(f"there is no image (.jpg, .jpeg, .png, .webp) below {place}{hint}")
        return Source(os.path.realpath(path), outside=outside)
    if tables[0].suffix.lower() not in TABLES:
        raise ConfigError(
            f"{place} is none of what can be packed: a folder, or a table ({', '.join(TABLES)})"
        )
    names = column_names(tables[0])
    for table in tables[1:]:
        if column_names(table) != names:
            raise ConfigError(f"{table} has other columns than {tables[0]}: pack them one by one")
    columns = guess(names, str(tables[0]), image_column, caption_column)
    root = os.path.realpath(images or tables[0].parent)
    if not Path(root).is_dir():
        raise ConfigError(f"--images: {images} is no folder")
    return Source(root, tuple(tables), columns, outside)


def tables_with_images(folder: Path) -> list[Path]:
    """Return a folder's Parquet files, sorted, where the first one holds images, not paths; else none."""
    tables = sorted(path for path in folder.glob("*.parquet") if path.is_file())
    if not tables:
        return []
    schema = footer(str(tables[0]))[1]
    binary = [f.name for f in schema if "binary" in str(f.type)]
    return tables if holds_images(binary) else []

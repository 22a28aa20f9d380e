"""Vectors that a pool brings along: columns of a Parquet file, arrays of an .npz, or .npy files."""

from __future__ import annotations

import itertools
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipelines.damage import open_parquet, reading
from pipelines.errors import ConfigError, StoppedError
from pipelines.pool.shards import Info, VectorFile, facts
from pipelines.storage import filesystem

_PRESETS = {
    "datacomp:b32": ("b32_img", "b32_txt"),
    "datacomp:l14": ("l14_img", "l14_txt"),
    "clip-retrieval": ("img_emb", "text_emb"),
}
_SKIP_BYTES = 8 << 20
MOST_WIDTH = 65_536  # of vectors; a header that says more is damaged, and would have memory set aside


class StoredVectors(BaseModel):
    """An encoder that has done its work already: what the pool calls its vectors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    image: str | None = Field(None, description="a column, an array of the .npz, or a folder of .npy files")
    text: str | None = Field(None, description="the same for captions")

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, given: Any) -> Any:
        if not isinstance(given, str):
            return given
        if given not in _PRESETS:
            raise ValueError(
                f"there is no {given!r}; there are {', '.join(_PRESETS)}, or name image and text"
            )
        return dict(zip(("image", "text"), _PRESETS[given], strict=True))

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.names:
            raise ValueError("give image, text or both: what the pool calls these vectors")
        return self

    @property
    def names(self) -> dict[str, str]:
        """What the pool calls the vectors of `image` and `text`, as far as it has them."""
        return {kind: name for kind in ("image", "text") if (name := getattr(self, kind)) is not None}


def find_vectors(name: str, table: str, schema: pa.Schema, listing: Mapping[str, Info]) -> VectorFile:
    """Return where a Parquet file's rows have the vectors of a name.

    Parameters
    ----------
    name
        A column; or an array of the .npz with the same stem; or a folder beside the Parquet file's own, in
        which img_emb/img_emb_3.npy belongs to metadata/metadata_3.parquet, as clip-retrieval writes them.
    table
        Path or URL of the Parquet file.
    schema
        Its columns.
    listing
        File information by path or URL, of the folders in question.

    Raises
    ------
    ConfigError
        When it is in none of these places.
    """
    if name in schema.names:
        kind = schema.field(name).type
        if not _is_list(kind) or not pa.types.is_floating(kind.value_type):
            raise ConfigError(f"{table}: {name!r} holds {kind}, and vectors are lists of floats")
        return VectorFile(name, "column", table, *facts(listing[table]))
    archive = table.removesuffix(".parquet") + ".npz"
    arrays = _arrays(archive) if archive in listing else []
    if name in arrays:
        return VectorFile(name, "npz", archive, *facts(listing[archive]))
    file = npy_beside(table, name)
    if file in listing:
        return VectorFile(name, "npy", file, *facts(listing[file]))
    there = f"which holds {', '.join(arrays)}" if arrays else "which is not there"
    raise ConfigError(
        f"{table} has no vectors {name!r}: they are no column of it, nor in {archive} ({there}), nor in the "
        f"folder {file.rpartition('/')[0]}. Fetch what is missing, or leave the Parquet file out"
    )


def npy_beside(table: str, name: str) -> str:
    """Return the .npy of a name that belongs to a Parquet file in clip-retrieval's layout."""
    folder, _, file = table.rpartition("/")
    parent, _, own = folder.rpartition("/")
    stem = file.removesuffix(".parquet")
    return f"{parent}/{name}/{name}{stem.removeprefix(own)}.npy"


def _arrays(archive: str) -> list[str]:
    fs, path = filesystem(archive)
    with reading(archive, ConfigError), fs.open(path, "rb") as stream, zipfile.ZipFile(stream) as file:
        return [member.removesuffix(".npy") for member in file.namelist()]


def width_of(file: VectorFile, n_rows: int) -> int | None:
    """Return the width of the vectors; None for a column whose footer doesn't tell.

    Raises
    ------
    ConfigError
        When they are not one vector for each of the Parquet file's `n_rows` rows.
    """
    if file.kind == "column":
        return _column_width(file)
    with reading(_where(file), ConfigError), _opened(file) as (_, shape, dtype):
        pass
    where = _where(file)
    if len(shape) != 2 or dtype.kind != "f":
        raise ConfigError(
            f"{where} should be a matrix of floats (rows, width), and is {dtype} of shape {shape}"
        )
    if not 0 < shape[1] <= MOST_WIDTH:
        raise ConfigError(f"{where} says that vectors are {shape[1]:,} wide: no encoder makes such")
    if shape[0] != n_rows:
        raise ConfigError(
            f"{where} has {shape[0]:,} rows and its Parquet file {n_rows:,}: they don't belong together; "
            "fetch both again, or leave this pair out"
        )
    return shape[1]


def _column_width(file: VectorFile) -> int | None:
    """Return how many numbers a row has by a row group without nulls."""
    fs, path = filesystem(file.url)
    with fs.open(path, "rb") as stream, pq.ParquetFile(stream) as table:
        groups = [table.metadata.row_group(n) for n in range(table.metadata.num_row_groups)]
    for group in groups:
        chunks = [group.column(n) for n in range(group.num_columns)]
        chunk = next(each for each in chunks if each.path_in_schema.startswith(f"{file.name}."))
        known = chunk.statistics
        if group.num_rows and known is not None and known.has_null_count and not known.null_count:
            return int(chunk.num_values // group.num_rows)
    return None


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _where(file: VectorFile) -> str:
    return file.url if file.kind == "npy" else f"{file.name} in {file.url}"


@contextmanager
def _opened(file: VectorFile) -> Iterator[tuple[IO[bytes], tuple[int, ...], np.dtype[Any]]]:
    """Open an array just behind its header; yield the stream, the shape and the type."""
    fs, path = filesystem(file.url)
    with fs.open(path, "rb") as stream:
        if file.kind == "npy":
            yield stream, *_header(stream, file)
            return
        with zipfile.ZipFile(stream) as archive, archive.open(f"{file.name}.npy") as member:
            yield member, *_header(member, file)


def _header(stream: Any, file: VectorFile) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    if fortran:
        raise ConfigError(f"{_where(file)} lies column by column: save it again in C order")
    return shape, dtype


def read_vectors(file: VectorFile, rows: tuple[int, int]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return the vectors of some rows, (n, width), and which of them are there.

    Raises
    ------
    StoppedError
        When they can't be read, or are not all of one width.
    """
    if file.kind == "column":
        return _column(read_rows(file.url, [file.name], rows)[file.name], file)
    with reading(_where(file)), _opened(file) as (stream, shape, dtype):
        n_bytes = dtype.itemsize * shape[1]
        if file.kind == "npy" and file.size < rows[1] * n_bytes:  # before room is made for all of it
            raise _cut(file, rows)
        _skip(stream, rows[0] * n_bytes)
        data = stream.read((rows[1] - rows[0]) * n_bytes)
    if len(data) != (rows[1] - rows[0]) * n_bytes:
        raise _cut(file, rows)
    found = np.frombuffer(data, dtype).reshape(-1, shape[1])
    return found, np.ones(len(found), bool)


def _cut(file: VectorFile, rows: tuple[int, int]) -> StoppedError:
    return StoppedError(f"{_where(file)} ends before row {rows[1]:,}: it was cut off, fetch it again")


def _skip(stream: IO[bytes], n_bytes: int) -> None:
    """Pass over bytes; those of a compressed archive must be read."""
    if stream.seekable() and not isinstance(stream, zipfile.ZipExtFile):
        stream.seek(n_bytes, 1)
        return
    while n_bytes:
        n_bytes -= len(stream.read(min(n_bytes, _SKIP_BYTES))) or n_bytes


def _column(column: pa.ChunkedArray, file: VectorFile) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    vectors = column.combine_chunks()
    there = vectors.is_valid().to_numpy(zero_copy_only=False)
    widths = np.unique(pc.list_value_length(vectors.drop_null()).to_numpy())
    if len(widths) > 1:
        listed = ", ".join(map(str, widths[:5]))
        raise StoppedError(
            f"{_where(file)}: vectors of one encoder are of one width, and these are {listed} wide"
        )
    if not len(widths):
        raise StoppedError(f"{_where(file)}: none of {len(vectors):,} rows has a vector: leave the file out")
    found = np.full((len(vectors), int(widths[0])), np.nan, np.float32)
    flat = pc.fill_null(vectors.drop_null().flatten(), np.nan).to_numpy(zero_copy_only=False)
    found[there] = flat.reshape(int(there.sum()), -1)
    return found, there


def read_rows(table: str, columns: list[str], rows: tuple[int, int]) -> pa.Table:
    """Return some columns of rows `first` to `last` (exclusive) of a Parquet file, by its row groups."""
    with open_parquet(table) as file:
        groups, start = row_groups(file, *rows)
        if not groups:
            return file.schema_arrow.empty_table().select(columns)
        found = file.read_row_groups(groups, columns=columns)
        return found.slice(rows[0] - start, rows[1] - rows[0])


def row_groups(file: pq.ParquetFile, first: int, last: int) -> tuple[list[int], int]:
    """Return the row groups that hold rows `first` to `last` (exclusive), and which row they begin with."""
    sizes = [file.metadata.row_group(n).num_rows for n in range(file.metadata.num_row_groups)]
    starts = list(itertools.accumulate(sizes, initial=0))
    groups = [n for n, size in enumerate(sizes) if starts[n] < last and starts[n] + size > first]
    return groups, starts[groups[0]] if groups else last

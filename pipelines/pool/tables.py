"""A pool of tables: which Parquet column is what, and which rows of which file make a shard."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.columns import OUTCOME
from pipelines.config import RunConfig
from pipelines.errors import ConfigError, StoppedError
from pipelines.pool.config import PoolConfig
from pipelines.pool.listing import PoolFiles, list_pool
from pipelines.pool.shards import Info, Shard, VectorFile, expand
from pipelines.pool.vectors import find_vectors, width_of
from pipelines.storage import filesystem

ROWS_PER_SHARD = 100_000  # a worker holds the vectors of one shard: 150 MB of ViT-L's images
_READERS = 16
_HEX_DIGITS = r"^[0-9a-fA-F]{32}$"
_USUAL: dict[str, tuple[str, ...]] = {
    "uid": ("uid",),
    "key": ("key", "image_path"),
    "caption": ("caption", "text", "TEXT"),
    "url": ("url", "URL"),
    "width": ("width", "WIDTH"),
    "height": ("height", "HEIGHT"),
    "original_width": ("original_width",),
    "original_height": ("original_height",),
    "sha256": ("sha256",),
}
"""Names of a sample's columns, by those of DataComp, img2dataset, clip-retrieval and LAION, in this order."""


Names = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Layout:
    """Which columns are read: our name and theirs of what samples have, of scores, and of further columns."""

    samples: Names
    scores: Names
    further: Names

    @property
    def theirs(self) -> list[str]:
        """The columns to read."""
        return list(dict.fromkeys(name for _, name in (*self.samples, *self.scores, *self.further)))


def layout_of(pool: PoolConfig, base: str | Path = ".") -> Layout:
    """Return which columns of a pool's metadata are what, by its first file.

    Raises
    ------
    ConfigError
        When a column that the configuration names is not there, or a score is no number.
    """
    assert pool.metadata is not None
    return _layout(pool, expand(pool.metadata, base, ".parquet")[0].url)


def _layout(pool: PoolConfig, first: str) -> Layout:
    schema = footer(first)[1]
    for ours, theirs in pool.columns.items():
        if theirs not in schema.names:
            raise ConfigError(_missing(f"pool.columns.{ours}", theirs, first, schema))
    named = {ours: theirs for ours, theirs in pool.columns.items() if ours not in _USUAL}
    asked = {name: name for name in pool.scores or ()}
    _refuse_taken([*named, *asked])
    require_numbers(asked, first, schema, "pool.scores")
    samples = {ours: there[0] for ours, names in _USUAL.items() if (there := _those_in(schema, names))}
    samples |= {ours: theirs for ours, theirs in pool.columns.items() if ours in _USUAL}
    taken = {*samples.values(), *named.values(), *_USUAL, *OUTCOME, *named, *asked}
    kinds = {field.name: field.type for field in schema}
    free = {name: name for name in kinds if name not in taken}
    truths = {name: name for name in free if pa.types.is_boolean(kinds[name])}
    numbers = {} if pool.scores is not None else free
    scores = {ours: name for ours, name in {**named, **numbers}.items() if _is_number(kinds[name])}
    further = {ours: name for ours, name in {**named, **truths}.items() if ours not in scores}
    scores |= asked
    return Layout(tuple(samples.items()), tuple(scores.items()), tuple(further.items()))


def _those_in(schema: pa.Schema, names: Iterable[str]) -> list[str]:
    return [name for name in names if name in schema.names]


def _refuse_taken(names: Iterable[str]) -> None:
    if taken := [name for name in names if name in OUTCOME or name in _USUAL]:
        raise ConfigError(
            f"pool: a column can't be called {taken[0]!r}, that name is taken: rename it by pool.columns"
        )


def require_numbers(columns: Iterable[str], file: str, schema: pa.Schema, where: str) -> None:
    """Raise `ConfigError` when one of these is not a column of numbers."""
    for name in columns:
        if name not in schema.names:
            raise ConfigError(_missing(where, name, file, schema))
        kind = schema.field(name).type
        if not _is_number(kind) and not pa.types.is_boolean(kind):
            raise ConfigError(f"{where}: {name!r} in {file} holds {kind}, and a score is a number")


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _missing(where: str, name: str, file: str, schema: pa.Schema) -> str:
    return f"{where}: {file} has no column {name!r}; its columns are {', '.join(schema.names)}"


def pool_shards(config: RunConfig, base: str | Path = ".", vectors: Iterable[str] = ()) -> list[Shard]:
    """List a pool, and return its shards as `shards_of` does."""
    return shards_of(config, list_pool(config, base), vectors)


def shards_of(config: RunConfig, pool: PoolFiles, vectors: Iterable[str] = ()) -> list[Shard]:
    """Return the shards of a pool, of whichever kind; of tables, all that a run will read is looked at.

    Parameters
    ----------
    config
        The run's configuration.
    pool
        The files of its pool.
    vectors
        The names of the stored vectors that the run's stages read.

    Raises
    ------
    ConfigError
        When what lies in the files is not what the configuration says.
    """
    if config.pool.shards is not None:
        return pool.files
    layout = _layout(config.pool, pool.files[0].url)
    stored = sorted(set(vectors))
    with ThreadPoolExecutor(_READERS) as readers:
        looked = list(readers.map(lambda table: _look(table, layout, stored, pool.beside), pool.files))
    _require_one_width([widths for _, widths in looked])
    shards = sorted((shard for found, _ in looked for shard in found), key=lambda shard: shard.name)
    if not shards:
        raise ConfigError(f"pool.metadata: the files {config.pool.metadata!r} hold no rows")
    return shards


def _look(
    table: Shard, layout: Layout, stored: Sequence[str], listing: Mapping[str, Info]
) -> tuple[list[Shard], dict[str, tuple[int, str]]]:
    """Return the shards of a file, and for each name of vectors their width and where they lie."""
    n_rows, schema = footer(table.url)
    for name in layout.theirs:
        if name not in schema.names:
            raise ConfigError(_missing("pool.metadata", name, table.url, schema))
    require_numbers(dict(layout.scores).values(), table.url, schema, "pool.scores")
    vectors = tuple(find_vectors(name, table.url, schema, listing) for name in stored)
    widths = {
        file.name: (width, file.url) for file in vectors if (width := width_of(file, n_rows)) is not None
    }
    return cut_rows(table, n_rows, vectors), widths


def cut_rows(table: Shard, n_rows: int, vectors: tuple[VectorFile, ...]) -> list[Shard]:
    """Return a Parquet file as shards of at most `ROWS_PER_SHARD` rows."""
    starts = range(0, n_rows, ROWS_PER_SHARD)
    return [
        dataclasses.replace(
            table,
            name=table.name if len(starts) == 1 else f"{table.name}.{number:05d}",
            rows=(start, min(n_rows, start + ROWS_PER_SHARD)),
            vectors=vectors,
        )
        for number, start in enumerate(starts)
    ]


def _require_one_width(looked: Sequence[dict[str, tuple[int, str]]]) -> None:
    first: dict[str, tuple[int, str]] = {}
    for widths in looked:
        for name, (width, where) in widths.items():
            wanted, other = first.setdefault(name, (width, where))
            if width != wanted:
                raise ConfigError(
                    f"{name} is {width} wide in {where} and {wanted} wide in {other}: "
                    "vectors of one encoder have one width"
                )


def footer(table: str) -> tuple[int, pa.Schema]:
    """Return the number of rows and the columns of a Parquet file; `ConfigError` when it is none."""
    fs, path = filesystem(table)
    try:
        with fs.open(path, "rb") as stream, pq.ParquetFile(stream) as file:
            return file.metadata.num_rows, file.schema_arrow
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ConfigError(f"{table} is no Parquet file that can be read: {error}") from None


def checked_uids(uid: pa.Array, file: str, first: int) -> pa.Array:
    """Return uids in small letters.

    Parameters
    ----------
    uid
        Of rows that stand together in a file.
    file, first
        The file, and the number of the first of these rows in it, for errors.

    Raises
    ------
    StoppedError
        When one is not 32 hex digits.
    """
    uid = uid.cast(pa.string())
    bad = pc.invert(pc.fill_null(pc.match_substring_regex(uid, _HEX_DIGITS), False))
    if pc.any(bad).as_py():
        place = pc.index(bad, True).as_py()
        raise StoppedError(
            f"{file}: row {first + place:,} has the uid {uid[place].as_py()!r}, and a uid is 32 hex digits: "
            "mend it, or say which column holds uids"
        )
    return pc.utf8_lower(uid)


def row_count(shards: Sequence[Shard]) -> int:
    """Return the number of samples of shards that are rows of tables."""
    return sum(shard.rows[1] - shard.rows[0] for shard in shards if shard.rows)

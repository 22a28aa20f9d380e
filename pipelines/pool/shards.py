"""From what the user calls the pool to the list of its files, in one order whatever the spelling."""

from __future__ import annotations

import contextlib
import itertools
import os
import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, cast

from fsspec.implementations.local import LocalFileSystem

from pipelines.errors import ConfigError, StoppedError
from pipelines.storage import filesystem, resolve

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_NUMBERED = re.compile(r"(.*?)([0-9]{1,18})", re.DOTALL)
_MAX_SHARDS = 10_000_000

Info = dict[str, Any]


@dataclass(frozen=True)
class VectorFile:
    """Where vectors of a shard's samples lie, row by row: a column of a Parquet file, an .npz or an .npy."""

    name: str
    kind: Literal["column", "npz", "npy"]
    url: str
    size: int
    version: str


@dataclass(frozen=True, slots=True)
class Shard:
    """One tar of the pool, or some rows of a Parquet file.

    `name` is its path below the folder that all shards share, whichever there are, without the suffix;
    `version` changes when the file does (modification time or the store's ETag). `rows` are the first and
    last (exclusive) row in a Parquet file, and `vectors` what lies beside it.
    """

    name: str
    url: str
    size: int
    version: str
    rows: tuple[int, int] | None = None
    vectors: tuple[VectorFile, ...] = ()


def expand(spec: str | Sequence[str], base: str | Path = ".", suffix: str = ".tar") -> list[Shard]:
    """Return the files that a pool specification names, sorted by name.

    Parameters
    ----------
    spec
        A brace range (`pool/{00000..00012}.tar`), a glob, a folder, a URL, several joined by `::`, or a
        list of these.
    base
        Where relative paths start.
    suffix
        How the files end.

    Raises
    ------
    ConfigError
        When nothing matches, a named shard is missing, or two shards would have the same name.
    """
    parts = [
        part for entry in ([spec] if isinstance(spec, str) else spec) for part in entry.split("::") if part
    ]
    patterns = [pattern for part in parts for pattern in _expand_braces(resolve(part, base))]
    found = _named_files([pattern for pattern in patterns if _is_file(pattern, suffix)], suffix)
    for pattern in patterns:
        if not _is_file(pattern, suffix):
            found |= _match(pattern, suffix)
    if not found:
        what = "shards" if suffix == ".tar" else f"{suffix} files"
        raise ConfigError(f"no {what} match {spec!r} (relative paths start at {base})")
    return _named(found, dict.fromkeys(_root(pattern, suffix) for pattern in patterns), suffix)


def _root(pattern: str, suffix: str) -> str:
    """Return the folder that all files lie in which a pattern could ever match."""
    wild = re.search(r"[*?[]", pattern)
    if not wild and not _is_file(pattern, suffix):
        return pattern
    root = posixpath.dirname(pattern[: wild.start()] if wild else pattern)
    return f"{root}//" if root.endswith(":") else root


def _expand_braces(pattern: str) -> Iterator[str]:
    match = _BRACES.search(pattern)
    if match is None:
        yield pattern
        return
    for choice in _choices(match.group(1)):
        yield from _expand_braces(pattern[: match.start()] + choice + pattern[match.end() :])


def _choices(inside: str) -> Iterator[str]:
    for item in inside.split(","):
        bounds = _RANGE.fullmatch(item)
        if bounds is None:
            yield item
            continue
        first, last = int(bounds[1]), int(bounds[2])
        if not 0 <= last - first < _MAX_SHARDS:
            raise ConfigError(f"the range {{{inside}}} should rise, by at most {_MAX_SHARDS:,} shards")
        yield from (f"{number:0{len(bounds[1])}d}" for number in range(first, last + 1))


def _is_file(pattern: str, suffix: str) -> bool:
    return pattern.endswith(suffix) and not any(sign in pattern for sign in "*?[")


def _named_files(urls: Sequence[str], suffix: str) -> dict[str, Info]:
    """Return {url: file information} of files named one by one; each folder is listed once."""
    found: dict[str, Info] = {}
    for folder, members in itertools.groupby(sorted(urls), key=posixpath.dirname):
        fs, _ = filesystem(folder)
        listing = list_folder(folder)
        for url in members:
            if posixpath.basename(url) not in listing:
                what = "shard" if suffix == ".tar" else "file"
                hint = f"to take just what is there, use a glob such as *{suffix}"
                raise ConfigError(f"the {what} {url} does not exist; {hint}")
            info = listing[posixpath.basename(url)]
            found[_url(fs, info["name"])] = info
    return found


def list_folder(folder: str) -> dict[str, Info]:
    """Return {base name: file information} of a folder; empty when there is none."""
    fs, path = filesystem(folder)
    try:
        return {posixpath.basename(info["name"]): info for info in _listed(fs, path)}
    except (FileNotFoundError, NotADirectoryError):
        return {}


def _listed(fs: Any, path: str) -> list[Info]:
    """Return file information of what is in a folder; of a link, that of what it leads to."""
    if not isinstance(fs, LocalFileSystem):
        return cast(list[Info], fs.ls(path, detail=True))
    found: list[Info] = []
    with os.scandir(path) as entries:  # fsspec says more of each in twice the time, and looks at the links
        for entry in entries:
            try:
                stat = entry.stat()
            except FileNotFoundError:  # a link that leads nowhere
                continue
            kind = "file" if entry.is_file() else "other"
            found.append({"name": entry.path, "type": kind, "size": stat.st_size, "mtime": stat.st_mtime})
    return found


def _match(pattern: str, suffix: str) -> dict[str, Info]:
    """Return {url: file information} of a glob or a folder."""
    fs, path = filesystem(pattern)
    if any(sign in path for sign in "*?["):
        listing = {name: info for name, info in fs.glob(path, detail=True).items() if name.endswith(suffix)}
        files = [_followed(fs, info) for info in listing.values()]
    else:
        files = _folder(fs, path, pattern, suffix)
    return {_url(fs, info["name"]): info for info in files if info["type"] == "file"}


def _followed(fs: Any, info: Info) -> Info:
    """Return the file information of what a link leads to, if that is there."""
    name = info["name"]
    return cast(Info, fs.info(name)) if info.get("islink") and fs.exists(name) else info


def _url(fs: Any, path: str) -> str:
    """Return the URL of a path inside a file system; for local ones fsspec would mend each path once more."""
    return f"file://{path}" if isinstance(fs, LocalFileSystem) else str(fs.unstrip_protocol(path))


def _folder(fs: Any, path: str, pattern: str, suffix: str) -> list[Info]:
    if not fs.isdir(path):
        raise ConfigError(f"{pattern} does not exist, or is neither a {suffix} nor a folder of them")
    files = [info for info in _listed(fs, path) if info["name"].endswith(suffix)]
    if not files:
        raise ConfigError(
            f"the folder {pattern} holds no {suffix}; for those in folders below, use {pattern}/**/*{suffix}"
        )
    return files


def _named(found: dict[str, Info], roots: Iterable[str], suffix: str) -> list[Shard]:
    """Return the shards, named by their paths below what all roots share: a pool that grows renames none."""
    places = (filesystem(root) for root in roots)
    root = posixpath.commonpath([_as_path(_url(fs, path)) for fs, path in places])
    names = (_as_path(url)[len(root) :].lstrip("/").removesuffix(suffix) for url in found)
    shards = [
        Shard(name, url.removeprefix("file://"), *facts(info))
        for name, (url, info) in zip(names, found.items(), strict=True)
    ]
    return sorted(shards, key=attrgetter("name"))


def _as_path(url: str) -> str:
    return url.replace("://", "/").replace("//", "/")


def facts(info: Info) -> tuple[int, str]:
    """Return a file's size, and what changes when the file does: its ETag or modification time."""
    version = info.get("ETag") or info.get("etag") or info.get("mtime") or info.get("LastModified") or ""
    return int(info.get("size") or 0), str(version)


@contextlib.contextmanager
def unchanged(file: Shard | VectorFile) -> Iterator[None]:
    """Read a file inside the block; `StoppedError` where it isn't the one that the run started with."""
    refuse_changed(file)
    try:
        yield
    finally:
        refuse_changed(file)  # also after an error, which this one explains


def refuse_changed(shard: Shard | VectorFile) -> None:
    """Raise `StoppedError` when a shard is no longer the file that the run started with."""
    fs, path = filesystem(shard.url)
    try:
        info = fs.info(path)
    except FileNotFoundError:
        raise StoppedError(
            f"the shard {shard.url} vanished during the run; bring it back and run again"
        ) from None
    if facts(info) != (shard.size, shard.version):
        raise StoppedError(f"the shard {shard.url} changed during the run; run again to read it anew")


def numbering_gaps(shards: Sequence[Shard]) -> list[str]:
    """Return the names that are missing between numbered shards (00000, 00001, 00003 lacks 00002).

    Of names such as train-0001 as well, so far as more of them are there than are missing.
    """
    series: dict[tuple[str, int], list[int]] = {}
    for shard in shards:
        if match := _NUMBERED.fullmatch(shard.name):
            series.setdefault((match[1], len(match[2])), []).append(int(match[2]))
    missing: list[str] = []
    for (start, width), numbers in sorted(series.items()):
        values = sorted(numbers)
        n_missing = values[-1] - values[0] + 1 - len(values)
        if not start or n_missing < len(values):
            gaps = ((a + 1, min(b, a + 6)) for a, b in itertools.pairwise(values))
            missing += [f"{start}{n:0{width}d}" for first, end in gaps for n in range(first, end)]
    return missing

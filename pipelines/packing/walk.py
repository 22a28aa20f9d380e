"""Every image below a folder, in one order on every machine, holding few names at a time."""

from __future__ import annotations

import heapq
import itertools
import json
import os
import posixpath
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipelines.errors import ConfigError
from pipelines.pool.samples import CAPTION_SUFFIXES, IMAGE_SUFFIXES, METADATA_SUFFIX

SIDE_SUFFIXES = (*CAPTION_SUFFIXES, METADATA_SUFFIX)
_HELD = 200_000  # names of one folder that are sorted in memory
_IMAGE, _FOLDER, _LINKED_FOLDER = 0, 1, 2


def suffix_of(name: str) -> str:
    """Return the suffix of a file's name, small and without the dot."""
    return posixpath.splitext(name)[1][1:].lower()


def images_below(
    root: str, passed_over: Counter[str], *, follow_links: bool = False, but: str = ""
) -> Iterator[str]:
    """Yield the path of every image below a folder, relative to it, folder by folder and name by name.

    Parameters
    ----------
    root
        The folder.
    passed_over
        Counts what is no image and no caption, by suffix.
    follow_links
        Go into folders that are links, too; one that leads back to where it lies is passed over.
    but
        A folder below it to leave out: where the shards go.

    Raises
    ------
    ConfigError
        When a folder can't be read.
    """
    stack = [("", os.path.realpath(root), _entries(root, passed_over))]
    while stack:
        below, _, entries = stack[-1]
        found = next(entries, None)
        if found is None:
            stack.pop()
            continue
        name, kind = found
        path = f"{below}{name}"
        if kind == _IMAGE:
            yield path
            continue
        place = posixpath.join(root, path)
        real = os.path.realpath(place)
        if but and real == os.path.realpath(but):
            continue
        if kind == _LINKED_FOLDER and (not follow_links or real in (above for _, above, _ in stack)):
            passed_over["linked folders"] += 1
            continue
        stack.append((f"{path}/", real, _entries(place, passed_over)))


def _entries(folder: str, passed_over: Counter[str]) -> Iterator[tuple[str, int]]:
    """Return the images and folders in a folder, sorted by name."""
    try:
        with os.scandir(folder) as listing:
            return _sorted(_told_apart(listing, passed_over))
    except OSError as error:
        raise ConfigError(
            f"the folder {folder} can't be read ({error.strerror}): mend that, or move it out of the source"
        ) from None


def _told_apart(listing: Iterable[os.DirEntry[str]], passed_over: Counter[str]) -> Iterator[tuple[str, int]]:
    for entry in listing:
        suffix = suffix_of(entry.name)
        if entry.name.startswith(".") or entry.name == "__MACOSX":
            passed_over["hidden"] += 1
        elif entry.is_dir():
            yield entry.name, _LINKED_FOLDER if entry.is_symlink() else _FOLDER
        elif suffix in IMAGE_SUFFIXES:
            yield entry.name, _IMAGE  # a broken link or a pipe as well: the sample is set aside then
        elif suffix not in SIDE_SUFFIXES:
            passed_over[f".{suffix}" if suffix else "without a suffix"] += 1


def _sorted(names: Iterator[tuple[str, int]]) -> Iterator[tuple[str, int]]:
    """Sort names; runs of them that are too many for memory go to temporary files, to be merged."""
    run = sorted(itertools.islice(names, _HELD))
    if len(run) < _HELD:
        return iter(run)
    runs = []
    while run:
        stream = tempfile.TemporaryFile("w+", encoding="ascii")  # noqa: SIM115 - lives as long as its run
        stream.writelines(json.dumps(entry) + "\n" for entry in run)
        stream.seek(0)
        runs.append((name, kind) for name, kind in map(json.loads, stream))
        run = sorted(itertools.islice(names, _HELD))
    return heapq.merge(*runs)


def first_images(root: str, n: int) -> list[str]:
    """Return some images below a folder, the first ones."""
    return list(itertools.islice(images_below(str(Path(root)), Counter()), n))

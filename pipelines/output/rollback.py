"""Bring an earlier version of an output back, to the byte."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pipelines.errors import ConfigError, StoppedError
from pipelines.lock import own
from pipelines.output.versions import (
    MANIFEST,
    Version,
    history,
    keep,
    kept_file,
    manifest_of,
    publish_again,
    version_of,
)
from pipelines.output.write import disown
from pipelines.storage import COPY_BYTES, Folder


def roll_back(run: Folder, output: Folder, number: int | None, n_versions: int) -> Version:
    """Make an earlier version the newest one; the run that owns the output may go on from there.

    Parameters
    ----------
    run, output
        The run folder and the output that it writes.
    number
        The version to bring back; the parent of the newest without one.
    n_versions
        How many versions keep all their files.

    Returns
    -------
    Version
        The new version.

    Raises
    ------
    ConfigError
        When there is no such version, or its files are no longer kept; nothing was changed.
    StoppedError
        When a kept file was damaged; calling it again, or the run, goes on from there.
    """
    with own(run, output):
        newest = version_of(output)
        target = version_of(output, number or newest.parent)
        if target.number == newest.number:
            raise ConfigError(f"version {target.number} of {output.url} is the newest one already")
        now, then = manifest_of(output, newest)["files"], manifest_of(output, target)["files"]
        changed = [name for name in then if then[name] != now.get(name)]
        gone = [name for name in now if name not in then]
        _require_kept(output, target, [then[name] for name in changed])
        keep(output, [*changed, *gone])
        output.remove(MANIFEST)
        disown(run, [*changed, *gone])
        for name in changed:
            _restore(output, name, then[name])
        for name in gone:
            output.remove(name)
        return publish_again(output, target, n_versions)


def _require_kept(output: Folder, version: Version, files: list[dict[str, Any]]) -> None:
    missing = [facts for facts in files if output.size(kept_file(facts["sha256"])) != facts["size"]]
    if missing:
        raise ConfigError(
            f"{len(missing):,} files of version {version.number} of {output.url} are no longer kept; "
            "output.versions says how many versions keep their files"
        )


def _restore(output: Folder, name: str, facts: dict[str, Any]) -> None:
    kept = kept_file(facts["sha256"])
    if sha256_of(output, kept) != facts["sha256"]:
        raise StoppedError(
            f"{output.path(kept)}, which was {name}, is damaged: this version can't come back; "
            "`curate run` writes the newest one again"
        )
    output.put_copy(name, output.path(kept))


def sha256_of(folder: Folder, name: str) -> str:
    """Return the SHA-256 of a file as hex digits."""
    digest = hashlib.sha256()
    with folder.open(name) as stream:
        while piece := stream.read(COPY_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def verify(output: Folder) -> tuple[int, list[str]]:
    """Check an output against its manifest: every file's size and hash, and that no other shard is there.

    Returns
    -------
    tuple
        How many files the manifest names, and a line for everything that is wrong.

    Raises
    ------
    ConfigError
        When there is no manifest.
    """
    try:
        files = json.loads(output.read(MANIFEST))["files"]
    except FileNotFoundError:
        begun = (
            "a run or rollback has begun to change it" if history(output) else "no run has published there"
        )
        raise ConfigError(f"{output.url} holds no {MANIFEST}: {begun}") from None
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"{output.path(MANIFEST)} is damaged: `curate run` writes it anew") from None
    problems = [problem for name in files if (problem := _problem(output, name, files[name]))]
    there = (name for name in output.files() if "/" not in name and name.endswith(".tar"))
    problems += [
        f"{name}: not in the manifest, and loaders would read it" for name in there if name not in files
    ]
    return len(files), problems


def _problem(output: Folder, name: str, facts: dict[str, Any]) -> str | None:
    size = output.size(name)
    if size is None:
        return f"{name}: is missing"
    if size != facts["size"]:
        return f"{name}: holds {size:,} bytes, not {facts['size']:,}"
    return None if sha256_of(output, name) == facts["sha256"] else f"{name}: holds other bytes"

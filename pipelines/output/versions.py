"""Versions of an output: every manifest, the decisions behind it, and the files that later versions replaced.

The newest version lies in the output folder itself, where loaders read it. Beside it, in `.versions`:

    history.json                every version, its parent and the hash of its manifest
    00001/MANIFEST.json         what the version held
    00001/decisions.json        for each shard of the pool, which decisions
    decisions/<digest>.parquet  what became of every sample; the same for all versions that agree on a shard
    files/<sha256>              files of the last versions that are no longer in the output
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from pipelines.columns import DECISIONS
from pipelines.errors import ConfigError
from pipelines.storage import Folder

MANIFEST = "MANIFEST.json"
_VERSIONS = ".versions"
_HISTORY = f"{_VERSIONS}/history.json"
_AT_ONCE = 16  # small requests, far away on an object store


@dataclass(frozen=True)
class Version:
    """One published state of an output. `restores` is the version that a rollback brought back."""

    number: int
    parent: int | None
    manifest: str
    restores: int | None = None

    @property
    def folder(self) -> str:
        """Where its own files lie, below the output."""
        return f"{_VERSIONS}/{self.number:05d}"


def history(output: Folder) -> list[Version]:
    """Return all versions of an output, the oldest first; empty when it has none."""
    try:
        return [Version(**entry) for entry in json.loads(output.read(_HISTORY))]
    except FileNotFoundError:
        return []


def version_of(output: Folder, number: int | None = None) -> Version:
    """Return one version, the newest without a number; `ConfigError` when there is none such."""
    versions = history(output)
    if not versions:
        raise ConfigError(f"{output.url} has no versions: no run has published there")
    for version in versions:
        if version.number == (number or versions[-1].number):
            return version
    raise ConfigError(f"{output.url} has no version {number}; it has 1 to {versions[-1].number}")


def manifest_of(output: Folder, version: Version) -> dict[str, Any]:
    """Return a version's manifest."""
    found: dict[str, Any] = json.loads(output.read(f"{version.folder}/{MANIFEST}"))
    return found


def bytes_beside_next(output: Folder, n_versions: int) -> int:
    """Return how many bytes, at most, the files of earlier versions take beside a next one.

    With `n_versions` of 1, the newest one of now is kept until the next one is whole.
    """
    earlier = history(output)[-max(1, n_versions - 1) :]
    found = [facts for version in earlier for facts in manifest_of(output, version)["files"].values()]
    return sum({facts["sha256"]: int(facts["size"]) for facts in found}.values())


def decisions_of(output: Folder, version: Version) -> dict[str, str]:
    """Return, for each shard of the pool, the file below the output that holds a version's decisions."""
    digests = json.loads(output.read(f"{version.folder}/decisions.json"))
    return {shard: _decisions(digest) for shard, digest in digests.items()}


def kept_file(sha256: str) -> str:
    """Return where, below the output, a file lies that a later version replaced."""
    return f"{_VERSIONS}/files/{sha256}"


def keep(output: Folder, names: Iterable[str]) -> None:
    """Keep the newest version's own files of these names, which are about to be replaced or removed.

    A file kept once is not kept again: what lies under its name may be half of a later version by then.
    """
    if not (versions := history(output)):
        return
    files = manifest_of(output, versions[-1])["files"]

    def keep_one(name: str) -> None:
        facts = files[name]
        kept = kept_file(facts["sha256"])
        if output.size(name) == facts["size"] and not output.exists(kept):
            output.put_copy(kept, output.path(name))

    _each(keep_one, [name for name in names if name in files])


def publish(
    output: Folder, run: Folder, manifest: bytes, decisions: Mapping[str, str], n_versions: int
) -> Version:
    """Make what lies in an output its newest version, unless it is that already; the manifest comes last.

    Parameters
    ----------
    output, run
        Where the files lie, and the run that wrote them.
    manifest
        The bytes of the manifest.
    decisions
        For each shard of the pool, the digest of its decisions.
    n_versions
        How many versions, the newest among them, keep all their files.
    """
    versions = history(output)
    name = hashlib.sha256(manifest).hexdigest()
    if not versions or versions[-1].manifest != name:
        there = set((output / f"{_VERSIONS}/decisions").files())

        def keep_decisions(shard: str) -> None:
            if f"{decisions[shard]}.parquet" not in there:
                output.put_copy(_decisions(decisions[shard]), run.path(f"{DECISIONS}/{shard}.parquet"))

        _each(keep_decisions, decisions)
        versions = _append(output, versions, manifest, decisions, None, n_versions)
    if not output.exists(MANIFEST) or output.read(MANIFEST) != manifest:
        output.write(MANIFEST, manifest)
    return versions[-1]


def publish_again(output: Folder, version: Version, n_versions: int) -> Version:
    """Make the newest version what an earlier one was, whose files lie in the output again."""
    manifest = output.read(f"{version.folder}/{MANIFEST}")
    decisions = json.loads(output.read(f"{version.folder}/decisions.json"))
    versions = _append(output, history(output), manifest, decisions, version.number, n_versions)
    output.write(MANIFEST, manifest)
    return versions[-1]


def _append(
    output: Folder,
    versions: list[Version],
    manifest: bytes,
    decisions: Mapping[str, str],
    restores: int | None,
    n_versions: int,
) -> list[Version]:
    parent = versions[-1].number if versions else None
    new = Version((parent or 0) + 1, parent, hashlib.sha256(manifest).hexdigest(), restores)
    output.write(f"{new.folder}/decisions.json", json.dumps(decisions, indent=0, sort_keys=True).encode())
    output.write(f"{new.folder}/{MANIFEST}", manifest)
    versions = [*versions, new]
    output.write(_HISTORY, json.dumps([asdict(version) for version in versions], indent=1).encode())
    _forget(output, versions[-n_versions:])
    return versions


def _forget(output: Folder, versions: list[Version]) -> None:
    """Remove the kept files that none of these versions has beyond the newest, which lies in the output."""
    kept = output / f"{_VERSIONS}/files"
    if names := kept.files():
        *earlier, newest = (manifest_of(output, version)["files"] for version in versions)
        wanted = {v[name]["sha256"] for v in earlier for name in v if v[name] != newest.get(name)}
        _each(kept.remove, [name for name in names if name not in wanted])


def _decisions(digest: str) -> str:
    return f"{_VERSIONS}/decisions/{digest}.parquet"


def _each(function: Callable[[str], None], names: Iterable[str]) -> None:
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for _ in pool.map(function, names):
            pass

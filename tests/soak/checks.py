"""What must hold after everything has broken: every sample accounted for, every version whole."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipelines.output.rollback import verify
from pipelines.output.versions import Version, history, kept_file, manifest_of
from pipelines.storage import Folder

Samples = dict[str, dict[str, str]]


def check_samples(run: Path, output: Path, pool: Samples) -> dict[str, int]:
    """Hold decisions and new shards against the pool, sample by sample; return the account."""
    found: dict[str, set[str]] = {}
    kept: dict[str, str] = {}
    counts = dict.fromkeys(("samples", "kept", "dropped", "set aside"), 0)
    for file in sorted((run / "decisions").glob("*.parquet")):
        if file.stem not in pool:
            continue  # of a shard that vanished
        for row in pq.read_table(file).to_pylist():
            found.setdefault(file.stem, set()).add(row["uid"])
            fate = "kept" if row["kept"] else "set aside" if row["set_aside"] else "dropped"
            counts["samples"] += 1
            counts[fate] += 1
            if row["kept"]:
                kept[row["uid"]] = pool[file.stem][row["uid"]]
    assert found == {shard: {*samples} for shard, samples in pool.items()}, "samples lost or made up"
    assert counts["samples"] == sum(map(len, pool.values())), "a sample was decided on twice"
    assert images_of(output) == kept, "the output is not what was decided"
    return counts


def images_of(output: Path) -> dict[str, str]:
    """Return the hash of every image in the new shards, by uid."""
    found: dict[str, str] = {}
    for file in sorted(output.glob("*.tar")):
        parts: dict[str, dict[str, bytes]] = {}
        with tarfile.open(file) as tar:
            for member in tar:
                key, _, suffix = member.name.partition(".")
                stream = tar.extractfile(member)
                parts.setdefault(key, {})[suffix] = stream.read() if stream else b""
        for part in parts.values():
            uid = json.loads(part["json"])["uid"]
            assert uid not in found, f"{uid} is in the output twice"
            found[uid] = hashlib.sha256(part["jpg"]).hexdigest()
    return found


def check_versions(output: Path) -> dict[str, int]:
    """Check every file of every version by its hash, and that nothing moved while fits were held."""
    folder = Folder(str(output))
    n, problems = verify(folder)
    assert not problems, problems
    versions = history(folder)
    assert [version.parent for version in versions] == [None, *(v.number for v in versions[:-1])]
    now = manifest_of(folder, versions[-1])["files"]
    for version in versions[:-1]:
        for name, facts in manifest_of(folder, version)["files"].items():
            here = now.get(name, {}).get("sha256") == facts["sha256"]
            data = folder.read(name if here else kept_file(facts["sha256"]))
            assert hashlib.sha256(data).hexdigest() == facts["sha256"], (version.number, name)
            n += 1
    held = sum(_held(folder, *pair) for pair in itertools.pairwise(versions))
    for version in versions:
        counts = manifest_of(folder, version)["counts"]
        lost = counts["samples"] - counts["kept"] - sum(counts["dropped"].values())
        assert lost == sum(counts["set_aside"].values())
    return {"versions": len(versions), "files": n, "that held the fit of their parent": held}


def _held(folder: Folder, before: Version, after: Version) -> bool:
    """Tell whether a version holds its parent's fit; if so, shards only came: the others must stand."""
    fits = [manifest_of(folder, version)["counts"]["pool"].get("fits") for version in (before, after)]
    if not fits[0] or not fits[1] or fits[0]["fits"] != fits[1]["fits"]:
        return False
    old, new = (json.loads(folder.read(f"{v.folder}/decisions.json")) for v in (before, after))
    ingested = [_pixels(folder, digests) for digests in (old, new)]
    if all(shard in new and ingested[0][shard] == ingested[1][shard] for shard in old):
        assert all(old[shard] == new[shard] for shard in old), (after.number, "an earlier shard has changed")
    return True


def _pixels(folder: Folder, digests: dict[str, str]) -> dict[str, list[str]]:
    """Return the uids of every shard of a version: a shard with the same ones has not changed."""
    return {shard: _uids(folder, digest) for shard, digest in digests.items()}


def _uids(folder: Folder, digest: str) -> list[str]:
    data = folder.read(f".versions/decisions/{digest}.parquet")
    uids: list[str] = pq.read_table(io.BytesIO(data), columns=["uid"])["uid"].to_pylist()
    return uids


def check_leftovers(home: Path) -> None:
    """Assert that no half-written file lies about under its final name, or under any."""
    assert [str(path) for path in home.rglob("*.curate-partial")] == []


def ticks_of(run: Path) -> list[dict[str, Any]]:
    """Return the records of a run's ticks that are still kept."""
    return [json.loads(path.read_text()) for path in sorted((run / "ticks").glob("*.json"))]

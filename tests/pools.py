"""A small raw pool with something for every stage to do, and the run that curates it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import yaml

from tests.making import picture, sample, write_shard


def write_raw_pool(folder: Path, n_shards: int = 4, per_shard: int = 12) -> Path:
    """Write shards in which some samples repeat, some break rules, and some can't be read."""
    for shard in range(n_shards):
        samples = []
        for place in range(per_shard):
            seed = shard * per_shard + place
            members = sample(seed)
            if place == 3:
                members["jpg"] = picture(seed - 1)  # the bytes of the one before
            elif place == 4:
                members["txt"] = b"short"
            elif place == 5:
                members["jpg"] = members["jpg"][:-100]
            elif place == 6:
                del members["txt"]
            samples.append((f"{seed:09d}", members))
        write_shard(folder / f"{shard:05d}.tar", samples)
    return folder


def config(pool: Path | str | list[str], home: Path, **changes: Any) -> dict[str, Any]:
    """Return a configuration over a pool, with run folder and output below `home`."""
    return {
        "name": "test",
        "pool": {"shards": pool if isinstance(pool, list) else str(pool)},
        "run": str(home / "run"),
        "engine": {"workers": 0},
        "stages": [{"rules": {"caption_words": [2, 77]}}, {"duplicates": {"exact": True}}],
        "output": {
            "shards": str(home / "curated"),
            "samples_per_shard": 10,
            "subset": str(home / "curated" / "subset.npy"),
        },
        **changes,
    }


def write_config(path: Path, content: dict[str, Any]) -> Path:
    """Write a configuration as YAML."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content))
    return path


def contents(folder: Path) -> dict[str, str]:
    """Return the hash of every file below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def result_bytes(home: Path) -> dict[str, dict[str, str]]:
    """Return the hashes of all that a run promises to be the same whatever it did before: not of its past."""
    output = {name: digest for name, digest in contents(home / "curated").items() if name[0] != "."}
    return {"output": output, "decisions": contents(home / "run" / "decisions")}


def manifest(home: Path) -> dict[str, Any]:
    """Return the manifest of a run's output."""
    found = json.loads((home / "curated" / "MANIFEST.json").read_text())
    assert isinstance(found, dict)
    return found

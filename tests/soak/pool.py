"""A pool that changes while schedules follow it, and what every sample in it is."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import yaml

from tests.making import picture, sample, write_shard

PER_SHARD = 30


class Pool:
    """Shards that arrive, change and vanish; a shard appears whole, as those of any downloader do.

    `samples` are the uids that each shard holds, `images` the hashes of their bytes.
    """

    def __init__(self, folder: Path, dice: random.Random) -> None:
        self.folder, self._dice = folder, dice
        self.samples: dict[str, dict[str, str]] = {}
        self._shards = self._seeds = 0
        self.counts = dict.fromkeys(("arrived", "changed", "vanished"), 0)

    def arrive(self, aside: Path) -> str:
        """Let a shard arrive; its name may come before those that are there."""
        self._shards += 1
        name = f"{self._dice.choice('abcdef')}{self._shards:04d}"
        self._write(name, aside)
        self.counts["arrived"] += 1
        return name

    def change(self, aside: Path) -> None:
        """Let a shard hold other samples."""
        self._write(self._dice.choice(sorted(self.samples)), aside)
        self.counts["changed"] += 1

    def vanish(self) -> None:
        """Take a shard away."""
        name = self._dice.choice(sorted(self.samples))
        del self.samples[name]
        (self.folder / f"{name}.tar").unlink()
        self.counts["vanished"] += 1

    def _write(self, name: str, aside: Path) -> None:
        members = [self._sample() for _ in range(PER_SHARD)]
        whole = write_shard(aside / f"{name}.tar", [(f"{n:04d}", each) for n, each in enumerate(members)])
        self.folder.mkdir(parents=True, exist_ok=True)
        whole.replace(self.folder / f"{name}.tar")
        uids = [json.loads(each["json"])["uid"] for each in members]
        images = [hashlib.sha256(each["jpg"]).hexdigest() for each in members]
        self.samples[name] = dict(zip(uids, images, strict=True))

    def _sample(self) -> dict[str, bytes]:
        """Return a sample; some are copies of earlier ones, some break a rule, some can't be read."""
        self._seeds += 1
        made = sample(self._seeds, quality=self._dice.random())
        fate = self._dice.random()
        if fate < 0.1:
            made["jpg"] = picture(self._dice.randrange(1, self._seeds + 1))
        elif fate < 0.15:
            made["txt"] = b"short"
        elif fate < 0.2:
            made["jpg"] = made["jpg"][:-100]
        return made


def write_config(file: Path, home: Path, pool: Path, name: str, workers: int) -> Path:
    """Write a run's configuration: rules, exact duplicates, and the best by a score."""
    content: dict[str, Any] = {
        "name": name,
        "pool": {"shards": str(pool / "*.tar"), "scores": ["quality"]},
        "run": str(home / f"runs/{name}"),
        "engine": {"workers": workers},
        "stages": [
            {"rules": {"caption_words": [3, 77]}},
            {"duplicates": {"exact": True}},
            {"keep": {"by": "quality", "top": 0.6}},
        ],
        "output": {
            "shards": str(home / f"curated/{name}"),
            "samples_per_shard": 50,
            "subset": str(home / f"curated/{name}/subset.npy"),
            "versions": 100_000,
        },
    }
    file.write_text(yaml.safe_dump(content))
    return file

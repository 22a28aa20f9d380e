"""What a pool with known faults is to hold, sample by sample, before anything is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

from curate.demo.chance import generator

N_SHARDS = 6
N_CLEAN_SHARDS = 2
FAULTS = {  # share of the pool; the rest is clean
    "mismatched": 0.22,
    "exact_duplicate": 0.05,
    "same_pixels": 0.03,
    "junk_caption": 0.06,
    "broken_image": 0.04,
}


@dataclass(frozen=True)
class Entry:
    """What one sample of a pool is to be.

    Attributes
    ----------
    seed, name
        Decide everything random about the sample.
    shard, row
        Where it lies.
    kind
        `clean`, a key of `FAULTS`, or `truncated_tar`: the pool's last sample, inside which its tar ends.
    source
        The name of the sample whose picture this one repeats; its own name unless it is a duplicate.

    """

    seed: int
    name: str
    shard: int
    row: int
    kind: str
    source: str

    @property
    def key(self) -> str:
        """img2dataset's key: five digits of the shard, four of the row."""
        return f"{self.shard:05d}{self.row:04d}"

    @property
    def uid(self) -> str:
        """32 hexadecimal digits."""
        return self._uid(self.name)

    @property
    def duplicate_of(self) -> str | None:
        """The uid of the sample whose picture this one repeats, if it does."""
        return None if self.source == self.name else self._uid(self.source)

    def _uid(self, name: str) -> str:
        return blake2b(f"{self.seed}/{name}".encode(), digest_size=16).hexdigest()


def plan_pool(seed: int, samples: int) -> list[Entry]:
    """Return what the samples of a pool are to be: the shares of `FAULTS`, exactly, in random order."""
    rng = generator(seed, "plan", samples)
    kinds = [kind for kind, share in FAULTS.items() for _ in range(round(share * (samples - 1)))]
    kinds += ["clean"] * (samples - 1 - len(kinds))
    order = [kinds[i] for i in rng.permutation(len(kinds))] + ["truncated_tar"]
    clean = [i for i, kind in enumerate(order) if kind == "clean"]
    originals = iter(rng.permutation(clean).tolist())
    per_shard = -(-samples // N_SHARDS)
    entries = []
    for i, kind in enumerate(order):
        source = next(originals) if kind in ("exact_duplicate", "same_pixels") else i
        entries.append(Entry(seed, f"pool-{i}", i // per_shard, i % per_shard, kind, f"pool-{source}"))
    return entries


def plan_clean(seed: int, samples: int) -> list[Entry]:
    """Return what the samples of a clean training set are to be; none of them is in the pool."""
    per_shard = -(-samples // N_CLEAN_SHARDS)
    return [
        Entry(seed, f"train-{i}", i // per_shard, i % per_shard, "clean", f"train-{i}")
        for i in range(samples)
    ]

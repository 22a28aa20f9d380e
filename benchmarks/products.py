"""The development data as arrays, with a part of the captions shuffled; trainings that last."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.output.tar_writer import TarWriter

DATA = Path(__file__).parents[2] / "shared" / "data"


@dataclass(frozen=True)
class Pairs:
    """Images, their captions as given, and the number of the pair each caption came from."""

    uid: list[str]
    image: list[bytes]
    caption: list[str]
    label: list[str]

    def __len__(self) -> int:
        return len(self.uid)

    def take(self, rows: Sequence[int] | NDArray[Any]) -> Pairs:
        """Return some pairs."""
        chosen = [int(row) for row in rows]
        parts = (self.uid, self.image, self.caption, self.label)
        return Pairs(*([part[row] for row in chosen] for part in parts))

    def with_captions_of(self, source: NDArray[np.int64]) -> Pairs:
        """Return the pairs, each with the caption of another."""
        return Pairs(self.uid, self.image, [self.caption[int(row)] for row in source], self.label)


def load(name: str) -> Pairs:
    """Read a data set of shared/data; samples without an image or a caption are left out."""
    found: dict[str, dict[str, bytes]] = {}
    for path in sorted((DATA / name).glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, suffix = member.name.rsplit(".", 1)
                stream = tar.extractfile(member)
                found.setdefault(f"{path.stem}/{key}", {})[suffix] = stream.read() if stream else b""
    rows = []
    for parts in found.values():
        image = next((parts[s] for s in ("jpg", "png", "webp") if s in parts), None)
        facts = json.loads(parts.get("json", b"{}"))
        if image is not None and "txt" in parts:
            caption = parts["txt"].decode("utf-8", "replace")
            rows.append((facts["uid"], image, caption, facts.get("label", "")))
    return Pairs(*(list(column) for column in zip(*rows, strict=True)))


def shuffled(n: int, share: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return for each of n pairs whose caption it gets, and which kept their own: a share is deranged."""
    rng = np.random.default_rng([seed, 40])
    moved = np.sort(rng.permutation(n)[: round(share * n)])
    source = np.arange(n)
    order = rng.permutation(moved)
    source[order] = np.roll(order, 1)  # one cycle: nobody keeps its own
    return source, source == np.arange(n)


def write_shard(pairs: Pairs, path: Path) -> Path:
    """Write pairs into a tar, for training."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream, TarWriter(stream) as tar:
        for n, (uid, image, caption) in enumerate(zip(pairs.uid, pairs.image, pairs.caption, strict=True)):
            tar.add(f"{n:06d}.jpg", image)
            tar.add(f"{n:06d}.txt", caption.encode())
            tar.add(f"{n:06d}.json", json.dumps({"uid": uid}).encode())
    return path


def trained(work: Path, name: str, pairs: Pairs, **recipe: Any) -> str:
    """Train a network on pairs, unless this very training lies in the work folder; return its folder."""
    from pipelines.training.config import TrainConfig
    from pipelines.training.train import train_filter

    facts = [sorted(recipe.items(), key=str), pairs.uid, pairs.caption]
    key = hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()[:12]
    folder = work / "networks" / f"{name}-{key}"
    if not (folder / "open_clip_model.safetensors").exists():
        shard = write_shard(pairs, work / "shards" / f"{name}-{key}.tar")
        settings = {"shards": str(shard), "output": str(folder), "threads": 1, "cache_megabytes": 4000}
        train_filter(TrainConfig.model_validate(settings | recipe))
        shard.unlink()
    return str(folder)


def vectors(work: Path, network: str, pairs: Pairs) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return image and text vectors of pairs by a network, (n, d) each; kept in the work folder."""
    import torch

    from scoring.encoder import Encoder
    from scoring.encoder_spec import EncoderSpec

    facts = json.dumps([network, pairs.uid, pairs.caption])
    path = work / "vectors" / f"{hashlib.sha256(facts.encode()).hexdigest()[:16]}.npz"
    if not path.exists():
        torch.set_num_threads(1)
        encoder = Encoder.load(EncoderSpec(model=f"local-dir:{network}", device="cpu"))
        found = encoder.encode(zip(pairs.image, pairs.caption, strict=True))
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = path.with_suffix(f".{os.getpid()}.npz")  # two processes may want the same
        np.savez(whole, image=found.image, text=found.text)
        whole.replace(path)
    with np.load(path) as stored:
        return stored["image"].astype(np.float32), stored["text"].astype(np.float32)


def auc(score: NDArray[Any], good: NDArray[np.bool_]) -> float:
    """Return the chance that a good pair scores above a bad one."""
    order = np.argsort(score, kind="stable")
    rank = np.empty(len(score))
    rank[order] = np.arange(1, len(score) + 1)
    n_good = int(good.sum())
    return float((rank[good].sum() - n_good * (n_good + 1) / 2) / (n_good * (len(score) - n_good)))

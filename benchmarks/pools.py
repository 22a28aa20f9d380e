"""Synthetic pools for benchmarks: JPEGs of a web pool's size, in img2dataset's layout."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.output.tar_writer import TarWriter

DISTINCT = 97  # pictures; a pool repeats them, each time under another key


def jpegs(side: int = 256, seed: int = 0) -> list[bytes]:
    """Return JPEGs of about 23 kB: textures of several scales, which compress like photos of that size."""
    rng = np.random.default_rng(seed)
    return [_jpeg(rng, side) for _ in range(DISTINCT)]


def _jpeg(rng: np.random.Generator, side: int) -> bytes:
    layers = np.zeros((side, side, 3))
    for cells in (4, 16, 64, side):
        noise = Image.fromarray(rng.integers(0, 255, (cells, cells, 3), np.uint8))
        layers += np.asarray(noise.resize((side, side), Image.Resampling.BICUBIC)) / cells**0.3
    pixels = np.clip(layers / layers.max() * 255, 0, 255).astype(np.uint8)
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "JPEG", quality=88)
    return sink.getvalue()


def write_pool(folder: Path, n_shards: int, samples_per_shard: int, side: int = 256) -> Path:
    """Write a pool of whole samples (jpg, json, txt); every key and uid occurs once."""
    pictures = jpegs(side)
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(n_shards):
        with (folder / f"{shard:05d}.tar").open("wb") as stream, TarWriter(stream) as tar:
            for row in range(samples_per_shard):
                number = shard * samples_per_shard + row
                key, caption = f"{number:09d}", f"a texture of many scales, the one with number {number}"
                tar.add(f"{key}.jpg", pictures[number % DISTINCT])
                tar.add(f"{key}.json", json.dumps({"uid": f"{number:032x}", "caption": caption}).encode())
                tar.add(f"{key}.txt", caption.encode())
    return folder

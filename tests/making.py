"""Small real shards for tests: pictures, captions, and the ways in which they break."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.output.tar_writer import TarWriter

SHARED = Path(__file__).parents[2] / "shared"


def picture(seed: int, side: int = 48, format: str = "JPEG") -> bytes:
    """Return the bytes of a picture that is like no other seed's."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (6, 6, 3), np.uint8)
    image = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
    sink = io.BytesIO()
    image.save(sink, format, **({"lossless": True} if format == "WEBP" else {}))
    return sink.getvalue()


def sample(seed: int, caption: str | None = None, **metadata: object) -> dict[str, bytes]:
    """Return a sample's members by suffix."""
    text = f"a picture with the number {seed} on it" if caption is None else caption
    return {
        "jpg": picture(seed),
        "json": json.dumps({"uid": f"{seed:032x}", **metadata}).encode(),
        "txt": text.encode(),
    }


def write_shard(path: Path, samples: Iterable[tuple[str, dict[str, bytes]]]) -> Path:
    """Write samples, given as (key, members by suffix), into a tar."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream, TarWriter(stream) as tar:
        for key, members in samples:
            for suffix, data in members.items():
                tar.add(f"{key}.{suffix}", data)
    return path


def write_pool(folder: Path, n_shards: int = 3, per_shard: int = 8) -> Path:
    """Write a pool of whole samples, each with its own picture."""
    for shard in range(n_shards):
        seeds = range(shard * per_shard, (shard + 1) * per_shard)
        write_shard(folder / f"{shard:05d}.tar", ((f"{seed:09d}", sample(seed)) for seed in seeds))
    return folder


def write_encoder(folder: Path, seed: int = 0) -> str:
    """Write a tiny CLIP with random weights as a model folder; return what a configuration calls it."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    torch.manual_seed(seed)
    model = open_clip.CLIP(config["embed_dim"], config["vision_cfg"], config["text_cfg"])
    folder.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    preprocess = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
    content = {"model_cfg": config, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    return f"local-dir:{folder}"

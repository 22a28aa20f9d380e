"""What a run would do, and about what it would cost: found from file sizes and a look at one shard."""

from __future__ import annotations

import importlib.util
import itertools
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.config import RunConfig
from pipelines.output.versions import bytes_beside_next
from pipelines.planning import plan
from pipelines.pool.ingest import ingest
from pipelines.pool.shards import Shard, numbering_gaps
from pipelines.pool.tables import pool_shards, row_count
from pipelines.pool.tar_reader import read_members
from pipelines.stage import ShardColumns, Stage
from pipelines.stages.embed import Embed
from pipelines.stages.ingest import Ingest
from pipelines.storage import Folder, open_stream, resolve

_LOOK_MEMBERS = 900  # about 300 samples: half a second
_COLUMN_BYTES = 400  # per sample in the run folder, without vectors
_CPU_FLOPS = 40e9  # of one core at a model's matrix products
_TEXT_FLOPS_SHARE = 0.35  # of an image's, for CLIPs with a ViT-B


@dataclass(frozen=True)
class Forecast:
    """What a run would read, do and leave; seconds and bytes are estimates, None where there is no basis."""

    shards: int
    busy_workers: int
    gaps: list[str]
    samples: int
    counted: bool
    pool_bytes: int
    stages: list[str]
    ingest_seconds: float
    encode_seconds: float | None
    run_bytes: int
    output_bytes: int
    earlier_bytes: int  # of versions that are kept beside the new output


def forecast(config: RunConfig, base: Path) -> Forecast:
    """Look at a configuration's pool without reading more than the beginning of one shard."""
    planned = plan(config, base)
    stages = planned.stages
    shards = pool_shards(config, base, planned.stored_vectors)
    pool_bytes = sum({shard.url: shard.size for shard in shards}.values())
    samples, counted, per_sample = _look_at_pool(shards, stages[0])
    workers = max(1, min(config.engine.workers, len(shards)))  # each has a shard at a time
    costs = [_cost(_model(stage.spec.model)) for stage in stages if isinstance(stage, Embed)]
    flops = sum(cost or 0 for cost, _ in costs)
    known = all(cost for cost, _ in costs)
    return Forecast(
        shards=len(shards),
        busy_workers=workers,
        gaps=numbering_gaps(shards),
        samples=samples,
        counted=counted,
        pool_bytes=pool_bytes,
        stages=[stage.name for stage in stages] + ["write"],
        ingest_seconds=samples * per_sample / workers,
        encode_seconds=samples * flops / (_CPU_FLOPS * workers) if known else None,
        run_bytes=samples * (_COLUMN_BYTES + sum(4 * (width or 512) for _, width in costs)),
        output_bytes=pool_bytes if config.output.shards else 16 * samples,
        earlier_bytes=bytes_beside_next(Folder(resolve(config.output.folder, base)), config.output.versions),
    )


def _look_at_pool(shards: list[Shard], first: Stage) -> tuple[int, bool, float]:
    """Return the number of samples, whether they were counted, and the seconds that a sample takes."""
    largest = max(shards, key=lambda shard: shard.size)
    if not isinstance(first, Ingest):
        started = time.monotonic()
        table = first.compute(ShardColumns(largest, Folder("")), None)
        return row_count(shards), True, (time.monotonic() - started) / max(1, len(table))
    _look(largest, first, n_members=3)  # the first image pays for the decoders' start
    table, n_bytes, seconds = _look(largest, first, _LOOK_MEMBERS)
    counted = _counted(shards)
    pool_bytes = sum(shard.size for shard in shards)
    samples = counted if counted is not None else round(pool_bytes * len(table) / max(1, n_bytes))
    return samples, counted is not None, seconds / max(1, len(table))


def _look(shard: Shard, stage: Ingest, n_members: int) -> tuple[pa.Table, int, float]:
    """Ingest the beginning of a shard; return its samples, how many bytes they take, and the seconds."""
    started = time.monotonic()
    with open_stream(shard.url) as stream:
        members = itertools.islice(read_members(stream), n_members)
        table = ingest(shard.name, members, pixels=stage.pixels, limits=stage.limits)
        return table, stream.tell(), time.monotonic() - started


def _counted(shards: list[Shard]) -> int | None:
    """Return the number of samples where every shard has its count beside it, else None."""
    total = 0
    sizes: dict[str, dict[str, int]] = {}
    for shard in shards:
        parent, name = shard.url.rsplit("/", 1)
        if parent not in sizes:
            sizes[parent] = _json(parent, "sizes.json")
        n = sizes[parent].get(name)
        if n is None:
            n = _json(parent, name.removesuffix(".tar") + "_stats.json").get("successes")
        if not isinstance(n, int):
            return None
        total += n
    return total


def _json(folder: str, name: str) -> dict[str, Any]:
    try:
        found = json.loads(Folder(folder).read(name))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _model(name: str) -> Mapping[str, Any]:
    """Return the open_clip configuration of an encoder, read from its file: torch stays out of it."""
    if name.startswith("local-dir:"):
        found = _json(name.removeprefix("local-dir:"), "open_clip_config.json")
        inner = found.get("model_cfg", {})
        return inner if isinstance(inner, dict) else {}
    for package in ("open_clip", "scoring"):
        spec = importlib.util.find_spec(package)
        folder = {"open_clip": "model_configs", "scoring": "models"}[package]
        if spec and spec.origin and (found := _json(str(Path(spec.origin).parent / folder), f"{name}.json")):
            return found
    return {}


def _cost(model: Mapping[str, Any]) -> tuple[float | None, int | None]:
    """Return (FLOPs per pair, embedding width) of a ViT CLIP, (None, width) of another model.

    A transformer layer of width d does 24 d^2 + 4 n d FLOPs on each of n tokens (Kaplan et al. 2020,
    2001.08361, Table 1: two per multiply-add, with attention).
    """
    if not model:
        return None, None
    vision, width = model.get("vision_cfg", {}), model.get("embed_dim")
    size, patch = vision.get("image_size", 224), vision.get("patch_size")
    if not isinstance(patch, int) or not isinstance(vision.get("layers"), int):
        return None, width
    height, breadth = size if isinstance(size, list) else (size, size)
    n, d = (height // patch) * (breadth // patch) + 1, vision.get("width", 768)
    image = vision["layers"] * n * (24 * d * d + 4 * n * d)
    return image * (1 + _TEXT_FLOPS_SHARE), width

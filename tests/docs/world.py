"""A folder in which the commands on the pages find what they speak of: shards, a finished run, plans."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate import run
from tests.docs.blocks import ROOT
from tests.making import picture, sample, write_encoder, write_shard
from tests.pools import write_config, write_raw_pool
from tests.scaling_laws.simulated import simulate
from tests.tables import write_datacomp
from tests.training import register_micro

STAGES: list[Any] = [
    {"rules": {"caption_words": [2, 77]}},
    {"duplicates": {"exact": True}},
    {"duplicates": {"semantic": {"threshold": 0.99999, "clusters": 4}}},
    {"score": "clip"},
    {"score": {"name": "clip", "encoder": "l14"}},
    {"prune": {"keep": 0.9, "clusters": 4}},
    {"keep": {"by": "clip", "top": 0.9}},
]
CONFIG: dict[str, Any] = {
    "name": "photos",
    "pool": {"shards": "photos/{00000..00003}.tar"},
    "run": "runs/photos",
    "engine": {"workers": 0},
    "encoder": {"model": "local-dir:encoder"},
    "encoders": {"l14": {"model": "local-dir:encoder"}},
    "stages": STAGES,
    "output": {"shards": "curated", "samples_per_shard": 40, "subset": "curated/subset.npy", "versions": 3},
}
TRAIN = {"model": "micro", "batch_size": 8, "samples_seen": 32, "warmup_steps": 1, "device": "cpu"}
EVALUATIONS = [{"retrieval": {"shards": "held-out", "k": [10]}}]
PLANS: dict[str, dict[str, Any]] = {
    "network.yaml": {
        **TRAIN,
        "shards": "good",
        "output": "networks/dfn",
        "finetune": {"shards": "best", "epochs": 1},
    },
    "rank.yaml": {
        "shards": "good",
        "output": "ranked",
        "keep_ratio": 0.5,
        "filters": {"dfn": {"model": "local-dir:encoder"}},
        "seeds": [0, 1],
        "train": TRAIN,
        "evaluations": EVALUATIONS,
        "engine": {"workers": 0},
    },
    "plan.yaml": {
        "buckets": "runs/photos/buckets",
        "pools": [["0-25%"], ["0-25%", "25-50%"]],
        "output": "proxies",
        "budgets": [40, 80, 160],
        "train": {name: value for name, value in TRAIN.items() if name != "samples_seen"},
        "evaluations": EVALUATIONS,
        "engine": {"workers": 0},
    },
}


def write_world(home: Path) -> None:
    """Write everything but the run, which holds where it lies."""
    write_raw_pool(home / "photos", per_shard=30)
    for name, first, n in (("good", 1000, 32), ("best", 2000, 16), ("held-out", 3000, 16)):
        samples = ((f"{seed:09d}", sample(seed)) for seed in range(first, first + n))
        write_shard(home / name / "00000.tar", samples)
    write_encoder(home / "encoder")
    write_datacomp(home / "metadata")
    write_config(home / "curate.yaml", CONFIG)
    for name, content in PLANS.items():
        write_config(home / name, content)
    runs = simulate(0.0024, epochs=(2, 4, 8, 12))
    runs[["pool_size", "samples_seen"]] *= 5  # so that they speak of the budgets on the page
    runs.to_csv(home / "runs.csv", index=False)
    shutil.copy(ROOT / "tests/pipelines/vectors/unsorted.npy", home)
    uids = [f"{number:032x}" for number in range(120)]
    (home / "scores").mkdir()
    columns = {name: np.linspace(0, 1, len(uids), dtype=np.float32) for name in ("aesthetic", "nsfw")}
    pq.write_table(pa.table({"uid": uids, **columns}), home / "scores/all.parquet")
    shutil.copy(ROOT / "examples/plugins/calm.py", home)
    write_images(home)
    run(home / "curate.yaml", overrides=["stages.keep.top=0.5"])
    run(home / "curate.yaml")


def write_images(home: Path) -> None:
    """Write pictures in folders with captions beside them, and a table of their paths."""
    rows = ["path,caption"]
    for seed in range(12):
        image = home / f"holiday/day{seed % 3}/{seed}.jpg"
        image.parent.mkdir(parents=True, exist_ok=True)
        image.write_bytes(picture(seed))
        caption = f"a picture with the number {seed} on it"
        image.with_suffix(".txt").write_text(caption)
        rows.append(f"{image.relative_to(home)},{caption}")
    (home / "pictures.csv").write_text("\n".join(rows))


def register_models(folder: Path) -> None:
    """Make the architecture known that the plans train."""
    register_micro(folder)

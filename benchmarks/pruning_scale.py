"""From stored vectors to decisions: clusters, semantic duplicates and density pruning of millions of samples.

Synthetic unit vectors around random centres, a share of them near copies of others, written as the column
files that the stages read; then the stages themselves, on the engine that runs use.

    python -m benchmarks.pruning_scale --samples 1000000
    python -m benchmarks.pruning_scale --samples 10000000 --clusters 2000

Ten million of width 256 take 12 GB of disk in a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from functools import partial
from typing import Any

import numpy as np
import psutil
import pyarrow as pa

from filters.clusters import Clusters
from filters.duplicates import Semantic
from filters.prune import Prune
from pipelines.columns import ColumnStore, Stamp
from pipelines.engine import Engine, EngineConfig
from pipelines.pool.shards import Shard
from pipelines.runner import Runner
from pipelines.stages.cluster import ClusterStage
from pipelines.stages.prune import PruneStage
from pipelines.stages.semantic_duplicates import SemanticStage, SimilarStage
from pipelines.storage import Folder

PER_SHARD = 50_000
COPIES = 0.1  # share of the samples that are near copies of another
NOISE = 0.01  # length of what is added to a copy, before it is brought to length 1
CENTRES = 3000
SPREAD = 1.0


def vectors(number: int, rows: np.ndarray[Any, Any], width: int) -> np.ndarray[Any, Any]:
    """Return the vectors of a shard's rows, each a function of its place alone."""
    centres = np.random.default_rng(1).normal(size=(CENTRES, width)).astype(np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    rng = np.random.default_rng([2, number])
    at = rng.integers(0, CENTRES, PER_SHARD)
    noise = rng.standard_normal((PER_SHARD, width), np.float32) * np.float32(SPREAD / np.sqrt(width))
    found = centres[at] + noise
    return (found / np.linalg.norm(found, axis=1, keepdims=True))[rows]


def write_shard(number: int, *, run: Folder, n_shards: int, width: int) -> tuple[str, dict[str, Stamp]]:
    """Write a shard's samples and vectors; its last rows are near copies of the next shard's first ones."""
    n_copies = int(COPIES * PER_SHARD)
    originals = np.arange(PER_SHARD - n_copies)
    own = vectors(number, originals, width)
    copied = vectors((number + 1) % n_shards, np.arange(n_copies), width)
    noise = np.random.default_rng([3, number]).standard_normal(copied.shape).astype(np.float32)
    copied = copied + NOISE * noise / np.sqrt(width)
    whole = np.concatenate([own, copied / np.linalg.norm(copied, axis=1, keepdims=True)]).astype(np.float16)
    row = pa.array(np.arange(PER_SHARD), pa.int32())
    first = number * PER_SHARD
    uid = pa.array(
        [f"{n * 0x9E3779B97F4A7C15 % (1 << 64):016x}{n:016x}" for n in range(first, first + PER_SHARD)]
    )
    image = pa.FixedSizeListArray.from_arrays(pa.array(whole.reshape(-1)), width)
    store, name = ColumnStore(run), f"{number:05d}"
    stamps = {
        "ingest": store.write("ingest", name, pa.table({"row": row, "uid": uid}), "made"),
        "embed": store.write("embed", name, pa.table({"row": row, "image": image}), "made"),
    }
    return name, stamps


class Peak(threading.Thread):
    """Watches how much memory this process and each of its workers hold."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.driver, self.worker = 0.0, 0.0
        self._ended = threading.Event()

    def run(self) -> None:
        """Look twice a second: counting pages holds up who is counted."""
        here = psutil.Process()
        while not self._ended.wait(0.5):
            self.driver = max(self.driver, here.memory_info().rss / 1e9)
            for child in here.children(recursive=True):
                try:
                    facts = child.memory_full_info()
                    self.worker = max(self.worker, facts.uss / 1e9)
                except psutil.Error:
                    continue

    def end(self) -> None:
        """Stop looking."""
        self._ended.set()
        self.join()


def planted_recall(run: Folder, n_shards: int) -> float:
    """Return the share of planted copies of which one of the two is dropped as a duplicate."""
    n_copies, store = int(COPIES * PER_SHARD), ColumnStore(run)
    dropped = []
    for number in range(n_shards):
        table = store.read("duplicates", f"{number:05d}", ["row", "weight"])
        weight = np.ones(PER_SHARD, np.int32)
        weight[table["row"].to_numpy()] = table["weight"].to_numpy()
        dropped.append(weight == 0)
    caught = [dropped[n][-n_copies:] | dropped[(n + 1) % n_shards][:n_copies] for n in range(n_shards)]
    return float(np.mean(caught))


def stages(args: argparse.Namespace) -> list[Any]:
    """Return the stages that are measured."""
    clusters = Clusters(clusters=args.clusters, points_per_centroid=args.points, iterations=args.iterations)
    semantic = Semantic(threshold=0.97, across=args.across)
    return [
        ClusterStage("cluster", clusters, "embed", "embed", 0, "duplicates"),
        SimilarStage("similar", semantic, "cluster", "cluster", "embed", "image", {}),
        SemanticStage("duplicates", semantic, "similar"),
        PruneStage("prune", Prune(keep=0.3), "duplicates", "cluster", 0),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--clusters", type=int, default=1000)
    parser.add_argument("--points", type=int, default=64, help="training samples per cluster")
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--across", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", help="where the temporary folder is made")
    args = parser.parse_args()
    n_shards = -(-args.samples // PER_SHARD)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        run = Folder(folder)
        seconds: dict[str, float] = {}
        cpu_seconds: dict[str, float] = {}

        def note(event: dict[str, Any]) -> None:
            if event["event"] == "stage_done":
                seconds[event["stage"]] = event["seconds"]
                cpu_seconds[event["stage"]] = event["cpu_seconds"]

        config = EngineConfig(workers=args.workers, memory_per_worker="0")
        with Engine(config, ["pipelines.planning", "torch"]) as engine:
            write = partial(write_shard, run=run, n_shards=n_shards, width=args.width)
            written = dict(engine.map(write, range(n_shards)))
            shards = [Shard(name, "", 0, "") for name in sorted(written)]
            stamps = {stage: {n: written[n][stage] for n in written} for stage in ("ingest", "embed")}
            peak = Peak()
            peak.start()
            started = time.perf_counter()
            runner = Runner(shards, run, engine, note, 1.0, stamps)
            runner.go(stages(args))
            whole = time.perf_counter() - started
            peak.end()
        print(
            json.dumps(
                {
                    "samples": n_shards * PER_SHARD,
                    "clusters": args.clusters,
                    "seconds": round(whole, 1),
                    "by_stage": seconds,
                    "cpu_by_stage": cpu_seconds,
                    "driver_GB": round(peak.driver, 2),
                    "worker_GB": round(peak.worker, 2),
                    "planted_recall": round(planted_recall(run, n_shards), 4),
                    "kept": {stage: runner.totals(stage)["kept"] for stage in ("duplicates", "prune")},
                }
            )
        )


if __name__ == "__main__":
    main()

"""Exact duplicates over pools of growing size, against pandas with the whole pool in memory.

Column files as ingest writes them, a fifth of the samples with the picture of an earlier one; then the stage
itself, on the engine that runs use. Time should grow as the pool does, memory not at all.

    python -m benchmarks.exact_duplicates --samples 1000000
    python -m benchmarks.exact_duplicates --samples 16000000
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa

from benchmarks.pruning_scale import Peak
from filters.duplicates import Duplicates
from pipelines.columns import ColumnStore, Stamp
from pipelines.engine import Engine, EngineConfig
from pipelines.pool.shards import Shard
from pipelines.runner import Runner
from pipelines.stages.duplicates import DuplicatesStage
from pipelines.storage import Folder

PER_SHARD = 10_000
COPIES = 0.2


def hexes(number: np.ndarray[Any, Any], salt: int, words: int) -> list[str]:
    """Return texts of 16 `words` hex digits that numbers decide, as hashes would look."""
    odd = np.uint64(0x9E3779B97F4A7C15)
    mixed = [(number + np.uint64(salt + word)) * odd for word in range(words)]
    whole = np.stack(mixed, axis=1).astype(">u8").tobytes().hex()
    return [whole[n * 16 * words : (n + 1) * 16 * words] for n in range(len(number))]


def write_shard(number: int, *, run: Folder, n_shards: int) -> tuple[str, Stamp]:
    """Write a shard of samples, whose copies are of pictures anywhere in the pool."""
    rng = np.random.default_rng(number)
    row = np.arange(PER_SHARD)
    place = (number * PER_SHARD + row).astype(np.uint64)
    picture = place.copy()
    copied = rng.random(PER_SHARD) < COPIES
    picture[copied] = rng.integers(0, n_shards * PER_SHARD, copied.sum())
    table = pa.table(
        {
            "row": pa.array(row, pa.int32()),
            "uid": hexes(place, 1, 2),
            "caption": [f"a caption of some length, of the sample with number {n}" for n in place],
            "sha256": hexes(picture, 5, 4),
            "pixels": hexes(picture, 9, 2),
        }
    )
    return f"{number:06d}", ColumnStore(run).write("ingest", f"{number:06d}", table, "made")


def measure(n_samples: int, workers: int, folder: str | None) -> dict[str, Any]:
    """Return what the stage, and pandas on the same columns, took for a pool of that size."""
    n_shards = -(-n_samples // PER_SHARD)
    with tempfile.TemporaryDirectory(dir=folder) as home:
        run, done = Folder(home), {}
        with Engine(EngineConfig(workers=workers), ["pipelines.planning"]) as engine:
            written = dict(engine.map(partial(write_shard, run=run, n_shards=n_shards), range(n_shards)))
            shards = [Shard(name, "", 0, "") for name in sorted(written)]
            runner = Runner(shards, run, engine, lambda event: done.update(event), 1.0, {"ingest": written})
            peak = Peak()
            peak.start()
            sources = dict.fromkeys(["uid", "caption", "pixels", "sha256"], "ingest")
            runner.go([DuplicatesStage("duplicates", Duplicates(exact=True), "ingest", sources)])
            peak.end()
        before = psutil.Process().memory_info().rss
        started = time.perf_counter()
        columns = ["row", "uid", "pixels"]
        names = [shard.name for shard in shards]
        frames = [ColumnStore(run).read("ingest", name, columns).to_pandas() for name in names]
        whole = pd.concat(frames, ignore_index=True).sort_values("uid")
        kept = int((~whole.duplicated("pixels")).sum())
        pandas = time.perf_counter() - started
        memory = (psutil.Process().memory_info().rss - before) / 1e9
    if kept != done["kept"]:
        raise AssertionError(f"the stage keeps {done['kept']:,}, pandas {kept:,}")
    spent = {name: done[name] for name in ("seconds", "cpu_seconds")}
    peaks = {"driver_GB": round(peak.driver, 2), "worker_GB": round(peak.worker, 2)}
    return {"samples": n_shards * PER_SHARD, "kept": kept, **spent, **peaks} | {
        "pandas_seconds": round(pandas, 1),
        "pandas_GB": round(memory, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", help="where the temporary folder is made")
    args = parser.parse_args()
    print(json.dumps(measure(args.samples, args.workers, args.folder)))


if __name__ == "__main__":
    main()

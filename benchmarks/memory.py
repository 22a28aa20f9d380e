"""Peak memory of driver and workers, for a pool and for one ten times as large: it should be the same.

OMP_NUM_THREADS=1 python -m benchmarks.memory
"""

from __future__ import annotations

import tempfile
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psutil

from benchmarks.pools import write_pool
from curate import run

SHARDS, SAMPLES_PER_SHARD, SIDE = 4, 1000, 64
EVERY_SECONDS = 0.05


class Peak(threading.Thread):
    """Watches this process and those below it for their largest resident sizes, in MB."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.driver = self.worker = 0.0
        self.done = threading.Event()

    def run(self) -> None:
        """Look until `done`."""
        me = psutil.Process()
        while not self.done.wait(EVERY_SECONDS):
            self.driver = max(self.driver, me.memory_info().rss / 1e6)
            for child in me.children(recursive=True):
                try:
                    self.worker = max(self.worker, child.memory_info().rss / 1e6)
                except psutil.Error:
                    continue


def measure(home: str, n_shards: int) -> tuple[float, float]:
    """Curate a pool in this process; return the peaks of driver and workers, in MB."""
    pool = write_pool(Path(home) / "pool", n_shards, SAMPLES_PER_SHARD, SIDE)
    config: dict[str, Any] = {
        "name": "memory",
        "pool": {"shards": str(pool)},
        "run": f"{home}/run",
        "engine": {"workers": 2},
        "stages": [{"rules": {"caption_words": [2, 77]}}, {"duplicates": {"exact": "bytes"}}],
        "output": {"shards": f"{home}/curated", "subset": f"{home}/curated/subset.npy"},
    }
    peak = Peak()
    peak.start()
    result = run(config)
    peak.done.set()
    peak.join()
    assert result.samples == n_shards * SAMPLES_PER_SHARD
    return peak.driver, peak.worker


def main() -> None:
    peaks = []
    for times in (1, 10):
        # Each in a process of its own: what one run leaves in memory is not the other's.
        with tempfile.TemporaryDirectory() as home, ProcessPoolExecutor(1, get_context("spawn")) as pool:
            driver, worker = pool.submit(measure, home, SHARDS * times).result()
        peaks.append((driver, worker))
        n_samples = SHARDS * times * SAMPLES_PER_SHARD
        print(f"{n_samples:>7,} samples: driver {driver:,.0f} MB, worker {worker:,.0f} MB")
    driver, worker = (large / small for small, large in zip(*peaks, strict=True))
    print(f"ten times the pool: driver x {driver:.2f}, worker x {worker:.2f}")


if __name__ == "__main__":
    main()

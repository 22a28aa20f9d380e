"""Selecting from a million scores in memory, against numpy sorting the same scores.

What is selected or fused goes through the passes that a run makes, in shards of 10,000 samples, so the
figures hold the cost of merging; reading columns from disk is left out.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from benchmarks.timing import interleaved, ratios
from filters.base import Passes, PoolFilter
from filters.fusion import Fuse
from filters.keep import Keep
from filters.select import Select
from filters.soft_cap_sampling import SoftCap

SAMPLES, SHARD = 1_000_000, 10_000


def pool() -> pa.Table:
    rng = np.random.default_rng(0)
    clip = rng.normal(0.25, 0.05, SAMPLES).astype(np.float32)
    digits = rng.bytes(16 * SAMPLES).hex()
    return pa.table(
        {
            "clip": clip,
            "half": clip.astype(np.float16).astype(np.float32),
            "dfn": rng.normal(0, 2.5, SAMPLES).astype(np.float32),
            "uid": [digits[32 * n : 32 * n + 32] for n in range(SAMPLES)],
        }
    )


def through_shards(measure: Passes, table: pa.Table) -> Callable[[], None]:
    shards = [table.slice(first, SHARD) for first in range(0, SAMPLES, SHARD)]

    def go() -> None:
        state: Any = measure.start()
        while not measure.finished(state):
            part = measure.measure(shards[0], state)
            for shard in shards[1:]:
                part = measure.merge(part, measure.measure(shard, state))
            state = measure.advance(state, part)
        for shard in shards:
            if isinstance(measure, PoolFilter):
                measure.decide(shard, state)
            elif isinstance(measure, Fuse):
                measure.values(shard, state)

    return go


def main() -> None:
    table = pool()
    clip = table["clip"].to_numpy()
    both = [{"by": "clip", "top": 0.3}, {"by": "dfn", "top": 0.2}]
    of = {"clip": 0.3, "dfn": 0.7}
    stages: dict[str, Passes] = {
        "keep, share": Keep(by="clip", top=0.3),
        "keep, band": Keep(by="clip", band=(0.05, 0.3)),
        "keep, ties of fp16": Keep(by="half", top=0.3),
        "select, two parts": Select.model_validate({"all": both}),
        "fuse, z_score": Fuse(name="mixed", of=of, by="z_score"),
        "fuse, rank": Fuse(name="mixed", of=of, by="rank"),
        "fuse, min_max": Fuse(name="mixed", of=of, by="min_max"),
        "soft_cap, a million draws": SoftCap(by="dfn", total=SAMPLES, alpha=0.15),
    }
    rivals: dict[str, Callable[[], object]] = {"numpy argsort": lambda: np.argsort(clip, kind="stable")}
    rivals |= {name: through_shards(stage, table) for name, stage in stages.items()}
    seconds = interleaved(rivals, rounds=3)
    result = Table("", "samples/s", "time / argsort", "least to greatest", box=None)
    for name, times in seconds.items():
        least, middle, greatest = ratios(times, seconds["numpy argsort"])
        rate = SAMPLES / statistics.median(times)
        result.add_row(name, f"{rate:,.0f}", f"{middle:.1f}", f"{least:.1f} to {greatest:.1f}")
    Console(width=110).print(result)


if __name__ == "__main__":
    main()

"""How many pictures processes decode in a second with no model behind them, and what the cores do then."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import psutil

from pipelines.pool.samples import read_whole
from pipelines.storage import read_ranges
from scoring.decode_pool import DecodePool
from scoring.encoder import Encoder
from scoring.images import MAX_PIXELS

_PIECE = 64  # what one process takes at once
_WARM_BATCHES = 12  # then every slot's memory has been touched


class Cores:
    """What the cores of this machine do between two moments, as shares of all of them."""

    def __init__(self) -> None:
        self.since = psutil.cpu_times()

    def until(self, then: Any) -> dict[str, float]:
        """Return the shares of user, system and idle time, and of time that the host took away."""
        spent = {name: getattr(then, name) - getattr(self.since, name) for name in then._fields}
        return {
            name: round(spent.get(name, 0.0) / sum(spent.values()), 3)
            for name in ("user", "system", "idle", "steal")
        }


def decoding(encoder: Encoder, places: list[Any], processes: int, seconds: float) -> dict[str, Any]:
    """Return samples a second that processes decode once all of them are at it, and the cores' shares."""
    layout = encoder._gpu[0]._layout._replace(batch_size=_PIECE * processes)
    pool = DecodePool(encoder._transform, encoder._tokenizer, layout, processes=processes)
    try:
        seen: list[tuple[float, int]] = []
        busy = None
        for batch in pool.batches(itertools.cycle(places), _read_places, MAX_PIXELS):
            pool.release(batch.slot)
            seen.append((time.perf_counter(), batch.n_samples))
            if len(seen) == _WARM_BATCHES:  # every slot's memory has been touched
                busy = Cores()
            if busy and seen[-1][0] - seen[_WARM_BATCHES - 1][0] > seconds:
                break
        assert busy is not None
        shares = busy.until(psutil.cpu_times())
        elapsed = seen[-1][0] - seen[_WARM_BATCHES - 1][0]
        return {"rate": sum(n for _, n in seen[_WARM_BATCHES:]) / elapsed, "seconds": elapsed, **shares}
    finally:
        pool.close()


def places_of(shards: list[Path]) -> list[tuple[tuple[str, int, int], str]]:
    """Return the place and the caption of every sample."""
    return [
        ((str(path), image.offset, image.size), text)
        for path in shards
        for _, image, text in read_whole(str(path))
    ]


def _read_places(places: list[tuple[str, int, int]]) -> list[bytes]:
    """Return the bytes at some places; few of them lie in more than one shard."""
    found: list[bytes] = []
    for url, group in itertools.groupby(places, key=lambda place: place[0]):
        found += read_ranges(url, [(offset, size) for _, offset, size in group])
    return found

"""Time rivals in turn, so that a machine whose speed drifts treats them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

from rich.console import Console
from rich.table import Table


def interleaved(rivals: Mapping[str, Callable[[], object]], rounds: int = 5) -> dict[str, list[float]]:
    """Return the seconds of each rival in every round; one round before is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in rivals}
    for number in range(rounds + 1):
        for name, run in rivals.items():
            started = time.perf_counter()
            run()
            if number:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def ratios(slower: list[float], faster: list[float]) -> tuple[float, float, float]:
    """Return (least, median, greatest) of how often the second is as fast as the first, round by round."""
    found = sorted(a / b for a, b in zip(slower, faster, strict=True))
    return found[0], statistics.median(found), found[-1]


def print_table(
    title: str, seconds: Mapping[str, list[float]], peer: str, n_samples: int, n_bytes: int
) -> None:
    """Print samples a second, MB a second and the ratio to a peer."""
    table = Table(title=title, title_justify="left", box=None)
    for name in ("", "samples/s", "MB/s", f"speed / {peer}", "least to greatest"):
        table.add_column(name, justify="left" if not name else "right")
    for name, times in seconds.items():
        middle = statistics.median(times)
        least, ratio, greatest = ratios(seconds[peer], times)
        rate, megabytes = n_samples / middle, n_bytes / middle / 1e6
        table.add_row(
            name, f"{rate:,.0f}", f"{megabytes:,.0f}", f"{ratio:.2f}", f"{least:.2f} to {greatest:.2f}"
        )
    Console(width=110).print(table)

"""What a run tells a person: the funnel, from the whole pool to what is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text


def funnel(
    console: Console,
    title: str,
    samples: int,
    dropped: Mapping[str, int],
    set_aside: Mapping[str, int],
    kept: int,
) -> None:
    """Print what became of every sample, and that it adds up."""
    console.print(Text(title, style="italic"), soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("", "samples", "share"):
        table.add_column(name, justify="left" if not name else "right")

    def row(label: str, n: int, style: str = "") -> None:
        table.add_row(Text(label), f"{n:,}", f"{n / samples:.1%}" if samples else "-", style=style)

    row("in the pool", samples, "bold")
    for reason, n in set_aside.items():
        row(f"  set aside: {reason}", n, "yellow")
    for reason, n in dropped.items():
        row(f"  dropped: {reason}", n, "red")
    row("kept", kept, "bold green")
    console.print(table)
    total_dropped, total_aside = sum(dropped.values()), sum(set_aside.values())
    console.print(
        f"{samples:,} = {kept:,} kept + {total_dropped:,} dropped + {total_aside:,} set aside",
        highlight=False,
    )


def facts(console: Console, title: str, rows: list[tuple[str, Any]]) -> None:
    """Print names and values, one a line; on a terminal, long values are wrapped below themselves."""
    console.print(Text(title, style="italic"), soft_wrap=True)
    if not console.is_terminal:
        width = max((len(name) for name, _ in rows), default=0)
        for name, value in rows:
            console.print(Text(f"{name:<{width}}  {value}".rstrip()), soft_wrap=True)
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, value in rows:
        table.add_row(Text(name), Text(str(value)))
    console.print(table)


def costs(
    console: Console, title: str, stages: Sequence[tuple[str, Mapping[str, Any], Mapping[str, float]]]
) -> None:
    """Print what stages have cost, each with its name, its tally and its seconds by kind."""
    console.print(Text(title, style="italic"), soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("stage")
    for name in ("samples", "seconds", "CPU seconds", "GPU seconds", "CPU ms a sample"):
        table.add_column(name, justify="right")
    for name, tally, spent in stages:
        each = f"{1000 * spent['cpu_seconds'] / tally['samples']:.3g}" if tally["samples"] else "-"
        numbers = (f"{spent[kind]:,.1f}" for kind in ("seconds", "cpu_seconds", "gpu_seconds"))
        table.add_row(Text(name), f"{tally['samples']:,}", *numbers, each)
    console.print(table)


def counted(n: int, what: str) -> str:
    """Return a number of things: 1 shard, 2 shards."""
    return f"{n:,} {what}" + ("" if n == 1 else "s")


def size(n_bytes: float) -> str:
    """Return a number of bytes for people."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:,.3g} PB"


def duration(seconds: float) -> str:
    """Return a number of seconds for people."""
    for limit, unit, length in ((90, "s", 1), (5400, "min", 60), (48 * 3600, "h", 3600)):
        if seconds < limit:
            return f"{max(1, round(seconds / length))} {unit}"
    return f"{seconds / 86400:,.1f} days"

"""Drawings as SVG: bars of the funnel, and histograms with their thresholds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from curate.html import escape
from curate.report.axes import Axis
from curate.report.histogram import Histogram

_WIDTH, _HEIGHT, _BARS = 420, 168, 60
_LEFT, _RIGHT, _TOP, _BOTTOM = 8, 8, 26, 24


def bar(shares: Sequence[tuple[str, float]]) -> str:
    """Return stretches one behind the other, each given as its class and its share of the whole width."""
    parts, start = [], 0.0
    for name, share in shares:
        width = max(100 * share, 0.35 if share else 0)
        parts.append(f'<rect class="{name}" x="{start:.3f}" y="0" width="{width:.3f}" height="1"/>')
        start += 100 * share
    return (
        '<svg class="bar" viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true">'
        + "".join(parts)
        + "</svg>"
    )


def histogram(axis: Axis, counts: Histogram, decides: bool) -> str:
    """Return a number's distribution, what was dropped upon what was kept, with the thresholds drawn in."""
    edges, kept, dropped = counts.drawn(_BARS, axis.thresholds)
    if not decides:
        kept, dropped = kept + dropped, np.zeros_like(dropped)
    top = max(1, int((kept + dropped).max(initial=1)))
    base, height = _HEIGHT - _BOTTOM, _HEIGHT - _BOTTOM - _TOP
    step = (_WIDTH - _LEFT - _RIGHT) / len(kept)
    bars = []
    for n, (k, d) in enumerate(zip(kept.tolist(), dropped.tolist(), strict=True)):
        for name, low, count in (("kept", 0, k), ("dropped", k, d)):
            if count:
                tall = max(height * count / top, 0.8)
                y = base - height * low / top - tall
                bars.append(
                    f'<rect class="{name if decides else "plain"}" x="{_LEFT + n * step:.2f}" y="{y:.2f}" '
                    f'width="{max(step - 0.7, 0.5):.2f}" height="{tall:.2f}"/>'
                )
    lines = [
        _threshold(axis, edges, value, side)
        for side, value in (("low", axis.low), ("high", axis.high))
        if value is not None
    ]
    ticks = "".join(_tick(axis, edges, value) for value in _ticks(edges, axis.scale.log))
    said = f"{axis.label}: {int(kept.sum()):,} kept, {int(dropped.sum()):,} dropped"
    said += "".join(f"; threshold {number(value)}" for value in axis.thresholds)
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(said)}">'
        f'{"".join(bars)}<line class="rule" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" '
        f'y1="{base}" y2="{base}"/>{ticks}{"".join(lines)}</svg>'
    )


def _place(edges: NDArray[np.float64], value: float, log: bool) -> float:
    """Return where a value lies across the chart, in its units."""
    low, high, at = edges[0], edges[-1], value
    if log:
        low, high, at = np.log(low), np.log(high), np.log(max(value, 1e-9))
    share = min(1.0, max(0.0, (at - low) / (high - low)))
    return float(_LEFT + share * (_WIDTH - _LEFT - _RIGHT))


def _threshold(axis: Axis, edges: NDArray[np.float64], value: float, side: str) -> str:
    x = _place(edges, value, axis.scale.log)
    anchor = "start" if x < _WIDTH * 0.25 else "end" if x > _WIDTH * 0.75 else "middle"
    words = ("kept from " if side == "low" else "kept up to ") + number(value)
    y = 11 if side == "low" or axis.low is None else 23
    return (
        f'<line class="threshold" x1="{x:.2f}" x2="{x:.2f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>'
        f'<text class="threshold" x="{x:.2f}" y="{y}" text-anchor="{anchor}">{words}</text>'
    )


def _tick(axis: Axis, edges: NDArray[np.float64], value: float) -> str:
    x = _place(edges, value, axis.scale.log)
    anchor = "start" if x < _LEFT + 12 else "end" if x > _WIDTH - _RIGHT - 12 else "middle"
    return f'<text x="{x:.2f}" y="{_HEIGHT - 7}" text-anchor="{anchor}">{number(value)}</text>'


def _ticks(edges: NDArray[np.float64], log: bool) -> list[float]:
    low, high = float(edges[0]), float(edges[-1])
    if log:
        steps = (1, 1.5, 2, 3, 5, 7) if high / low < 6 else (1, 2, 5) if high / low < 60 else (1,)
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        return [s * 10.0**p for p in powers for s in steps if low <= s * 10.0**p <= high]
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= rough)
    return [n * step for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def number(value: float) -> str:
    """Return a number as people write it."""
    if value == 0:
        return "0"
    if abs(value) >= 1000 or value == int(value):
        return f"{value:,.0f}".replace("-", "−")
    return f"{value:.3g}".replace("-", "−")

"""Plots made for looking at: the frontier with its switches, curves over epochs, residuals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from scaling_laws.candidates import CandidateKind, Candidates, make_candidates
from scaling_laws.choice import Choice
from scaling_laws.effective_data import Floats
from scaling_laws.error_surface import ErrorSurface, point_errors
from scaling_laws.intervals import Interval
from scaling_laws.study import Study
from scaling_laws.switches import Switch, find_switches

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#7F6000", "#000000")
"""Okabe and Ito's colours, told apart by colour-blind readers; yellow is darkened for white paper."""
MARKERS = "osD^vPX*"
MOST_LINES = len(PALETTE)
MOST_RUNNERS_UP = 2
N_CURVE = 160
_LONGEST_OF_TWO = 45  # letters of an entry, where two stand side by side
_LINE_INCHES = 0.2


def plot_frontier(
    study: Study, candidates: CandidateKind | Candidates = "subsets", choice: Choice | None = None
) -> Figure:
    """Return error against budget for every candidate that is best somewhere, with bands and switches.

    Thin lines are the closest rivals. Bands are 95 % bootstrap intervals; lines are dashed past the measured
    budgets; a switch is a vertical line with its interval shaded. With a ``choice`` its budgets are marked.
    """
    pools, draws = study.pools, study.draws
    options = candidates if isinstance(candidates, Candidates) else make_candidates(pools, candidates)
    low, high = _plot_range(study, choice)
    grid = np.geomspace(low, high, N_CURVE)
    errors = point_errors(pools, options, grid)
    shown = _best_somewhere(errors)
    figure, axes = _canvas()
    surface = ErrorSurface(draws, options.pick(shown), grid)
    bands = np.array([np.quantile(drawn, (0.025, 0.975), axis=1) for drawn in surface])
    for place, row in enumerate(shown):
        colour = PALETTE[place]
        axes.fill_between(grid, bands[:, 0, place], bands[:, 1, place], color=colour, alpha=0.15, linewidth=0)
        _line_with_dashed_end(axes, grid, errors[row], study, colour, _short(options.names[row]))
    for place, row in enumerate(_runners_up(errors, shown), len(shown)):
        label = f"{_short(options.names[row])} (never best)"
        axes.plot(grid, errors[row], color=PALETTE[place], linewidth=0.9, label=label)
    axes.plot(grid, errors.min(axis=0), color="black", linewidth=5, alpha=0.12, zorder=1, label="frontier")
    switches = choice.switches if choice else find_switches(pools, options.pick(shown), (low, high), draws)
    for switch in switches:
        where = switch.budget
        if not low <= where.estimate <= high:
            continue
        axes.axvspan(max(where.low, low), min(where.high, high), color="grey", alpha=0.13, linewidth=0)
        axes.axvline(where.estimate, color="grey", linewidth=1)
        _note_switch(axes, switch, right_of_line=where.estimate < (low**2 * high) ** (1 / 3))
    if choice is not None:
        at = [c.budget for c in choice.budgets]
        best = [c.best.error for c in choice.budgets]
        axes.scatter(at, best, color="black", s=28, zorder=5, label="chosen")
    _finish(axes, "Samples seen", "Error", "Which pool for which budget")
    _legend_below(figure, axes)
    return figure


def plot_epochs(study: Study) -> Figure:
    """Return each pool's curve over epochs with its runs, next to the same law without decay (dotted)."""
    figure, axes = _canvas()
    pools = study.pools
    for place, name in enumerate(pools.names[:MOST_LINES]):
        runs = study.runs[study.runs["pool"] == name]
        size = float(pools.sizes[place])
        colour = PALETTE[place]
        ends = runs["samples_seen"].min() / size, runs["samples_seen"].max() / size
        epochs = np.geomspace(ends[0] / 1.3, ends[1] * 1.3, N_CURVE)
        pool = pools.pool(name)
        drawn = [study.draws.predict_draws(name, float(n)) for n in epochs * size]
        band = np.quantile(drawn, (0.025, 0.975), axis=1)
        axes.fill_between(epochs, band[0], band[1], color=colour, alpha=0.15, linewidth=0)
        axes.plot(epochs, pool.predict(epochs * size), color=colour, linewidth=1.8)
        fresh = pool.law.with_half_life(np.inf).predict(epochs * size, size)
        axes.plot(epochs, fresh, color=colour, linewidth=1, linestyle=":")
        half_life = pool.law.half_life
        label = f"{name}: half-life " + (f"{half_life:.3g}" if np.isfinite(half_life) else "unbounded")
        axes.scatter(
            runs["samples_seen"] / size, runs["error"], color=colour, marker=MARKERS[place], s=30, zorder=4,
            label=label,
        )  # fmt: skip
    axes.plot([], [], color="grey", linestyle=":", linewidth=1, label="without decay")
    _finish(axes, "Epochs (samples seen / pool size)", "Error", "What repetition costs")
    _legend_below(figure, axes)
    return figure


def plot_residuals(study: Study) -> Figure:
    """Return predicted minus measured error against samples seen, with the noise band."""
    figure, axes = _canvas()
    for place, name in enumerate(study.pools.names[:MOST_LINES]):
        runs = study.runs[study.runs["pool"] == name]
        axes.plot(
            runs["samples_seen"], runs["residual"], color=PALETTE[place], marker=MARKERS[place],
            linewidth=0.8, label=name,
        )  # fmt: skip
    axes.axhline(0, color="black", linewidth=0.8)
    if np.isfinite(study.noise_sd):
        axes.axhspan(
            -1.96 * study.noise_sd, 1.96 * study.noise_sd, color="grey", alpha=0.12, linewidth=0,
            label=f"±1.96 × noise ({study.noise_sd:.2g})",
        )  # fmt: skip
    _finish(axes, "Samples seen", "Predicted − measured error", "What the law does not explain")
    _legend_below(figure, axes)
    return figure


def _plot_range(study: Study, choice: Choice | None) -> tuple[float, float]:
    measured = study.pools.measured
    chosen = [c.budget for c in choice.budgets] if choice is not None else []
    anchor = float(study.pools.anchor)
    ends = [2.0 * anchor, 200.0 * anchor]
    if measured is not None:
        ends = [measured.least_samples, measured.most_samples]
    return min(ends + chosen) / 1.1, max(3.0 * ends[-1], *(1.3 * c for c in chosen), 0.0)


def _best_somewhere(errors: Floats) -> list[int]:
    """Return the candidates on the frontier in order of budget, at most as many as there are colours."""
    return [int(row) for row in dict.fromkeys(errors.argmin(axis=0).tolist())][:MOST_LINES]


def _note_switch(axes: Axes, switch: Switch, right_of_line: bool) -> None:
    """Write the switch beside its line, low down: error falls with samples."""
    tail = "\nextrapolated" if switch.extrapolated else ""
    axes.annotate(
        f"switch at {_samples(switch.budget.estimate)}\n{_span(switch.budget)}{tail}",
        (switch.budget.estimate, axes.get_ylim()[0]),
        (4, 4) if right_of_line else (-4, 4),
        textcoords="offset points",
        ha="left" if right_of_line else "right",
        fontsize=8,
    )


def _runners_up(errors: Floats, shown: list[int]) -> list[int]:
    """Return the candidates that come second somewhere and first nowhere, as far as colours last."""
    if len(errors) < 2:
        return []
    second = np.argsort(errors, axis=0, kind="stable")[1]
    others = [int(row) for row in dict.fromkeys(second.tolist()) if row not in shown]
    return others[: min(MOST_RUNNERS_UP, MOST_LINES - len(shown))]


def _line_with_dashed_end(
    axes: Axes, grid: Floats, errors: Floats, study: Study, colour: str, label: str
) -> None:
    measured = study.pools.measured
    inside = grid <= measured.most_samples if measured is not None else np.ones(len(grid), bool)
    axes.plot(grid[inside], errors[inside], color=colour, linewidth=1.8, label=label)
    axes.plot(grid[~inside], errors[~inside], color=colour, linewidth=1.8, linestyle=(0, (4, 2)))


def _canvas() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8, 5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _finish(axes: Axes, x: str, y: str, title: str) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _samples(value)))
    low, high = axes.get_xlim()
    if high / low < 300:  # powers of ten alone would label too little
        ticks = _round_ticks(low, high)
        axes.set_xticks(ticks)
        axes.set_xlim(low, high)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes.grid(axis="y", color="0.92")
    axes.set_axisbelow(True)


def _legend_below(figure: Figure, axes: Axes) -> None:
    """Put the legend under the axes, where no curve can run through it, and make room for it."""
    handles, labels = axes.get_legend_handles_labels()
    columns = 2 if max(map(len, labels)) <= _LONGEST_OF_TWO else 1
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + _LINE_INCHES * -(-len(labels) // columns))
    figure.legend(handles, labels, frameon=False, fontsize=9, loc="outside lower left", ncols=columns)


def _round_ticks(low: float, high: float) -> Sequence[float]:
    decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    return [float(t) for t in np.outer(decades, (1, 2, 5)).ravel() if low <= t <= high]


def _samples(value: float) -> str:
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:.3g}{name}"
    return f"{value:.3g}"


def _span(interval: Interval) -> str:
    low = _samples(interval.low) if np.isfinite(interval.low) else "below the scan"
    high = _samples(interval.high) if np.isfinite(interval.high) else "beyond the scan"
    return f"{interval.level:.0%}: {low} to {high}"


def _short(name: str) -> str:
    return name if len(name) <= 60 else name[:57] + "…"

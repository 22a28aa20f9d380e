"""Pictures of the theory of data pruning; theory, not a prediction for anybody's data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from scipy.interpolate import RectBivariateSpline

from scaling_laws.effective_data import Floats
from scaling_laws.plots import PALETTE
from scaling_laws.sorscher import Keep, theory_error

LABEL = "Theory of a perceptron (Sorscher et al. 2022), not a prediction for your data"
HARD, EASY, RANDOM = PALETTE[5], PALETTE[0], PALETTE[7]


def plot_abundance(
    keep_ratios: Sequence[float] = (0.5, 0.3, 0.1, 0.05),
    keep: Keep = "hard",
    probe_angle: float = 0.0,
    most_kept: float = 10.0,
) -> Figure:
    """Return the error against the samples per parameter that are trained on, one line per kept share.

    Parameters
    ----------
    keep_ratios
        Shares kept, in (0, 1); at most seven.
    keep
        Which samples are kept.
    probe_angle
        Angle between probe and teacher in degrees, in [0, 90).
    most_kept
        Right end of the axis.
    """
    figure, axes = _canvas()
    kept = np.geomspace(0.5, most_kept, 80)
    axes.plot(kept, theory_error(kept), color=RANDOM, linewidth=2.4, label="everything")
    for colour, ratio in zip(PALETTE, keep_ratios, strict=False):
        errors = theory_error(kept / ratio, ratio, keep, probe_angle)
        label = f"{keep} {ratio:.0%}, of {1 / ratio:.3g} times as many"
        axes.plot(kept, errors, color=colour, linewidth=1.8, label=label)
    axes.set_yscale("log")
    _label_errors(axes)
    _log_axis(axes, "Samples per parameter trained on")
    axes.set_ylabel("Error")
    axes.legend(title="Kept", frameon=False, fontsize=9, loc="lower left")
    _title(axes, "Out of more samples, choosing can beat the power law", probe_angle)
    return figure


def plot_kept_share(
    abundances: Sequence[float] = (1.0, 3.0, 10.0, 30.0), probe_angle: float = 0.0, least_ratio: float = 0.05
) -> Figure:
    """Return the error against the kept share, hard (solid), easy (dashed) and random (dotted).

    One panel per number of samples per parameter before pruning, all with one error axis.
    """
    figure = Figure(figsize=(2.8 * len(abundances), 4), dpi=120, layout="constrained")
    panels = figure.subplots(1, len(abundances), sharey=True, squeeze=False)[0]
    ratios = np.geomspace(least_ratio, 0.99, 30)
    errors = np.exp(_log_errors(np.asarray(abundances, float), ratios, probe_angle))
    for place, (axes, abundance) in enumerate(zip(panels, abundances, strict=True)):
        for (keep, colour, style), values in zip(_STYLES, errors[:, :, place], strict=True):
            axes.plot(ratios, values, color=colour, linestyle=style, linewidth=2, label=f"keep {keep}")
        axes.set_yscale("log")
        axes.set_xscale("log")
        axes.set_xticks([t for t in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if t >= least_ratio])
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_title(f"{abundance:g} per parameter", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="0.92")
    _label_errors(panels[0])
    panels[0].set_ylabel("Error")
    panels[0].legend(frameon=False, fontsize=9, loc="lower left")
    figure.supxlabel(f"Share kept\n{LABEL}", fontsize=9)
    figure.suptitle(
        f"Scarce data: keep easy. Abundant data: keep hard{_probe(probe_angle)}", fontsize=11, weight="bold"
    )
    return figure


def plot_break_even(probe_angle: float = 0.0, most_abundance: float = 60.0) -> Figure:
    """Return the map of what to keep, hard or easy or random, over abundance and kept share."""
    figure, axes = _canvas()
    abundance, ratios = np.geomspace(0.5, most_abundance, 600), np.geomspace(0.08, 0.95, 400)
    hard, easy, random = _log_error_map(abundance, ratios, probe_angle)
    winner = np.argmin([hard, easy, random], axis=0)
    for place, (keep, colour, _) in enumerate(_STYLES):
        if (winner == place).any():
            axes.contourf(abundance, ratios, winner == place, levels=[0.5, 1.5], colors=[colour], alpha=0.3)
            axes.fill_between([], [], color=colour, alpha=0.3, label=f"least error: keep {keep}")
    axes.contour(abundance, ratios, random - hard, levels=[0.0], colors="black", linewidths=1.6)
    axes.plot([], [], color="black", linewidth=1.6, label="keep hard = keep random")
    axes.set_yscale("log")
    axes.set_yticks([0.1, 0.2, 0.3, 0.5, 0.8])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    _log_axis(axes, "Samples per parameter before pruning")
    axes.grid(visible=False)
    axes.set_ylabel("Share kept")
    axes.legend(framealpha=0.9, fontsize=9, loc="lower left")
    _title(axes, "When to keep hard samples", probe_angle)
    return figure


_STYLES: tuple[tuple[Keep, str, str], ...] = (
    ("hard", HARD, "-"),
    ("easy", EASY, "--"),
    ("random", RANDOM, ":"),
)


def _log_errors(abundance: Floats, ratios: Floats, probe_angle: float) -> Floats:
    """Return log errors of keeping hard, easy and random samples, shape (3, n_ratios, n_abundance)."""
    return np.log(
        [
            [theory_error(abundance, float(ratio), keep, probe_angle) for ratio in ratios]
            for keep, _, _ in _STYLES
        ]
    )


def _log_error_map(abundance: Floats, ratios: Floats, probe_angle: float) -> Floats:
    """Return what `_log_errors` does for axes of many values, by splines through a coarse grid.

    The grid is one of samples kept, as the steep fall lies at nearly the same number for every share.
    """
    log_kept = np.linspace(np.log(abundance[0] * ratios[0]), np.log(abundance[-1] * ratios[-1]), 56)
    log_ratio = np.linspace(np.log(ratios[0]), np.log(ratios[-1]), 14)
    asked_ratio, asked = np.meshgrid(np.log(ratios), np.log(abundance), indexing="ij")
    found = []
    for keep, _, _ in _STYLES:
        coarse = [
            np.log(theory_error(np.exp(log_kept - ratio), float(np.exp(ratio)), keep, probe_angle))
            for ratio in log_ratio
        ]
        found.append(RectBivariateSpline(log_ratio, log_kept, coarse).ev(asked_ratio, asked + asked_ratio))
    return np.array(found)


def _canvas() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8, 5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _log_axis(axes: Axes, label: str) -> None:
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.set_xticks([t for t in (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if low <= t <= high])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(f"{label}\n{LABEL}")
    axes.grid(axis="y", color="0.92")
    axes.set_axisbelow(True)


def _label_errors(axes: Axes) -> None:
    low, high = axes.get_ylim()
    axes.set_yticks([t for t in (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if low <= t <= high])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _title(axes: Axes, title: str, probe_angle: float) -> None:
    axes.set_title(title + _probe(probe_angle), loc="left", fontsize=11, fontweight="bold")


def _probe(probe_angle: float) -> str:
    return f" (probe {probe_angle:g}° off)" if probe_angle else ""

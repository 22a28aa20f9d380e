"""How a training went, as a picture: loss, accuracy and pace over its steps."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import IO, Any

_PANELS = (("loss", "loss, nats"), ("accuracy", "accuracy in the batch"), ("samples_per_second", "samples/s"))


def draw(log: Sequence[Mapping[str, Any]], stream: IO[bytes]) -> None:
    """Draw the lines of a training's log as a PNG; phases follow each other, a dashed line between them."""
    from matplotlib.figure import Figure  # half a second that only a finished training costs

    figure = Figure(figsize=(7, 7), layout="constrained")
    panels = figure.subplots(len(_PANELS), 1, sharex=True)
    first = 0
    for phase, lines in itertools.groupby(log, key=lambda line: line.get("phase")):
        own = list(lines)
        steps = [first + line["step"] for line in own]
        for axes, (key, name) in zip(panels, _PANELS, strict=True):
            axes.plot(steps, [line[key] for line in own], color="C0", marker="." if len(own) == 1 else None)
            axes.set_ylabel(name)
            axes.grid(alpha=0.3)
            if first:
                axes.axvline(first, color="0.4", linestyle="--")
        if phase:
            panels[0].annotate(f" {phase}", (steps[0], 1), xycoords=("data", "axes fraction"), va="bottom")
        first = steps[-1]
    for axes, (key, _) in zip(panels[1:], _PANELS[1:], strict=True):
        axes.set_ylim(0, 1.1 * max(line[key] for line in log) or 1)
    panels[-1].set_xlabel("steps")
    figure.savefig(stream, format="png", dpi=110)

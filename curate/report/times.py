"""The section on what each stage cost, and on the machines that did it."""

from __future__ import annotations

from collections.abc import Sequence

from curate.costs import KINDS, Cost, machine_in_words
from curate.html import escape, shown
from curate.show import duration


def times_section(costs: Sequence[Cost]) -> str:
    """Return a row for each stage, their sum, and the machines."""
    gpus = any(cost.gpu_seconds for cost in costs)
    kinds = KINDS if gpus else KINDS[:2]
    words = (machine_in_words(machine) for cost in costs for machine in cost.machines)
    names = {machine: n for n, machine in enumerate(dict.fromkeys(words), 1)}
    several = len(names) > 1
    rows = "".join(_row(cost, kinds, names, several) for cost in costs)
    sums = "".join(f"<td>{_seconds(sum(getattr(cost, kind) for cost in costs))}</td>" for kind in kinds)
    heads = ["stage", "time", "CPU time", *(["GPU time"] if gpus else []), "CPU per sample", "by"]
    head = "".join(f"<th scope=col>{name}</th>" for name in heads)
    listed = "".join(
        f"<li>{f'{n}: ' if several else ''}{escape(shown(words, 400))}</li>" for words, n in names.items()
    )
    where = f"<h3>{'Machines' if several else 'Machine'}</h3><ul>{listed}</ul>" if listed else ""
    counted = "; a GPU counts while its worker waits too" if gpus else ""
    return (
        "<p>All the work that went into each stage, done twice or not. CPU time is that of all workers"
        f'{counted}.</p><div class="scroll" tabindex="0" role="region" aria-label="Time of stages">'
        f'<table class="numbers"><thead><tr>{head}</tr></thead><tbody>{rows}'
        f'<tr class="last"><th scope="row">together</th>{sums}<td></td><td></td></tr>'
        f"</tbody></table></div>{where}"
    )


def _row(cost: Cost, kinds: Sequence[str], names: dict[str, int], several: bool) -> str:
    numbers = "".join(f"<td>{_seconds(getattr(cost, kind))}</td>" for kind in kinds)
    each = f"{1000 * cost.cpu_seconds / cost.samples:.3g} ms" if cost.samples else "–"
    by = ", ".join(cost.teams)
    if several:
        by += " on " + ", ".join(str(names[machine_in_words(machine)]) for machine in cost.machines)
    return (
        f"<tr><th scope=row>{escape(shown(cost.stage, 80))}</th>{numbers}<td>{each}</td>"
        f"<td>{escape(shown(by, 120))}</td></tr>"
    )


def _seconds(seconds: float) -> str:
    return f"{seconds:,.1f} s" if seconds < 600 else duration(seconds)

"""What became of a pool: the sum on top of a page, and the funnel of stages and reasons."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from curate.html import escape, shown
from curate.report.charts import bar
from curate.report.collect import KEPT
from curate.report.finished import Finished
from pipelines.stage import Stage


class Sums(NamedTuple):
    """How many samples there are, are left, were dropped, were set aside; `words` are for those left."""

    samples: int
    kept: int
    dropped: int
    aside: int
    words: str = "kept"


def sums_of(run: Finished) -> Sums:
    """Return the sums of a finished run."""
    return Sums(run.samples, run.kept, run.count("dropped"), run.count("set_aside"))


def header(name: str, sums: Sums, facts: str, kicker: str = "curate report") -> str:
    """Return the head of a page; `facts` is plain text."""
    numbers = [
        ("", "", sums.samples, "in the pool"),
        ("=", KEPT, sums.kept, sums.words),
        ("+", "dropped", sums.dropped, "dropped"),
        ("+", "aside", sums.aside, "set aside"),
    ]
    blocks = "".join(
        f"{sign and _sign(sign)}"
        f'<div class="sum {kind}"><b data-count="{kind or "pool"}">{n:,}</b><span>{words}</span></div>'
        for sign, kind, n, words in numbers
    )
    whole = sums.samples or 1
    shares = bar([(kind, n / whole) for _, kind, n, _ in numbers[1:]])
    return (
        f'<header><p class="kicker">{escape(kicker)}</p><h1><bdi>{escape(shown(name, 80))}</bdi></h1>'
        f'<div class="sums">{blocks}</div><div class="whole">{shares}</div>'
        f'<p class="quiet">{escape(facts)}</p></header>'
    )


def _sign(sign: str) -> str:
    return f'<span class="sign" aria-hidden="true">{sign}</span>'


def funnel(
    stages: Sequence[Stage],
    tallies: Mapping[str, Mapping[str, Any]],
    link: Callable[[str, str, str], str],
    left_in: str = "kept",
) -> str:
    """Return a row for each reason, and one for what is left after each stage that had any.

    Parameters
    ----------
    stages, tallies
        All stages but the decisions, and what became of the samples that reached each.
    link
        From stage, reason and `dropped` or `aside` to where its samples are.
    left_in
        What to call those that are left.
    """
    pool = left = int(tallies[stages[0].name]["samples"])
    rows = [_row("in the pool", pool, pool, pool, "stage")]
    for stage in stages:
        tally = tallies[stage.name]
        losses = [("aside", *each) for each in tally["set_aside"].items()]
        losses += [("dropped", *each) for each in tally["dropped"].items()]
        for kind, reason, n in sorted(losses, key=lambda loss: (loss[0], -loss[2])):
            target = link(stage.name, reason, kind)
            name = f'<a href="{escape(target)}">{escape(reason.replace("_", " "))}</a>'
            rows.append(_row(name, n, left, pool, kind, f"{stage.name}.{reason}"))
            left -= n
        if losses:
            rows.append(_row(f"after {escape(stage.name)}", left, left, pool, "stage"))
    rows.append(_row(left_in, left, left, pool, "last"))
    names = ("stage and reason", "samples", "share")
    head = "<tr>" + "".join(f"<th scope=col>{name}</th>" for name in names) + "<td></td></tr>"
    return f'<table class="funnel"><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table>'


def _row(name: str, n: int, left: int, pool: int, kind: str, count: str = "") -> str:
    """Return a row; a loss is drawn at the end of what was left before it."""
    whole = pool or 1
    shares = [("faint", (left - n) / whole), (kind, n / whole)] if kind in ("aside", "dropped") else []
    shares = shares or [(KEPT, n / whole)]
    mark = f' data-count="{escape(count)}"' if count else ""
    return (
        f'<tr class="{kind}"><th scope="row">{name}</th><td{mark}>{n:,}</td><td>{n / whole:.1%}</td>'
        f"<td>{bar(shares)}</td></tr>"
    )

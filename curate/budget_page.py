"""The budget page: which pool for this budget, how sure that is, and what it rests on. One HTML file."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from curate.advice import Advice, brief, told
from curate.html import document, escape, shown
from pipelines.proxies.buckets import Buckets
from pipelines.proxies.run import JOIN
from scaling_laws import Choice, Interval, Study

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; width: 100%; display: block; overflow-x: auto; }
th, td { text-align: right; padding: .25rem .7rem; border-bottom: 1px solid #8884; white-space: nowrap; }
th { border-bottom: 2px solid #8888; } th:first-child, td:first-child { text-align: left; }
img { max-width: 100%; height: auto; background: #fff; border-radius: 4px; }
.verdict { border-left: 4px solid #0072b2; padding: .4rem 1rem; background: #0072b214; }
.refused { border-left-color: #d55e00; background: #d55e0014; }
.chosen td { font-weight: 600; } .small { color: #777; font-size: .9em; }
"""


def budget_page(name: str, advice: Advice, buckets: Buckets | None = None) -> str:
    """Return the page.

    Parameters
    ----------
    name
        What the run is called.
    advice
        The choice and what it rests on.
    buckets
        The buckets' descriptions, if they are known.
    """
    title = f"{shown(name)}: which pool for {advice.budget:,.0f} samples seen"
    parts = [f"<h1>{escape(title)}</h1>", _verdict(advice)]
    if advice.study is not None:
        parts += _frontier(advice, advice.study)
    if advice.choice is not None:
        parts += _contenders(advice.choice)
    parts += _buckets(advice, buckets)
    parts += _measured(advice)
    if advice.choice is not None:
        parts += _baselines(advice.choice)
    if advice.next_runs is not None:
        parts += _next_runs(advice)
    return document(title, "\n".join(parts), style=_STYLE)


def _verdict(advice: Advice) -> str:
    kind = "verdict refused" if advice.refusals else "verdict"
    lines = "<br>".join(escape(shown(line, 600)) for line in told(advice))
    return f'<p class="{kind}"><strong>Train on {escape(shown(brief(advice.pool)))}</strong><br>{lines}</p>'


def _frontier(advice: Advice, study: Study) -> list[str]:
    from scaling_laws.plots import plot_epochs, plot_frontier

    parts = ["<h2>Error against budget</h2>"]
    if advice.choice is not None:
        figure = plot_frontier(study, advice.choice.candidates, advice.choice)
        parts.append(_image(figure, "The predicted error of each pool over budgets, with the frontier"))
        parts.append(
            '<p class="small">Bands are 95 % of bootstrap draws; lines are dashed past what was measured; '
            "a grey line is where the best pool changes, with its interval.</p>"
        )
    parts.append("<h2>What repetition costs</h2>")
    parts.append(_image(plot_epochs(study), "Each pool's error over epochs, with the same law without decay"))
    return parts


def _image(figure: Any, text: str) -> str:
    sink = io.BytesIO()
    figure.savefig(sink, format="png", dpi=144)
    data = base64.b64encode(sink.getvalue()).decode()
    return f'<img alt="{escape(text)}" src="data:image/png;base64,{data}">'


def _contenders(choice: Choice) -> list[str]:
    found = choice.budgets[0]
    rows = [
        (
            shown(brief(each.name)),
            f"{each.p_best:.2f}",
            f"{each.error:.4f}",
            f"{each.low:.4f} to {each.high:.4f}",
            f"{each.epochs:.3g}",
        )
        for each in found.contenders
    ]
    more = f" The {len(rows)} likeliest of {found.n_contenders}." if found.n_contenders > len(rows) else ""
    note = (
        "Every pool that may be the best: with P(best) of 0.05 or more, or within noise of the best. P(best) "
        "is the share of bootstrap draws in which it wins; what the law itself gets wrong is not in it."
        + more
    )
    heads = ("pool", "P(best)", "predicted error", "95 %", "epochs")
    return [
        "<h2>The choice</h2>",
        _table(heads, rows, chosen=0),
        f'<p class="small">{escape(note + more)}</p>',
    ]


def _buckets(advice: Advice, buckets: Buckets | None) -> list[str]:
    """Return a table of the buckets: what is in them, and what they are worth to a training."""
    described = {} if buckets is None else {bucket.name: bucket for bucket in buckets.buckets}
    names = list(described) or [name for name in dict.fromkeys(advice.runs["pool"]) if JOIN not in name]
    rows = []
    for name in names:
        bucket = described.get(name)
        facts = (
            (
                f"{bucket.samples:,}",
                f"{bucket.score_low:.4g} to {bucket.score_high:.4g}",
                f"{bucket.caption_words:.1f}",
            )
            if bucket is not None
            else ("", "", "")
        )
        rows.append((shown(name), *facts, *_worth(advice.study, name)))
    heads = ("bucket", "samples", "score", "words", "utility b, 95 %", "half-life in epochs, 95 %")
    note = (
        "Utility is the exponent by which error falls with fresh samples: the more negative, the better. "
        "After a half-life of epochs, a sample that is seen again is worth half. The two, and the anchor and "
        "irreducible error that all pools share, are nearly degenerate: trust predictions, not values."
    )
    own = [] if advice.study is None else [f'<p class="small">{escape(note)}</p>']
    return ["<h2>The buckets</h2>", _table(heads, rows), *own]


def _worth(study: Study | None, name: str) -> tuple[str, str]:
    if study is None:
        return "", ""
    utility = study.intervals.get(f"exponent[{name}]")
    half_life = study.profiles.get(f"half_life[{name}]") or study.intervals.get(f"half_life[{name}]")
    return _spelled(utility), _spelled(half_life)


def _spelled(interval: Interval | None) -> str:
    return "not measured" if interval is None else str(interval)


def _measured(advice: Advice) -> list[str]:
    rows = []
    for name, runs in advice.runs.groupby("pool", sort=False):
        seen, size = runs["samples_seen"], float(runs["pool_size"].iloc[0])
        last = runs.loc[seen == seen.max(), "error"]
        rows.append(
            (
                shown(brief(str(name))),
                f"{size:,.0f}",
                f"{len(runs)}",
                f"{seen.min():,.0f} to {seen.max():,.0f}",
                f"{seen.max() / size:.3g}",
                f"{last.mean():.4f}" + (f" ± {last.std():.4f}" if len(last) > 1 else ""),
                f"{advice.budget / size:.3g}",
                "extrapolated" if advice.budget > seen.max() else "measured",
            )
        )
    heads = (
        "pool",
        "unique samples",
        "runs",
        "samples seen",
        "epochs",
        "error at most",
        "epochs at budget",
        "",
    )
    noise = ""
    if advice.study is not None and np.isfinite(advice.study.noise_sd):
        noise = f"Noise between seeds: {advice.study.noise_sd:.4f} (standard deviation of one run's error)."
    return ["<h2>Measured, and extrapolated</h2>", _table(heads, rows), f'<p class="small">{noise}</p>']


def _baselines(choice: Choice) -> list[str]:
    rows = [
        (shown(str(row.rule)), shown(brief(str(row.choice))), f"{row.error:.4f}", f"{row.regret:.4f}")
        for row in choice.baselines.itertuples()
    ]
    note = "Their error is the one that this law gives them."
    heads = ("rule", "would train on", "error", "worse by")
    return ["<h2>What simpler rules would do</h2>", _table(heads, rows), f'<p class="small">{note}</p>']


def _next_runs(advice: Advice) -> list[str]:
    assert advice.next_runs is not None
    rows = [
        (
            shown(brief(str(row["pool"]))),
            f"{row['samples_seen']:,.0f}",
            f"{row['samples_seen'] / advice.budget:.1%}",
            f"{row['epochs']:.3g}",
            f"{row['narrowing']:.0%}",
        )
        for row in advice.next_runs.head(5).to_dict("records")
    ]
    heads = ("train", "samples", "of the budget", "epochs", "narrows the switch by")
    return ["<h2>What it would cost to know better</h2>", _table(heads, rows)]


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], chosen: int | None = None) -> str:
    top = "".join(f"<th>{escape(head)}</th>" for head in heads)
    body = []
    for number, row in enumerate(rows):
        mark = ' class="chosen"' if number == chosen else ""
        body.append(f"<tr{mark}>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>")
    return f"<table><thead><tr>{top}</tr></thead><tbody>{''.join(body)}</tbody></table>"

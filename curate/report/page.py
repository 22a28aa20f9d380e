"""The report as a page: sections in the order in which one asks about a run."""

from __future__ import annotations

from importlib import metadata, resources
from typing import Any

from curate.costs import read_costs
from curate.html import document, escape, shown
from curate.report.aside import set_aside_table
from curate.report.charts import bar
from curate.report.collect import KEPT, Findings
from curate.report.finished import Finished
from curate.report.samples import Samples
from curate.report.sections import cluster_section, panel_section
from curate.report.times import times_section
from pipelines.columns import DECISIONS
from pipelines.output.publish import SET_ASIDE

BUDGET = "budget.html"


def render(run: Finished, findings: Findings, samples: Samples) -> str:
    """Return the whole page."""
    sections = [
        ("funnel", "Funnel", _funnel(run)),
        *(
            (f"stage-{panel.stage.name}", panel.stage.name, panel_section(run, panel))
            for panel in findings.panels
        ),
        *(
            (f"clusters-{each.stage}", "Concept clusters" + _numbered(each.stage), cluster_section(each))
            for each in findings.clusterings
        ),
    ]
    if run.count("set_aside"):
        sections.append(("set-aside", "Set aside", set_aside_table(run)))
    sections.append(("find", "Find samples", _find(run, findings, samples)))
    if costs := read_costs(run.folder):
        sections.append(("time", "Time and cost", times_section(costs)))
    links = "".join(f'<li><a href="#{escape(key)}">{escape(name)}</a></li>' for key, name, _ in sections)
    if run.folder.exists(BUDGET):
        links += f'<li><a href="{BUDGET}">Budget ↗</a></li>'
    body = (
        '<a class="skip" href="#funnel">Skip to the funnel</a>'
        f'{_header(run)}<div class="page"><nav aria-label="Sections"><ul>{links}</ul></nav><main>'
        + "".join(
            f'<section id="{escape(key)}" aria-labelledby="h-{escape(key)}">'
            f'<h2 id="h-{escape(key)}">{escape(name)}</h2>{content}</section>'
            for key, name, content in sections
        )
        + f"</main></div>{_DIALOG}{_footer()}"
    )
    return document(
        f"{shown(run.config.name, 80)} · curate",
        body,
        style=_file("report.css"),
        script=_file("report.js"),
        data={"report": _data(run, findings, samples)},
    )


def _file(name: str) -> str:
    return resources.files("curate.report").joinpath(name).read_text(encoding="utf-8")


def _numbered(stage: str) -> str:
    return "" if stage == "cluster" else f" ({stage})"


def _header(run: Finished) -> str:
    dropped, aside = run.count("dropped"), run.count("set_aside")
    numbers = [
        ("", run.samples, "in the pool"),
        (KEPT, run.kept, "kept"),
        ("dropped", dropped, "dropped"),
        ("aside", aside, "set aside"),
    ]
    signs = ("", "=", "+", "+")
    sums = "".join(
        f"{sign and _sign(sign)}"
        f'<div class="sum {name}"><b data-count="{name or "pool"}">{n:,}</b><span>{words}</span></div>'
        for sign, (name, n, words) in zip(signs, numbers, strict=True)
    )
    copies = run.tallies[DECISIONS]["copies"]
    repeated = f" · {copies:,} with repeats" if copies != run.kept else ""
    facts = f"{len(run.shards):,} shards · seed {run.config.seed}{repeated}"
    whole = run.samples or 1
    shares = bar([(KEPT, run.kept / whole), ("dropped", dropped / whole), ("aside", aside / whole)])
    name = escape(shown(run.config.name, 80))
    return (
        f'<header><p class="kicker">curate report</p><h1><bdi>{name}</bdi></h1><div class="sums">{sums}</div>'
        f'<div class="whole">{shares}</div><p class="quiet">{facts}</p></header>'
    )


def _sign(sign: str) -> str:
    return f'<span class="sign" aria-hidden="true">{sign}</span>'


def _funnel(run: Finished) -> str:
    rows = [_funnel_row("in the pool", run.samples, run.samples, run.samples, "stage")]
    left = run.samples
    for stage in run.stages:
        tally = run.tallies[stage.name]
        losses = [("aside", *each) for each in tally["set_aside"].items()]
        losses += [("dropped", *each) for each in tally["dropped"].items()]
        for kind, reason, n in sorted(losses, key=lambda loss: (loss[0], -loss[2])):
            link = f"#find?stage={stage.name}&reason={reason}" if kind == "dropped" else "#set-aside"
            name = f'<a href="{escape(link)}">{escape(reason.replace("_", " "))}</a>'
            rows.append(_funnel_row(name, n, left, run.samples, kind, f"{stage.name}.{reason}"))
            left -= n
        if losses:
            rows.append(_funnel_row(f"after {escape(stage.name)}", left, left, run.samples, "stage"))
    rows.append(_funnel_row("kept", run.kept, run.kept, run.samples, "last"))
    names = ("stage and reason", "samples", "share")
    head = "<tr>" + "".join(f"<th scope=col>{name}</th>" for name in names) + "<td></td></tr>"
    return f'<table class="funnel"><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table>'


def _funnel_row(name: str, n: int, left: int, pool: int, kind: str, count: str = "") -> str:
    """Return a row; a loss is drawn at the end of what was left before it."""
    whole = pool or 1
    shares = [("faint", (left - n) / whole), (kind, n / whole)] if kind in ("aside", "dropped") else []
    shares = shares or [(KEPT, n / whole)]
    mark = f' data-count="{escape(count)}"' if count else ""
    return (
        f'<tr class="{kind}"><th scope="row">{name}</th><td{mark}>{n:,}</td><td>{n / whole:.1%}</td>'
        f"<td>{bar(shares)}</td></tr>"
    )


def _find(run: Finished, findings: Findings, samples: Samples) -> str:
    stages = [stage.name for stage in run.stages if run.tallies[stage.name]["dropped"]]
    fates = '<option value="">any</option><option value="kept">kept in the end</option>'
    fates += '<option value="aside">set aside</option>' if run.count("set_aside") else ""
    for stage in stages:
        fates += f'<option value="{escape(stage)}">dropped by {escape(stage)}</option>'
        fates += "".join(
            f'<option value="{escape(stage)}.{escape(reason)}">&nbsp;&nbsp;'
            f"{escape(reason.replace('_', ' '))}</option>"
            for reason in run.tallies[stage]["dropped"]
        )
    scores = "".join(f"<option>{escape(name)}</option>" for name in samples.scores)
    score = (
        f'<label>score <select name="score">{scores}</select></label>'
        '<label>from <input name="from" inputmode="decimal" size="7"></label>'
        '<label>to <input name="to" inputmode="decimal" size="7"></label>'
        if samples.scores
        else ""
    )
    cluster = (
        '<label>cluster <input name="cluster" inputmode="numeric" size="5"></label>'
        if findings.clusterings
        else ""
    )
    return (
        f"<p>{len(samples.places):,} of {run.samples:,} samples are in this page: those nearest to each "
        f"threshold, examples of clusters and duplicates, and {len(findings.at_random):,} drawn at "
        "random.</p>"
        '<form id="filters" role="search"><label class="wide">caption or key '
        f'<input name="text" type="search"></label><label>fate <select name="fate">{fates}</select></label>'
        f'{score}{cluster}<label class="tick"><input type="checkbox" name="random"> '
        'only those drawn at random</label><button type="reset">clear</button></form>'
        '<p id="found" class="quiet" aria-live="polite"></p><ul class="grid" id="results"></ul>'
        '<button type="button" id="more" hidden>show more</button>'
    )


def _footer() -> str:
    version = escape(metadata.version("curate-pools"))
    return (
        f"<footer><p>Made by curate {version} from the columns of the run; every decision stands in "
        f"<code>decisions/</code>, every sample that could not be read in <code>{SET_ASIDE}</code>. "
        "This page loads nothing from anywhere.</p></footer>"
    )


_DIALOG = (
    '<dialog id="detail" aria-labelledby="detail-caption"><div class="detail"><div class="frame"></div>'
    '<div><p id="detail-caption" class="caption"></p><dl></dl></div></div>'
    '<div class="buttons"><button type="button" data-step="-1">← before</button>'
    '<button type="button" data-step="1">next →</button>'
    '<button type="button" data-close>close</button></div></dialog>'
    "<noscript><p class=quiet>Pictures and the search need this page's own script.</p></noscript>"
)


def _data(run: Finished, findings: Findings, samples: Samples) -> dict[str, Any]:
    panels = {
        panel.stage.name: {
            group: samples.numbers(panel.samples.chosen(group)) for group in panel.samples.groups
        }
        for panel in findings.panels
    }
    groups = {
        each.stage: [
            [
                group.size,
                samples.places[group.survivor] if group.survivor else None,
                samples.numbers(group.copies),
            ]
            for group in each.chosen
        ]
        for each in findings.groups
    }
    clusters = {
        each.stage: {str(cluster): samples.numbers(places) for cluster, places in each.examples.items()}
        for each in findings.clusterings
    }
    return {
        "scores": samples.scores,
        "stages": [stage.name for stage in run.stages],
        "samples": samples.columns,
        "panels": panels,
        "groups": groups,
        "clusters": clusters,
        "random": samples.numbers(findings.at_random),
    }

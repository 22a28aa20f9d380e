"""The report as a page: sections in the order in which one asks about a run."""

from __future__ import annotations

from importlib import metadata, resources
from typing import Any

from curate.costs import read_costs
from curate.html import document, escape, shown
from curate.report.aside import placeholder_table, set_aside_table
from curate.report.collect import Findings
from curate.report.finished import Finished
from curate.report.funnel import funnel, header, sums_of
from curate.report.groups import called
from curate.report.samples import Samples
from curate.report.sections import cluster_section, panel_section
from curate.report.times import times_section
from pipelines.columns import DECISIONS
from pipelines.output.publish import SET_ASIDE

BUDGET = "budget.html"


def render(run: Finished, findings: Findings, samples: Samples) -> str:
    """Return the whole page."""
    sections = [
        ("funnel", "Funnel", funnel(run.stages, run.tallies, _link)),
        *(
            (f"stage-{panel.stage.name}", called(run, panel.stage.name), panel_section(run, panel))
            for panel in findings.panels
        ),
        *(
            (f"clusters-{each.stage}", "Concept clusters" + _numbered(each.stage), cluster_section(each))
            for each in findings.clusterings
        ),
    ]
    if stand_ins := run.placeholders:
        sections.append(("placeholders", "One picture, many captions", placeholder_table(stand_ins)))
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
    copies = run.tallies[DECISIONS]["copies"]
    repeated = f" · {copies:,} with repeats" if copies != run.kept else ""
    facts = f"{len(run.shards):,} shards · seed {run.config.seed}{repeated}"
    return header(run.config.name, sums_of(run), facts)


def _link(stage: str, reason: str, kind: str) -> str:
    return f"#find?stage={stage}&reason={reason}" if kind == "dropped" else "#set-aside"


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
        "random. <code>curate view</code> searches the whole pool.</p>"
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

"""The first page: what became of the pool, stage by stage, and what it cost."""

from __future__ import annotations

from curate.costs import Cost
from curate.html import escape
from curate.report.funnel import funnel, header
from curate.report.times import times_section
from curate.view.query import Query
from curate.view.standing import Standing


def overview_body(standing: Standing, costs: list[Cost]) -> str:
    """Return the page's content."""
    run = standing.run
    sums = standing.sums
    facts = f"{len(run.shards):,} shards · seed {run.config.seed}"
    whole = header(run.config.name, sums, facts, "curate view")
    cost = f'<section id="time"><h2>Time and cost</h2>{times_section(costs)}</section>' if costs else ""
    return (
        f'{whole}<section id="funnel"><h2>Funnel</h2>{funnel(run.stages, run.tallies, _link, sums.words)}'
        f'</section><section id="stages"><h2>Stages</h2>{_stages(standing)}</section>{cost}'
    )


def _link(stage: str, reason: str, kind: str) -> str:
    return Query(fate=kind, stage=stage, reason=reason).url()


def _stages(standing: Standing) -> str:
    rows = ""
    for stage in standing.names:
        tally = standing.run.tallies[stage]
        counts = ""
        for fate, n in (
            ("", tally["samples"]),
            ("kept", tally["kept"]),
            ("dropped", sum(tally["dropped"].values())),
            ("aside", sum(tally["set_aside"].values())),
        ):
            link = Query(fate=fate, stage=stage).url()
            counts += f"<td>{f'<a href={chr(34)}{escape(link)}{chr(34)}>{n:,}</a>' if n else '–'}</td>"
        rows += f'<tr><th scope="row"><a href="/stage/{escape(stage)}">{escape(stage)}</a></th>{counts}</tr>'
    heads = ("stage", "came", "went on", "dropped", "set aside")
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    return (
        "<p>A stage’s page shows the numbers that it decided by, its thresholds, and samples on both "
        'sides of them.</p><div class="scroll" tabindex="0" role="region" aria-label="Stages">'
        f'<table class="counts"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    )

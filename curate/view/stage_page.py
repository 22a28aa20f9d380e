"""A stage's page: its numbers with their thresholds, and samples of the whole pool on both sides of them."""

from __future__ import annotations

from collections.abc import Sequence

from curate.html import escape
from curate.report.axes import Axis, score_axis
from curate.report.collect import Panel
from curate.report.groups import copies_stages
from curate.report.sections import stage_facts
from curate.view.frame import card_item, grid
from curate.view.query import NEAR, RANDOM, Query
from curate.view.samples import Card
from curate.view.standing import Standing

PER_SIDE = 12


def panel_of(standing: Standing, name: str, axes: Sequence[Axis]) -> Panel:
    """Return what a stage that is through with all shards saw and did, counted over the pool."""
    run = standing.run
    stage = next(stage for stage in run.stages if stage.name == name)
    decides = bool(axes or run.tallies[name]["dropped"])
    if not decides:
        made = [score for score in run.plan.scores if run.plan.sources[score] == name]
        axes = [score_axis(run, name, score, name, score) for score in made]
    panel = Panel(stage, list(axes), decides)
    for _, columns in run.columns():
        panel.count(columns)
    return panel


def sides_of(name: str, axes: Sequence[Axis]) -> dict[str, Query]:
    """Return what is asked for on either side of a stage: the nearest to its thresholds where it has any."""
    order = NEAR if any(axis.thresholds for axis in axes) else RANDOM
    return {
        "Kept": Query(fate="kept", stage=name, sort=order),
        "Dropped": Query(fate="dropped", stage=name, sort=order),
    }


def stage_body(
    standing: Standing, name: str, panel: Panel | None, sides: dict[str, tuple[Query, int, list[Card]]]
) -> str:
    """Return the page's content.

    Parameters
    ----------
    standing, name
        The run and the stage.
    panel
        Its numbers; None while it is not through with all shards.
    sides
        By their names what was asked for, how many there are, and the first few of them.
    """
    tally = standing.run.tallies[name]
    facts = (
        stage_facts(panel, tally)
        if panel is not None
        else '<p class="quiet">Its numbers are drawn when it is through with all shards.</p>'
    )
    groups = f'<p><a href="/groups/{escape(name)}">its groups of duplicates</a></p>'
    blocks = "".join(_side(side, *found, standing.run.has_images) for side, found in sides.items())
    return (
        f"<h1>{escape(name)}</h1>{facts}{groups if name in copies_stages(standing.run) else ''}"
        f'<div class="sides">{blocks}</div>'
    )


def _side(side: str, query: Query, total: int, cards: list[Card], has_images: bool) -> str:
    near = "nearest to the threshold first" if query.sort == NEAR else "at random"
    items = [card_item(card, query, n, has_images) for n, card in enumerate(cards)]
    more = f'<p><a href="{escape(query.url())}">all {total:,}</a></p>' if total > len(cards) else ""
    return f'<div><h2>{side} <span class="quiet">{near}</span></h2>{grid(items)}{more}</div>'

"""Groups of duplicates, the largest first, a page of them at a time."""

from __future__ import annotations

from collections.abc import Mapping

from curate.html import escape
from curate.report.choice import Place, identity, uid_bytes
from curate.report.groups import Group, Groups, called, copies_stages
from curate.view.frame import CURRENT, card_item, grid, pages
from curate.view.query import Query, QueryError
from curate.view.samples import Card
from curate.view.standing import Standing

PER_PAGE = 24


def count_groups(standing: Standing, stage: str) -> Groups:
    """Return the sizes of a stage's groups.

    Raises
    ------
    QueryError
        When the stage is not through with all shards.
    """
    if not standing.complete(stage):
        raise QueryError(f"groups are shown when the stage {stage} is through with all shards")
    groups = Groups(stage)
    for _, columns in standing.run.columns():
        groups.count(columns)
    return groups


def members(standing: Standing, groups: Groups, number: int) -> list[Group]:
    """Return a page of groups with the first of their members."""
    groups.choose_from((number - 1) * PER_PAGE, PER_PAGE)
    if groups.chosen:
        for shard, columns in standing.run.columns():
            groups.find(shard, columns, identity(uid_bytes(columns.read("ingest", ("uid",))["uid"])))
    return groups.chosen


def groups_body(
    standing: Standing,
    stage: str,
    total: int,
    number: int,
    groups: list[Group],
    cards: Mapping[Place, Card],
) -> str:
    """Return the page's content; `cards` are of all members that are shown."""
    has_images = standing.run.has_images
    items = "".join(_group(group, cards, has_images) for group in groups)
    stages = copies_stages(standing.run)
    others = "".join(
        f'<li><a href="/groups/{escape(name)}"{CURRENT if name == stage else ""}>'
        f"{escape(called(standing.run, name))}</a></li>"
        for name in stages
    )
    leaf = pages([f"/groups/{stage}?page={number + by}" for by in (-1, 1)], number, -(-total // PER_PAGE))
    by = escape(called(standing.run, stage))
    return (
        "<h1>Duplicates</h1>"
        + (f'<ul class="links" aria-label="found by">{others}</ul>' if len(stages) > 1 else "")
        + f'<p><b data-count="groups">{total:,}</b> groups found by {by}, the largest first; the sample that '
        f"stays is marked.</p>{grid([items] if items else [], 'groups')}{leaf}"
    )


def _group(group: Group, cards: Mapping[Place, Card], has_images: bool) -> str:
    places = [place for place in (group.survivor, *group.copies) if place is not None]
    items = "".join(card_item(cards[place], has_images=has_images) for place in places)
    uid = cards[group.survivor].uid if group.survivor is not None else ""
    name = "grid stays" if uid else "grid"
    link = f'<a href="{escape(Query(group=uid).url())}">{group.size:,} samples</a>' if uid else ""
    return f'<li><ul class="{name}">{items}</ul><p>{link}</p></li>'

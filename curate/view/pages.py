"""The pages by their paths: each is made from what stands of the run and from what the URL asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from curate.costs import read_costs
from curate.html import escape
from curate.report.choice import Place
from curate.report.groups import copies_stages
from curate.report.page import BUDGET
from curate.view.clusters_page import cluster_orders, cluster_page, clusters_body
from curate.view.frame import page, sample_url
from curate.view.groups_page import count_groups, groups_body, members
from curate.view.list_page import list_body
from curate.view.overview_page import overview_body
from curate.view.query import Query, clusterings_of, page_number, parse
from curate.view.sample_page import Detail, sample_body
from curate.view.samples import cards, duplicate_of, has_sample, metadata_text, steps
from curate.view.search import PER_PAGE, Search
from curate.view.stage_page import PER_SIDE, panel_of, sides_of, stage_body
from pipelines.stages.prune import PruneStage

Arguments = Mapping[str, Sequence[str]]
_PARTNERS = 12
_SCORES = 3  # on a card


class Elsewhere(Exception):  # noqa: N818 - no error: the same page has a shorter URL
    """What is asked for stands at another URL, `args[0]`."""


class NothingHere(Exception):  # noqa: N818 - what the browser is told is 404
    """A URL names what this run has not."""


def overview(search: Search) -> str:
    """Return the first page."""
    standing = search.standing
    return _page(search, "Overview", overview_body(standing, read_costs(standing.run.folder)), "/")


def listing(search: Search, arguments: Arguments, path: str) -> str:
    """Return the page of a query; `Elsewhere` where the URL has empty parts, as forms make them."""
    query = parse(arguments, search.standing)
    if query.url() != path:
        raise Elsewhere(query.url())
    found = search.find(query)
    shown = cards(search.standing, found.places, _scores(search, query))
    here = "/samples?fate=aside" if query.but() == Query(fate="aside") else "/samples"
    return _page(search, "Samples", list_body(search.standing, query, found, shown), here)


def _scores(search: Search, query: Query) -> list[str]:
    """Return which scores a card shows: what is asked for, then the run's own."""
    asked = [*([query.score] if query.score else []), *(each.score for each in query.ranges)]
    return list(dict.fromkeys([*asked, *search.standing.run.plan.scores]))[:_SCORES]


def sample(search: Search, place: Place, arguments: Arguments) -> str:
    """Return a sample's own page; `NothingHere` where there is none such."""
    standing = search.standing
    if not has_sample(standing, place):
        raise NothingHere
    query = parse(arguments, standing)
    at = page_number(arguments, "at")
    stages = copies_stages(standing.run)
    (card,) = cards(standing, [place])
    group = duplicate_of(standing, place, stages) or card.uid
    found = search.find(Query(group=group)) if stages else None
    others = cards(standing, found.places) if found and found.total > 1 else []
    others.sort(key=lambda other: other.uid != group)  # the one that stays comes first
    before, after = _neighbours(search, query, at)
    detail = Detail(
        card,
        steps(standing, place),
        metadata_text(standing, place),
        group,
        found.total if found else 0,
        others[:_PARTNERS],
        before,
        after,
        replace(query, page=1 + (at or 0) // PER_PAGE).url(),
    )
    return _page(search, card.key or card.uid, sample_body(standing, detail), "/samples")


def _neighbours(search: Search, query: Query, at: int | None) -> tuple[str | None, str | None]:
    """Return the URLs of the samples before and behind the one at a place in a list."""
    if at is None:
        return None, None
    urls: list[str | None] = []
    for other in (at - 1, at + 1):
        found = search.find(replace(query, page=1 + other // PER_PAGE)) if other >= 0 else None
        position = other % PER_PAGE
        if found is None or position >= len(found.places):
            urls.append(None)
        else:
            urls.append(sample_url(found.places[position], query, other))
    return urls[0], urls[1]


def stage(search: Search, name: str) -> str:
    """Return a stage's page; `NothingHere` where there is none such."""
    standing = search.standing
    if name not in standing.names:
        raise NothingHere
    axes = search.axes(name)
    panel = None
    if standing.complete(name):
        panel = search.remember(("panel", name), lambda: panel_of(standing, name, axes))
    sides = {}
    for side, query in sides_of(name, axes).items():
        found = search.find(query)
        shown = cards(standing, found.places[:PER_SIDE], standing.run.plan.scores[:_SCORES])
        sides[side] = (query, found.total, shown)
    return _page(search, name, stage_body(standing, name, panel, sides), "/")


def clusters(search: Search, stage: str | None, arguments: Arguments) -> str:
    """Return a page of the clusters; `NothingHere` where there are none such."""
    standing = search.standing
    there = clusterings_of(standing)
    pruned = [s.cluster for s in standing.run.stages if isinstance(s, PruneStage)]
    name = stage or next(iter([*pruned, *there]), None)
    if name not in there:
        raise NothingHere
    sort = (list(arguments.get("sort", [])) or [""])[-1]
    if not sort:
        sort = cluster_orders(name if name in pruned else None)[0]
    number = page_number(arguments, "page") or 1
    key = ("clusters", name, sort, number)
    found = search.remember(key, lambda: cluster_page(standing, name, sort, number))
    places = [place for examples in found.examples.values() for place in examples]
    shown = {card.place: card for card in cards(standing, places, ())}
    return _page(search, "Clusters", clusters_body(standing, found, sort, number, shown), "/clusters")


def groups(search: Search, stage: str | None, arguments: Arguments) -> str:
    """Return a page of the groups of duplicates; `NothingHere` where there are none such."""
    standing = search.standing
    there = copies_stages(standing.run)
    name = stage or next(iter(there), None)
    if name not in there:
        raise NothingHere
    number = page_number(arguments, "page") or 1
    counted = search.remember(("groups", name), lambda: count_groups(standing, name))
    found = search.remember(("groups", name, number), lambda: members(standing, counted, number))
    places = [p for group in found for p in (group.survivor, *group.copies) if p is not None]
    shown = {card.place: card for card in cards(standing, places, ())}
    body = groups_body(standing, name, counted.total, number, found, shown)
    return _page(search, "Duplicates", body, "/groups")


def trouble(search: Search, title: str, message: str) -> str:
    """Return a page that says what can't be shown."""
    return _page(search, title, f"<h1>{escape(title)}</h1><p>{escape(message)}</p>", "")


def _page(search: Search, title: str, body: str, here: str) -> str:
    standing = search.standing
    return page(standing, title, body, here, budget=standing.run.folder.exists(BUDGET))

"""The page that lists what a query finds, with the form that asks."""

from __future__ import annotations

import math
from dataclasses import replace

from curate.html import escape, shown
from curate.report.charts import number
from curate.view.frame import card_item, grid, pages
from curate.view.query import FATES, NEAR, RANDOM, Query, clusterings_of, numbers_of
from curate.view.samples import Card
from curate.view.search import PER_PAGE, Found
from curate.view.standing import Standing


def list_body(standing: Standing, query: Query, found: Found, cards: list[Card]) -> str:
    """Return the form, what is asked for, and a page of what was found."""
    first = (query.page - 1) * PER_PAGE
    has_images = standing.run.has_images
    items = (card_item(card, query, first + n, has_images) for n, card in enumerate(cards))
    here, last = query.page, found.pages
    urls = [replace(query, page=here + by).url() for by in (-1, 1)]
    leaf = pages(urls, here, last)
    cut = (
        f'<p class="quiet">Only the first {found.within_reach:,} can be leafed through in this order: narrow '
        "it down, or turn the order round.</p>"
        if found.within_reach < found.total and here == last
        else ""
    )
    return (
        f"<h1>Samples</h1>{_form(standing, query)}"
        f'<div class="asked"><p id="found"><b data-count="found">{found.total:,}</b> '
        f"{'sample' if found.total == 1 else 'samples'}</p>{_chips(query)}</div>"
        f"{grid(items, 'grid large')}{leaf}{cut}"
    )


def _form(standing: Standing, query: Query) -> str:
    fates = {key: words for key, words in FATES.items() if key != "waiting" or not standing.decided}
    reasons = sorted(
        {
            reason
            for tally in standing.run.tallies.values()
            for kind in ("dropped", "set_aside")
            for reason in tally[kind]
        }
    )
    orders = {"": "as in the pool", RANDOM: "at random"}
    orders |= {NEAR: "nearest to the threshold"} if query.stage else {}
    for name in numbers_of(standing):
        words = name.replace("_", " ")
        orders |= {f"-{name}": f"{words}, highest first", name: f"{words}, lowest first"}
    stages = {name: name for name in standing.names}
    shown_reasons = {reason: reason.replace("_", " ") for reason in reasons}
    return (
        '<form id="filters" role="search" action="/samples"><label class="wide">caption, key or uid '
        f'<input name="text" type="search" value="{escape(query.text)}" maxlength="200"></label>'
        f"{_select('fate', 'fate', {'': 'any', **fates}, query.fate)}"
        f"{_select('stage', 'at the stage', {'': 'in the end', **stages}, query.stage)}"
        f"{_select('reason', 'for the reason', {'': 'any', **shown_reasons}, query.reason)}"
        f"{_select('sort', 'in the order', orders, query.sort)}"
        + (f'<input type="hidden" name="group" value="{escape(query.group)}">' if query.group else "")
        + f'<button type="submit">show</button>{_scores(standing, query)}</form>'
    )


def _select(name: str, words: str, options: dict[str, str], chosen: str) -> str:
    items = "".join(
        f'<option value="{escape(value)}"{" selected" if value == chosen else ""}>{escape(label)}</option>'
        for value, label in options.items()
    )
    return f'<label>{words} <select name="{name}">{items}</select></label>'


def _scores(standing: Standing, query: Query) -> str:
    """Return the fields for scores and clusters, folded away unless one is in use."""
    ranges = {each.score: each for each in query.ranges}
    fields = ""
    for name in numbers_of(standing):
        asked = ranges.get(name)
        limits = (asked.low, asked.high) if asked else (-math.inf, math.inf)
        low, high = (repr(limit) if math.isfinite(limit) else "" for limit in limits)
        words = escape(name.replace("_", " "))
        fields += (
            f'<label>{words} from <input name="min.{escape(name)}" inputmode="decimal" size="7" '
            f'value="{low}"></label><label>to <input name="max.{escape(name)}" '
            f'aria-label="{words} to" inputmode="decimal" size="7" value="{high}"></label>'
        )
    clusterings = clusterings_of(standing)
    if clusterings:
        number_ = "" if query.cluster is None else str(query.cluster)
        fields += (
            f'<label>cluster <input name="cluster" inputmode="numeric" size="5" value="{number_}"></label>'
        )
    if len(clusterings) > 1:
        names = {"": f"of {clusterings[0]}", **{name: f"of {name}" for name in clusterings[1:]}}
        fields += _select("clustering", "which", names, query.clustering)
    in_use = query.ranges or query.cluster is not None
    return (
        f"<details{' open' if in_use else ''}><summary>scores and clusters</summary>"
        f'<div class="fields">{fields}</div></details>'
        if fields
        else ""
    )


def _chips(query: Query) -> str:
    """Return what is asked for, each part with a link to do without it."""
    parts: list[tuple[str, Query]] = []
    if query.text:
        parts.append((f"“{shown(query.text, 60)}”", query.but(text="")))
    if query.fate:
        parts.append((FATES[query.fate], query.but(fate="")))
    if query.stage:
        without = query.but(stage="", sort="" if query.sort == NEAR else query.sort)
        parts.append((f"at {query.stage}", without))
    if query.reason:
        parts.append((query.reason.replace("_", " "), query.but(reason="")))
    if query.cluster is not None:
        of = f" of {query.clustering}" if query.clustering else ""
        parts.append((f"cluster {query.cluster}{of}", query.but(cluster=None, clustering="")))
    if query.group:
        parts.append((f"duplicates of {query.group[:8]}…", query.but(group="")))
    for each in query.ranges:
        name = each.score.replace("_", " ")
        low, high = each.low, each.high
        words = f"{name} from {number(low)}" if math.isfinite(low) else name
        words += f" to {number(high)}" if math.isfinite(high) else ""
        rest = tuple(other for other in query.ranges if other != each)
        parts.append((words, query.but(ranges=rest)))
    items = "".join(
        f'<li><a class="chip" href="{escape(other.url())}"><bdi>{escape(words)}</bdi> '
        f'<span aria-hidden="true">×</span><span class="hidden">, leave it out</span></a></li>'
        for words, other in parts
    )
    return f'<ul class="chips" aria-label="asked for">{items}</ul>' if items else ""

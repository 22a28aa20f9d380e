"""What all pages share: the frame around them, and samples as cards."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from urllib.parse import urlencode

from curate.html import escape, shown
from curate.report.charts import number
from curate.report.choice import Place
from curate.report.groups import copies_stages
from curate.view.query import Query, clusterings_of
from curate.view.samples import Card
from curate.view.standing import Standing

_CAPTION = 160
_SCORES = 3
CURRENT = ' aria-current="true"'


def page(standing: Standing, title: str, body: str, here: str, *, budget: bool = False) -> str:
    """Return a whole page; `here` is the path of the link that leads to it, `body` is HTML."""
    links = [("/", "Overview"), ("/samples", "Samples")]
    links += [("/clusters", "Clusters")] if clusterings_of(standing) else []
    links += [("/groups", "Duplicates")] if copies_stages(standing.run) else []
    links += [("/samples?fate=aside", "Set aside")] if standing.run.count("set_aside") else []
    links += [("/budget", "Budget")] if budget else []
    items = "".join(
        f'<li><a href="{escape(path)}"{" aria-current=page" if path == here else ""}>{name}</a></li>'
        for path, name in links
    )
    name = escape(shown(standing.run.config.name, 80))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(shown(title, 80))} · {name} · curate</title>\n"
        '<link rel="stylesheet" href="/style.css">\n<link rel="icon" href="/icon.svg">\n</head>\n<body>\n'
        '<a class="skip" href="#main">Skip to the content</a>'
        f'<header class="top"><a class="run" href="/"><bdi>{name}</bdi></a>'
        f'<nav aria-label="Pages"><ul>{items}</ul></nav></header>'
        f'<main id="main">{_progress(standing)}{body}</main>\n</body>\n</html>\n'
    )


def _progress(standing: Standing) -> str:
    """Return what a person must know of a run that is not done."""
    if standing.decided and not standing.working:
        return ""
    n = len(standing.run.shards)
    behind = next((name for name in standing.names if not standing.complete(name)), None)
    if behind is None:
        where = "all stages are through; the output is being written"
    else:
        done = int((standing.depth > standing.names.index(behind)).sum())
        where = f"the stage {escape(behind)} has done {done:,} of {n:,} shards"
    at_work = "A run is at work" if standing.working else "This run has work left"
    return f'<p class="notice" role="status">{at_work}: {where}. Load the page again to see more.</p>'


def sample_url(place: Place, query: Query | None = None, at: int | None = None) -> str:
    """Return the URL of a sample's own page; with a query it knows what stands before and behind it."""
    pairs = [] if query is None else [pair for pair in query.pairs() if pair[0] != "page"]
    pairs += [] if at is None else [("at", str(at))]
    path = f"/sample/{place.shard}/{place.row}"
    return f"{path}?{urlencode(pairs)}" if pairs else path


def frame(place: Place, path: str = "small", words: str = "") -> str:
    """Return a sample's picture in its frame; `words` say what is in it where they do not stand beside."""
    source = f"/picture/{path}/{place.shard}/{place.row}"
    lazy = ' loading="lazy"' if path == "small" else ""
    return f'<span class="frame"><img src="{source}" alt="{escape(words)}"{lazy} decoding="async"></span>'


def caption(card: Card, limit: int = _CAPTION) -> str:
    """Return a sample's caption as text, whatever it holds."""
    if not card.caption:
        words = "no caption" if card.caption is None else "empty caption"
        return f'<span class="caption none">{words}</span>'
    return f'<span class="caption" dir="auto">{escape(shown(card.caption, limit))}</span>'


def card_item(card: Card, query: Query | None = None, at: int | None = None, has_images: bool = True) -> str:
    """Return a sample as an item of a list, which leads to its own page."""
    numbers = "".join(
        f'<span class="meta">{escape(name.replace("_", " "))} {number(value)}</span>'
        for name, value in list(card.numbers.items())[:_SCORES]
        if value is not None
    )
    picture = frame(card.place) if has_images else ""
    return (
        f'<li><a class="card" href="{escape(sample_url(card.place, query, at))}">{picture}{caption(card)}'
        f'{numbers}<span class="meta"><span class="{card.kind}">{escape(card.fate)}</span></span></a></li>'
    )


def small_item(card: Card) -> str:
    """Return a sample as a picture alone."""
    picture = frame(card.place, words=shown(card.caption or "no caption", 120))
    return f'<li><a class="card" href="{escape(sample_url(card.place))}">{picture}</a></li>'


def grid(items: Iterable[str], name: str = "grid") -> str:
    """Return items as a grid."""
    inside = "".join(items)
    return f'<ul class="{name}">{inside}</ul>' if inside else '<p class="quiet">none</p>'


def pages(query_url: Sequence[str], here: int, last: int) -> str:
    """Return links to the page before and the next; `query_url` are the URLs of these two."""
    if last <= 1:
        return ""
    before = f'<a rel="prev" href="{escape(query_url[0])}">← before</a>' if here > 1 else "<span></span>"
    after = f'<a rel="next" href="{escape(query_url[1])}">next →</a>' if here < last else "<span></span>"
    return (
        f'<nav class="pages" aria-label="Pages of this list">{before}'
        f"<span>page {here:,} of {last:,}</span>{after}</nav>"
    )

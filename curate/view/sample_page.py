"""A sample's own page: its picture, all that is known of it, and its duplicates beside it."""

from __future__ import annotations

from dataclasses import dataclass

from curate.html import escape, shown, visible
from curate.report.charts import number
from curate.view.frame import caption, card_item, frame, grid
from curate.view.query import FATES, Query, clusterings_of
from curate.view.samples import Card, Step
from curate.view.standing import Standing

_CAPTION = 20_000


@dataclass(frozen=True)
class Detail:
    """All that the page shows.

    Attributes
    ----------
    card, steps, metadata
        The sample, what each stage found of it, and its JSON.
    group, copies, partners
        The uid of the group of duplicates that it is in, how many are in that, and some of them.
    before, after
        The URLs of its neighbours in the list that led here; None where there is none.
    back
        The URL of that list.
    """

    card: Card
    steps: list[Step]
    metadata: str | None
    group: str
    copies: int
    partners: list[Card]
    before: str | None
    after: str | None
    back: str


def sample_body(standing: Standing, detail: Detail) -> str:
    """Return the page's content."""
    card = detail.card
    picture = (
        f'<a href="/picture/full/{card.place.shard}/{card.place.row}">'
        f"{frame(card.place, 'full', 'the picture of this sample')}</a>"
        if standing.run.has_images
        else ""
    )
    by = f"{FATES[card.kind]} by " if card.kind in ("dropped", "aside") else ""
    return (
        f"{_leaf(detail)}<h1 class=hidden>Sample {escape(shown(card.key or card.uid, 80))}</h1>"
        f'<div class="sample"><div class="picture">{picture}</div><div>'
        f'<p class="said">{caption(card, _CAPTION)}</p>'
        f'<p class="fate {card.kind}">{by}{escape(card.fate)}</p><dl>{_facts(standing, card)}</dl>'
        f"{_links(standing, detail)}</div></div>"
        f"{_partners(standing, detail)}{_steps(detail.steps)}{_metadata(detail.metadata)}"
    )


def _leaf(detail: Detail) -> str:
    before = after = "<span></span>"
    if detail.before:
        before = f'<a rel="prev" href="{escape(detail.before)}">← before</a>'
    if detail.after:
        after = f'<a rel="next" href="{escape(detail.after)}">next →</a>'
    return (
        f'<nav class="pages" aria-label="Neighbours in the list">{before}'
        f'<a href="{escape(detail.back)}">back to the list</a>{after}</nav>'
    )


def _facts(standing: Standing, card: Card) -> str:
    facts = [(name.replace("_", " "), "–" if v is None else number(v)) for name, v in card.numbers.items()]
    facts += [
        ("size", f"{card.size[0]} × {card.size[1]}" if card.size else "–"),
        ("caption", f"{len(card.caption or ''):,} characters"),
        ("uid", card.uid),
        ("shard, key", f"{card.shard}, {card.key}" if card.key else card.shard),
    ]
    return "".join(
        f"<dt>{escape(shown(name, 80))}</dt><dd><bdi>{escape(shown(value, 300))}</bdi></dd>"
        for name, value in facts
    )


def _links(standing: Standing, detail: Detail) -> str:
    links = []
    stopped = detail.steps[-1] if detail.steps and detail.steps[-1].kind in ("dropped", "aside") else None
    if stopped is not None:
        others = Query(stage=stopped.stage, fate=stopped.kind)
        links.append((others.url(), f"others {FATES[stopped.kind]} at {stopped.stage}"))
    clusterings = clusterings_of(standing)
    for step in detail.steps:
        cluster = dict(step.facts).get("cluster")
        if cluster is not None and step.stage in clusterings:
            of = step.stage if len(clusterings) > 1 else ""
            links.append((Query(cluster=int(cluster), clustering=of).url(), f"cluster {cluster}"))
    items = "".join(f'<li><a href="{escape(url)}">{escape(words)}</a></li>' for url, words in links)
    return f'<ul class="links">{items}</ul>' if items else ""


def _partners(standing: Standing, detail: Detail) -> str:
    if detail.copies < 2:
        return ""
    items = (card_item(card, has_images=standing.run.has_images) for card in detail.partners)
    more = detail.copies - len(detail.partners)
    link = Query(group=detail.group).url()
    all_of = f'<p><a href="{escape(link)}">all {detail.copies:,} of this group</a></p>' if more > 0 else ""
    return (
        f"<section><h2>Duplicates</h2><p>{detail.copies:,} samples, the one that stays first.</p>"
        f"{grid(items, 'grid large partners')}{all_of}</section>"
    )


def _steps(steps: list[Step]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(step.stage)}</th><td class="{step.kind}"><bdi>'
        f"{escape(shown(step.outcome, 300))}</bdi></td><td>{_step_facts(step)}</td></tr>"
        for step in steps
    )
    return (
        '<section><h2>Stage by stage</h2><div class="scroll" tabindex="0" role="region" '
        'aria-label="Stage by stage"><table class="steps"><thead><tr><th scope="col">stage</th>'
        '<th scope="col">outcome</th><th scope="col">what it found</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div></section>"
    )


def _step_facts(step: Step) -> str:
    return "<br>".join(
        f'<span class="quiet">{escape(shown(name.replace("_", " "), 80))}</span> '
        f"<bdi>{escape(shown(value, 300))}</bdi>"
        for name, value in step.facts
    )


def _metadata(text: str | None) -> str:
    if text is None:
        return ""
    lines = "\n".join(visible(line) for line in text.split("\n"))
    return (
        '<section><h2>JSON</h2><pre tabindex="0" role="region" aria-label="JSON">'
        f"{escape(lines)}</pre></section>"
    )

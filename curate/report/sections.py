"""The page's sections on single stages and on clusters; their pictures are filled in by the page's script."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from pydantic import BaseModel

from curate.html import escape, shown
from curate.report.charts import bar, histogram, number
from curate.report.clusters import Clustering
from curate.report.collect import KEPT, Panel
from curate.report.finished import Finished
from curate.report.groups import copies_stages
from pipelines.stage import Stage

COMPLEXITY = (
    "Complexity is the distance to neighbouring clusters times the spread inside; the more complex, the more "
    "may stay."
)


def panel_section(run: Finished, panel: Panel) -> str:
    """Return what a stage was asked, what it did, its numbers, and the places for its samples."""
    name = panel.stage.name
    tally = run.tallies[name]
    parts = [stage_facts(panel, tally)]
    if not panel.decides:
        return parts[0]
    if name in copies_stages(run):
        parts.append(
            f'<h3>Groups</h3><p class="quiet">The one that stays comes first. The largest groups, then some '
            f'at random.</p><ul class="groups" data-groups="{escape(name)}"></ul>'
        )
    if panel.axes or name not in copies_stages(run):
        near = (
            "nearest to the threshold first" if any(axis.thresholds for axis in panel.axes) else "at random"
        )
        parts.append(_sides(name, tally, near))
    return "".join(parts)


def stage_facts(panel: Panel, tally: dict[str, Any]) -> str:
    """Return what a stage was asked and did, and the distributions of its numbers."""
    charts = "".join(
        f"<figure>{histogram(axis, counts, panel.decides)}<figcaption>{escape(axis.label)}"
        f"{_missing(counts.missing)}</figcaption></figure>"
        for axis, counts in zip(panel.axes, panel.histograms, strict=True)
    )
    parts = [f"<p class=settings><code>{escape(_settings(panel.stage))}</code></p>"]
    if panel.decides:
        parts.append(
            f"<p><b>{tally['samples']:,}</b> samples came, <b>{tally['kept']:,}</b> went on, "
            f"<b>{sum(tally['dropped'].values()):,}</b> were dropped.</p>"
        )
    if charts:
        legend = _legend() if panel.decides else ""
        parts.append(f'{legend}<div class="charts">{charts}</div>')
    return "".join(parts)


def _missing(n: int) -> str:
    return f"; {n:,} samples have none" if n else ""


def _legend() -> str:
    return '<p class="legend"><i class="kept"></i>kept <i class="dropped"></i>dropped here</p>'


def _sides(name: str, tally: dict[str, Any], near: str) -> str:
    reasons = sorted(tally["dropped"].items(), key=lambda item: -item[1])
    chips = "".join(
        f'<button type="button" class="chip" data-reason="{escape(reason)}" aria-pressed="false">'
        f"{escape(reason.replace('_', ' '))} <b>{n:,}</b></button>"
        for reason, n in reasons
    )
    choice = f'<div class="chips" data-chips="{escape(name)}">{chips}</div>' if len(reasons) > 1 else ""
    return (
        '<div class="sides">'
        f'<div><h3>Kept <span class="quiet">{near}</span></h3>'
        f'<ul class="grid" data-stage="{escape(name)}" data-side="{KEPT}"></ul></div>'
        f'<div><h3>Dropped <span class="quiet">{near}</span></h3>{choice}'
        f'<ul class="grid" data-stage="{escape(name)}" data-side="dropped"></ul></div></div>'
    )


def _settings(stage: Stage) -> str:
    """Return the parameters of a stage that are not the defaults, as a configuration spells them."""
    for field in ("filter", "config"):
        model = getattr(stage, field, None)
        if isinstance(model, BaseModel):
            own = model.model_dump(mode="json", exclude_defaults=True, exclude_none=True, by_alias=True)
            text = json.dumps(own, ensure_ascii=False).replace('"', "")
            return shown(f"{stage.name}: {text}", 400)
    return stage.name


def cluster_section(clusters: Clustering) -> str:
    """Return the clusters as tiles, the most complex first."""
    shown_all = len(clusters.tiles) == clusters.clusters
    by = "complexity" if clusters.pruning else "size"
    which = (
        f"{clusters.clusters:,} clusters"
        if shown_all
        else f"{len(clusters.tiles):,} of {clusters.clusters:,} clusters, "
        + ("the most and the least complex" if clusters.pruning else "the largest")
    )
    choices = ["complexity", "size", "quota", "kept"] if clusters.pruning else ["size", "kept"]
    options = "".join(f"<option>{name}</option>" for name in choices)
    explained = f" {COMPLEXITY}" if clusters.pruning else ""
    link = "#find?cluster={}"
    tiles = "".join(tile_item(clusters, tile, link) for tile in clusters.tiles)
    return (
        f"<p>{which}, by {by}; the samples shown are the nearest to each centroid.{explained}</p>"
        f'<p><label>sort by <select data-sort="{escape(clusters.stage)}">{options}</select></label></p>'
        f'<ul class="tiles" data-clusters="{escape(clusters.stage)}">{tiles}</ul>'
    )


def tile_item(clusters: Clustering, tile: dict[str, Any], link: str, pictures: str = "") -> str:
    """Return a cluster as an item of a list.

    Parameters
    ----------
    clusters, tile
        The clustering, and the row of the cluster.
    link
        Where its samples are; its number takes the place of `{}`.
    pictures
        Items of a list, as HTML.
    """
    cluster, size = int(tile["cluster"]), int(tile["size"])
    kept = int(clusters.kept[cluster])
    quota = int(tile.get("quota", size))
    complexity = float(tile.get("complexity", np.nan))
    facts = f"{size:,} samples"
    if clusters.pruning:
        facts += f" · quota {quota:,}{' (all)' if tile.get('full') else ''} · complexity {number(complexity)}"
    marks = {
        "size": size,
        "quota": quota,
        "kept": kept,
        "complexity": 0 if np.isnan(complexity) else complexity,
    }
    data = "".join(f' data-{name}="{value}"' for name, value in marks.items())
    shares = [(KEPT, kept / size), ("faint", max(0, quota - kept) / size)] if size else []
    return (
        f'<li data-cluster="{cluster}"{data}><ul class="grid small">{pictures}</ul>'
        f'{bar(shares)}<p><a href="{escape(link.format(cluster))}">cluster {cluster}</a> · {kept:,} kept</p>'
        f'<p class="quiet">{facts}</p></li>'
    )

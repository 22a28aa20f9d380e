"""Concept clusters as tiles, a page of them at a time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from curate.html import escape
from curate.report.choice import Place, identity, uid_bytes
from curate.report.clusters import Clustering, tiles_of
from curate.report.sections import COMPLEXITY, tile_item
from curate.view.frame import CURRENT, grid, pages, small_item
from curate.view.query import Query, QueryError, clusterings_of
from curate.view.samples import Card
from curate.view.standing import Standing
from pipelines.stages.prune import PruneStage

PER_PAGE = 60


def cluster_orders(pruning: str | None) -> list[str]:
    """Return what clusters can be sorted by, the usual first."""
    return ["complexity", "size", "quota"] if pruning else ["size"]


def cluster_page(standing: Standing, stage: str, sort: str, number: int) -> Clustering:
    """Return a page of a run's clusters, with the samples nearest to each centroid.

    Raises
    ------
    QueryError
        When the run is not done, or there is nothing such to sort by.
    """
    if not standing.decided:
        raise QueryError("clusters are shown when the run is done: their quotas depend on all of the pool")
    run = standing.run
    pruning = next((s.name for s in run.stages if isinstance(s, PruneStage) and s.cluster == stage), None)
    if sort not in cluster_orders(pruning):
        raise QueryError(f"clusters are sorted by {', '.join(cluster_orders(pruning))}")
    rows, n_clusters = tiles_of(run, stage, pruning)
    rows.sort(key=lambda row: (-row[sort], row["cluster"]))
    first = (number - 1) * PER_PAGE
    found = Clustering(
        stage, pruning, len(rows), rows[first : first + PER_PAGE], np.zeros(n_clusters, np.int64)
    )
    for shard, columns in run.columns():
        uids = identity(uid_bytes(columns.read("ingest", ("uid",))["uid"]))
        found.add(shard, columns, uids)
    return found


def clusters_body(
    standing: Standing, clusters: Clustering, sort: str, number: int, cards: Mapping[Place, Card]
) -> str:
    """Return the page's content; `cards` are of all examples."""
    several = clusterings_of(standing)
    of = clusters.stage if len(several) > 1 else ""
    link = Query(cluster=0, clustering=of).url().replace("cluster=0", "cluster={}")
    tiles = "".join(
        tile_item(
            clusters,
            tile,
            link,
            "".join(small_item(cards[place]) for place in clusters.examples.get(int(tile["cluster"]), [])),
        )
        for tile in clusters.tiles
    )
    path = f"/clusters/{clusters.stage}"
    last = -(-clusters.clusters // PER_PAGE)
    leaf = pages([f"{path}?sort={sort}&page={number + by}" for by in (-1, 1)], number, last)
    orders = "".join(
        f'<li><a href="{escape(path)}?sort={name}"{CURRENT if name == sort else ""}>{name}</a></li>'
        for name in cluster_orders(clusters.pruning)
    )
    others = "".join(
        f'<li><a href="/clusters/{escape(name)}"{CURRENT if name == clusters.stage else ""}>'
        f"{escape(name)}</a></li>"
        for name in several
    )
    return (
        f"<h1>Concept clusters</h1>{f'<ul class=links>{others}</ul>' if len(several) > 1 else ''}"
        f"<p>{clusters.clusters:,} clusters; the samples shown are the nearest to each centroid. "
        f"{COMPLEXITY if clusters.pruning else ''}</p>"
        f'<ul class="links" aria-label="sorted by">{orders}</ul>{grid([tiles], "tiles")}{leaf}'
    )

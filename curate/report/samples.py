"""What the page knows of each sample that it shows: texts, scores, fate and a small picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from curate.html import shown
from curate.report.choice import Place
from curate.report.collect import Findings
from curate.report.finished import Finished
from curate.report.thumbnails import thumbnails
from pipelines.columns import DECISIONS
from pipelines.pool.samples import byte_ranges
from pipelines.stage import ShardColumns

MAX_PICTURE_CHARS = 20 << 20  # of base64, all together; later samples go without a picture
_CAPTION = 300
_FACTS = ("uid", "key", "shard", "caption", "length", "stage", "reason", "aside", "weight", "cluster", "size")


@dataclass
class Samples:
    """The samples of a page, column by column, as the page's script reads them.

    Attributes
    ----------
    places
        Each sample's number in the page.
    columns
        A list for each fact, one entry per sample; `scores` holds a list of such lists.
    scores
        What the scores are called.
    """

    scores: list[str]
    places: dict[Place, int] = field(default_factory=dict)
    columns: dict[str, list[Any]] = field(default_factory=dict)

    @property
    def pictures(self) -> int:
        """How many samples have one."""
        return sum(1 for each in self.columns["image"] if each)

    def numbers(self, places: Sequence[Place]) -> list[int]:
        """Return the numbers of some samples."""
        return [self.places[place] for place in places]


def describe(run: Finished, findings: Findings) -> Samples:
    """Return everything that the page shows of single samples; each is described once."""
    samples = Samples(_scores(run))
    samples.places = {place: n for n, place in enumerate(dict.fromkeys(findings.places()))}
    n = len(samples.places)
    samples.columns = {name: [None] * n for name in (*_FACTS, "image")}
    samples.columns["scores"] = [[None] * n for _ in samples.scores]
    by_shard: dict[int, list[Place]] = {}
    for place in samples.places:
        by_shard.setdefault(place.shard, []).append(place)
    cluster = findings.clusterings[-1].stage if findings.clusterings else None
    left = MAX_PICTURE_CHARS
    for number in sorted(by_shard):
        places = sorted(by_shard[number])
        columns = ShardColumns(run.shards[number], run.folder)
        _describe_shard(run, samples, places, columns, cluster)
        left = _add_pictures(run, samples, places, columns, left)
    return samples


def _scores(run: Finished) -> list[str]:
    """Return the scores, and with them the similarity to an earlier sample where one was measured."""
    return list(dict.fromkeys(run.plan.scores))


def _describe_shard(
    run: Finished, samples: Samples, places: list[Place], columns: ShardColumns, cluster: str | None
) -> None:
    rows = pa.array([place.row for place in places])
    numbers = samples.numbers(places)
    there = [name for name in ("uid", "key", "caption", "width", "height") if name in run.plan.sources]
    own = columns.read("ingest", tuple(there)).take(rows).to_pylist()
    fates = columns.read(DECISIONS, ("stage", "reason", "set_aside", "weight")).take(rows).to_pylist()
    for n, sample, fate in zip(numbers, own, fates, strict=True):
        caption = sample.get("caption")
        facts = {
            "uid": sample["uid"],
            "key": shown(sample["key"], 80),
            "shard": shown(columns.shard.name, 120),
            "caption": None if caption is None else shown(caption, _CAPTION),
            "length": len(caption or ""),
            "stage": fate["stage"],
            "reason": fate["reason"],
            "aside": fate["set_aside"],
            "weight": fate["weight"],
            "size": [sample.get("width"), sample.get("height")],
        }
        for name, value in facts.items():
            samples.columns[name][n] = value
    for position, score in enumerate(samples.scores):
        values = _values(columns, run.plan.sources[score], score, rows)
        for n, value in zip(numbers, values, strict=True):
            samples.columns["scores"][position][n] = value
    if cluster is not None:
        for n, value in zip(numbers, _values(columns, cluster, "cluster", rows), strict=True):
            samples.columns["cluster"][n] = value


def _values(columns: ShardColumns, stage: str, name: str, rows: pa.Array) -> list[Any]:
    """Return a column's values of some rows, None for those that did not come so far."""
    table = columns.read(stage, ("row", name))
    found = table["row"].combine_chunks()
    place = pa.compute.index_in(rows.cast(found.type), found)
    return [_finite(value) for value in table[name].take(place).to_pylist()]


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return float(np.float32(value).round(5)) if np.isfinite(value) else None
    return value


def _add_pictures(
    run: Finished, samples: Samples, places: list[Place], columns: ShardColumns, left: int
) -> int:
    """Add a shard's pictures as far as there is room; return how much is left of it."""
    if not run.has_images or left <= 0:
        return left
    rows = pa.array([place.row for place in places])
    members = columns.read("ingest", ("members",))["members"].take(rows)
    ranges = {
        place.row: (own[0][1], own[0][2])
        for place, own in zip(places, byte_ranges(members), strict=True)
        if own and samples.columns["size"][samples.places[place]][0]
    }
    found = thumbnails(columns.shard.url, ranges, run.config.pool.limits.pixels)
    for place in places:
        picture = found.get(place.row, "")
        if picture and len(picture) <= left:
            samples.columns["image"][samples.places[place]] = picture
            left -= len(picture)
    return left

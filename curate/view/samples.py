"""What is known of single samples: for a list of them, and all of it for one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.report.choice import Place
from curate.report.thumbnails import thumbnail
from curate.view.query import numbers_of
from curate.view.standing import Standing
from pipelines.columns import DECISIONS, OUTCOME, ColumnStore
from pipelines.pool.samples import METADATA_SUFFIX, byte_ranges, parse_json
from pipelines.storage import read_ranges

_READERS = 4
_MAX_JSON_CHARS = 20_000
_NOT_FACTS = {*OUTCOME, "uid", "key", "caption", "members", "looks", "looks_hash", "pixels"}


@dataclass(frozen=True)
class Card:
    """A sample in a list.

    Attributes
    ----------
    place, uid, key, shard
        Which it is.
    caption
        All of it; None where it has none.
    fate, kind
        What became of it in words, and whether that is `kept`, `dropped`, `aside` or `waiting`.
    numbers
        Its scores by name; None where it did not come so far.
    size
        Width and height in pixels, where they could be read.
    """

    place: Place
    uid: str
    key: str
    shard: str
    caption: str | None
    fate: str
    kind: str
    numbers: Mapping[str, float | None]
    size: tuple[int, int] | None


@dataclass(frozen=True)
class Step:
    """What a stage found of a sample and did with it; `outcome` is of the kind `kind`, as in a card."""

    stage: str
    kind: str
    outcome: str
    facts: list[tuple[str, str]]


def cards(standing: Standing, places: Sequence[Place], scores: Iterable[str] | None = None) -> list[Card]:
    """Return what a list shows of samples, in their order; `scores` are all where none are named."""
    by_shard: dict[int, list[int]] = {}
    for place in places:
        by_shard.setdefault(place.shard, []).append(place.row)
    known = numbers_of(standing)
    wanted = known if scores is None else {name: known[name] for name in scores}
    with ThreadPoolExecutor(_READERS) as pool:
        found = pool.map(lambda shard: _cards(standing, shard, by_shard[shard], wanted), by_shard)
        by_place = {card.place: card for part in found for card in part}
    return [by_place[place] for place in places]


def _cards(standing: Standing, shard: int, rows: list[int], scores: Mapping[str, str]) -> list[Card]:
    columns = standing.columns(shard)
    there = [n for n in ("uid", "key", "caption", "width", "height") if n in standing.run.plan.sources]
    own = columns.read("ingest", tuple(there)).take(pa.array(rows)).to_pylist()
    numbers = {
        name: _values(standing, shard, stage, name, rows) if stage in standing.standing(shard) else None
        for name, stage in scores.items()
    }
    fates = standing.fates(shard)
    copies = np.ones(len(fates.at), int)
    if standing.decided:
        copies = columns.read(DECISIONS, ("weight",))["weight"].to_numpy()
    found = []
    for position, (row, sample) in enumerate(zip(rows, own, strict=True)):
        fate, kind = _fate(standing, shard, fates.at[row], fates.stopped[row], fates.aside[row])
        if fates.stopped[row]:
            fate = f"{fate}: {str(fates.reason[row]).replace('_', ' ')}"
        elif copies[row] > 1:
            fate = f"{fate} × {copies[row]}"
        size = (sample.get("width"), sample.get("height"))
        found.append(
            Card(
                Place(shard, row),
                sample["uid"],
                sample.get("key") or "",
                columns.shard.name,
                sample.get("caption"),
                fate,
                kind,
                {name: None if values is None else values[position] for name, values in numbers.items()},
                size if all(size) else None,
            )
        )
    return found


def _fate(standing: Standing, shard: int, at: int, stopped: bool, aside: bool) -> tuple[str, str]:
    if stopped:
        return standing.names[at], "aside" if aside else "dropped"
    if at == len(standing.names):
        return "kept", "kept"
    return f"waits for {standing.names[standing.depth[shard]]}", "waiting"


def _values(standing: Standing, shard: int, stage: str, name: str, rows: list[int]) -> list[float | None]:
    table = standing.columns(shard).read(stage, ("row", name))
    found = table["row"].combine_chunks()
    place = pc.index_in(pa.array(rows, found.type), value_set=found)
    values = table[name].cast(pa.float64(), safe=False).take(place).to_pylist()
    return [None if value is None or not np.isfinite(value) else value for value in values]


def steps(standing: Standing, place: Place) -> list[Step]:
    """Return what every stage found of a sample, up to the one that stopped it."""
    found = []
    for stage in standing.standing(place.shard):
        row = _row_of(standing, stage, place)
        if row is None:
            break
        problem, reason = row.get("problem"), row.get("reason")
        if problem is not None:
            detail = f": {row['detail']}" if row.get("detail") else ""
            kind, outcome = "aside", f"set aside, {problem.replace('_', ' ')}{detail}"
        elif reason is not None or row.get("weight", 1) == 0:
            kind, outcome = "dropped", f"dropped, {str(reason).replace('_', ' ')}"
        else:
            times = f" {row['weight']} times" if row.get("weight", 1) > 1 else ""
            kind, outcome = "kept", f"went on{times}"
        facts = [
            (name, _in_words(value))
            for name, value in row.items()
            if name not in _NOT_FACTS and value is not None
        ]
        found.append(Step(stage, kind, outcome, facts))
        if kind != "kept":
            break
    return found


def _row_of(standing: Standing, stage: str, place: Place) -> dict[str, Any] | None:
    """Return all that a stage wrote of a sample but vectors; None where it did not come so far."""
    columns = standing.columns(place.shard)
    table = ColumnStore(columns.run).read_plain(stage, columns.shard.name)
    own = table.filter(pc.equal(table["row"], place.row))
    return dict(own.slice(0, 1).to_pylist()[0]) if len(own) else None


def _in_words(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}".replace("-", "−")
    return str(value)


def duplicate_of(standing: Standing, place: Place, stages: Iterable[str]) -> str | None:
    """Return the uid of the sample because of which one was dropped; None where it was not."""
    for stage in stages:
        row = _row_of(standing, stage, place) if stage in standing.standing(place.shard) else None
        if row and row.get("duplicate_of"):
            return str(row["duplicate_of"])
    return None


def has_sample(standing: Standing, place: Place) -> bool:
    """Tell whether there is a sample of these numbers."""
    shards = standing.tallies[0]
    return 0 <= place.shard < len(shards) and 0 <= place.row < shards[place.shard]["samples"]


def picture(standing: Standing, place: Place, side: int, quality: int) -> bytes | None:
    """Return a sample's picture, decoded and encoded anew as WebP; None where there is none to be read."""
    data = _member(standing, place, "")
    if data is None:
        return None
    return thumbnail(data, standing.run.config.pool.limits.pixels, side, quality)


def metadata_text(standing: Standing, place: Place) -> str | None:
    """Return a sample's JSON, indented and cut; None where there is none to be read."""
    data = _member(standing, place, METADATA_SUFFIX)
    if data is None:
        return None
    try:
        text = json.dumps(parse_json(data), indent=2, ensure_ascii=False)
    except (ValueError, TypeError, RecursionError):
        text = data[: 4 * _MAX_JSON_CHARS].decode("utf-8", "replace")
    return text if len(text) <= _MAX_JSON_CHARS else text[:_MAX_JSON_CHARS] + "\n…"


def _member(standing: Standing, place: Place, suffix: str) -> bytes | None:
    """Return the bytes of a member from the shard, without a suffix those of the image."""
    if not standing.run.has_images:
        return None
    columns = standing.columns(place.shard)
    members = columns.read("ingest", ("members",))["members"].slice(place.row, 1)
    own = next(byte_ranges(members), [])
    limits = standing.run.config.pool.limits
    chosen = own[:1] if not suffix else [each for each in own if each[0] == suffix]
    most = limits.metadata_bytes if suffix else limits.member_bytes
    if not chosen or chosen[0][2] > most:
        return None
    _, offset, size = chosen[0]
    try:
        return read_ranges(columns.shard.url, [(offset, size)])[0]
    except (OSError, EOFError):  # the pool has changed or gone since
        return None

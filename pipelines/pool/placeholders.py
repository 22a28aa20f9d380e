"""Pictures that stand in for others: one image under many captions, such as "image not available"."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

LEAST_CAPTIONS = 10  # of one image within a shard; people describe a picture five or six times, not ten
MOST = 5  # images of a shard that are noted, and of a pool that are told of
_SHOWN = 3  # captions
_SHOWN_CHARS = 80


class Placeholder(NamedTuple):
    """An image that stands under many captions.

    `image` is the hash of its pixels, or of its bytes where no pixels were hashed; `samples` how many have it
    in those shards where it stands often, `captions` some of theirs.
    """

    image: str
    samples: int
    captions: list[str]


def frequent_images(table: pa.Table) -> list[Placeholder]:
    """Return the images that stand in a shard under many captions, the most frequent first.

    Parameters
    ----------
    table
        With `caption`, and with `pixels` or `sha256`; tables that lack these have none.
    """
    names = set(table.column_names)
    kinds = [name for name in ("pixels", "sha256") if name in names and table[name].null_count < len(table)]
    if not kinds or "caption" not in names:
        return []
    if "problem" in names:
        table = table.filter(table["problem"].is_null())
    pairs = pa.table({"image": table[kinds[0]], "caption": table["caption"]}).drop_null()
    counts = pairs.group_by("image").aggregate([("caption", "count"), ("caption", "count_distinct")])
    counts = counts.filter(pc.greater_equal(counts["caption_count_distinct"], LEAST_CAPTIONS))
    found = [(row["image"], row["caption_count"]) for row in counts.to_pylist()]
    return [
        Placeholder(image, n, _some(pairs.filter(pc.equal(pairs["image"], image))["caption"]))
        for image, n in sorted(found, key=lambda one: (-one[1], one[0]))[:MOST]
    ]


def _some(captions: pa.ChunkedArray) -> list[str]:
    return [text[:_SHOWN_CHARS] for text in captions.unique().slice(0, _SHOWN).to_pylist()]


def placeholders(tallies: Iterable[Mapping[str, Any]]) -> list[Placeholder]:
    """Return the most frequent placeholders of a pool, by what was noted of its shards, in their order."""
    found: dict[str, Placeholder] = {}
    for tally in tallies:
        for image, samples, captions in tally.get("placeholders", ()):
            before = found.get(image, Placeholder(image, 0, []))
            both = list(dict.fromkeys([*before.captions, *captions]))[:_SHOWN]
            found[image] = Placeholder(image, before.samples + samples, both)
    return sorted(found.values(), key=lambda one: (-one.samples, one.image))[:MOST]


def told(found: Placeholder) -> str:
    """Return a sentence about a placeholder."""
    some = ", ".join(repr(text) for text in found.captions)
    return (
        f"{found.samples:,} samples or more have one picture under different captions ({some} …), as where "
        f"an image is not available; its hash is {found.image}"
    )

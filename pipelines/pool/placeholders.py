"""Pictures that stand in for others: one image under many captions, such as "image not available"."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.storage import Folder
from pipelines.summaries import read_summary

LEAST_CAPTIONS = 10  # of one image; people describe a picture five or six times, not ten
MOST = 5  # images of a shard that are noted, and of a pool that are told of
_SHOWN = 3  # captions
_SHOWN_CHARS = 80
_TOLD_CHARS = 40


class Placeholder(NamedTuple):
    """An image that stands under many captions.

    `image` is the hash of its pixels, or of its bytes where no pixels were hashed; `samples` how many of the
    samples that were counted have it, `captions` some of theirs.
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
    return [
        Placeholder(image, n, shortened(pairs.filter(pc.equal(pairs["image"], image))["caption"].to_pylist()))
        for image, n in _under_many_captions(pairs)
    ]


def _under_many_captions(pairs: pa.Table) -> list[tuple[Any, int]]:
    """Return each `image` that has many captions, and how many samples have it; the most frequent first."""
    counts = pairs.group_by("image").aggregate([("caption", "count"), ("caption", "count_distinct")])
    counts = counts.filter(pc.greater_equal(counts["caption_count_distinct"], LEAST_CAPTIONS))
    found = [(row["image"], row["caption_count"]) for row in counts.to_pylist()]
    return sorted(found, key=lambda one: (-one[1], one[0]))[:MOST]


def shortened(captions: Iterable[str]) -> list[str]:
    """Return some of many captions, and of each as much as can be shown."""
    return [text[:_SHOWN_CHARS] for text in itertools.islice(dict.fromkeys(captions), _SHOWN)]


class Often(NamedTuple):
    """A picture that stands often in a pool: its key, in how many samples, and where some of them are.

    `places` are shard and row.
    """

    key: bytes
    samples: int
    places: list[tuple[str, int]]


def often_repeated(repeated: pa.Table, shards: Sequence[str]) -> list[Often]:
    """Return the pictures that stand under many captions, the most frequent first.

    Parameters
    ----------
    repeated
        All samples of some pictures: `key` of the picture, a hash of the `caption`, `uid`, `shard` as a
        number, and `row`.
    shards
        The shards' names.
    """
    pairs = repeated.select(["key", "caption"]).rename_columns(["image", "caption"]).drop_null()
    found = []
    for key, n in _under_many_captions(pairs):
        samples = repeated.filter(pc.equal(repeated["key"], key))
        samples = samples.sort_by([(name, "ascending") for name in ("uid", "shard", "row")])
        _, first = np.unique(pc.fill_null(samples["caption"], 0).to_numpy(), return_index=True)
        some = samples.take(pa.array(np.sort(first)[:_SHOWN])).to_pylist()
        found.append(Often(key, n, [(shards[each["shard"]], each["row"]) for each in some]))
    return found


def placeholders(
    tallies: Iterable[Mapping[str, Any]], counted: Iterable[Sequence[Any]] = ()
) -> list[Placeholder]:
    """Return the most frequent placeholders of a pool, by what was noted of its shards, in their order.

    Parameters
    ----------
    tallies
        Of the shards.
    counted
        Image, samples and captions of what was counted over the whole pool, see `counted_by`.
    """
    found: dict[str, Placeholder] = {}
    for tally in tallies:
        for image, samples, captions in tally.get("placeholders", ()):
            before = found.get(image, Placeholder(image, 0, []))
            both = shortened([*before.captions, *captions])
            found[image] = Placeholder(image, before.samples + samples, both)
    for image, samples, captions in counted:
        before = found.get(image, Placeholder(image, 0, captions))
        found[image] = before._replace(samples=max(before.samples, samples))
    return sorted(found.values(), key=lambda one: (-one.samples, one.image))[:MOST]


def counted_by(run: Folder, stages: Iterable[str]) -> list[Sequence[Any]]:
    """Return what the summaries of a run's stages tell of placeholders, as `placeholders` takes it."""
    summaries = (read_summary(run, stage)[1] for stage in stages)
    return [each for found in summaries if isinstance(found, dict) for each in found.get("placeholders", ())]


def told(found: Placeholder) -> str:
    """Return a sentence about a placeholder."""
    some = ", ".join(repr(text[:_TOLD_CHARS]) for text in found.captions)
    return (
        f"{found.samples:,} samples or more have one picture under different captions ({some} …), as where "
        f"an image is not available; its hash is {found.image}"
    )


def told_of_all(found: Sequence[Placeholder]) -> str:
    """Return a sentence about the most frequent placeholder, and how many others there are."""
    n = len(found) - 1
    others = "one other picture" if n == 1 else f"{n} other pictures"
    also = f"; the report shows {others} of that kind" if n else ""
    return told(found[0]) + also

"""From the members of a tar to samples: one image, one caption, maybe metadata, under one key."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.storage import open_stream
from pipelines.tar_reader import Member, read_members

IMAGE_SUFFIXES = ("jpg", "png", "jpeg", "webp")  # in the order of preference, should a sample have two
CAPTION_SUFFIXES = ("txt", "caption")
METADATA_SUFFIX = "json"


def split_name(name: str) -> tuple[str, str] | None:
    """Return (key, suffix) of a member: the key ends at the first dot of the base name.

    The suffix is lower-cased. None for what WebDataset doesn't count as part of a sample: names without a
    dot or a stem, and `__meta__` members.
    """
    start = name.rfind("/") + 1
    dot = name.find(".", start)
    if dot <= start or (name.startswith("__") and name.endswith("__")):
        return None
    return name[:dot], name[dot + 1 :].lower()


def read_whole(url: str) -> Iterator[tuple[str, Member, str]]:
    """Yield (key, image, caption) of every sample of a shard that has both, as they become whole.

    Samples without a readable caption and broken stretches of the tar are passed over: for accounting of
    every sample there is the ingest stage. An image comes with its bytes and where they lie.
    """
    images: dict[str, Member] = {}
    captions: dict[str, str] = {}
    with open_stream(url) as stream:
        for member in read_members(stream):
            if not isinstance(member, Member) or member.data is None:
                continue
            key, suffix = split_name(member.name) or ("", "")
            if suffix in IMAGE_SUFFIXES:
                images.setdefault(key, member)
            elif suffix in CAPTION_SUFFIXES:
                captions.setdefault(key, member.data.decode("utf-8", "replace"))
            if key in images and key in captions:
                yield key, images.pop(key), captions.pop(key)


def read_pairs(url: str) -> Iterator[tuple[str, bytes, str]]:
    """Yield (key, image bytes, caption) of what `read_whole` finds."""
    return ((key, image.data or b"", caption) for key, image, caption in read_whole(url))


def byte_ranges(column: pa.ChunkedArray) -> Iterator[list[tuple[str, int, int]]]:
    """Yield the members of each sample, as ingest wrote them: (suffix, offset, size), the image first."""
    lists = column.combine_chunks()
    flat = lists.flatten()
    suffix, offset, size = (flat.field(name).to_pylist() for name in ("suffix", "offset", "size"))
    members = list(zip(suffix, offset, size, strict=True))
    ends = np.cumsum(pc.list_value_length(lists).to_numpy())
    for first, last in zip([0, *ends[:-1]], ends, strict=False):
        yield members[first:last]

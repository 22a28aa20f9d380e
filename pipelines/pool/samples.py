"""From the members of a tar to samples: one image, one caption, maybe metadata, under one key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.pool.tar_reader import Member, read_members
from pipelines.storage import open_stream

IMAGE_SUFFIXES = ("jpg", "png", "jpeg", "webp")  # in the order of preference, should a sample have two
CAPTION_SUFFIXES = ("txt", "caption")
METADATA_SUFFIX = "json"
_HEX = frozenset("0123456789abcdef")


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


class Annotated(NamedTuple):
    """A sample with its metadata (empty where it has none); the image comes with its bytes."""

    key: str
    image: Member
    caption: str
    metadata: dict[str, Any]


def read_annotated(url: str) -> Iterator[Annotated]:
    """Yield what `read_whole` finds and each sample's metadata; a caption may stand there alone.

    Samples without a JSON come last, as it might still have come: a shard that has none is held whole.
    """
    waiting: dict[str, dict[str, Any]] = {}
    with open_stream(url) as stream:
        for member in read_members(stream):
            if not isinstance(member, Member) or member.data is None:
                continue
            key, suffix = split_name(member.name) or ("", "")
            parts = waiting.setdefault(key, {})
            if suffix in IMAGE_SUFFIXES:
                parts.setdefault("image", member)
            elif suffix in CAPTION_SUFFIXES:
                parts.setdefault("caption", member.data.decode("utf-8", "replace"))
            elif suffix == METADATA_SUFFIX:
                parts.setdefault("metadata", _metadata(member.data))
            if len(parts) == 3:
                yield Annotated(key, **waiting.pop(key))
    for key, parts in waiting.items():
        metadata = parts.get("metadata", {})
        caption = parts.get("caption", metadata.get("caption"))
        if "image" in parts and isinstance(caption, str):
            yield Annotated(key, parts["image"], caption, metadata)


def _metadata(data: bytes) -> dict[str, Any]:
    try:
        found = parse_json(data)
    except (ValueError, TypeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def parse_json(data: bytes) -> Any:
    """Return the value of a JSON; raises ValueError, TypeError or RecursionError."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        # Python writes NaN and Infinity, which JSON does not know: null here. Others write byte order marks.
        return orjson.loads(orjson.dumps(json.loads(data)))


def uid_of(shard: str, key: str, metadata: Mapping[str, Any], occurrence: int = 0) -> str:
    """Return the metadata's uid where it is 32 hex digits, else a hash of where the sample lies.

    Parameters
    ----------
    shard, key
        The shard's name and the sample's key in it.
    metadata
        The sample's JSON.
    occurrence
        0 for the first sample of this key.
    """
    uid = metadata.get("uid")
    if isinstance(uid, str) and len(uid) == 32 and _HEX.issuperset(uid.lower()):
        return uid.lower()
    place = f"{shard}\0{key}" + (f"\0{occurrence}" if occurrence else "")
    return hashlib.blake2b(place.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


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

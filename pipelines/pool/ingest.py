"""Look at every sample of a shard once: identity, byte ranges, caption, sizes, hashes, what is wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa
import xxhash
from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from pipelines.pool.samples import (
    CAPTION_SUFFIXES,
    IMAGE_SUFFIXES,
    METADATA_SUFFIX,
    parse_json,
    split_name,
    uid_of,
)
from pipelines.pool.tar_reader import Damage, Member
from scoring.images import ImageProblem, decode_rgb, read_header
from scoring.perceptual_hash import WAVES, looks

_MEMBER = pa.struct([("suffix", pa.string()), ("offset", pa.int64()), ("size", pa.int64())])
_LARGEST = 3e38  # of float32
_MOST_PIXELS = 178_956_970  # PIL opens no larger image
_SHOWN_OF_NAME = 100  # characters of a name that is too long
SAMPLES = pa.schema(
    [
        ("row", pa.int32()),
        ("uid", pa.string()),
        ("key", pa.string()),
        ("caption", pa.string()),
        ("url", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("original_width", pa.int32()),
        ("original_height", pa.int32()),
        ("format", pa.string()),
        ("sha256", pa.string()),  # of the stored image bytes
        ("pixels", pa.string()),  # of the decoded pixels; null where they were not decoded
        ("looks_hash", pa.uint64()),  # null where no stage compares looks, and for pictures of one colour
        ("looks", pa.binary(WAVES)),
        ("members", pa.list_(_MEMBER)),  # the image first, then by suffix
        ("problem", pa.string()),
        ("detail", pa.string()),
    ]
)


class Limits(BaseModel):
    """What a sample may be at most; beyond, it is set aside."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    member_bytes: int = Field(256 << 20, gt=0, description="largest file inside a shard")
    pixels: int = Field(100_000_000, gt=0, le=_MOST_PIXELS, description="largest width x height of an image")
    caption_bytes: int = Field(4 << 20, gt=0, description="longest caption")
    metadata_bytes: int = Field(16 << 20, gt=0, description="longest JSON")
    name_chars: int = Field(4096, gt=0, description="longest name of a file inside a shard")
    members: int = Field(2_000_000, gt=0, description="most files inside a shard; what is behind is one loss")

    @model_serializer(mode="wrap")
    def _as_before(self, content: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Runs from before these limits stay valid: they decide nothing as long as nobody sets them.
        later = {name: type(self).model_fields[name].default for name in ("name_chars", "members")}
        return {name: value for name, value in content(self).items() if later.get(name) != value}


@dataclass(slots=True)
class _Draft:
    """A sample while its members arrive, in whatever order."""

    key: str
    occurrence: int = 0
    members: dict[str, tuple[int, int]] = field(default_factory=dict)
    image: dict[str, Any] = field(default_factory=dict)
    image_suffix: str | None = None
    caption: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None
    detail: str | None = None
    repeated: bool = False

    def fail(self, problem: str, detail: str) -> None:
        """Note what is wrong; the first problem found is the one reported."""
        if self.problem is None:
            self.problem, self.detail = problem, detail[:500]


def ingest(
    shard: str,
    members: Iterable[Member | Damage],
    *,
    pixels: Literal["looks", "hash", "decode", "header"],
    limits: Limits,
    scores: Sequence[str] = (),
) -> pa.Table:
    """Return the samples of one shard, one row each, in the order in which their keys first appear.

    Parameters
    ----------
    shard
        The shard's name; it enters the uid of samples that bring none.
    members
        What `read_members` yields.
    pixels
        How closely to look at an image: `header` reads its size, `decode` proves that it decodes, `hash`
        decodes it and hashes the pixels; `looks` also keeps what it looks like.
    limits
        Sizes beyond which a sample is set aside.
    scores
        Keys of the samples' JSON whose numbers are scores.

    Returns
    -------
    pyarrow.Table
        Schema `SAMPLES`, and a column of float32 for each score, null where a sample has none. Rows with a
        `problem` are set aside, the others are whole.
    """
    drafts: dict[str, _Draft] = {}
    extra: list[_Draft] = []
    for member in _at_most(members, limits.members):
        if isinstance(member, Damage):
            extra += _damaged(member, drafts, limits)
            continue
        name = _split(member.name, limits)
        if name is None:
            continue
        draft = drafts.get(name[0]) or drafts.setdefault(name[0], _Draft(name[0]))
        if len(member.name) > limits.name_chars:
            draft.fail("name_too_long", f"{len(member.name):,} characters")
        if name[1] in draft.members:
            draft = _repeated(draft, name[1], extra)
        elif draft.repeated:
            draft.fail("repeated_key", "another sample of this shard has the same key: parts may be its own")
        _take(draft, name[1], member, pixels, limits)
    found = [*drafts.values(), *extra]
    for draft in found:
        _finish(draft, limits)
    table = _table(shard, found)
    for score in scores:
        values = [_number(draft.metadata.get(score)) for draft in found]
        table = table.append_column(score, pa.array(values, pa.float32()))
    return table


def _at_most(members: Iterable[Member | Damage], most: int) -> Iterator[Member | Damage]:
    """Yield so many of them, and then word of what is left: a row each would fill memory."""
    for number, member in enumerate(members):
        if number == most:
            yield Damage(member.offset, None, f"more than {most:,} files; the rest was not looked at")
            return
        yield member


def _split(name: str, limits: Limits) -> tuple[str, str] | None:
    """Return key and suffix of a member; of a name that is too long, something short in the place of both."""
    if len(name) <= limits.name_chars or (whole := split_name(name)) is None:
        return split_name(name)
    own = hashlib.blake2b(whole[0].encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return f"{whole[0][:_SHOWN_OF_NAME]}… {own}", whole[1][:_SHOWN_OF_NAME]


def _damaged(damage: Damage, drafts: dict[str, _Draft], limits: Limits) -> Iterator[_Draft]:
    """Blame the sample whose member was cut, or else account for the unreadable stretch as one sample."""
    name = _split(damage.name, limits) if damage.name else None
    if name is None:
        nameless = _Draft(f"unreadable at byte {damage.offset}")
        nameless.fail("damaged_tar", damage.detail)
        yield nameless
        return
    draft = drafts.setdefault(name[0], _Draft(name[0]))
    draft.fail("truncated_tar", f"{damage.detail}: {damage.name}")


def _repeated(first: _Draft, suffix: str, extra: list[_Draft]) -> _Draft:
    """Return the draft for members whose key came before: which of the two is meant can't be known."""
    if extra and extra[-1].key == first.key and suffix not in extra[-1].members:
        return extra[-1]
    first.repeated = True
    again = _Draft(first.key, occurrence=1 + len(extra))
    again.fail("repeated_key", "another sample of this shard has the same key")
    extra.append(again)
    return again


def _take(draft: _Draft, suffix: str, member: Member, pixels: str, limits: Limits) -> None:
    draft.members[suffix] = (member.offset, member.size)
    if suffix in IMAGE_SUFFIXES:
        if draft.image_suffix and IMAGE_SUFFIXES.index(suffix) > IMAGE_SUFFIXES.index(draft.image_suffix):
            return
        draft.image_suffix = suffix
        draft.image = _examine(member, pixels, limits)
    elif suffix in CAPTION_SUFFIXES:
        _take_caption(draft, suffix, member, limits)
    elif suffix == METADATA_SUFFIX:
        _take_metadata(draft, member, limits)


def _examine(member: Member, pixels: str, limits: Limits) -> dict[str, Any]:
    """Return what the image's bytes say: format, sizes, hashes, or the problem."""
    if member.data is None:
        return {"problem": "image_too_large", "detail": f"{member.size:,} bytes"}
    facts: dict[str, Any] = {"sha256": hashlib.sha256(member.data).hexdigest()}
    try:
        header = read_header(member.data, max_pixels=limits.pixels)
        facts |= {"format": header.format, "width": header.width, "height": header.height}
        if pixels != "header":
            image = decode_rgb(member.data, max_pixels=limits.pixels)
            if pixels in ("hash", "looks"):
                facts["pixels"] = xxhash.xxh3_128_hexdigest(image.data, seed=image.shape[1])
            if pixels == "looks" and (seen := looks(image)) is not None:
                facts |= {"looks_hash": seen.hash, "looks": seen.waves.tobytes()}
    except ImageProblem as problem:
        facts |= {"problem": problem.reason, "detail": str(problem)}
    return facts


def _take_caption(draft: _Draft, suffix: str, member: Member, limits: Limits) -> None:
    if member.data is None or member.size > limits.caption_bytes:
        draft.fail("caption_too_long", f"{member.size:,} bytes")
        return
    if suffix != CAPTION_SUFFIXES[0] and CAPTION_SUFFIXES[0] in draft.members:
        return
    try:
        draft.caption = member.data.decode("utf-8")
    except UnicodeDecodeError as error:
        draft.fail("caption_not_utf8", str(error))


def _take_metadata(draft: _Draft, member: Member, limits: Limits) -> None:
    if member.data is None or member.size > limits.metadata_bytes:
        draft.fail("metadata_too_long", f"{member.size:,} bytes")
        return
    try:
        metadata = parse_json(member.data)
    except (ValueError, TypeError, RecursionError) as error:
        draft.fail("bad_metadata", str(error))
        return
    if isinstance(metadata, dict):
        draft.metadata = metadata
    else:
        draft.fail("bad_metadata", "the JSON is not an object")


def _finish(draft: _Draft, limits: Limits) -> None:
    if draft.caption is None and isinstance(caption := draft.metadata.get("caption"), str):
        draft.caption = caption
        if len(caption.encode()) > limits.caption_bytes:
            draft.fail("caption_too_long", f"{len(caption.encode()):,} bytes")
    if draft.image_suffix is None:
        found = ", ".join(sorted(draft.members)) or "nothing"
        draft.fail("no_image", f"found {found}; images are {', '.join(IMAGE_SUFFIXES)}")
    if "problem" in draft.image:
        draft.fail(draft.image["problem"], draft.image["detail"])
    if draft.caption is None:
        draft.fail(
            "no_caption", f"found {', '.join(sorted(draft.members))}; captions are txt, caption, or in json"
        )


def _members(draft: _Draft) -> list[dict[str, Any]]:
    order = sorted(draft.members, key=lambda suffix: (suffix != draft.image_suffix, suffix))
    return [{"suffix": s, "offset": draft.members[s][0], "size": draft.members[s][1]} for s in order]


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and abs(value) < _LARGEST else None


def _integer(value: object) -> int | None:
    # Python takes true for 1; Arrow does not.
    return value if type(value) is int and 0 < value < 1 << 31 else None


def _row(shard: str, row: int, draft: _Draft) -> dict[str, Any]:
    url = draft.metadata.get("url")
    return {
        "row": row,
        "uid": uid_of(shard, draft.key, draft.metadata, draft.occurrence),
        "key": draft.key,
        "caption": draft.caption,
        "url": url if isinstance(url, str) else None,
        "original_width": _integer(draft.metadata.get("original_width")),
        "original_height": _integer(draft.metadata.get("original_height")),
        "members": _members(draft),
        **draft.image,
        "problem": draft.problem,
        "detail": draft.detail,
    }


def _table(shard: str, drafts: list[_Draft]) -> pa.Table:
    return pa.Table.from_pylist([_row(shard, n, draft) for n, draft in enumerate(drafts)], schema=SAMPLES)

"""Every sample of a shard becomes one row: whole, or set aside with what is wrong with it."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import random
from collections.abc import Callable, Iterable
from typing import Any, Literal

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipelines.output.tar_writer import TarWriter
from pipelines.pool.ingest import SAMPLES, Limits, ingest
from pipelines.pool.tar_reader import read_members
from tests.making import SHARED, picture, sample

Files = Iterable[tuple[str, bytes]]


def files(key: str, members: dict[str, bytes]) -> list[tuple[str, bytes]]:
    return [(f"{key}.{suffix}", data) for suffix, data in members.items()]


def write(members: Files) -> bytes:
    sink = io.BytesIO()
    with TarWriter(sink) as tar:
        for name, data in members:
            tar.add(name, data)
    return sink.getvalue()


def rows(
    tar: bytes | Files, *, look: Literal["hash", "decode", "header"] = "decode", **limits: int
) -> list[dict[str, Any]]:
    """Return the rows of a shard, given as its bytes or its members."""
    stream = io.BytesIO(tar if isinstance(tar, bytes) else write(tar))
    checked = Limits(**limits)
    members = read_members(stream, max_member_bytes=checked.member_bytes)
    table = ingest("00000", members, pixels=look, limits=checked)
    assert table.schema == SAMPLES
    found: list[dict[str, Any]] = table.to_pylist()
    assert [row["row"] for row in found] == list(range(len(found)))
    return found


def only(members: dict[str, bytes], **options: Any) -> dict[str, Any]:
    """Return the row of a shard with a single sample."""
    (row,) = rows(files("a", members), **options)
    return row


def problems(found: list[dict[str, Any]]) -> dict[str, str | None]:
    return {row["key"]: row["problem"] for row in found}


def encoded(format: str) -> bytes:
    return picture(7, 40, format)


# What is read


def test_a_sample_is_read_whole() -> None:
    members = sample(5, "a caption", url="https://example.org/5", original_width=640, original_height=480)
    tar = write(files("000000005", members))
    (row,) = rows(tar, look="hash")
    assert row["uid"] == f"{5:032x}"
    assert (row["key"], row["caption"], row["url"]) == ("000000005", "a caption", "https://example.org/5")
    assert (row["width"], row["height"], row["format"]) == (48, 48, "jpeg")
    assert (row["original_width"], row["original_height"]) == (640, 480)
    assert row["sha256"] == hashlib.sha256(members["jpg"]).hexdigest()
    assert row["problem"] is None
    ranges = {m["suffix"]: tar[m["offset"] : m["offset"] + m["size"]] for m in row["members"]}
    assert ranges == members
    assert row["members"][0]["suffix"] == "jpg"


@given(st.randoms(use_true_random=False))
def test_members_may_come_in_any_order(chance: random.Random) -> None:
    members = [pair for seed in range(4) for pair in files(f"{seed}", sample(seed))]
    shuffled = chance.sample(members, len(members))
    assert facts(rows(shuffled)) == facts(rows(members))


def test_all_images_may_come_first() -> None:
    members = [pair for seed in range(4) for pair in files(f"{seed}", sample(seed))]
    by_kind = sorted(members, key=lambda pair: pair[0].partition(".")[2])
    assert facts(rows(by_kind)) == facts(rows(members))


def facts(found: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return sorted((row["key"], row["uid"], row["caption"], row["sha256"], row["problem"]) for row in found)


@pytest.mark.parametrize(
    ("suffix", "format"),
    [("jpg", "JPEG"), ("jpeg", "JPEG"), ("png", "PNG"), ("webp", "WEBP"), ("PNG", "PNG")],
)
def test_images_of_every_kind_are_read(suffix: str, format: str) -> None:
    row = only({suffix: encoded(format), "TXT": b"a caption"})
    assert (row["problem"], row["format"], row["width"]) == (None, format.lower(), 40)


def test_the_format_is_what_the_bytes_say() -> None:
    assert only({"jpg": encoded("PNG"), "txt": b"a caption"})["format"] == "png"


@pytest.mark.parametrize("order", [*itertools.permutations(["jpg", "png", "webp"])])
def test_of_several_images_the_jpg_is_meant(order: tuple[str, ...]) -> None:
    images = {"jpg": encoded("JPEG"), "png": encoded("PNG"), "webp": b"broken"}
    row = only({**{suffix: images[suffix] for suffix in order}, "txt": b"a caption"})
    assert (row["format"], row["problem"]) == ("jpeg", None)
    assert row["members"][0]["suffix"] == "jpg"
    assert len(row["members"]) == 4


@pytest.mark.parametrize("suffix", ["txt", "caption"])
def test_captions_have_two_names(suffix: str) -> None:
    assert only({"jpg": picture(0), suffix: b"a caption"})["caption"] == "a caption"


@pytest.mark.parametrize("order", [*itertools.permutations(["txt", "caption", "json"])])
def test_of_several_captions_the_txt_is_meant(order: tuple[str, ...]) -> None:
    captions = {"txt": b"the txt", "caption": b"the caption", "json": b'{"caption": "the json"}'}
    row = only({"jpg": picture(0), **{suffix: captions[suffix] for suffix in order}})
    assert row["caption"] == "the txt"


def test_a_caption_may_stand_in_the_json_alone() -> None:
    row = only({"jpg": picture(0), "json": b'{"caption": "from the json"}'})
    assert (row["caption"], row["problem"]) == ("from the json", None)


def test_captions_come_through_as_they_are() -> None:
    text = "  two\nlines, a \t tab, 猫 and \0 nothing more  \r\n"
    assert only({"jpg": picture(0), "txt": text.encode()})["caption"] == text


def test_an_empty_caption_is_a_caption() -> None:
    row = only({"jpg": picture(0), "txt": b""})
    assert (row["caption"], row["problem"]) == ("", None)


def test_other_members_travel_with_their_sample() -> None:
    row = only({**sample(0), "cls": b"3", "seg.png": b"whatever"})
    assert {m["suffix"] for m in row["members"]} == {"jpg", "json", "txt", "cls", "seg.png"}
    assert row["problem"] is None


def test_keys_may_be_paths_and_what_belongs_to_no_sample_is_passed_over() -> None:
    members = [*files("a/b.c/1", sample(1)), ("README", b"x"), ("__meta__.x__", b"x"), (".hidden", b"x")]
    assert problems(rows(members)) == {"a/b.c/1": None}


def test_an_empty_shard_has_no_rows() -> None:
    assert rows([]) == []
    assert rows(b"") == []


@pytest.mark.parametrize("url", [5, None, ["x"]])
def test_metadata_of_unexpected_types_is_left_out(url: object) -> None:
    row = only(sample(0, url=url, original_width="640", original_height=-1))
    assert (row["url"], row["original_width"], row["original_height"]) == (None, None, None)
    assert row["problem"] is None


@pytest.mark.parametrize(
    "metadata",
    [
        b'{"caption": "c", "similarity": NaN}',
        b'\xef\xbb\xbf{"caption": "c"}',
        b'{"caption": "c", "n": Infinity}',
    ],
    ids=["NaN", "byte order mark", "Infinity"],
)
def test_json_as_python_writes_it_is_read(metadata: bytes) -> None:
    row = only({"jpg": picture(0), "json": metadata})
    assert (row["caption"], row["problem"]) == ("c", None)


# Identity


@pytest.mark.parametrize("uid", ["0123456789abcdef" * 2, "0123456789ABCDEF" * 2])
def test_the_uid_is_the_one_in_the_json(uid: str) -> None:
    assert only({**sample(0), "json": json.dumps({"uid": uid}).encode()})["uid"] == uid.lower()


@pytest.mark.parametrize("uid", ["short", "g" * 32, "0" * 33, 5, None, "٣" * 32])
def test_any_other_uid_is_made_from_shard_and_key(uid: object) -> None:
    row = only({**sample(0), "json": json.dumps({"uid": uid}).encode()})
    assert row["uid"] == hashlib.blake2b(b"00000\0a", digest_size=16).hexdigest()
    assert row["problem"] is None


def test_a_uid_that_is_made_does_not_depend_on_the_rest_of_the_shard() -> None:
    bare = {"jpg": picture(0), "txt": b"a caption"}
    alone = rows(files("a", bare))[0]["uid"]
    assert rows([*files("b", bare), *files("a", bare)])[1]["uid"] == alone


def test_pixels_are_hashed_whatever_file_they_are_in() -> None:
    pixels = Image.open(io.BytesIO(encoded("PNG")))
    larger = io.BytesIO()
    pixels.save(larger, "PNG", compress_level=0)
    turned = io.BytesIO()
    Image.frombytes("RGB", (20, 80), pixels.tobytes()).save(turned, "PNG")
    first, second, third, fourth = (
        only({"png": data, "txt": b"c"}, look="hash")
        for data in (encoded("PNG"), larger.getvalue(), encoded("WEBP"), turned.getvalue())
    )
    assert first["pixels"] == second["pixels"] == third["pixels"]
    assert len({first["sha256"], second["sha256"], third["sha256"]}) == 3
    assert fourth["pixels"] != first["pixels"]  # the same numbers in another shape


# What is set aside

FAULTS: dict[str, Callable[[dict[str, bytes]], dict[str, bytes]]] = {
    "no_image": lambda members: {k: v for k, v in members.items() if k != "jpg"},
    "no_caption": lambda members: {k: v for k, v in members.items() if k != "txt"},
    "broken_image": lambda members: members | {"jpg": members["jpg"][:-80]},
    "empty_image": lambda members: members | {"jpg": b""},
    "not_an_image": lambda members: members | {"jpg": b"<html>404</html>"},
    "caption_not_utf8": lambda members: members | {"txt": b"caf\xe9"},
    "bad_metadata": lambda members: members | {"json": b'{"uid": '},
    "metadata_too_long": lambda members: members | {"json": b'{"x": "' + b"x" * 3000 + b'"}'},
    "caption_too_long": lambda members: members | {"txt": b"x" * 3000},
    "too_many_pixels": lambda members: members | {"jpg": picture(0, 200)},
}
LIMITS = {"metadata_bytes": 2000, "caption_bytes": 2000, "pixels": 150 * 150}


@pytest.mark.parametrize("problem", FAULTS)
def test_a_fault_is_named_and_explained(problem: str) -> None:
    row = only(FAULTS[problem](sample(0)), **LIMITS)
    assert row["problem"] == problem
    assert row["detail"]


@given(st.lists(st.sampled_from([None, *FAULTS]), max_size=8), st.randoms(use_true_random=False))
def test_every_sample_is_accounted_for_and_faults_stay_with_theirs(
    faults: list[str | None], chance: random.Random
) -> None:
    members: list[tuple[str, bytes]] = []
    for n, fault in enumerate(faults):
        members += files(f"{n}", FAULTS[fault](sample(n)) if fault else sample(n))
    found = rows(chance.sample(members, len(members)), **LIMITS)
    assert problems(found) == {f"{n}": fault for n, fault in enumerate(faults)}
    assert len(found) == len(faults)


def test_true_is_no_size() -> None:
    row = only(sample(0, original_width=True, original_height=7))
    assert (row["problem"], row["original_width"], row["original_height"]) == (None, None, 7)


@pytest.mark.parametrize(
    "metadata",
    [b"", b"[1, 2]", b'"text"', b"null", b"\xff\xfe", b"[" * 100_000, b'{"caption": "\\ud800"}'],
    ids=["empty", "list", "text", "null", "no text", "deep", "half a character"],
)
def test_json_that_is_no_object_is_bad_metadata(metadata: bytes) -> None:
    assert only({**sample(0), "json": metadata})["problem"] == "bad_metadata"


def test_a_member_above_the_limit_sets_its_sample_aside() -> None:
    found = rows(
        [*files("a", sample(0)), *files("b", sample(1) | {"jpg": picture(1, 300)})], member_bytes=5000
    )
    assert problems(found) == {"a": None, "b": "image_too_large"}


def test_limits_are_the_most_that_is_allowed() -> None:
    members = {"jpg": picture(0), "txt": b"x" * 100, "json": b"{}".ljust(100)}
    assert only(members, caption_bytes=100, metadata_bytes=100, pixels=48 * 48)["problem"] is None
    assert only(members, caption_bytes=99)["problem"] == "caption_too_long"
    assert only(members, metadata_bytes=99)["problem"] == "metadata_too_long"
    assert only(members, pixels=48 * 48 - 1)["problem"] == "too_many_pixels"


def test_a_header_is_all_that_is_looked_at_when_asked_so() -> None:
    broken = FAULTS["broken_image"](sample(0))
    assert only(broken, look="header")["problem"] is None
    assert only(broken, look="decode")["problem"] == "broken_image"
    assert only(sample(0), look="header")["pixels"] is None


# Repeated keys


def test_of_two_samples_with_one_key_the_first_is_kept() -> None:
    found = rows([*files("a", sample(0)), *files("a", sample(1)), *files("b", sample(2))])
    assert [(row["key"], row["problem"]) for row in found] == [
        ("a", None),
        ("b", None),
        ("a", "repeated_key"),
    ]
    assert found[0]["caption"] == sample(0)["txt"].decode()


def test_every_repeat_is_a_sample_of_its_own() -> None:
    bare = {"jpg": picture(0), "txt": b"a caption"}
    found = rows([*files("a", bare), *files("a", bare), *files("a", bare)])
    assert [row["problem"] for row in found] == [None, "repeated_key", "repeated_key"]
    assert len({row["uid"] for row in found}) == 3


def test_the_image_of_one_sample_never_gets_the_caption_of_another() -> None:
    without_caption = {"jpg": picture(0), "json": b"{}"}
    found = rows([*files("a", without_caption), *files("a", sample(1)), *files("b", sample(2))])
    assert [row["key"] for row in found if row["problem"] is None] == ["b"]


# Damaged shards


def test_a_cut_shard_loses_the_sample_that_was_cut_and_no_other() -> None:
    tar = write([pair for seed in range(3) for pair in files(f"{seed}", sample(seed))])
    ends = [row["members"] for row in rows(tar)]
    third = ends[2][0]["offset"] + 100
    assert problems(rows(tar[:third])) == {"0": None, "1": None, "2": "truncated_tar"}


def test_of_a_shard_cut_anywhere_every_sample_is_whole_set_aside_or_not_begun() -> None:
    members = [pair for seed in range(3) for pair in files(f"{seed}", sample(seed))]
    tar = write(members)
    starts = {row["key"]: min(m["offset"] for m in row["members"]) - 512 for row in rows(tar)}
    ends = {row["key"]: max(m["offset"] + m["size"] for m in row["members"]) for row in rows(tar)}
    for cut in range(0, len(tar), 97):
        found = {row["key"]: row["problem"] for row in rows(tar[:cut], look="header")}
        whole = {key for key, problem in found.items() if problem is None}
        assert whole == {key for key in ends if ends[key] <= cut}
        begun = {key for key in starts if starts[key] + 512 <= cut}
        assert begun <= set(found)


def test_an_unreadable_stretch_is_accounted_for() -> None:
    first, second = write(files("a", sample(0))), write(files("b", sample(1)))
    found = rows(first + b"\xff" * 512 * 3 + second)
    assert problems(found) == {"a": None, "b": None, f"unreadable at byte {len(first)}": "damaged_tar"}


def test_what_is_no_tar_is_one_damaged_sample() -> None:
    assert [row["problem"] for row in rows(b"<html>404</html>" * 100)] == ["damaged_tar"]


@pytest.mark.slow
def test_of_the_photos_exactly_the_broken_ones_are_set_aside() -> None:
    folder = SHARED / "data/photos"
    if not folder.exists():
        pytest.skip("the shared data is not here")
    found = [row for shard in sorted(folder.glob("*.tar")) for row in rows(shard.read_bytes())]
    truth = pd.read_parquet(folder / "truth.parquet")
    assert len(found) == len(truth)
    broken = set(truth[truth.kind == "broken_image"].uid)
    assert {row["uid"] for row in found if row["problem"]} == broken

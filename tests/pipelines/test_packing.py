"""Packing: every image is packed as it is or set aside with a reason, and the shards are always the same."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.errors import ConfigError
from pipelines.packing import tables, walk
from pipelines.packing.pack import Packed, pack
from pipelines.packing.rows import Captions
from pipelines.packing.sample import SampleReader
from pipelines.packing.source import open_source
from pipelines.pool.ingest import Limits, ingest
from pipelines.pool.tar_reader import read_members
from pipelines.storage import Folder
from tests.making import picture
from tests.pools import contents


def make(
    place: Path,
    output: Path,
    *,
    captions: Captions = "beside",
    limits: Limits | None = None,
    samples_per_shard: int = 5,
    workers: int = 1,
    **options: Any,
) -> Packed:
    source = open_source(place, **options)
    reader = SampleReader(source.images, source.outside, captions, limits or Limits())
    folder = Folder(str(output))
    return pack(source, reader, folder, samples_per_shard=samples_per_shard, workers=workers)


def write_images(folder: Path, n: int = 12) -> Path:
    """Write pictures in folders with captions beside them, some of which can't be packed."""
    for seed in range(n):
        image = folder / f"part{seed % 3}" / f"img {seed:02d}.jpg"
        image.parent.mkdir(parents=True, exist_ok=True)
        image.write_bytes(picture(seed))
        image.with_suffix(".txt").write_text(f"caption of {seed}\n")
    (folder / "part0/img 00.txt").unlink()
    (folder / "part1/img 01.jpg").write_bytes(b"")
    (folder / "part2/img 02.jpg").write_bytes(b"<html>")
    (folder / "part0/img 03.txt").write_bytes(b"caf\xe9")
    (folder / "part1/img 04.json").write_text("[1]")
    (folder / "part2/img 05.json").write_text('{"uid": "' + "AB" * 16 + '", "url": "http://a/b", "like": 3}')
    return folder


def packed(output: Path) -> dict[str, dict[str, bytes]]:
    """Return the members of every sample by key."""
    found: dict[str, dict[str, bytes]] = {}
    for path in sorted(output.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar.getmembers():
                key, _, suffix = member.name.partition(".")
                stream = tar.extractfile(member)
                assert stream is not None
                found.setdefault(key, {})[suffix] = stream.read()
    return found


def facts(output: Path) -> list[dict[str, Any]]:
    return [json.loads(sample["json"]) for sample in packed(output).values()]


def set_aside(output: Path) -> dict[str, str]:
    rows = csv.DictReader(io.StringIO((output / "set_aside.csv").read_text()))
    return {row["source"]: row["reason"] for row in rows}


def visible(output: Path) -> dict[str, str]:
    """Return the hashes of what a user gets: not of what a later call needs to go on."""
    return {name: digest for name, digest in contents(output).items() if not name.startswith(".pack/")}


# Images in folders


def test_every_image_is_packed_as_it_is_or_set_aside_with_a_reason(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images")
    done = make(images, tmp_path / "out")
    assert set_aside(tmp_path / "out") == {
        "part0/img 00.jpg": "no_caption",
        "part1/img 01.jpg": "empty_image",
        "part2/img 02.jpg": "not_an_image",
        "part0/img 03.jpg": "caption_not_utf8",
        "part1/img 04.jpg": "bad_metadata",
    }
    assert (done.samples, done.packed, sum(done.set_aside.values()), done.shards) == (12, 7, 5, 3)
    for sample in packed(tmp_path / "out").values():
        known = json.loads(sample["json"])
        assert sample["jpg"] == (images / known["source"]).read_bytes()
        assert sample["txt"].decode() == known["caption"] == f"caption of {int(known['source'][10:12])}"
        assert len(known["uid"]) == 32


def test_what_is_beside_an_image_goes_along(tmp_path: Path) -> None:
    make(write_images(tmp_path / "images"), tmp_path / "out")
    known = next(each for each in facts(tmp_path / "out") if each["source"] == "part2/img 05.jpg")
    assert (known["uid"], known["url"], known["like"]) == ("ab" * 16, "http://a/b", 3)
    assert (known["width"], known["original_width"]) == (48, 48)


def test_images_of_one_name_in_two_folders_have_two_uids(tmp_path: Path) -> None:
    for seed in range(2):
        image = tmp_path / f"{seed}/1.jpg"
        image.parent.mkdir()
        image.write_bytes(picture(seed))
        make(image.parent, tmp_path / f"out{seed}", captions="name")
    assert facts(tmp_path / "out0")[0]["uid"] != facts(tmp_path / "out1")[0]["uid"]


def test_a_run_reads_what_was_packed(tmp_path: Path) -> None:
    make(write_images(tmp_path / "images"), tmp_path / "out")
    with (tmp_path / "out/00000.tar").open("rb") as stream:
        table = ingest("00000", read_members(stream), pixels="decode", limits=Limits())
    assert table["problem"].null_count == len(table) > 0
    beside = pq.read_table(tmp_path / "out/00000.parquet").to_pylist()
    rows = {row["key"]: row for row in beside if row["status"] == "success"}
    for sample in table.to_pylist():
        for name in ("uid", "caption", "width", "height", "sha256"):
            assert rows[sample["key"]][name] == sample[name]
    assert json.loads((tmp_path / "out/sizes.json").read_text())["00000.tar"] == len(table)


@pytest.mark.parametrize(("captions", "expected"), [("folder", "part1"), ("name", "img 01")])
def test_captions_come_from_names_if_asked(tmp_path: Path, captions: Captions, expected: str) -> None:
    (tmp_path / "images/part1").mkdir(parents=True)
    (tmp_path / "images/part1/img_01.jpg").write_bytes(picture(1))
    make(tmp_path / "images", tmp_path / "out", captions=captions)
    assert [each["caption"] for each in facts(tmp_path / "out")] == [expected]


def test_the_same_source_elsewhere_makes_the_same_bytes_with_any_number_of_workers(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images")
    make(images, tmp_path / "one")
    make(Path(shutil.copytree(images, tmp_path / "there/images")), tmp_path / "two", workers=2)
    assert visible(tmp_path / "one") == visible(tmp_path / "two")


def test_a_listing_that_does_not_fit_into_memory_gives_the_same_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = write_images(tmp_path / "images", n=30)
    (images / "part1/bad\udcff name.jpg").write_bytes(picture(1))
    whole = list(walk.images_below(str(images), Counter()))
    monkeypatch.setattr(walk, "_HELD", 3)
    assert list(walk.images_below(str(images), Counter())) == whole
    assert len(whole) == 31


def test_a_name_that_is_not_unicode_is_packed_and_spelled_out(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/a\udcff.jpg").write_bytes(picture(1))
    (tmp_path / "images/a\udcff.txt").write_text("a caption")
    make(tmp_path / "images", tmp_path / "out")
    assert [each["source"] for each in facts(tmp_path / "out")] == ["a\\xff.jpg"]


def test_no_name_is_a_formula_in_what_was_set_aside(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images")
    (images / "=cmd.jpg").write_bytes(b"")
    make(images, tmp_path / "out")
    assert set_aside(tmp_path / "out")["'=cmd.jpg"] == "empty_image"


def test_what_is_no_image_is_counted_by_suffix(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images")
    (images / "movie.MP4").touch()
    (images / "README").touch()
    (images / ".DS_Store").touch()
    done = make(images, tmp_path / "out")
    assert done.passed_over == {".mp4": 1, "hidden": 1, "without a suffix": 1}


def test_shards_may_lie_below_the_images(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images")
    assert make(images, images / "shards").samples == 12
    assert make(images, images / "shards").new == 0


# Files that lead elsewhere


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "elsewhere/secret.jpg"
    path.parent.mkdir()
    path.write_bytes(picture(99))
    path.with_suffix(".txt").write_text("a secret")
    return path


@pytest.mark.parametrize("outside", [False, True])
def test_links_lead_out_of_the_folder_only_if_asked(tmp_path: Path, secret: Path, outside: bool) -> None:
    images = write_images(tmp_path / "images")
    (images / "linked.jpg").symlink_to(secret)
    (images / "linked.txt").symlink_to(secret.with_suffix(".txt"))
    (images / "folder").symlink_to(secret.parent)
    (images / "part0/loop").symlink_to(images)
    done = make(images, tmp_path / "out", outside=outside)
    aside = set_aside(tmp_path / "out")
    assert ("linked.jpg" in aside) is not outside
    assert done.samples == (14 if outside else 13)
    assert done.passed_over == {"linked folders": 1 if outside else 2}


def test_a_link_inside_the_folder_is_an_image_like_others(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images")
    (images / "again.jpg").symlink_to("part2/img 08.jpg")
    (images / "again.txt").write_text("again")
    make(images, tmp_path / "out")
    assert "again.jpg" in {each["source"] for each in facts(tmp_path / "out")}


@pytest.mark.parametrize("path", ["../elsewhere/secret.jpg", "{secret}", "images/../../elsewhere/secret.jpg"])
def test_a_table_leads_out_of_the_folder_only_if_asked(tmp_path: Path, secret: Path, path: str) -> None:
    table = tmp_path / "images/table.csv"
    table.parent.mkdir()
    (table.parent / "images").mkdir()
    (table.parent / "1.jpg").write_bytes(picture(1))
    table.write_text(f"path,caption\n1.jpg,fine\n{path.format(secret=secret)},secret\n")
    assert make(table, tmp_path / "in").set_aside == {"outside_source": 1}
    assert make(table, tmp_path / "out", outside=True).packed == 2


def test_pipes_devices_and_broken_links_are_set_aside(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images")
    os.mkfifo(images / "pipe.jpg")
    (images / "broken.jpg").symlink_to("nowhere.jpg")
    make(images, tmp_path / "out")
    aside = set_aside(tmp_path / "out")
    assert (aside["pipe.jpg"], aside["broken.jpg"]) == ("unreadable_file", "missing_file")


def test_what_is_too_large_is_set_aside(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images")
    (images / "part0/img 06.txt").write_text("short")
    done = make(images, tmp_path / "out", limits=Limits(caption_bytes=10))
    assert (done.packed, done.set_aside["caption_too_long"]) == (1, 6)


# Tables

ROWS = [{"file_name": f"{seed}.jpg", "text": f"caption, of {seed}", "score": seed} for seed in range(7)]


def write_table(folder: Path, kind: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(7):
        (folder / f"{seed}.jpg").write_bytes(picture(seed))
    path = folder / f"table.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=2)
    elif kind in ("jsonl", "ndjson"):
        path.write_text("".join(json.dumps(row) + "\n\n" for row in ROWS))
    else:
        with path.open("w", newline="", encoding="utf-8-sig") as stream:
            sign = {"tsv": "\t", "csv": ","}[kind]
            writer = csv.DictWriter(stream, list(ROWS[0]), delimiter=sign)
            writer.writeheader()
            writer.writerows(ROWS)
    return path


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "ndjson", "parquet"])
def test_a_table_of_paths_is_packed(tmp_path: Path, kind: str) -> None:
    done = make(write_table(tmp_path / "in", kind), tmp_path / "out", samples_per_shard=3)
    assert (done.samples, done.packed, done.shards) == (7, 7, 3)
    found = packed(tmp_path / "out")
    assert [sample["jpg"] for sample in found.values()] == [picture(seed) for seed in range(7)]
    assert [sample["txt"].decode() for sample in found.values()] == [row["text"] for row in ROWS]
    assert [int(each["score"]) for each in facts(tmp_path / "out")] == [*range(7)]
    assert len({each["uid"] for each in facts(tmp_path / "out")}) == 7


def test_images_inside_parquet_files_are_packed(tmp_path: Path) -> None:
    for part in range(2):
        rows = [
            {"image": {"bytes": picture(n), "path": None}, "caption": [f"number {n}", "other"]}
            for n in range(part * 4, part * 4 + 4)
        ]
        (tmp_path / "in").mkdir(exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"in/{part}.parquet", row_group_size=3)
    make(tmp_path / "in", tmp_path / "out", samples_per_shard=3)
    found = [(sample["jpg"], sample["txt"].decode()) for sample in packed(tmp_path / "out").values()]
    assert found == [(picture(n), f"number {n}") for n in range(8)]


def test_rows_that_cannot_be_read_are_set_aside(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(picture(1))
    table = tmp_path / "table.csv"
    table.write_bytes(b"path,caption\n1.jpg,fine\n1.jpg\n\n,none\n2.jpg,lost\n1.jpg,\n1.jpg,caf\xe9\n")
    make(table, tmp_path / "out", samples_per_shard=10)
    reasons = Counter(set_aside(tmp_path / "out").values())
    assert reasons == dict.fromkeys(
        ("bad_row", "no_image", "missing_file", "no_caption", "caption_not_utf8"), 1
    )


def test_lines_that_are_no_json_objects_are_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_MAX_LINE", 1000)
    (tmp_path / "1.jpg").write_bytes(picture(1))
    lines = ['{"path": "1.jpg", "caption": "fine"}', "{", "[]", '"' + "x" * 5000 + '"']
    lines.append('{"path": "1.jpg", "caption": "last"}')
    (tmp_path / "table.jsonl").write_text("\n".join(lines))
    done = make(tmp_path / "table.jsonl", tmp_path / "out")
    assert (done.packed, done.set_aside) == (2, {"bad_row": 3})


def test_columns_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(picture(1))
    (tmp_path / "table.csv").write_text("where;wrong;what\n1.jpg;no;a caption\n")
    with pytest.raises(ConfigError, match="'where', 'wrong', 'what'"):
        open_source(tmp_path / "table.csv")
    columns = {"image_column": "where", "caption_column": "what"}
    make(tmp_path / "table.csv", tmp_path / "out", **columns)
    assert [each["caption"] for each in facts(tmp_path / "out")] == ["a caption"]


# Before any work


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("path,caption\nhttp://a/1.jpg,x\n", "img2dataset"),
        ("path,caption\nlost.jpg,x\n", "--images FOLDER"),
        ("path,caption\n/etc/hostname,x\n", "--outside"),
        ("path,caption\n", "no rows"),
        ("url,caption\nhttp://a/1.jpg,x\n", "--url_col url"),
        ("", "is empty"),
    ],
)
def test_a_table_of_which_nothing_can_be_packed_is_an_error(
    tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "table.csv").write_text(content)
    with pytest.raises(ConfigError, match=message):
        make(tmp_path / "table.csv", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_images_without_captions_are_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(picture(1))
    with pytest.raises(ConfigError, match="--captions folder"):
        make(tmp_path, tmp_path / "out")


def test_shards_need_no_packing(tmp_path: Path) -> None:
    (tmp_path / "00000.tar").touch()
    with pytest.raises(ConfigError, match="need no packing"):
        make(tmp_path, tmp_path / "out")


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/00000.tar").write_bytes(b"mine")
    with pytest.raises(ConfigError, match="not overwritten"):
        make(images, tmp_path / "out")
    assert contents(tmp_path / "out").keys() == {"00000.tar"}
    make(images, tmp_path / "other")
    before = contents(tmp_path / "other")
    with pytest.raises(ConfigError, match="samples_per_shard was 5 and is 6"):
        make(images, tmp_path / "other", samples_per_shard=6)
    (images / "part0/img 06.txt").write_text("another caption")
    with pytest.raises(ConfigError, match="the source changed"):
        make(images, tmp_path / "other")
    assert contents(tmp_path / "other") == before


def test_a_source_that_lost_its_last_shard_is_an_error(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images")
    make(images, tmp_path / "out", samples_per_shard=4)
    for image in (images / "part2").iterdir():
        image.unlink()
    with pytest.raises(ConfigError, match=r"00002\.tar was made of other files"):
        make(images, tmp_path / "out", samples_per_shard=4)


# Going on

KILLED = """
import os, sys
from pipelines.packing import pack as module
from tests.pipelines.test_packing import make
from pathlib import Path
real, left = module.pack_shard, [2]
def dying(item, *, packer):
    left[0] -= 1
    if left[0] < 0:
        with packer.output.create("00002.tar") as stream:
            stream.write(b"half a shard")
            stream.flush()
            os.kill(os.getpid(), 9)
    return real(item, packer=packer)
module.pack_shard = dying
make(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_a_killed_packing_goes_on_and_ends_in_the_same_bytes(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", n=20)
    command = [sys.executable, "-c", KILLED, str(images), str(tmp_path / "killed")]
    ended = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert not (tmp_path / "killed/PACK.json").exists()
    assert make(images, tmp_path / "killed").new == 2
    make(images, tmp_path / "undisturbed")
    assert visible(tmp_path / "killed") == visible(tmp_path / "undisturbed")

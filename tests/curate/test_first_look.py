"""`curate init` on what is not shards says what it found, and the command that it names works."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.commands import Command, Ended
from tests.making import picture, write_pool


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_images(folder: Path, captions: bool = True) -> Path:
    for seed in range(4):
        image = folder / f"{seed}.jpg"
        image.parent.mkdir(parents=True, exist_ok=True)
        image.write_bytes(picture(seed))
        if captions:
            image.with_suffix(".txt").write_text(f"a picture with the number {seed} on it")
    return folder


def told(ended: Ended) -> list[str]:
    """Return the commands of a message."""
    assert ended.code == 2, ended
    assert ended.err.startswith("curate: ")
    lines = ended.err.replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.startswith("  ")]


def follow(curate: Command, command: str) -> Ended:
    name, *arguments = shlex.split(command)
    assert name == "curate"
    ended = curate(*arguments)
    assert ended.code == 0, ended.err
    return ended


def img2dataset_files(place: Path) -> Path:
    write_images(place / "00000")
    account = pa.table({"key": ["0"], "url": ["http://a"], "error_message": [None]})
    pq.write_table(account, place / "00000.parquet")
    (place / "00000_stats.json").write_text("{}")
    return place


def img2dataset_parquet(place: Path) -> Path:
    place.mkdir()
    rows = [{"key": str(n), "jpg": picture(n), "caption": f"the picture {n} of four"} for n in range(4)]
    pq.write_table(pa.Table.from_pylist(rows), place / "00000.parquet")
    (place / "00000_stats.json").write_text("{}")
    return place


def hugging_face_parquet(place: Path) -> Path:
    (place / "data").mkdir(parents=True)
    rows = [
        {"image": {"bytes": picture(n), "path": f"{n}.jpg"}, "text": f"the picture {n} of four"}
        for n in range(4)
    ]
    pq.write_table(pa.Table.from_pylist(rows), place / "data/train-00000-of-00001.parquet")
    (place / "README.md").touch()
    return place


def image_folder(place: Path) -> Path:
    write_images(place, captions=False)
    lines = [f"{n}.jpg,the picture {n} of four" for n in range(4)]
    (place / "metadata.csv").write_text("\n".join(["file_name,text", *lines]))
    return place


def table(place: Path) -> Path:
    return image_folder(place) / "metadata.csv"


def splits(place: Path) -> Path:
    image_folder(place / "train")
    return place


def classes(place: Path) -> Path:
    write_images(place / "a cat", captions=False)
    return place


def flat(place: Path) -> Path:
    return write_images(place, captions=False)


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (write_images, "holds images, captions in files beside them"),
        (classes, "holds images in folders without captions beside them"),
        (flat, "images' own names"),
        (img2dataset_files, "is img2dataset's output `files`"),
        (img2dataset_parquet, "images inside 1 Parquet files"),
        (hugging_face_parquet, "images inside 1 Parquet files"),
        (image_folder, "is a table of images with captions"),
        (splits, "train/metadata.csv is a table of images with captions"),
        (table, "is a CSV table"),
    ],
)
@pytest.mark.parametrize("name", ["images", "it's mine"])
def test_the_command_that_init_names_makes_shards_for_init(
    curate: Command, here: Path, write: Callable[[Path], Path], says: str, name: str
) -> None:
    place = write(here / name)
    ended = curate("init", place)
    assert says in ended.err
    packed = follow(curate, told(ended)[-1])
    assert "4 = 4 packed + 0 set aside" in packed.out
    following = re.findall("next: (.*)", packed.out)[0]
    assert "for 1 shard" in follow(curate, following).out
    assert json.loads(curate("check", "curate.yaml", "--json").out)["samples"] == 4


def test_shards_in_folders_below_are_named(curate: Command, here: Path) -> None:
    write_pool(here / "pool/part1", n_shards=2)
    write_pool(here / "pool/part2", n_shards=1)
    assert "for 3 shards" in follow(curate, told(curate("init", here / "pool"))[-1]).out


def test_img2datasets_shards_are_taken_as_they_are(curate: Command, here: Path) -> None:
    write_pool(here / "pool", n_shards=1)
    pq.write_table(pa.table({"key": ["0"], "url": ["http://a"]}), here / "pool/00000.parquet")
    (here / "pool/00000_stats.json").write_text(json.dumps({"successes": 8}))
    assert "for 1 shard" in curate("init", here / "pool").out
    assert json.loads(curate("check", "curate.yaml", "--json").out)["counted"]


def test_a_table_of_urls_is_for_img2dataset(curate: Command, here: Path) -> None:
    (here / "meta").mkdir()
    pq.write_table(pa.table({"URL": ["http://a"], "TEXT": ["b"]}), here / "meta/0.parquet")
    ended = curate("init", here / "meta")
    assert "pool: {metadata:" in ended.err
    assert "--url_col URL --caption_col TEXT" in ended.err
    assert curate("init", here / "meta/0.parquet").code == 2


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ([], "is empty"),
        (["shards.tar.gz"], "unpack it first"),
        (["a.mp4", "b.mp4"], "what it holds ends in .mp4"),
    ],
)
def test_what_cannot_be_packed_is_named(curate: Command, here: Path, files: list[str], says: str) -> None:
    (here / "place").mkdir()
    for name in files:
        (here / "place" / name).touch()
    ended = curate("init", here / "place")
    assert ended.code == 2
    assert says in ended.err
    assert not (here / "curate.yaml").exists()


def test_a_data_set_of_hugging_face_in_arrow_files_is_made_parquet(curate: Command, here: Path) -> None:
    datasets = pytest.importorskip("datasets")
    images = [{"bytes": picture(n), "path": None} for n in range(4)]
    captions = [f"the picture {n} of four" for n in range(4)]
    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    made = datasets.Dataset.from_dict({"image": images, "text": captions}, features=features)
    made.save_to_disk(str(here / "set"))
    script, command = told(curate("init", here / "set"))
    exec(shlex.split(script)[2])
    assert "4 packed" in follow(curate, command).out


def test_pack_as_a_command(curate: Command, here: Path) -> None:
    images = write_images(here / "images")
    (images / "9.jpg").write_bytes(b"")
    ended = curate("pack", images, "-o", "out", "--json")
    assert json.loads(ended.out) == {
        "samples": 5,
        "packed": 4,
        "set_aside": {"empty_image": 1},
        "passed_over": {},
        "shards": 1,
        "new": 1,
        "bytes": (here / "out/00000.tar").stat().st_size,
    }
    assert {json.loads(line)["event"] for line in ended.err.splitlines()} == {"stage", "shard", "stage_done"}
    again = curate("pack", images, "-o", "out")
    assert again.code == 0
    assert again.err.count("\n") == 1
    assert "done before" in again.err
    shutil.rmtree(here / "out")
    for table_option in ("--image-column", "--caption-column"):
        assert curate("pack", images, "-o", "out", table_option, "x").code == 2


def test_pack_says_which_columns_it_took(curate: Command, here: Path) -> None:
    ended = curate("pack", table(here / "images"), "-o", "out")
    assert "images: column 'file_name', captions: column 'text'" in ended.err

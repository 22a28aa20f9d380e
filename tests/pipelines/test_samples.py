"""Which members belong together."""

from __future__ import annotations

from pathlib import Path

import pytest
from webdataset.tariterators import base_plus_ext

from pipelines.pool.samples import read_pairs, split_name
from tests.making import picture, sample, write_shard


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("000001.jpg", ("000001", "jpg")),
        ("000001.JPG", ("000001", "jpg")),
        ("000001.seg.png", ("000001", "seg.png")),
        ("a/22.0/1.1.png", ("a/22.0/1", "1.png")),
        ("./a/b.txt", ("./a/b", "txt")),
        ("猫.txt", ("猫", "txt")),
        ("a.", ("a", "")),
        ("README", None),
        ("a.b/README", None),
        (".hidden", None),
        ("a/.hidden", None),
        ("__meta__", None),
        ("", None),
    ],
)
def test_a_key_ends_at_the_first_dot_of_the_base_name(name: str, expected: tuple[str, str] | None) -> None:
    assert split_name(name) == expected


@pytest.mark.parametrize("name", ["1.jpg", "a/22.0/1.1.png", "a.b/c.tar.gz", "README", ".x", "a/b.c/d"])
def test_names_split_as_in_webdataset(name: str) -> None:
    theirs = base_plus_ext(name)
    assert split_name(name) == (theirs if theirs[0] is not None else None)


def test_pairs_come_out_whatever_the_order_of_members(tmp_path: Path) -> None:
    images = [(f"{n}", {"jpg": picture(n)}) for n in range(3)]
    captions = [(f"{n}", {"txt": f"caption {n}".encode()}) for n in (2, 0, 1)]
    path = write_shard(tmp_path / "00000.tar", [*images, *captions])
    assert list(read_pairs(str(path))) == [(f"{n}", picture(n), f"caption {n}") for n in (2, 0, 1)]


def test_what_is_no_pair_is_passed_over(tmp_path: Path) -> None:
    whole, no_caption, no_image = sample(0), sample(1), sample(2)
    del no_caption["txt"], no_image["jpg"]
    path = write_shard(tmp_path / "00000.tar", [("a", no_caption), ("b", no_image), ("c", whole)])
    path.write_bytes(path.read_bytes()[:512] + b"garbage" + path.read_bytes()[512:])
    assert [key for key, _, _ in read_pairs(str(path))] == ["c"]

"""Ten thousand pictures that somebody tampered with, and bombs: pixels or a reason, soon, in few bytes."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.pool.ingest import Limits, ingest
from pipelines.pool.tar_reader import Member
from scoring.images import MAX_SIDE, ImageProblem, decode_pil, decode_rgb, read_header
from scoring.perceptual_hash import looks
from scoring.transform import Exact, Fast, Preprocessing
from tests.failures.test_hostile_tars import MACHINE, few_or_many
from tests.fuzzing.pictures import bomb, corpus, encoded, mutated, rotated, scan_bomb

PIXELS = 1_000_000
SEEN = Preprocessing(32, 32, (0.5,) * 3, (0.5,) * 3, "bicubic", "shortest", 0)


def outcome(data: bytes) -> tuple[object, ...]:
    """Return what decoding ends in: a shape and the pixels, or a reason and its words."""
    try:
        pixels = decode_rgb(data, max_pixels=PIXELS)
    except ImageProblem as problem:
        return problem.reason, str(problem)
    assert pixels.dtype == np.uint8
    header = read_header(data, max_pixels=PIXELS)
    assert pixels.shape == (header.height, header.width, 3)
    assert pixels.size <= 3 * PIXELS
    return pixels.shape, pixels.tobytes()


@few_or_many
def test_a_mutated_picture_ends_in_pixels_or_in_a_reason(seeds: range) -> None:
    transforms = Fast(SEEN), Exact(SEEN)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for seed in seeds:
        data = mutated(seed)
        started = time.process_time()
        found = outcome(data)
        assert outcome(bytes(bytearray(data))) == found, seed  # in other memory, the same
        if isinstance(found[0], str):
            assert found[1], seed
            assert not MACHINE.search(str(found[1])), seed
        for transform in transforms:
            try:
                assert transform.read(data, max_pixels=PIXELS).numel() == 3 * 32 * 32, seed
            except ImageProblem:
                assert isinstance(found[0], str) or isinstance(transform, Exact), seed
        assert time.process_time() - started < 5, seed
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200 << 10  # KiB


@few_or_many
def test_a_mutated_picture_in_a_shard_is_one_row_with_a_reason_or_whole(seeds: range) -> None:
    for seed in seeds:
        members = [Member("1.jpg", 0, 0, mutated(seed)), Member("1.txt", 9, 1, b"a")]
        limits = Limits(pixels=PIXELS)
        (row,) = ingest("0", members, pixels="looks", limits=limits).to_pylist()
        assert (row["problem"] is None) == (row["pixels"] is not None), seed
        assert row["problem"] is None or row["detail"], seed


def test_whole_pictures_of_every_kind_keep_their_size_and_their_side() -> None:
    shapes: list[object] = []
    for data in corpus():
        try:
            shapes.append(decode_rgb(data).shape)
        except ImageProblem as problem:
            shapes.append(problem.reason)
    assert shapes[-3:] == ["not_an_image"] * 3  # GIF, BMP and TIFF
    assert set(shapes[:-3]) == {(40, 47, 3), (30, 30, 3)}
    assert decode_rgb(rotated()).shape == (40, 47, 3)  # as stored: no model was trained on turned ones


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (bomb(30_000, 30_000, 1), "900000000 pixels"),
        (bomb(MAX_SIDE + 1, 1), "more than 65,535 on a side"),
        (scan_bomb(5000), "5,0.. scans"),
    ],
    ids=["pixels", "side", "scans"],
)
def test_bombs_are_refused_by_their_headers_at_once(data: bytes, words: str) -> None:
    started = time.process_time()
    for decode in (decode_rgb, decode_pil):
        with pytest.raises(ImageProblem, match=words):
            decode(data)
    assert time.process_time() - started < 0.5


def test_what_looks_like_scans_behind_the_picture_is_none() -> None:
    """Phones append a film to a JPEG; usual progressive ones have about ten scans."""
    film = b"\xff\xda\0\x08\1\1\0\0\0\0" * 1000
    assert decode_rgb(scan_bomb(20)[:-2] + b"\xff\xd9" + film).shape == (400, 400, 3)


def test_a_ribbon_is_not_blown_up_before_it_is_cropped() -> None:
    ribbon = encoded(Image.new("RGB", (60_000, 1)), "PNG")
    assert Fast(SEEN).read(ribbon, max_pixels=PIXELS).shape == (32, 32, 3)
    with pytest.raises(ImageProblem, match="would be resized to 1,920,000 pixels long"):
        Exact(SEEN).read(ribbon, max_pixels=PIXELS)
    assert looks(decode_rgb(ribbon)) is None


def test_a_large_picture_within_the_limit_warns_nobody() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
        read_header(bomb(9_900, 9_900, 1))
    assert not caught


_GROWTH = """
import resource
from tests.failures.test_hostile_pictures import *
from tests.fuzzing.pictures import text_bomb

def grown(data):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for each in data:
        try:
            decode_rgb(each)
        except ImageProblem:
            pass
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024

bombs = [bomb(20_000, 20_000, 1), bomb(70_000, 1), scan_bomb(5000), text_bomb()]
print(grown(bombs), grown([bomb(9_990, 9_990, 16)]))
"""


@pytest.mark.slow
def test_bombs_take_little_memory_and_the_largest_picture_a_gigabyte() -> None:
    root = Path(__file__).parents[2]
    ended = subprocess.run(
        [sys.executable, "-c", _GROWTH], cwd=root, check=True, capture_output=True, text=True, timeout=500
    )
    assert not ended.stderr
    bombs, largest = map(float, ended.stdout.split())
    assert bombs < 60  # MB
    assert largest < 1100

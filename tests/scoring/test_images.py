"""Hostile bytes: what reads whole is read, everything else is an ImageProblem with the right reason."""

import contextlib
import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.pool.samples import IMAGE_SUFFIXES, split_name
from pipelines.pool.tar_reader import Member, read_members
from scoring.images import ImageProblem, decode_pil, decode_rgb, read_header

PHOTOS = Path(__file__).parents[3] / "shared" / "data" / "photos"


def photo(width: int = 90, height: int = 60, mode: str = "RGB") -> Image.Image:
    coarse = np.random.default_rng(0).integers(0, 255, (6, 9, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def encode(image: Image.Image, format: str, **options: object) -> bytes:
    sink = io.BytesIO()
    image.save(sink, format, **options)
    return sink.getvalue()


def reason(data: bytes, **options: int) -> str:
    with pytest.raises(ImageProblem) as caught:
        decode_rgb(data, **options)
    assert str(caught.value)
    return caught.value.reason


@pytest.mark.parametrize("format", ["jpeg", "png", "webp"])
def test_formats_are_told_by_content(format: str) -> None:
    data = encode(photo(), format)
    assert read_header(data) == (format, 90, 60)
    assert decode_rgb(data).shape == (60, 90, 3)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpegs_decode_as_in_pil(mode: str, progressive: bool) -> None:
    data = encode(photo(mode=mode), "JPEG", progressive=progressive)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(decode_rgb(data), expected)
    np.testing.assert_array_equal(np.asarray(decode_pil(data)), expected)


def test_flaws_that_pil_passes_over_lose_no_image() -> None:
    data = encode(photo(), "JPEG")
    before_the_end_marker = data[:-2] + b"\0\0\0\0" + data[-2:]
    np.testing.assert_array_equal(decode_rgb(before_the_end_marker), decode_rgb(data))
    assert decode_rgb(data + b"what the camera had to say").shape == (60, 90, 3)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
def test_transparency_is_dropped_as_open_clip_does(mode: str) -> None:
    image = photo(mode="RGB").convert(mode)
    if mode in ("LA", "RGBA"):
        image.putalpha(7)
    expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(decode_rgb(encode(image, "PNG")), expected)


def test_a_palette_with_transparency_keeps_its_colours_and_warns_nobody() -> None:
    image = photo().convert("P", palette=Image.Palette.ADAPTIVE)
    data = encode(image, "PNG", transparency=bytes(range(256)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(decode_rgb(data), np.asarray(image.convert("RGB")))


def test_sixteen_bits_keep_their_upper_eight() -> None:
    deep = np.arange(600, dtype=np.uint16).reshape(20, 30) * 109
    decoded = decode_rgb(encode(Image.fromarray(deep), "PNG"))
    np.testing.assert_array_equal(decoded, np.repeat((deep >> 8).astype(np.uint8)[..., None], 3, axis=2))


def test_orientation_is_left_alone() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode_rgb(encode(photo(), "JPEG", exif=exif)).shape == (60, 90, 3)


def test_of_an_animation_the_first_frame_is_taken() -> None:
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "blue")]
    for format in ("WEBP", "PNG"):
        data = encode(frames[0], format, save_all=True, append_images=frames[1:], lossless=True)
        assert decode_rgb(data)[0, 0].tolist() == [255, 0, 0]


def test_a_smaller_decode_keeps_the_shorter_side() -> None:
    data = encode(photo(900, 601), "JPEG")
    for min_side, expected in [(601, 601), (301, 601), (300, 301), (150, 151), (76, 151), (10, 76)]:
        assert min(decode_rgb(data, min_side=min_side).shape[:2]) == expected
    assert decode_rgb(encode(photo(900, 601), "PNG"), min_side=10).shape == (601, 900, 3)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9, 0.99])
def test_a_cut_image_is_broken(format: str, share: float) -> None:
    data = encode(photo(), format)
    assert reason(data[: max(16, int(len(data) * share))]) == "broken_image"


def test_damage_never_raises_anything_else() -> None:
    rng = np.random.default_rng(1)
    for format in ("JPEG", "PNG", "WEBP"):
        whole = encode(photo(), format)
        for _ in range(150):
            data = np.frombuffer(whole, np.uint8).copy()
            data[rng.integers(0, len(data), 8)] = rng.integers(0, 256, 8)
            with contextlib.suppress(ImageProblem):
                assert decode_rgb(data.tobytes(), max_pixels=10_000).shape[2] == 3


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "empty_image"),
        (b"<html><body>404</body></html>", "not_an_image"),
        (b"GIF89a" + bytes(100), "not_an_image"),
        (b"\xff\xd8\xff", "broken_image"),
        (b"\x89PNG\r\n\x1a\n", "broken_image"),
        (b"RIFF\x10\x00\x00\x00WEBPVP8 ", "broken_image"),
    ],
)
def test_what_is_no_image_says_so(data: bytes, expected: str) -> None:
    assert reason(data) == expected
    with pytest.raises(ImageProblem) as caught:
        read_header(data)
    assert caught.value.reason == expected


@pytest.mark.parametrize("start", [b"\x89PNG\r\n\x1a\n", b"RIFF\x10\0\0\0WEBP", b"\xff\xd8\xff\xe0"])
def test_the_same_bytes_are_described_in_the_same_words_in_every_process(start: bytes) -> None:
    with pytest.raises(ImageProblem) as problem:
        decode_rgb(start + bytes(40))
    assert "0x" not in str(problem.value)


def test_too_many_pixels_are_never_decoded() -> None:
    for format in ("JPEG", "PNG", "WEBP"):
        assert reason(encode(photo(), format), max_pixels=90 * 60 - 1) == "too_many_pixels"
        assert decode_rgb(encode(photo(), format), max_pixels=90 * 60).shape == (60, 90, 3)


def test_a_bomb_is_refused_by_its_header() -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    assert reason(bomb) == "too_many_pixels"


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="the development data is not on this machine")
def test_of_the_photos_exactly_the_broken_ones_are_refused() -> None:
    import pandas as pd

    refused = set()
    for shard in sorted(PHOTOS.glob("*.tar")):
        with shard.open("rb") as stream:
            for member in read_members(stream):
                assert isinstance(member, Member)
                key, suffix = split_name(member.name) or ("", "")
                if suffix not in IMAGE_SUFFIXES or member.data is None:
                    continue
                try:
                    decode_rgb(member.data)
                except ImageProblem:
                    refused.add(key)
    truth = pd.read_parquet(PHOTOS / "truth.parquet")
    keys = pd.concat([pd.read_parquet(path) for path in sorted(PHOTOS.glob("0*.parquet"))])
    broken = truth[truth["kind"] == "broken_image"]["uid"]
    assert refused == set(keys[keys["uid"].isin(broken)]["key"])
    assert len(refused) == 40

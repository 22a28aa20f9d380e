"""What a picture looks like hardly changes when it is rescaled, recompressed or brightened."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from scipy.fft import dctn

from scoring.perceptual_hash import looks


def photo(seed: int, side: int = 160) -> Image.Image:
    rng = np.random.default_rng(seed)
    layers = [rng.integers(0, 255, (n, n, 3), np.uint8) for n in (3, 7, 20)]
    big = [Image.fromarray(layer).resize((side, side), Image.Resampling.BICUBIC) for layer in layers]
    return Image.blend(Image.blend(big[0], big[1], 0.4), big[2], 0.2)


def recompressed(image: Image.Image) -> Image.Image:
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=40)
    return Image.open(sink).convert("RGB")


CHANGES = {
    "smaller": lambda image: image.resize((90, 70)),
    "larger": lambda image: image.resize((400, 330)),
    "recompressed": recompressed,
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "more contrast": lambda image: ImageEnhance.Contrast(image).enhance(1.2),
    "cropped a little": lambda image: image.crop((3, 3, 157, 157)),
}


def differ(a: Image.Image, b: Image.Image) -> tuple[int, float]:
    one, other = looks(np.asarray(a)), looks(np.asarray(b))
    assert one is not None
    assert other is not None
    x, y = one.waves.astype(float), other.waves.astype(float)
    return (one.hash ^ other.hash).bit_count(), float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))


@pytest.mark.parametrize("name", CHANGES)
def test_copies_look_alike(name: str) -> None:
    for seed in range(5):
        image = photo(seed)
        bits, cosine = differ(image, CHANGES[name](image))
        assert bits <= 12
        assert cosine > 0.9


def test_strangers_do_not() -> None:
    bits = [differ(photo(n), photo(n + 1))[0] for n in range(20)]
    assert min(bits) > 12


def test_the_waves_are_the_lowest_frequencies_of_the_cosine_transform() -> None:
    pixels = np.repeat(np.random.default_rng(0).integers(0, 255, (32, 32, 1), np.uint8), 3, axis=2)
    found = looks(pixels)
    assert found is not None
    waves = dctn(pixels[:, :, 0].astype(float), norm="ortho")[:8, :8].ravel()[1:]
    np.testing.assert_allclose(found.waves, waves / np.abs(waves).max() * 127, atol=0.6)
    bits = [bool(found.hash >> (62 - n) & 1) for n in range(63)]
    assert bits == (waves > np.median(waves)).tolist()


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (5, 7), (31, 33), (3000, 2)])
def test_any_size_will_do(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8)
    looks(pixels)


def test_a_picture_of_one_colour_looks_like_nothing() -> None:
    assert looks(np.full((50, 40, 3), 200, np.uint8)) is None

"""The fast transform against open_clip's own."""

import dataclasses
import io

import numpy as np
import pytest
import torch
from PIL import Image

from scoring.transform import Exact, Fast, Preprocessing

BASE = Preprocessing(64, 64, (0.48, 0.46, 0.41), (0.27, 0.26, 0.28), "bicubic", "shortest", 0)
LEVEL = 1 / (255 * 0.27)  # one of 256 grey levels, after normalisation


def picture(width: int, height: int, format: str) -> bytes:
    rng = np.random.default_rng(width)
    image = sum(
        np.asarray(
            Image.fromarray(rng.integers(0, 255, (n, n, 3), np.uint8)).resize((width, height), 3), np.float64
        )
        / 3
        for n in (4, 12, 40)
    )
    sink = io.BytesIO()
    Image.fromarray(np.asarray(image).astype(np.uint8)).save(sink, format, quality=95)
    return sink.getvalue()


def difference(preprocessing: Preprocessing, data: bytes) -> torch.Tensor:
    fast, exact = Fast(preprocessing), Exact(preprocessing)
    ours = fast.finish(fast.read(data, max_pixels=10**8)[None])
    return (ours - exact.read(data, max_pixels=10**8)[None]).abs() / LEVEL


@pytest.mark.parametrize("size", [(64, 64), (90, 70), (70, 91), (40, 30), (301, 97), (33, 200)])
@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_same_geometry_in_every_mode(size: tuple[int, int], mode: str, interpolation: str) -> None:
    preprocessing = dataclasses.replace(BASE, resize_mode=mode, interpolation=interpolation, fill_color=9)
    found = difference(preprocessing, picture(*size, "PNG"))
    assert found.mean() < 0.3  # PIL rounds after each of two passes, whose order depends on the box
    assert found.max() < 3.2


@pytest.mark.parametrize("target", [(48, 64), (64, 48)])
@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
def test_targets_need_not_be_square(target: tuple[int, int], mode: str) -> None:
    preprocessing = dataclasses.replace(BASE, height=target[0], width=target[1], resize_mode=mode)
    assert difference(preprocessing, picture(120, 90, "PNG")).mean() < 0.3


@pytest.mark.parametrize("size", [(400, 300), (200, 260), (1000, 800)])
def test_a_reduced_decode_stays_close(size: tuple[int, int]) -> None:
    found = difference(BASE, picture(*size, "JPEG"))
    assert found.mean() < 2

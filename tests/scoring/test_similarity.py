"""CLIP score against float64 and by hand."""

import numpy as np
import pytest

from scoring import clip_score


def test_agrees_with_float64_over_block_borders() -> None:
    rng = np.random.default_rng(0)
    image, text = rng.normal(size=(2, 5000, 512)).astype(np.float16)
    score = clip_score(image, text)
    assert score.dtype == np.float32
    np.testing.assert_allclose(score, (image.astype(float) * text.astype(float)).sum(1), atol=1e-4)


def test_half_precision_does_not_overflow() -> None:
    ones = np.full((2, 4096), 64, np.float16)
    np.testing.assert_array_equal(clip_score(ones, ones), [2**24, 2**24])


def test_nan_stays_nan_and_zero_is_zero() -> None:
    image = np.array([[np.nan, 1], [0, 0], [1, 0]], np.float16)
    np.testing.assert_array_equal(clip_score(image, np.ones((3, 2), np.float16)), [np.nan, 0, 1])


def test_of_nothing_is_nothing() -> None:
    assert clip_score(np.zeros((0, 8)), np.zeros((0, 8))).shape == (0,)


@pytest.mark.parametrize("shape", [(3, 5), (4, 4), (4,)])
def test_shapes_must_match(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"one encoder"):
        clip_score(np.zeros((4, 5)), np.zeros(shape))

"""s-CLIPLoss neither overflows nor underflows, treats batches alike, and refuses what is no partition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring import equal_batches, s_clip_loss


def unit(n: int, d: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(n, d))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def plain(image: np.ndarray, text: np.ndarray, temperature: float) -> np.ndarray:
    logits = image.astype(np.float64) @ text.astype(np.float64).T / temperature
    row = np.logaddexp.reduce(logits, 1)
    column = np.logaddexp.reduce(logits, 0)
    return temperature * (np.diag(logits) - (row + column) / 2)


@pytest.mark.parametrize("temperature", [0.001, 0.01, 0.07, 1.0])
@pytest.mark.parametrize("kind", ["random", "identical", "opposite", "one among strangers", "not unit"])
def test_agrees_with_float64_at_every_extreme(kind: str, temperature: float) -> None:
    image = unit(40, 8, 0)
    text = {
        "random": unit(40, 8, 1),
        "identical": image,
        "opposite": -np.abs(unit(40, 8, 1)),
        "one among strangers": np.where(np.arange(40)[:, None] == 3, image, -image[3]),
        "not unit": 7 * unit(40, 8, 2),
    }[kind]
    image = np.abs(image) if kind == "opposite" else image
    found = s_clip_loss(image, text, temperature=temperature, partitions=[[np.arange(40)]])
    assert np.isfinite(found).all()
    expected = plain(image.astype(np.float32), text.astype(np.float32), temperature)
    np.testing.assert_allclose(found, expected, atol=3e-6, rtol=1e-5)


def test_tiles_do_not_show() -> None:
    image, text = unit(2500, 4, 0), unit(2500, 4, 1)  # more than one tile each way
    found = s_clip_loss(image, text, temperature=0.05, partitions=[[np.arange(2500)]])
    np.testing.assert_allclose(found, plain(image, text, 0.05), atol=2e-6)


def test_a_perfect_pair_alone_scores_zero_and_nobody_more() -> None:
    image = unit(30, 64, 0)
    found = s_clip_loss(image, image, temperature=0.01, partitions=[[np.array([n]) for n in range(30)]])
    np.testing.assert_allclose(found, 0, atol=1e-6)
    batches = equal_batches(30, 10, seed=1)
    assert (s_clip_loss(image, unit(30, 64, 1), temperature=0.07, partitions=[batches]) < 0).all()


@given(n=st.integers(0, 300), size=st.integers(1, 120), seed=st.integers(0, 5))
def test_batches_are_a_partition_of_equal_sizes(n: int, size: int, seed: int) -> None:
    batches = equal_batches(n, size, seed=seed)
    assert sorted(np.concatenate(batches).tolist()) == list(range(n))
    sizes = [len(batch) for batch in batches]
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1


def test_equal_batches_have_no_bias() -> None:
    image, text = unit(1000, 16, 0), unit(1000, 16, 1)
    batches = equal_batches(1000, 300, seed=0)
    found = s_clip_loss(image, text, temperature=0.01, partitions=[batches])
    means = [found[batch].mean() for batch in batches]
    assert np.ptp(means) < 4 * found.std() / np.sqrt(250)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"partitions": []}, "partitions is empty"),
        ({"partitions": [[np.arange(9)]]}, "partition 0 is none: row 9 is in 0 of its batches"),
        ({"partitions": [[np.arange(10), np.array([3])]]}, "row 3 is in 2"),
        ({"partitions": [[np.arange(11)]]}, "names rows outside 0 … 9"),
        ({"temperature": 0.0}, "temperature is 0.0, and should be above 0"),
        ({"text": unit(10, 5, 1)}, "should be alike"),
        ({"text": np.full((10, 4), np.nan)}, "not finite, first in row 0"),
    ],
)
def test_what_makes_no_sense_is_refused(change: dict[str, object], message: str) -> None:
    given = {
        "image": unit(10, 4, 0),
        "text": unit(10, 4, 1),
        "temperature": 0.01,
        "partitions": [[np.arange(10)]],
    } | change
    with pytest.raises(ValueError, match=message):
        s_clip_loss(**given)  # type: ignore[arg-type]

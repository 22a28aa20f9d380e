"""Recall counts ties against the model, and zero-shot accuracy takes the nearest class."""

from __future__ import annotations

import numpy as np
import pytest

from scoring.evaluation import recall_at, retrieval_recall, zero_shot_accuracy


def test_a_perfect_model_finds_everything_and_a_blind_one_nothing() -> None:
    eye = np.eye(30)
    assert recall_at(1, eye, eye) == 1
    assert recall_at(10, np.ones((30, 4)), np.ones((30, 4))) == 0
    assert recall_at(30, np.ones((30, 4)), np.ones((30, 4))) == 1


def test_recall_by_hand_in_both_directions() -> None:
    query = np.array([[1.0, 0], [0, 1], [0.9, 0.1]])
    answer = np.array([[1.0, 0], [0, 1], [0, 1]])
    assert recall_at(1, query, answer) == pytest.approx(1 / 3)  # the second ties with the third
    assert recall_at(2, query, answer) == pytest.approx(2 / 3)
    assert retrieval_recall(1, query, answer) == pytest.approx((1 / 3 + recall_at(1, answer, query)) / 2)


def test_blocks_do_not_show() -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(size=(5000, 3))
    text = image + 0.05 * rng.normal(size=image.shape)
    rank = (image @ text.T >= (image * text).sum(1)[:, None] - 1e-9).sum(1)
    assert recall_at(10, image, text) == pytest.approx((rank <= 10).mean(), abs=5e-3)


def test_zero_shot() -> None:
    assert zero_shot_accuracy(np.eye(4)[[0, 1, 1, 3]], np.eye(4), np.array([0, 1, 2, 3])) == 0.75


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="should be alike"):
        recall_at(1, np.ones((3, 2)), np.ones((4, 2)))

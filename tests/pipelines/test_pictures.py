"""A training's pictures are the same whether memory holds all, some or none of them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.pool.samples import read_whole
from pipelines.pool.shards import expand
from pipelines.training.pictures import Pictures, Place
from scoring.images import decode_rgb
from tests.making import write_pool

ROWS = np.array([5, 0, 7, 7, 3, 5, 1])


def decoded(content: bytes) -> torch.Tensor:
    return torch.from_numpy(decode_rgb(content))


@pytest.mark.parametrize("n_held", [0, 3, 8, 100])
def test_rows_come_as_asked_for_however_many_are_held(tmp_path: Path, n_held: int) -> None:
    shards = expand(str(write_pool(tmp_path, 2, 4)))
    found = [(number, image) for number, shard in enumerate(shards) for _, image, _ in read_whole(shard.url)]
    expected = [decoded(image.data or b"") for _, image in found]
    pictures = Pictures(shards, decoded, n_held * expected[0].nbytes, pinned=False)
    for (number, image), picture in zip(found, expected, strict=True):
        pictures.add(picture, Place(number, image.offset, image.size))
    assert len(pictures) == 8
    assert torch.equal(pictures.take(ROWS), torch.stack([expected[row] for row in ROWS]))

"""Training on a GPU: the CPU's weights but for rounding, and the same ones however often it is stopped."""

from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.training.train import train_filter
from tests.making import write_pool
from tests.training import Stopped, config, furthest, register_micro, state, stop_after

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_stopped_training_ends_in_the_weights_of_an_undisturbed_one(tmp_path: Path, precision: str) -> None:
    register_micro(tmp_path)
    write_pool(tmp_path / "pool", 2, 12)
    recipe: dict[str, Any] = {"device": "cuda", "precision": precision, "micro_batch_size": 4}
    recipe["augment"] = {"smallest_crop": 0.7, "flip": True}

    def train(name: str, **changes: Any) -> dict[str, torch.Tensor]:
        return state(train_filter(config(tmp_path, output=str(tmp_path / name), **(recipe | changes))))

    whole, on_cpu = train("whole"), train("cpu", device="cpu", precision="float32")
    stopped = config(tmp_path, output=str(tmp_path / "stopped"), **recipe)
    for step in (4, 8):
        with pytest.raises(Stopped):
            train_filter(stopped, on_event=stop_after(step))
    assert furthest(state(train_filter(stopped)), whole) == 0
    assert furthest(whole, on_cpu) < (1e-3 if precision == "float32" else 3e-2)
    assert furthest(whole, train("uncached", cache_megabytes=0)) == 0

"""Trainings that take no time, for tests."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import load_file

from pipelines.training.config import TrainConfig
from pipelines.training.output import WEIGHTS

MICRO: dict[str, Any] = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1},
}


def register_micro(folder: Path) -> None:
    """Make an architecture known that trains in no time."""
    path = folder / "micro.json"
    path.write_text(json.dumps(MICRO))
    open_clip.add_model_config(path)


def config(folder: Path, **changes: Any) -> TrainConfig:
    """Return a training of 12 steps on `pool`, into `net`, both in a folder."""
    settings: dict[str, Any] = {
        "model": "micro",
        "shards": str(folder / "pool"),
        "output": str(folder / "net"),
        "samples_seen": 8 * 12,
        "batch_size": 8,
        "warmup_steps": 2,
        "checkpoint_every": 3,
        "log_every": 1,
        "threads": 1,
        "device": "cpu",
    }
    return TrainConfig.model_validate(settings | changes)


class Stopped(Exception):
    """Ends a training as a crash would."""


def stop_after(step: int, phase: str | None = None) -> Callable[[dict[str, Any]], None]:
    """Return what ends a training when it has done a step of a phase."""

    def stop(event: dict[str, Any]) -> None:
        if (event["event"], event.get("step"), event.get("phase")) == ("step", step, phase):
            raise Stopped

    return stop


def state(folder: Path) -> dict[str, torch.Tensor]:
    """Return a network's weights."""
    return load_file(folder / WEIGHTS)


def furthest(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> float:
    """Return the largest difference between two networks' weights."""
    assert one.keys() == two.keys()
    return max(float((one[name] - two[name]).abs().max()) for name in one)


def main() -> None:
    """Train as the arguments say: a folder, and a configuration in JSON for each training."""
    from pipelines.training.train import train_filter

    register_micro(Path(sys.argv[1]))
    for settings in sys.argv[2:]:
        train_filter(TrainConfig.model_validate_json(settings), on_event=_say)


def _say(event: dict[str, Any]) -> None:
    print(json.dumps(event), flush=True)
    if event.get("step") == int(os.environ["KILLED_AT"]):
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()

"""Small encoders with random weights, saved the way people have them."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from scoring.encoder_spec import EncoderSpec
from scoring.model_loading import new_model


def weights(folder: Path, seed: int = 0, model: str = "curate-tiny") -> Path:
    """Save weights drawn from a seed as safetensors."""
    state = new_model(model, seed, torch.device("cpu")).model.state_dict()
    path = folder / f"{model}-{seed}.safetensors"
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    return path


def tiny(folder: Path, seed: int = 0, **settings: object) -> EncoderSpec:
    """Return the specification of a tiny encoder on the CPU."""
    path = weights(folder, seed)
    return EncoderSpec.model_validate(
        {"model": "curate-tiny", "pretrained": str(path), "device": "cpu", **settings}
    )

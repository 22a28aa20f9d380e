"""timm models as encoders: their own vectors, their weights to the letter, and errors that help."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from scoring.encoder import Encoder
from scoring.encoder_spec import EncoderError, EncoderSpec
from tests.making import picture

NAME = "test_vit"


def write_weights(path: Path) -> Path:
    torch.manual_seed(0)
    model = timm.create_model(NAME)
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, path)
    return path


def spec(path: Path, model: str = f"timm:{NAME}", **settings: Any) -> EncoderSpec:
    return EncoderSpec.model_validate(
        {"model": model, "pretrained": str(path), "device": "cpu", "resize": "exact", **settings}
    )


def test_vectors_are_those_of_timm(tmp_path: Path) -> None:
    encoder = Encoder.load(spec(write_weights(tmp_path / "a.safetensors")))
    torch.manual_seed(0)
    model = timm.create_model(NAME).eval()
    model.reset_classifier(0)
    wanted = timm.data.create_transform(**timm.data.resolve_data_config({}, model=model) | {"crop_pct": 1.0})
    images = [picture(seed, side=200) for seed in range(3)]
    stack = torch.stack([wanted(Image.open(io.BytesIO(data))) for data in images])
    with torch.inference_mode():
        expected = torch.nn.functional.normalize(model(stack), dim=-1).numpy()
    found = encoder.encode([(data, "ignored") for data in images])
    np.testing.assert_allclose(found.image, expected, atol=2e-3)
    assert encoder.dim == expected.shape[1]
    assert not found.text.any()
    assert isinstance(encoder.provenance["weights_sha256"], str)


def test_a_head_in_the_file_makes_no_difference_and_half_precision_little(tmp_path: Path) -> None:
    pairs = [(picture(1), "")]
    path = write_weights(tmp_path / "a.safetensors")
    state = timm.models.load_state_dict(str(path))
    headless = tmp_path / "b.safetensors"
    save_file({key: value for key, value in state.items() if not key.startswith("head.")}, headless)
    image = Encoder.load(spec(path)).encode(pairs).image
    assert image.astype(np.float32) @ image[0] == pytest.approx(1, abs=1e-2)
    np.testing.assert_array_equal(image, Encoder.load(spec(headless)).encode(pairs).image)
    half = Encoder.load(spec(path, precision="bfloat16")).encode(pairs).image
    np.testing.assert_allclose(half, image, atol=0.02)


def test_another_image_size(tmp_path: Path) -> None:
    encoder = Encoder.load(spec(write_weights(tmp_path / "a.safetensors"), f"timm:{NAME}@96"))
    assert encoder.provenance["transform"]["height"] == 96  # type: ignore[index]
    assert encoder.encode([(picture(0), "")]).image.shape == (1, encoder.dim)


@pytest.mark.parametrize(
    ("model", "weights", "message"),
    [
        ("timm:test_vitt", "good", "timm has no 'test_vitt'; did you mean test_vit"),
        ("timm:test_vit@big", "good", "the side of its images in pixels"),
        ("timm:test_vit", None, "random weights; name one of r160_in1k, or a weights file"),
        ("timm:test_vit", "in22k", "'in22k' is no file and no tag of test_vit; name one of r160_in1k"),
        ("timm:test_vit", "good.npz", "should be one of .bin"),
        ("timm:test_resnet", "good", "can't be loaded with the weights"),
        ("timm:test_vit", "part", "Missing key"),
    ],
)
def test_what_can_not_be_is_said(tmp_path: Path, model: str, weights: str | None, message: str) -> None:
    good = write_weights(tmp_path / "good.safetensors")
    state = timm.models.load_state_dict(str(good))
    save_file({key: value for key, value in state.items() if "qkv" not in key}, tmp_path / "part.safetensors")
    (tmp_path / "good.npz").write_bytes(b"")
    named = {
        "good": str(good),
        "part": str(tmp_path / "part.safetensors"),
        "good.npz": str(tmp_path / "good.npz"),
    }
    pretrained = named.get(weights, weights) if weights else None
    with pytest.raises(EncoderError, match=message):
        Encoder.load(EncoderSpec(model=model, pretrained=pretrained, device="cpu"))

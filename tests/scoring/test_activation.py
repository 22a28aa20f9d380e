"""Weights never run with an activation that they were not trained with, as far as that can be known."""

import shutil
from pathlib import Path

import open_clip
import pytest
import torch

from scoring import activation
from scoring.activation import check_activation, evidence_of
from scoring.encoder_spec import EncoderError, file_sha256


def checked(path: Path, model: str = "ViT-B-32", said: str | None = None) -> None:
    config = open_clip.get_model_config(model)
    check_activation(model, path.name, evidence_of(path), said, config)


@pytest.fixture
def unmarked(tmp_path: Path) -> Path:
    path = tmp_path / "mine.pt"
    torch.save({"state_dict": {"w": torch.zeros(2)}}, path)
    return path


def test_where_nothing_says_it_the_user_has_to(unmarked: Path) -> None:
    with pytest.raises(EncoderError, match=r"say activation: gelu; .* model: ViT-B-32-quickgelu"):
        checked(unmarked)
    checked(unmarked, said="gelu")
    checked(unmarked, "ViT-B-32-quickgelu")  # who names it has said it
    checked(unmarked, "ViT-B-32-256")  # exists with one activation only
    with pytest.raises(EncoderError, match="use model: ViT-B-32-quickgelu"):
        checked(unmarked, said="quickgelu")
    with pytest.raises(EncoderError, match="use model: ViT-B-32"):
        checked(unmarked, "ViT-B-32-quickgelu", said="gelu")


def test_published_weights_are_known_by_their_content(
    unmarked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes, names = activation._published()
    assert hashes["40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"] is True  # OpenAI, B/32
    assert hashes["af8dbd0c"] is False  # LAION-2B, B/32
    monkeypatch.setattr(activation, "_published", lambda: ({file_sha256(unmarked)[:8]: True}, names))
    for said in (None, "gelu"):  # a statement does not undo what is known
        with pytest.raises(EncoderError, match="its content is that of published weights"):
            checked(unmarked, said=said)


@pytest.mark.parametrize(
    ("run", "model", "fits"),
    [
        ("2024_01_02-model_ViT-B-32-quickgelu-lr_0.001-b_64", "ViT-B-32", False),
        ("2024_01_02-model_ViT-B-32-quickgelu-lr_0.001-b_64", "ViT-B-32-quickgelu", True),
        ("2024_01_02-model_ViT-B-32-lr_0.001-b_64", "ViT-B-32", True),
        ("2024_01_02-model_ViT-B-32-lr_0.001-b_64", "ViT-B-32-quickgelu", False),
    ],
)
def test_a_trainer_s_checkpoint_says_what_it_trained(
    tmp_path: Path, run: str, model: str, fits: bool
) -> None:
    path = tmp_path / "epoch_3.pt"
    torch.save({"epoch": 3, "name": run, "state_dict": {"w": torch.zeros(2)}}, path)
    if fits:
        checked(path, model)
    else:
        with pytest.raises(EncoderError, match="that wrote it"):
            checked(path, model)


def test_names_and_configurations_count(tmp_path: Path, unmarked: Path) -> None:
    for name in ("b32_400m.pt", "b32-QuickGELU.pt"):  # MetaCLIP's, and one that says it
        shutil.copy(unmarked, tmp_path / name)
        with pytest.raises(EncoderError, match="trained with QuickGELU"):
            checked(tmp_path / name)
    (tmp_path / "open_clip_config.json").write_text('{"model_cfg": {"quick_gelu": false}}')
    checked(unmarked)

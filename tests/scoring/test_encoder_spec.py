"""What decides the vectors is told from what does not, without torch."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from scoring.encoder_spec import EncoderError, EncoderSpec, identity


def test_importing_it_does_not_import_torch() -> None:
    code = "import sys, scoring.encoder_spec; sys.exit('torch' in sys.modules or 'open_clip' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0


def test_unknown_keys_are_errors() -> None:
    with pytest.raises(ValidationError):
        EncoderSpec.model_validate({"model": "ViT-B-32", "pretrain": "openai"})


def test_batch_size_and_device_do_not_decide() -> None:
    one = EncoderSpec(model="ViT-B-32", pretrained="tag", batch_size=8, device="cpu")
    two = EncoderSpec(model="ViT-B-32", pretrained="tag", batch_size=9, device="auto")
    assert identity(one) == identity(two)


@pytest.mark.parametrize("change", [{"model": "ViT-B-16"}, {"resize": "exact"}, {"precision": "bfloat16"}])
def test_everything_else_decides(change: dict[str, str]) -> None:
    spec = EncoderSpec(model="ViT-B-32", pretrained="tag")
    assert identity(spec) != identity(spec.model_copy(update=change))


def test_weights_count_by_content_not_by_path(tmp_path: Path) -> None:
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    first.write_bytes(b"weights")
    second.write_bytes(b"weights")
    spec = EncoderSpec(model="ViT-B-32", pretrained="a.safetensors")
    before = identity(spec, base=tmp_path)
    assert before == identity(spec.model_copy(update={"pretrained": str(second)}))
    first.write_bytes(b"retrained weights")
    assert identity(spec, base=tmp_path) != before


def test_a_local_folder_counts_by_its_files(tmp_path: Path) -> None:
    spec = EncoderSpec(model="local-dir:net")
    with pytest.raises(EncoderError, match="holds no open_clip_config"):
        identity(spec, base=tmp_path)
    folder = tmp_path / "net"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text("{}")
    with pytest.raises(EncoderError, match="holds no weights"):
        identity(spec, base=tmp_path)
    (folder / "open_clip_model.safetensors").write_bytes(b"weights")
    before = identity(spec, base=tmp_path)
    (folder / "training.jsonl").write_text("a log is no part of the model")
    assert identity(spec, base=tmp_path) == before
    (folder / "open_clip_model.safetensors").write_bytes(b"other weights")
    assert identity(spec, base=tmp_path) != before


def test_a_missing_weights_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"gone\.pt does not exist"):
        identity(EncoderSpec(model="ViT-B-32", pretrained="gone.pt"), base=tmp_path)

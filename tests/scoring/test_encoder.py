"""An encoder's rows, their order, their independence, and what it refuses to load."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from pipelines.pool.samples import read_pairs
from scoring.encoder import Encoder
from scoring.encoder_spec import EncoderError, EncoderSpec
from tests.making import picture
from tests.scoring.models_for_tests import tiny, weights

PHOTOS = Path(__file__).parents[3] / "shared" / "data" / "photos-heldout"


def pairs(n: int) -> Iterator[tuple[bytes, str]]:
    for seed in range(n):
        yield picture(seed, side=60 + seed), f"picture number {seed}"


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a.astype(np.float32), b.astype(np.float32)
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def test_agrees_with_open_clip_itself(tmp_path: Path) -> None:
    spec = tiny(tmp_path, resize="exact")
    found = Encoder.load(spec).encode(pairs(5))
    model, transform = open_clip.create_model_from_pretrained(spec.model, spec.pretrained)
    tokenizer = open_clip.get_tokenizer(spec.model)
    for row, (data, caption) in enumerate(pairs(5)):
        image = transform(Image.open(io.BytesIO(data)))[None]
        with torch.inference_mode():
            expected = model.eval().encode_image(image, normalize=True)[0].numpy()
            words = model.encode_text(tokenizer([caption]), normalize=True)[0].numpy()
        np.testing.assert_allclose(found.image[row], expected, atol=1e-3)
        np.testing.assert_allclose(found.text[row], words, atol=1e-3)


def test_vectors_are_half_precision_of_length_one(tmp_path: Path) -> None:
    encoder = Encoder.load(tiny(tmp_path))
    found = encoder.encode(pairs(9))
    assert found.image.dtype == found.text.dtype == np.float16
    assert found.image.shape == found.text.shape == (9, encoder.dim)
    for vectors in (found.image, found.text):
        np.testing.assert_allclose(np.linalg.norm(vectors.astype(np.float32), axis=1), 1, atol=1e-3)


def test_unreadable_images_keep_their_row(tmp_path: Path) -> None:
    encoder = Encoder.load(tiny(tmp_path, batch_size=3))
    samples = list(pairs(7))
    broken = {
        0: (b"", "empty_image"),
        4: (b"<html>", "not_an_image"),
        5: (samples[5][0][:-9], "broken_image"),
    }
    mixed = [(broken[row][0] if row in broken else data, text) for row, (data, text) in enumerate(samples)]
    found, whole = encoder.encode(mixed), encoder.encode(samples)
    assert found.problems == [broken[row][1] if row in broken else None for row in range(7)]
    assert not found.image[[0, 4, 5]].any()
    np.testing.assert_allclose(found.image[[1, 2, 3, 6]], whole.image[[1, 2, 3, 6]], atol=2e-3)
    np.testing.assert_array_equal(found.text, whole.text)


def test_a_batch_of_unreadable_images_and_an_empty_call(tmp_path: Path) -> None:
    encoder = Encoder.load(tiny(tmp_path))
    assert encoder.encode([(b"", "x"), (b"", "y")]).problems == ["empty_image"] * 2
    assert encoder.encode([]).image.shape == (0, encoder.dim)


def test_rows_do_not_depend_on_the_batch_size_nor_on_earlier_calls(tmp_path: Path) -> None:
    encoder = Encoder.load(tiny(tmp_path, batch_size=64))
    first = encoder.encode(pairs(40))
    np.testing.assert_array_equal(encoder.encode(pairs(40)).image, first.image)
    small = Encoder.load(tiny(tmp_path, batch_size=7)).encode(pairs(40))
    np.testing.assert_allclose(small.image, first.image, atol=2e-3)
    np.testing.assert_allclose(small.text, first.text, atol=2e-3)


def test_hostile_captions(tmp_path: Path) -> None:
    encoder = Encoder.load(tiny(tmp_path))
    captions = ["", "\ud800 half a character", "\0\n\t", "&amp;" * 500_000, "<|endoftext|>", "🙂" * 1000]
    found = encoder.encode((picture(0), caption) for caption in captions)
    assert np.isfinite(found.text).all()


def test_too_many_pixels_is_a_problem_of_the_sample(tmp_path: Path) -> None:
    found = Encoder.load(tiny(tmp_path)).encode([(picture(0, side=60), "x")], max_pixels=3599)
    assert found.problems == ["too_many_pixels"]


def test_half_precision_stays_close(tmp_path: Path) -> None:
    full = Encoder.load(tiny(tmp_path)).encode(pairs(8))
    half = Encoder.load(tiny(tmp_path, precision="bfloat16")).encode(pairs(8))
    assert cosines(full.image, half.image).min() > 0.998
    assert cosines(full.text, half.text).min() > 0.998


def test_provenance_says_what_made_the_vectors(tmp_path: Path) -> None:
    encoder = Encoder.load(tiny(tmp_path))
    assert json.loads(json.dumps(encoder.provenance)) == encoder.provenance
    assert {"name", "pretrained", "weights_sha256", "transform", "precision"} <= set(encoder.provenance)
    other = Encoder.load(tiny(tmp_path, seed=1))
    assert other.provenance["weights_sha256"] != encoder.provenance["weights_sha256"]


def refusal(**spec: object) -> str:
    with pytest.raises(EncoderError) as caught:
        Encoder.load(EncoderSpec.model_validate({"device": "cpu", **spec}))
    return str(caught.value)


def test_refuses_random_weights() -> None:
    assert "would score with random weights" in refusal(model="curate-tiny")
    assert "would score with random weights" in refusal(model="ViT-B-32")


def test_refuses_the_wrong_activation(tmp_path: Path) -> None:
    assert "use model: ViT-B-32-quickgelu" in refusal(model="ViT-B-32", pretrained="openai")
    assert "use model: ViT-L-14-quickgelu" in refusal(model="ViT-L-14", pretrained="dfn2b")
    (tmp_path / "open_clip_config.json").write_text('{"model_cfg": {"quick_gelu": true}}')
    path = weights(tmp_path)
    assert "QuickGELU" in refusal(model="curate-tiny", pretrained=str(path))


def test_refuses_names_that_are_none(tmp_path: Path) -> None:
    assert "did you mean ViT-B-32" in refusal(model="VitB32", pretrained="openai")
    assert "its tags are: openai" in refusal(model="RN50x4-quickgelu", pretrained="opnai")
    assert "does not exist" in refusal(model="curate-tiny", pretrained=str(tmp_path / "gone.pt"))
    assert "remove the key" in refusal(model=f"local-dir:{tmp_path}", pretrained="openai")
    assert "not usable here" in refusal(model="curate-tiny", pretrained="x", device="abacus")


def test_refuses_weights_of_another_shape(tmp_path: Path) -> None:
    path = weights(tmp_path)
    state = load_file(path)
    assert str(path) in refusal(model="ViT-S-32", pretrained=str(path))
    save_file({**state, "text_projection": torch.zeros(96, 64)}, path)
    assert "architecture they were trained as" in refusal(model="curate-tiny", pretrained=str(path))


def test_refuses_weights_of_another_image_size(tmp_path: Path) -> None:
    path = weights(tmp_path)
    state = load_file(path)
    other = path.with_suffix(".pt")
    torch.save({"state_dict": {**state, "visual.positional_embedding": torch.zeros(26, 128)}}, other)
    assert "another image size" in refusal(model="curate-tiny", pretrained=str(other))


def test_refuses_weights_that_are_not_finite(tmp_path: Path) -> None:
    path = weights(tmp_path)
    state = load_file(path)
    save_file({**state, "text_projection": torch.full((96, 128), torch.nan)}, path)
    assert "not finite" in refusal(model="curate-tiny", pretrained=str(path))


def test_refuses_pickles(tmp_path: Path) -> None:
    path = tmp_path / "evil.pt"
    torch.save({"state_dict": Path("code that would run")}, path)
    assert "plain weights" in refusal(model="curate-tiny", pretrained=str(path))


@pytest.mark.slow
@pytest.mark.skipif(not PHOTOS.is_dir(), reason="the development data is not on this machine")
def test_fast_and_exact_vectors_agree_on_real_photos(tmp_path: Path) -> None:
    photos = [(data, text) for _, data, text in read_pairs(str(PHOTOS / "00000.tar"))][:100]
    for seed in range(2):
        fast = Encoder.load(tiny(tmp_path, seed)).encode(photos)
        exact = Encoder.load(tiny(tmp_path, seed, resize="exact")).encode(photos)
        assert cosines(fast.image, exact.image).min() > 0.995


def test_a_reduced_decode_hardly_moves_the_vectors(tmp_path: Path) -> None:
    large = [(picture(seed, side=400), "x") for seed in range(12)]
    fast = Encoder.load(tiny(tmp_path)).encode(large)
    exact = Encoder.load(tiny(tmp_path, resize="exact")).encode(large)
    assert cosines(fast.image, exact.image).min() > 0.999

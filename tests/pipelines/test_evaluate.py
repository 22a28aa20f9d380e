"""A model is measured on held-out shards; a user's code runs only when allowed on the command line."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from pipelines.errors import ConfigError, StoppedError
from pipelines.proxies.evaluate import Evaluation, class_vectors, evaluate, evaluate_model
from scoring.encoder import Encoder
from scoring.encoder_spec import EncoderSpec
from scoring.evaluation import recall_at
from tests.making import sample, write_encoder, write_shard


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return Encoder.load(EncoderSpec(model=write_encoder(tmp_path_factory.mktemp("model")), device="cpu"))


def held_out(folder: Path) -> Path:
    labels = ["cat", "dog", "fish"]
    samples = [(f"{n:03d}", sample(n, f"number {n}", label=labels[n % 3])) for n in range(12)]
    samples.append(("098", {**sample(98, "broken", label="cat"), "jpg": b"no picture"}))
    samples.append(("099", sample(99, "without a label")))
    write_shard(folder / "00000.tar", samples)
    return folder


def evaluation(**fields: Any) -> Evaluation:
    return Evaluation.model_validate(fields)


def test_retrieval_counts_both_ways_over_what_can_be_read(encoder: Encoder, tmp_path: Path) -> None:
    shards = str(held_out(tmp_path))
    found = evaluate(encoder, [evaluation(retrieval={"shards": shards, "k": [1, 5]})])
    pairs = [sample(n, f"number {n}") for n in range(12)] + [sample(99, "without a label")]
    vectors = encoder.encode((pair["jpg"], pair["txt"].decode()) for pair in pairs)
    for k in (1, 5):
        there, back = recall_at(k, vectors.image, vectors.text), recall_at(k, vectors.text, vectors.image)
        assert found[f"image_to_text_at_{k}"] == there
        assert found[f"text_to_image_at_{k}"] == back
        assert found[f"recall_at_{k}"] == pytest.approx((there + back) / 2)


def test_zero_shot_takes_the_labelled_and_the_nearest_class(encoder: Encoder, tmp_path: Path) -> None:
    task = {"shards": str(held_out(tmp_path)), "templates": ["a {}", "photo of a {}"]}
    found = evaluate(encoder, [evaluation(zero_shot=task, called="pets")])
    pairs = [sample(n, f"number {n}") for n in range(12)]
    image = encoder.encode((pair["jpg"], "") for pair in pairs).image.astype(np.float32)
    classes = class_vectors(encoder, ["cat", "dog", "fish"], ["a {}", "photo of a {}"])
    assert np.allclose(np.linalg.norm(classes, axis=1), 1)
    right = (image @ classes.T).argmax(1) == np.arange(12) % 3
    assert found == {"pets.zero_shot": pytest.approx(right.mean())}


def test_a_call_runs_only_when_it_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder: Encoder
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_measure.py").write_text(
        "from pathlib import Path\nPath('ran').touch()\n"
        "def width(encoder):\n    return {'width': encoder.dim, 'half': encoder.dim / 2}\n"
        "def nothing(encoder):\n    return float('nan')\n"
    )
    own = [evaluation(call="own_measure:width", called="mine")]
    folder = write_encoder(tmp_path / "model").removeprefix("local-dir:")
    with pytest.raises(ConfigError, match="--allow own_measure:width"):
        evaluate_model(folder, own)
    assert not (tmp_path / "ran").exists()
    found = evaluate_model(folder, own, allow=["own_measure:width"])
    assert found == {"mine.width": 16.0, "mine.half": 8.0}
    with pytest.raises(StoppedError, match="should return numbers"):
        evaluate(encoder, [evaluation(call="own_measure:nothing")])
    with pytest.raises(ConfigError, match="there is no own_measure:missing"):
        evaluate_model(folder, [evaluation(call="own_measure:missing")], allow=["own_measure:missing"])


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"retrieval": {"shards": "a"}, "call": "a:b"},
        {"call": "no function"},
        {"zero_shot": {"shards": "a", "templates": ["no place for the label"]}},
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Evaluation.model_validate(fields)


def test_measures_of_one_name_and_shards_without_labels_are_refused(tmp_path: Path) -> None:
    shards = str(held_out(tmp_path / "pool"))
    folder = write_encoder(tmp_path / "model").removeprefix("local-dir:")
    twice = [evaluation(retrieval={"shards": shards})] * 2
    with pytest.raises(ConfigError, match="two measures are called"):
        evaluate_model(folder, twice)
    with pytest.raises(ConfigError, match="'breed' in its JSON"):
        evaluate_model(folder, [evaluation(zero_shot={"shards": shards, "label": "breed"})])

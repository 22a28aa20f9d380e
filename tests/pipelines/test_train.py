"""A filter network learns, ends in the same bytes however often it is interrupted, and loads anywhere."""

import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load
from typer.testing import CliRunner

from curate.commands.dfn import app
from pipelines.errors import ConfigError
from pipelines.output.subset import halves, subset_file
from pipelines.training.data import rows_of_step
from pipelines.training.output import CHECKPOINT, LOG, WEIGHTS
from pipelines.training.step import augmented, contrastive_loss, learning_rate, views
from pipelines.training.train import train_filter
from scoring import clip_score
from scoring.encoder import Encoder
from scoring.encoder_spec import EncoderSpec
from tests.making import sample, write_pool, write_shard
from tests.training import Stopped, config, register_micro, stop_after

ROOT = Path(__file__).parents[2]
COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 40, 220), "yellow": (230, 220, 40)}
SHAPES = ("left", "right", "top", "bottom")


@pytest.fixture(autouse=True, scope="module")
def micro(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Make an architecture known that trains in no time."""
    register_micro(tmp_path_factory.mktemp("models"))


def half(colour: str, side: str, shade: int) -> bytes:
    pixels = np.full((32, 32, 3), shade, np.uint8)
    where = {"left": np.s_[:, :16], "right": np.s_[:, 16:], "top": np.s_[:16], "bottom": np.s_[16:]}[side]
    pixels[where] = COLOURS[colour]
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "PNG")
    return sink.getvalue()


def coloured(folder: Path) -> Path:
    """Write a shard of 64 pictures, 16 kinds in four shades, that their captions tell apart."""
    samples = []
    for number in range(64):
        colour, side = list(COLOURS)[number % 4], SHAPES[number // 4 % 4]
        members = {"png": half(colour, side, number), "txt": f"{colour} on the {side}".encode()}
        samples.append((f"{number:09d}", members))
    write_shard(folder / "00000.tar", samples)
    return folder


def weights(folder: Path) -> bytes:
    return (folder / "net" / WEIGHTS).read_bytes()


def test_it_learns_which_caption_belongs_to_which_picture(tmp_path: Path) -> None:
    coloured(tmp_path / "pool")
    trained = train_filter(
        config(tmp_path, samples_seen=32 * 150, batch_size=32, learning_rate=5e-3, checkpoint_every=1000)
    )
    encoder = Encoder.load(EncoderSpec(model=f"local-dir:{trained}", device="cpu"))
    captions = [f"{colour} on the {side}" for colour in COLOURS for side in SHAPES]
    pictures = [half(colour, side, 77) for colour in COLOURS for side in SHAPES]
    found = encoder.encode(zip(pictures, captions, strict=True))
    right = clip_score(found.image, found.text)
    wrong = clip_score(found.image, np.roll(found.text, 5, axis=0))
    assert (right > wrong).mean() > 0.9


def test_open_clip_loads_it_as_it_is(tmp_path: Path) -> None:
    write_pool(tmp_path / "pool", 2, 8)
    name = f"local-dir:{train_filter(config(tmp_path))}"
    model, transform = open_clip.create_model_from_pretrained(name)
    tokens = open_clip.get_tokenizer(name)(["a caption"])
    image = transform(Image.new("RGB", (50, 40)))[None]
    assert model.encode_image(image).shape == model.encode_text(tokens).shape == (1, 32)
    assert model.visual.preprocess_cfg["resize_mode"] == "squash"


@pytest.mark.parametrize("stops", [[2], [3], [7, 10], [1, 4, 5, 11]])
def test_interrupted_it_ends_in_the_same_weights(tmp_path: Path, stops: list[int]) -> None:
    for name in ("whole", "stopped"):
        write_pool(tmp_path / name / "pool", 2, 12)
    settings = {"augment": {"smallest_crop": 0.7, "flip": True}}
    train_filter(config(tmp_path / "whole", **settings))
    for step in stops:
        with pytest.raises(Stopped):
            train_filter(config(tmp_path / "stopped", **settings), on_event=stop_after(step))
    train_filter(config(tmp_path / "stopped", **settings))
    assert weights(tmp_path / "stopped") == weights(tmp_path / "whole")
    log = [json.loads(line) for line in (tmp_path / "stopped" / "net" / LOG).read_text().splitlines()]
    assert [line["step"] for line in log] == list(range(1, 13))


@pytest.mark.slow
def test_killed_it_ends_in_the_same_weights(tmp_path: Path) -> None:
    for name in ("whole", "killed"):
        write_pool(tmp_path / name / "pool", 2, 12)
    train_filter(config(tmp_path / "whole"))
    content = config(tmp_path / "killed").model_dump_json()
    command = [sys.executable, "-m", "tests.training", str(tmp_path), content]
    for step in (4, 8):
        env = {**os.environ, "KILLED_AT": str(step)}
        assert (
            subprocess.run(command, env=env, cwd=ROOT, stdout=subprocess.DEVNULL).returncode
            == -signal.SIGKILL
        )
    train_filter(config(tmp_path / "killed"))
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")


def test_a_finished_network_is_not_trained_again(tmp_path: Path) -> None:
    write_pool(tmp_path / "pool", 1, 8)
    events: list[dict[str, Any]] = []
    train_filter(config(tmp_path))
    before = (tmp_path / "net" / WEIGHTS).stat().st_mtime_ns
    train_filter(config(tmp_path, threads=None, log_every=5), on_event=events.append)
    assert [(event["event"], event["new"]) for event in events] == [("trained", False)]
    assert (tmp_path / "net" / WEIGHTS).stat().st_mtime_ns == before
    assert not (tmp_path / "net" / CHECKPOINT).exists()


def test_a_changed_configuration_or_pool_starts_anew_and_says_so(tmp_path: Path) -> None:
    write_pool(tmp_path / "pool", 1, 8)
    train_filter(config(tmp_path))
    before = weights(tmp_path)
    for change in ({"seed": 1}, {"seed": 1, "learning_rate": 1e-4}):
        events: list[dict[str, Any]] = []
        train_filter(config(tmp_path, **change), on_event=events.append)
        assert any("starting anew" in event.get("message", "") for event in events)
        assert weights(tmp_path) != before
        before = weights(tmp_path)
    write_shard(tmp_path / "pool" / "00000.tar", [(f"{n}", sample(n + 100)) for n in range(8)])
    train_filter(config(tmp_path, **change))
    assert weights(tmp_path) != before


def test_a_checkpoint_of_another_configuration_is_not_used(tmp_path: Path) -> None:
    write_pool(tmp_path / "pool", 1, 8)
    with pytest.raises(Stopped):
        train_filter(config(tmp_path, seed=3), on_event=stop_after(7))
    train_filter(config(tmp_path))
    found = weights(tmp_path)
    (tmp_path / "net" / WEIGHTS).unlink()
    train_filter(config(tmp_path))
    assert weights(tmp_path) == found


def test_pictures_beyond_the_cache_are_decoded_each_time(tmp_path: Path) -> None:
    for name in ("cached", "decoded"):
        write_pool(tmp_path / name / "pool", 2, 10)
    train_filter(config(tmp_path / "cached"))
    train_filter(config(tmp_path / "decoded", cache_megabytes=0))
    assert weights(tmp_path / "cached") == weights(tmp_path / "decoded")


def test_unreadable_samples_are_left_out_and_counted(tmp_path: Path) -> None:
    samples = [(f"{n}", sample(n)) for n in range(10)]
    samples[3][1]["jpg"] = b"<html>"
    samples[4][1]["txt"] = b"  "
    del samples[5][1]["txt"]
    write_shard(tmp_path / "pool" / "00000.tar", samples)
    events: list[dict[str, Any]] = []
    train_filter(config(tmp_path, batch_size=7), on_event=events.append)
    assert events[0] == {
        "event": "data",
        "samples": 7,
        "skipped": {"not_an_image": 1, "empty_caption": 1},
    }
    assert "1 not_an_image" in (tmp_path / "net" / "MODEL_CARD.md").read_text()


def test_it_can_start_from_given_weights(tmp_path: Path) -> None:
    write_pool(tmp_path / "pool", 1, 8)
    first = train_filter(config(tmp_path))
    second = config(tmp_path, model=f"local-dir:{first}", output=str(tmp_path / "second"), samples_seen=8)
    tuned = train_filter(second)
    one, two = (Encoder.load(EncoderSpec(model=f"local-dir:{path}", device="cpu")) for path in (first, tuned))
    tokens = one.prepare_texts(["a picture"])
    moved = np.abs(one.encode_tokens(tokens) - two.encode_tokens(tokens)).max()
    assert 0 < moved < 0.2
    assert "weights with sha256" in (tuned / "MODEL_CARD.md").read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 9}, "lower it or add samples"),
        ({"model": "curate-tny"}, "did you mean"),
        ({"shards": "nowhere"}, "nowhere"),
        ({"output": "memory://net"}, "local folder"),
        ({"learning_rate": 1e30}, "lower learning_rate"),
    ],
)
def test_what_makes_no_sense_is_a_configuration_error(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    write_pool(tmp_path / "pool", 1, 8)
    with pytest.raises(ConfigError, match=message):
        train_filter(config(tmp_path, **changes))


def test_weights_of_others_are_not_overwritten(tmp_path: Path) -> None:
    write_pool(tmp_path / "pool", 1, 8)
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / WEIGHTS).write_bytes(b"months of work")
    with pytest.raises(ConfigError, match="not written by curate"):
        train_filter(config(tmp_path))
    assert (tmp_path / "net" / WEIGHTS).read_bytes() == b"months of work"


def test_every_epoch_sees_every_sample_once_in_a_new_order() -> None:
    epochs = [
        np.concatenate([rows_of_step(12, 5, 4, step) for step in range(e * 3, e * 3 + 3)]) for e in (0, 1)
    ]
    assert [sorted(epoch) for epoch in epochs] == [list(range(12))] * 2
    assert epochs[0].tolist() != epochs[1].tolist()
    assert len(set(rows_of_step(13, 5, 4, 7))) == 4


def test_the_loss_agrees_with_open_clip() -> None:
    torch.manual_seed(0)
    image, text = torch.nn.functional.normalize(torch.randn(2, 9, 16), dim=-1)
    scale = torch.tensor(14.0)
    ours, _ = contrastive_loss(image, text, scale)
    torch.testing.assert_close(ours, open_clip.ClipLoss()(image, text, scale))


def test_the_learning_rate_rises_and_falls_to_nothing(tmp_path: Path) -> None:
    rates = [learning_rate(step, 100, config(tmp_path, warmup_steps=10)) for step in range(101)]
    assert rates[0] == pytest.approx(1e-4)
    assert max(rates) == rates[9] == pytest.approx(1e-3)
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[100] == pytest.approx(0)


def test_augmentation_mirrors_and_crops_within_the_picture(tmp_path: Path) -> None:
    ramp = torch.linspace(0, 1, 32).expand(64, 3, 32, 32)
    settings = config(tmp_path, augment={"smallest_crop": 0.5, "flip": True}).augment
    found = augmented(ramp, views(64, settings, torch.Generator().manual_seed(0)))
    slope = found[:, 0, 16, 24] - found[:, 0, 16, 8]
    assert found.min() >= -1e-6
    assert found.max() <= 1 + 1e-6
    assert 0.3 < (slope > 0).float().mean() < 0.7
    assert slope.abs().min() > 0.2


def test_the_command_trains_and_says_how_to_use_it(tmp_path: Path) -> None:
    write_pool(tmp_path / "pool", 1, 8)
    (tmp_path / "net.yaml").write_text("shards: pool\noutput: net\nepochs: 2\nbatch_size: 8\n")
    command = ["train", str(tmp_path / "net.yaml"), "--set", "augment.flip=true"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert f"local-dir:{tmp_path / 'net'}" in result.stdout
    assert re.fullmatch(r"data: 8 samples\n2 steps, loss \S+  \S+ samples/s\n", result.stderr)
    result = CliRunner().invoke(app, [*command, "--set", "output=other", "--json"])
    assert json.loads(result.stdout) == {"output": str(tmp_path / "other")}
    events = [json.loads(line) for line in result.stderr.splitlines() if line.startswith("{")]
    assert [event["event"] for event in events] == ["data", "step", "trained"]
    assert "flip: true" in (tmp_path / "net" / "MODEL_CARD.md").read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("shards: pool\noutput: net\n", "either samples_seen or epochs"),
        ("shards: pool\noutput: net\nepochs: 1\nbatchsize: 8\n", "did you mean batch_size"),
        ("- a list", "should hold keys"),
    ],
)
def test_the_command_refuses_what_is_no_training(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "net.yaml").write_text(text)
    result = CliRunner().invoke(app, ["train", str(tmp_path / "net.yaml")])
    assert isinstance(result.exception, ConfigError)
    assert message in str(result.exception)


def test_the_command_is_there_before_torch_is_loaded() -> None:
    code = "import sys, curate.commands.dfn; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def write_subset(path: Path, seeds: list[int]) -> str:
    uids = halves([f"{seed:032x}" for seed in seeds])
    path.write_bytes(b"".join(subset_file(len(seeds), lambda: [uids])))
    return str(path)


def test_a_subset_says_which_samples_are_seen_and_how_often(tmp_path: Path) -> None:
    write_pool(tmp_path / "pool", 2, 8)
    events: list[dict[str, Any]] = []
    subset = write_subset(tmp_path / "subset.npy", [3, 3, 9, 10, 11, 12, 13, 14, 14, 77])
    train_filter(config(tmp_path, subset=subset, epochs=2, samples_seen=None), on_event=events.append)
    assert events[0] == {"event": "data", "samples": 9, "skipped": {"not_in_the_shards": 1}}
    first = load(weights(tmp_path))
    # The same samples, written out, in the same order: nothing else is seen.
    copies = [(f"{n}-{s}", sample(s)) for n, s in enumerate([3, 3, 9, 10, 11, 12, 13, 14, 14])]
    write_shard(tmp_path / "written/00000.tar", copies)
    train_filter(config(tmp_path, shards=str(tmp_path / "written"), epochs=2, samples_seen=None))
    second = load(weights(tmp_path))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_another_subset_under_the_same_name_is_noticed(tmp_path: Path) -> None:
    write_pool(tmp_path / "pool", 2, 8)
    subset = write_subset(tmp_path / "subset.npy", list(range(8)))
    train_filter(config(tmp_path, subset=subset))
    first = weights(tmp_path)
    write_subset(tmp_path / "subset.npy", list(range(8, 16)))
    train_filter(config(tmp_path, subset=subset))
    assert weights(tmp_path) != first
    assert subset not in (tmp_path / "net" / "MODEL_CARD.md").read_text()

"""However a batch is cut, over passes or processes, the same weights come out; half precision learns too."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch

from pipelines.errors import ConfigError
from pipelines.training.config import TrainConfig
from pipelines.training.gradient import Stepper
from pipelines.training.output import LOG, WEIGHTS
from pipelines.training.step import contrastive_loss
from pipelines.training.team import Team
from pipelines.training.train import train_filter
from scoring.model_loading import new_model
from tests.making import write_pool
from tests.training import MICRO, Stopped, config, furthest, register_micro, state, stop_after

AUGMENT = {"augment": {"smallest_crop": 0.7, "flip": True}}
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True, scope="module")
def micro(tmp_path_factory: pytest.TempPathFactory) -> None:
    register_micro(tmp_path_factory.mktemp("models"))


def train(folder: Path, **changes: Any) -> dict[str, torch.Tensor]:
    return state(
        train_filter(config(folder, output=str(folder / str(len(list(folder.iterdir())))), **changes))
    )


def losses(net: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (net / LOG).read_text().splitlines()]


@pytest.mark.parametrize("size", [1, 3, 4, 7])
def test_a_cut_batch_gives_the_gradient_of_the_whole_one(size: int) -> None:
    torch.manual_seed(0)
    images, tokens = torch.randn(8, 3, 32, 32), torch.randint(0, 49408, (8, 16))
    gradients = []
    for micro_batch_size in (None, size):
        model = new_model("micro", 0, torch.device("cpu")).model.train()
        stepper = Stepper(
            model,
            torch.optim.SGD(model.parameters()),
            torch.device("cpu"),
            gradient_clip=1e9,
            micro_batch_size=micro_batch_size,
        )
        outcome = stepper.take(lambda rows: (images[rows], tokens[rows]), slice(0, 8), rate=0.0)
        named = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
        gradients.append((outcome, named))
    (one, whole), (two, cut) = gradients
    assert one == pytest.approx(two, rel=1e-6)
    assert whole.keys() == cut.keys() >= {"logit_scale", "visual.proj", "token_embedding.weight"}
    for name in whole:
        torch.testing.assert_close(cut[name], whole[name], rtol=1e-4, atol=2e-6, msg=name)


def test_what_a_model_drops_by_chance_is_the_same_in_both_passes(tmp_path: Path) -> None:
    vision = {**MICRO["vision_cfg"], "patch_dropout": 0.5}
    (tmp_path / "dropping.json").write_text(json.dumps({**MICRO, "vision_cfg": vision}))
    open_clip.add_model_config(tmp_path / "dropping.json")
    torch.manual_seed(0)
    images, tokens = torch.randn(8, 3, 32, 32), torch.randint(0, 49408, (8, 16))

    def part(rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
        torch.manual_seed(rows.start)
        return images[rows], tokens[rows]

    one, two = (new_model("dropping", 0, torch.device("cpu")).model.train() for _ in range(2))
    optimizer = torch.optim.SGD(one.parameters())
    stepper = Stepper(one, optimizer, torch.device("cpu"), gradient_clip=1e9, micro_batch_size=4)
    stepper.take(part, slice(0, 8), rate=0.0)
    image, text = [], []
    for rows in (slice(0, 4), slice(4, 8)):  # the same, but all of it held until the end
        some, captions = part(rows)
        image.append(two.encode_image(some, normalize=True))
        text.append(two.encode_text(captions, normalize=True))
    loss, _ = contrastive_loss(torch.cat(image), torch.cat(text), two.logit_scale.exp())
    loss.backward()
    torch.testing.assert_close(one.visual.conv1.weight.grad, two.visual.conv1.weight.grad)


def test_the_parts_of_the_loss_add_up_to_it() -> None:
    torch.manual_seed(1)
    image, text = torch.nn.functional.normalize(torch.randn(2, 12, 8), dim=-1)
    parts = [contrastive_loss(image, text, torch.tensor(9.0), slice(s, s + 4)) for s in (0, 4, 8)]
    torch.testing.assert_close(
        [sum(values) for values in zip(*parts, strict=True)],
        list(contrastive_loss(image, text, torch.tensor(9.0))),
    )


def test_training_in_small_parts_ends_in_the_same_weights(tmp_path: Path) -> None:
    write_pool(tmp_path / "pool", 2, 12)
    whole = train(tmp_path, **AUGMENT)
    cut = train(tmp_path, micro_batch_size=3, **AUGMENT)
    elsewhere = train(tmp_path, seed=1, **AUGMENT)
    assert 0 < furthest(whole, cut) < 1e-4 < 1e-2 < furthest(whole, elsewhere)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_learns_and_resumes_in_the_same_weights(tmp_path: Path, precision: str) -> None:
    write_pool(tmp_path / "pool", 2, 12)
    settings: dict[str, Any] = {"precision": precision, "micro_batch_size": 4}
    whole = train(tmp_path, **settings)
    exact = train(tmp_path)
    assert 0 < furthest(whole, exact) < 3e-2  # float16 skips its first steps until it has found its scale
    stopped = config(tmp_path, output=str(tmp_path / "stopped"), **settings)
    for step in (4, 8):
        with pytest.raises(Stopped):
            train_filter(stopped, on_event=stop_after(step))
    assert furthest(state(train_filter(stopped)), whole) == 0
    assert f"precision: {precision}" in (tmp_path / "stopped" / "MODEL_CARD.md").read_text()


def test_the_scale_of_half_precision_s_gradients_goes_on_where_it_stood(tmp_path: Path) -> None:
    model = new_model("micro", 0, torch.device("cpu")).model.train()

    def stepper() -> Stepper:
        optimizer = torch.optim.AdamW(model.parameters(), fused=True)
        return Stepper(model, optimizer, torch.device("cpu"), 1.0, "float16")

    one, two = stepper(), stepper()
    one.scaler.load_state_dict({**one.scaler.state_dict(), "scale": 1e30})
    before = model.visual.proj.detach().clone()
    batch = torch.randn(4, 3, 32, 32), torch.randint(0, 49408, (4, 16))
    one.take(lambda rows: (batch[0][rows], batch[1][rows]), slice(0, 4), rate=1e-3)
    assert torch.equal(before, model.visual.proj)  # the gradient overflowed: no step, a smaller scale
    assert one.scaler.get_scale() < 1e30
    two.load_state_dict(one.state_dict())
    assert two.scaler.state_dict() == one.scaler.state_dict()


def test_batch_norm_is_not_cut(tmp_path: Path) -> None:
    write_pool(tmp_path / "pool", 1, 8)
    with pytest.raises(ConfigError, match="without batch norm"):
        train_filter(config(tmp_path, model="RN50", micro_batch_size=4))


def together(folder: Path, *configs: TrainConfig, killed_at: int = 0) -> subprocess.CompletedProcess[str]:
    """Train by two processes of torchrun; the first one may be killed at a step."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={port}"]
    command += ["--log-dir", str(folder / "logs")]
    return subprocess.run(
        [*command, "-m", "tests.training", str(folder), *(config.model_dump_json() for config in configs)],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "KILLED_AT": str(killed_at)},
    )


@pytest.mark.slow
def test_two_processes_do_what_one_does_also_when_killed(tmp_path: Path) -> None:
    write_pool(tmp_path / "pool", 2, 12)
    finetune = {"shards": str(tmp_path / "pool"), "epochs": 1, "mixing_weight": 0.3}
    cases: dict[str, dict[str, Any]] = {
        "plain": AUGMENT,
        "undisturbed": AUGMENT,
        "cut": {"micro_batch_size": 3},
        "phases": {"finetune": finetune},
    }
    configs = [config(tmp_path, output=str(tmp_path / name), **case) for name, case in cases.items()]
    assert together(tmp_path, *configs, killed_at=7).returncode != 0
    assert not (tmp_path / "undisturbed").exists()
    finished = together(tmp_path, *configs)
    assert finished.returncode == 0, finished.stderr
    said = finished.stdout
    events = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    assert sum(event["event"] == "trained" and "phase" not in event for event in events) == len(cases)
    assert "going on after step 6" in said
    assert (tmp_path / "plain" / WEIGHTS).read_bytes() == (tmp_path / "undisturbed" / WEIGHTS).read_bytes()
    for name in ("plain", "cut", "phases"):
        one = train_filter(config(tmp_path, output=str(tmp_path / "alone" / name), **cases[name]))
        assert losses(tmp_path / name) == pytest.approx(losses(one), rel=1e-4)
        assert furthest(state(one), state(tmp_path / name)) < 1e-4
    assert "by 2 processes" in (tmp_path / "plain/MODEL_CARD.md").read_text()


def test_a_batch_that_processes_can_t_share_is_refused(tmp_path: Path) -> None:
    from pipelines.training.output import OutputFolder
    from pipelines.training.phase import Phase

    model = new_model("micro", 0, torch.device("cpu")).model
    phase = Phase(config(tmp_path), [], {}, OutputFolder(tmp_path), "", Team(0, 3), print)
    with pytest.raises(ConfigError, match="shared evenly by 3 processes"):
        phase._check(model)

"""A second phase on better samples, its mixture with the first, and what is told of both."""

import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from curate.commands.dfn import app
from pipelines.errors import ConfigError
from pipelines.training.config import TrainConfig
from pipelines.training.interpolate import interpolate
from pipelines.training.output import LOG, PLOT, WEIGHTS
from pipelines.training.train import train_filter
from scoring.interpolation import interpolated
from tests.making import sample, write_pool, write_shard
from tests.training import Stopped, config, furthest, register_micro, state, stop_after


@pytest.fixture(autouse=True, scope="module")
def micro(tmp_path_factory: pytest.TempPathFactory) -> None:
    register_micro(tmp_path_factory.mktemp("models"))


def two_phases(folder: Path, weight: float = 0.4, **changes: Any) -> TrainConfig:
    finetune = {"shards": str(folder / "best"), "epochs": 3, "batch_size": 4, "mixing_weight": weight}
    return config(folder, **{"finetune": finetune, "samples_seen": 8 * 6, **changes})


def write_data(folder: Path) -> None:
    write_pool(folder / "pool", 2, 8)
    write_shard(folder / "best/00000.tar", [(f"{n}", sample(n)) for n in range(100, 108)])


def test_the_network_lies_between_its_two_phases(tmp_path: Path) -> None:
    write_data(tmp_path)
    net = train_filter(two_phases(tmp_path))
    first, finetuned, mixed = state(net / "first"), state(net / "finetuned"), state(net)
    assert furthest(first, finetuned) > 1e-5
    for name, value in mixed.items():
        torch.testing.assert_close(value, 0.6 * first[name] + 0.4 * finetuned[name])
    alone = config(tmp_path, output=str(tmp_path / "alone"), samples_seen=8 * 6)
    assert furthest(state(train_filter(alone)), first) == 0
    model, transform = open_clip.create_model_from_pretrained(f"local-dir:{net}")
    assert model.encode_image(transform(Image.new("RGB", (40, 40)))[None]).shape == (1, 32)


def test_log_plot_and_card_tell_of_both(tmp_path: Path) -> None:
    write_data(tmp_path)
    net = train_filter(two_phases(tmp_path))
    log = [json.loads(line) for line in (net / LOG).read_text().splitlines()]
    assert [(line["phase"], line["step"]) for line in log] == [
        *(("first", n) for n in range(1, 7)),
        *(("finetuned", n) for n in range(1, 7)),
    ]
    assert log[6]["learning_rate"] < log[2]["learning_rate"] / 9
    with Image.open(net / PLOT) as plot:
        assert plot.format == "PNG"
        assert len(plot.convert("L").getcolors() or []) > 10
    card = (net / "MODEL_CARD.md").read_text()
    assert "a = 0.4" in card
    assert 'encoder: {model: "local-dir:PATH"}' in card.partition("## The first network")[0]
    assert [line for line in card.splitlines() if line.startswith("# ")] == ["# Filter network between two"]
    assert "6 steps of 4 samples, from weights with sha256" in card
    assert str(tmp_path) not in card


@pytest.mark.parametrize(
    "stops", [[("first", 2)], [("first", 4), ("finetuned", 1)], [("finetuned", 4)], [("finetuned", 6)]]
)
def test_interrupted_in_either_phase_it_ends_in_the_same_weights(
    tmp_path: Path, stops: list[tuple[str, int]]
) -> None:
    for name in ("whole", "stopped"):
        write_data(tmp_path / name)
    train_filter(two_phases(tmp_path / "whole"))
    for phase, step in stops:
        with pytest.raises(Stopped):
            train_filter(two_phases(tmp_path / "stopped"), on_event=stop_after(step, phase))
    train_filter(two_phases(tmp_path / "stopped"))
    for part in ("", "first", "finetuned"):
        one, two = (tmp_path / name / "net" / part / WEIGHTS for name in ("whole", "stopped"))
        assert one.read_bytes() == two.read_bytes()


def test_only_what_an_edit_concerns_is_done_again(tmp_path: Path) -> None:
    write_data(tmp_path)

    def trained(**changes: Any) -> list[tuple[str | None, bool]]:
        events: list[dict[str, Any]] = []
        train_filter(two_phases(tmp_path, **changes), on_event=events.append)
        return [(event.get("phase"), event["new"]) for event in events if event["event"] == "trained"]

    assert trained() == [("first", True), ("finetuned", True), (None, True)]
    assert trained() == [(None, False)]
    assert trained(weight=0.9) == [("first", False), ("finetuned", False), (None, True)]
    write_shard(tmp_path / "best/00000.tar", [(f"{n}", sample(n)) for n in range(200, 208)])
    assert trained(weight=0.9) == [("first", False), ("finetuned", True), (None, True)]


def test_a_network_that_is_there_is_fine_tuned_and_not_trained_again(tmp_path: Path) -> None:
    write_data(tmp_path)
    before = state(train_filter(config(tmp_path, samples_seen=8 * 6)))
    events: list[dict[str, Any]] = []
    net = train_filter(two_phases(tmp_path), on_event=events.append)
    assert events[0] == {"event": "trained", "output": str(net / "first"), "new": False, "phase": "first"}
    assert furthest(before, state(net / "first")) == 0


def test_a_mixture_at_the_ends_is_one_of_the_two(tmp_path: Path) -> None:
    write_data(tmp_path)
    net = train_filter(two_phases(tmp_path, weight=1.0))
    assert furthest(state(net), state(net / "finetuned")) == 0
    digest = interpolate(net / "first", net / "finetuned", 0.0, tmp_path / "none")
    assert furthest(state(tmp_path / "none"), state(net / "first")) == 0
    assert digest in (tmp_path / "none/MODEL_CARD.md").read_text()


def test_the_formula_is_wise_ft_s() -> None:
    first = {"w": torch.tensor([1.0, -2.0]), "mask": torch.tensor([-torch.inf]), "n": torch.tensor(3)}
    second = {"w": torch.tensor([3.0, 2.0]), "mask": torch.tensor([-torch.inf]), "n": torch.tensor(5)}
    found = interpolated(first, second, 0.25)
    assert found["w"].tolist() == [1.5, -1.0]
    assert found["mask"].item() == -torch.inf
    assert found["n"].item() == 5
    assert interpolated(first, second, 0)["n"].item() == 3
    for wrong, message in (
        ({**first, "x": first["w"]}, "only one"),
        ({**first, "w": first["mask"]}, "shape"),
    ):
        with pytest.raises(ValueError, match=message):
            interpolated(wrong, second, 0.5)
    with pytest.raises(ValueError, match="from 0 to 1"):
        interpolated(first, second, 1.5)


def test_the_command_mixes_finished_networks(tmp_path: Path) -> None:
    write_data(tmp_path)
    net = train_filter(two_phases(tmp_path))
    other = str(tmp_path / "other")
    arguments = ["interpolate", str(net / "first"), str(net / "finetuned"), "--weight", "0.4", "-o", other]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert furthest(state(tmp_path / "other"), state(net)) == 0


def test_unlike_networks_are_not_mixed(tmp_path: Path) -> None:
    write_data(tmp_path)
    net = train_filter(config(tmp_path))
    squashed = train_filter(config(tmp_path, output=str(tmp_path / "short"), resize_mode="shortest"))
    with pytest.raises(ConfigError, match="differ in preprocess_cfg"):
        interpolate(net, squashed, 0.5, tmp_path / "out")
    with pytest.raises(ConfigError, match="name another folder"):
        interpolate(net, squashed, 0.5, net)
    with pytest.raises(ConfigError, match="holds no"):
        interpolate(net, tmp_path, 0.5, tmp_path / "out")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / WEIGHTS).write_bytes(b"months of work")
    with pytest.raises(ConfigError, match="not written by curate"):
        interpolate(net, net, 0.5, tmp_path / "theirs")

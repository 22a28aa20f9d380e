"""`curate clusters` and `curate duplicates`: their numbers are those of the run, their pictures are there."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from curate import cli, run
from tests.making import write_encoder, write_pool
from tests.pools import config

THRESHOLD = 0.997

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def curate(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["curate", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "200")
        capfd.readouterr()
        try:
            cli.main()
        except SystemExit as end:
            return (int(end.code or 0), *capfd.readouterr())
        return (0, *capfd.readouterr())

    return call


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that looked for semantic duplicates and pruned what was left."""
    folder = tmp_path_factory.mktemp("pruned")
    stages: list[Any] = [
        {"duplicates": {"semantic": {"threshold": THRESHOLD, "clusters": 3}}},
        {"prune": {"clusters": 4, "keep": 10}},
    ]
    pool = write_pool(folder / "pool", n_shards=3, per_shard=15)
    encoder = {"model": write_encoder(folder / "encoder"), "batch_size": 8}
    assert run(config(pool, folder, encoder=encoder, stages=stages)).kept == 10
    return folder


def columns(home: Path, stage: str) -> pd.DataFrame:
    return pd.concat(pd.read_parquet(path) for path in sorted((home / f"run/columns/{stage}").glob("*")))


def test_show_prints_the_account(home: Path, curate: Command) -> None:
    code, out, _ = curate("clusters", "show", home / "run", "--json")
    found, account = json.loads(out), pd.read_parquet(home / "run/clusters/prune.parquet")
    assert code == 0
    assert (found["kept"], found["samples"]) == (10, account["size"].sum())
    assert [each["quota"] for each in found["clusters"]] == account.quota.tolist()
    _, out, _ = curate("clusters", "show", home / "run")
    assert f"10 of {account['size'].sum()} samples kept" in out
    assert "a picture with the number" in out  # the nearest captions
    for complexity in account.complexity:
        assert f"{complexity:.3f}" in out


def test_the_plot_lies_in_the_run_folder_and_where_it_is_asked_for(
    home: Path, curate: Command, tmp_path: Path
) -> None:
    with Image.open(home / "run/clusters/prune.png") as picture:
        assert picture.width > 500
    assert curate("clusters", "show", home / "run", "--plot", tmp_path / "plot.svg")[0] == 0
    assert "<svg" in (tmp_path / "plot.svg").read_text()


def test_sweep_says_what_every_threshold_keeps(home: Path, curate: Command, tmp_path: Path) -> None:
    wanted = ["--threshold", 0.9, "--threshold", THRESHOLD, "--threshold", 0.9995]
    code, out, _ = curate(
        "duplicates", "sweep", home / "run", *wanted, "--json", "--plot", tmp_path / "a.png"
    )
    assert code == 0
    assert (tmp_path / "a.png").stat().st_size > 1000
    similarity = columns(home, "similar").max_similarity.to_numpy()
    found = json.loads(out)
    assert found["samples"] == len(similarity) == 45
    for row in found["thresholds"]:
        assert row["kept"] == (similarity <= np.float32(row["threshold"])).sum()
        assert row["share"] == pytest.approx(row["kept"] / 45)
    dropped = (columns(home, "duplicates").weight == 0).sum()
    assert found["thresholds"][1]["kept"] == 45 - dropped
    _, out, _ = curate("duplicates", "sweep", home / "run", "--threshold", THRESHOLD)
    assert f"{45 - dropped}" in out


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["clusters", "show", "RUN", "--stage", "keep"], "holds no account of a stage 'keep'"),
        (["duplicates", "sweep", "RUN", "--stage", "cluster-9"], "holds no stage 'cluster-9'"),
        (["clusters", "show", "nowhere"], "holds no account"),
    ],
)
def test_what_is_not_there_ends_with_2(home: Path, curate: Command, command: list[str], message: str) -> None:
    code, _, err = curate(*[str(home / "run") if each == "RUN" else each for each in command])
    assert code == 2
    assert message in err

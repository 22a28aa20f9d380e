"""What `curate clusters` and `curate duplicates` say of a run is what its columns hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from curate import run
from curate.cli import app
from tests.making import sample, write_encoder, write_shard
from tests.pools import config


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    model = write_encoder(folder / "encoder")
    for shard in range(2):
        rows = range(shard * 20, shard * 20 + 20)
        captions = {0: "[red]markup[/red] of a stranger"}
        samples = [(f"{row:09d}", sample(row, captions.get(row))) for row in rows]
        write_shard(folder / f"pool/{shard:05d}.tar", samples)
    stages = [
        {"cluster": {"clusters": 4}},
        {"duplicates": {"semantic": {"threshold": 0.99}}},
        {"prune": {"keep": 0.5}},
    ]
    run(config(folder / "pool", folder, encoder={"model": model, "batch_size": 8}, stages=stages))
    return folder


def said(*words: str) -> Any:
    found = CliRunner().invoke(app, [*words], env={"COLUMNS": "200"})
    assert found.exit_code == 0, found.output
    return found.stdout


def test_sweep_counts_what_each_threshold_keeps(home: Path) -> None:
    found = json.loads(said("duplicates", "sweep", str(home / "run"), "--json"))
    files = sorted((home / "run/columns/similar").glob("*"))
    similarity = pd.concat(pd.read_parquet(path) for path in files).max_similarity.to_numpy()
    assert found["samples"] == 40
    for row in found["thresholds"]:
        least, most = ((similarity <= row["threshold"] + shift).sum() for shift in (-4e-5, 4e-5))
        assert least <= row["kept"] <= most
    shares = [row["share"] for row in found["thresholds"]]
    assert shares == sorted(shares)


def test_sweep_as_a_table_and_a_curve(home: Path, tmp_path: Path) -> None:
    text = said(
        "duplicates", "sweep", str(home / "run"), "--threshold", "0.9", "--plot", str(tmp_path / "a.png")
    )
    assert "40 samples" in text
    assert (tmp_path / "a.png").stat().st_size > 5000


def test_clusters_as_json_are_the_account(home: Path) -> None:
    found = json.loads(said("clusters", "show", str(home / "run"), "--json"))
    account = pd.read_parquet(home / "run/clusters/prune.parquet")
    assert found["kept"] == account.quota.sum()
    assert [row["quota"] for row in found["clusters"]] == account.quota.tolist()
    assert np.allclose([row["complexity"] for row in found["clusters"]], account.complexity)


def test_clusters_as_a_table_show_captions_as_they_are(home: Path, tmp_path: Path) -> None:
    text = said("clusters", "show", str(home / "run"), "--plot", str(tmp_path / "a.svg"))
    assert "4 clusters" in text
    assert "a picture with the number" in text
    assert (tmp_path / "a.svg").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("duplicates", "sweep", "{}"), "holds no stage 'similar'"),
        (("clusters", "show", "{}"), "holds no account of a stage 'prune'"),
    ],
)
def test_a_run_without_them_is_told_apart(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    import subprocess
    import sys

    found = subprocess.run(
        [sys.executable, "-m", "curate", *(word.format(tmp_path) for word in words)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.returncode == 2
    assert message in found.stderr

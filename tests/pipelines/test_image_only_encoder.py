"""A timm model as the second encoder of a run: clusters by what it sees, scores by the first one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from safetensors.torch import save_file

from curate import run
from pipelines.errors import ConfigError
from tests.making import write_encoder, write_pool
from tests.pools import config


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    write_pool(folder / "pool", n_shards=2, per_shard=6)
    torch.manual_seed(0)
    state = timm.create_model("test_vit").state_dict()
    save_file({name: value.contiguous() for name, value in state.items()}, folder / "eyes.safetensors")
    return folder


def asked(home: Path, stages: list[Any]) -> dict[str, Any]:
    eyes = {"model": "timm:test_vit", "pretrained": str(home / "eyes.safetensors"), "batch_size": 4}
    clip = {"model": write_encoder(home / "clip"), "batch_size": 8}
    return config(home / "pool", home, encoder=clip, encoders={"eyes": eyes}, stages=stages)


def test_clusters_by_one_encoder_and_scores_by_the_other(home: Path) -> None:
    stages = [{"score": "clip"}, {"prune": {"clusters": 3, "encoder": "eyes", "keep": 0.5}}]
    assert run(asked(home, stages)).kept == 6
    found = pd.read_parquet(home / "run/columns/embed-eyes/00000.parquet")
    assert [*found.columns] == ["row", "image", "problem"]
    assert np.linalg.norm(np.stack(found.image).astype(np.float32), axis=1) == pytest.approx(1, abs=1e-3)
    assert len(pd.read_parquet(home / "run/clusters/prune.parquet")) == 3


@pytest.mark.parametrize(
    "stage",
    [
        {"score": {"name": "clip", "encoder": "eyes", "as": "seen"}},
        {"cluster": {"clusters": 2, "encoder": "eyes", "of": "text"}},
    ],
)
def test_what_needs_captions_is_refused_before_any_work(home: Path, stage: Any) -> None:
    with pytest.raises(ConfigError, match="needs text vectors, and timm:test_vit sees images only"):
        run(asked(home, [stage]))

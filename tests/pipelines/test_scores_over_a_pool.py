"""Scores in a run: several networks side by side, s-CLIPLoss against the whole pool, NormSim to a target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate import run
from pipelines.errors import ConfigError, StoppedError
from pipelines.permutation import Permutation
from pipelines.stages import s_clip_loss as stage
from scoring import norm_sim, s_clip_loss
from tests.making import write_encoder, write_pool
from tests.pools import config

LOSS = {"name": "s_clip_loss", "temperature": 0.07, "batch_size": 7, "partitions": 3}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_encoder(tmp_path_factory.mktemp("encoder"))


def scored(pool: Path, home: Path, model: str, *stages: Any, **changes: Any) -> dict[str, Any]:
    keep = {"keep": {"by": changes.pop("by"), "top": 0.5}}
    encoder = {"model": model, "batch_size": 8}
    return config(pool, home, **{"encoder": encoder, "stages": [*stages, keep], **changes})


def columns(home: Path, stage: str) -> pd.DataFrame:
    files = sorted((home / f"run/columns/{stage}").glob("*"))
    return pd.concat([pd.read_parquet(path).assign(shard=path.stem) for path in files], ignore_index=True)


@given(n=st.integers(0, 3000), seed=st.integers(0, 10**12))
def test_the_random_order_holds_every_place_once(n: int, seed: int) -> None:
    assert sorted(Permutation(n, seed)(np.arange(n)).tolist()) == list(range(n))


def test_the_random_order_looks_random() -> None:
    place = Permutation(100_000, 1)(np.arange(100_000)) / 100_000
    assert abs(np.corrcoef(place, np.arange(100_000))[0, 1]) < 0.01
    assert abs(np.corrcoef(place[1:], place[:-1])[0, 1]) < 0.01
    assert np.histogram(place[:10_000], 10, (0, 1))[0].min() > 850


def test_s_clip_loss_is_that_of_equal_batches_from_the_whole_pool(tmp_path: Path, model: str) -> None:
    pool = write_pool(tmp_path / "pool", n_shards=3, per_shard=9)
    run(scored(pool, tmp_path, model, {"score": LOSS}, by="s_clip_loss"))
    vectors, found = columns(tmp_path, "embed"), columns(tmp_path, "score-s_clip_loss")
    image, text = np.stack(vectors.image), np.stack(vectors.text)
    n, n_batches = len(image), 4
    partitions = []
    for number in range(3):
        batch = Permutation(n, number)(np.arange(n)) % n_batches
        partitions.append([np.flatnonzero(batch == b) for b in range(n_batches)])
        assert sorted(len(rows) for rows in partitions[-1]) == [6, 7, 7, 7]
    expected = s_clip_loss(image, text, temperature=0.07, partitions=partitions)
    np.testing.assert_allclose(found.s_clip_loss, expected, atol=1e-6)


def test_bundles_of_batches_change_nothing_and_leave_no_vectors_behind(
    tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = write_pool(tmp_path / "pool", n_shards=3, per_shard=9)
    run(scored(pool, tmp_path / "a", model, {"score": LOSS}, by="s_clip_loss"))
    monkeypatch.setattr(stage, "_BUNDLE_BYTES", 1)  # a batch at a time
    run(scored(pool, tmp_path / "b", model, {"score": LOSS}, by="s_clip_loss"))
    one, other = (columns(tmp_path / home, "score-s_clip_loss") for home in "ab")
    pd.testing.assert_frame_equal(one, other)
    assert not list((tmp_path / "b/run/state").rglob("*.arrow"))


def test_a_killed_search_goes_on_from_the_bundles_that_are_there(
    tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = write_pool(tmp_path / "pool", n_shards=2, per_shard=9)
    monkeypatch.setattr(stage, "_BUNDLE_BYTES", 1)
    whole = scored(pool, tmp_path / "whole", model, {"score": LOSS}, by="s_clip_loss")
    run(whole)
    calls: list[int] = []
    plain = stage.SClipLossStage._score_bundle

    def failing(self: Any, bundle: int, **rest: Any) -> None:
        calls.append(bundle)
        if len(calls) == 5:
            raise OSError("the disk is full")
        plain(self, bundle, **rest)

    killed = scored(pool, tmp_path / "killed", model, {"score": LOSS}, by="s_clip_loss")
    monkeypatch.setattr(stage.SClipLossStage, "_score_bundle", failing)
    with pytest.raises(StoppedError, match="the disk is full"):
        run(killed)
    run(killed)
    assert len(calls) == 3 * 3 + 1  # the failed bundle is done again, and no other
    one, other = (columns(tmp_path / home, "score-s_clip_loss") for home in ("whole", "killed"))
    pd.testing.assert_frame_equal(one, other)


@pytest.mark.slow
def test_workers_change_nothing(tmp_path: Path, model: str) -> None:
    pool = write_pool(tmp_path / "pool", n_shards=3, per_shard=9)
    run(scored(pool, tmp_path / "a", model, {"score": LOSS}, by="s_clip_loss"))
    run(scored(pool, tmp_path / "b", model, {"score": LOSS}, by="s_clip_loss", engine={"workers": 2}))
    one, other = (columns(tmp_path / home, "score-s_clip_loss") for home in "ab")
    pd.testing.assert_frame_equal(one, other)


def test_several_networks_stand_side_by_side(tmp_path: Path, model: str) -> None:
    other = write_encoder(tmp_path / "other", seed=1)
    pool = write_pool(tmp_path / "pool", n_shards=1)
    stages = [{"score": "clip"}, {"score": {"name": "dfn", "encoder": "strict"}}]
    encoders = {"strict": {"model": other, "batch_size": 8}}
    run(scored(pool, tmp_path, model, *stages, by="dfn_strict", encoders=encoders))
    assert not np.allclose(
        columns(tmp_path, "score-clip")["clip"], columns(tmp_path, "score-dfn_strict").dfn_strict
    )


def test_norm_sim_to_a_target_of_ones_own(tmp_path: Path, model: str) -> None:
    pool = write_pool(tmp_path / "pool", n_shards=1)
    run(scored(pool, tmp_path / "first", model, {"score": "clip"}, by="clip"))
    image = np.stack(columns(tmp_path / "first", "embed").image)
    np.save(tmp_path / "target.npy", image[:3])
    target = {"name": "norm_sim", "target": str(tmp_path / "target.npy"), "p": "inf", "as": "near"}
    run(scored(pool, tmp_path / "second", model, {"score": target}, by="near"))
    found = columns(tmp_path / "second", "score-near").near
    np.testing.assert_allclose(found, norm_sim(image, image[:3], p=np.inf), atol=1e-6)
    np.testing.assert_allclose(found[:3], 1, atol=2e-3)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (np.eye(2, 5), "image vectors have 16 numbers and target vectors 5"),
        (np.ones((2, 16)), "have lengths from 4 to 4, and should have length 1"),
        (np.full((2, 16), np.nan), "holds numbers that are not finite"),
        (np.eye(16)[:0], "at least one"),
        (np.ones(16), "should hold one matrix"),
        (np.array([{"code": "that would run"}]), "is no .npy file of vectors"),
    ],
)
def test_a_target_that_is_not_fit_is_refused(
    tmp_path: Path, model: str, target: np.ndarray, message: str
) -> None:
    np.save(tmp_path / "target.npy", target, allow_pickle=True)
    score = {"name": "norm_sim", "target": str(tmp_path / "target.npy")}
    pool = write_pool(tmp_path / "pool", n_shards=1)
    with pytest.raises((ConfigError, StoppedError), match=message):
        run(scored(pool, tmp_path, model, {"score": score}, by="norm_sim"))


@pytest.mark.parametrize(
    ("score", "message"),
    [
        ("clipp", "there is no score 'clipp'; there are clip, dfn, s_clip_loss, norm_sim"),
        ({"name": "dfn", "encoder": "gone"}, "there is no encoder 'gone' under encoders"),
        ({"name": "s_clip_loss", "temprature": 1}, "did you mean temperature"),
        ({"name": "clip", "as": "a/b"}, "pattern"),
        ({"name": "norm_sim", "target": "gone.npy"}, "there is no file .*gone.npy"),
    ],
)
def test_scores_that_make_no_sense_stop_before_any_work(
    tmp_path: Path, model: str, score: Any, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        run(scored(write_pool(tmp_path / "pool", n_shards=1), tmp_path, model, {"score": score}, by="clip"))
    assert not (tmp_path / "run").exists()

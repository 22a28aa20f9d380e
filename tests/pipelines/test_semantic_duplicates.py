"""Semantic duplicates in a run: similarities stored once, thresholds free, borders crossed when asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from curate import run
from filters.semantic_duplicates import first_of_components, greedy
from pipelines.errors import ConfigError
from pipelines.stages import semantic_duplicates as stage
from pipelines.stages.semantic_duplicates import bundle_clusters
from tests.making import write_encoder, write_pool
from tests.pools import config, result_bytes

THRESHOLD = 0.97


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pool(tmp_path_factory.mktemp("raw") / "pool", n_shards=4, per_shard=15)


def cleaned(pool: Any, home: Path, model: str, semantic: Any = None, **changes: Any) -> dict[str, Any]:
    asked = {"threshold": THRESHOLD, "clusters": 3, **(semantic or {})}
    stages = [*changes.pop("before", []), {"duplicates": {"semantic": asked}}]
    encoder = {"model": model, "batch_size": 8}
    return config(pool, home, **{"encoder": encoder, "stages": stages, **changes})


def columns(home: Path, stage: str) -> pd.DataFrame:
    files = sorted((home / f"run/columns/{stage}").glob("*"))
    return pd.concat([pd.read_parquet(path).assign(shard=path.stem) for path in files], ignore_index=True)


def samples(home: Path) -> pd.DataFrame:
    found = columns(home, "ingest")[["shard", "row", "uid"]]
    for name in ("embed", "cluster", "similar"):
        found = found.merge(columns(home, name).drop(columns="problem", errors="ignore"), on=["shard", "row"])
    return found


def test_similarities_are_those_to_earlier_members_of_the_cluster(
    tmp_path: Path, pool: Path, model: str
) -> None:
    run(cleaned(pool, tmp_path, model))
    for _, own in samples(tmp_path).groupby("cluster"):
        ordered = own.sort_values(["similarity", "uid"])
        vectors = np.stack(ordered.image).astype(np.float32)
        for place, (most, of) in enumerate(zip(ordered.max_similarity, ordered.duplicate_of, strict=True)):
            if place == 0:
                assert most == -1
                assert pd.isna(of)
                continue
            earlier = vectors[place] @ vectors[:place].T
            assert most == pytest.approx(earlier.max(), abs=1e-5)
            assert earlier[ordered.uid.tolist().index(of)] == pytest.approx(most, abs=1e-5)


def test_who_is_too_similar_is_dropped_and_says_to_whom(tmp_path: Path, pool: Path, model: str) -> None:
    result = run(cleaned(pool, tmp_path, model))
    found = columns(tmp_path, "duplicates").merge(columns(tmp_path, "similar"), on=["shard", "row"])
    assert (found.weight == 0).equals(found.max_similarity > THRESHOLD)
    assert found.duplicate_of_x.notna().equals(found.weight == 0)
    assert result.dropped == {"duplicates.similar": int((found.weight == 0).sum())}
    assert 0 < result.dropped["duplicates.similar"] < 60


def test_another_threshold_compares_nothing_again(tmp_path: Path, pool: Path, model: str) -> None:
    first = run(cleaned(pool, tmp_path, model))
    new: dict[str, int] = {}
    second = run(
        cleaned(pool, tmp_path, model, {"threshold": 0.9}),
        on_event=lambda e: e["event"] == "stage_done" and new.update({e["stage"]: e["new"]}),
    )
    assert second.kept < first.kept
    assert (new["cluster"], new["similar"], new["duplicates"]) == (0, 0, 4)


@pytest.mark.parametrize(("rule", "function"), [("greedy", greedy), ("component", first_of_components)])
def test_other_rules(tmp_path: Path, pool: Path, model: str, rule: str, function: Any) -> None:
    run(cleaned(pool, tmp_path, model, {"rule": rule}))
    found = samples(tmp_path).merge(columns(tmp_path, "duplicates")[["shard", "row", "weight"]])
    for _, own in found.groupby("cluster"):
        ordered = own.sort_values(["similarity", "uid"])
        keep = function(np.stack(ordered.image), THRESHOLD)
        np.testing.assert_array_equal(ordered.weight, keep)


def test_the_best_by_a_score_or_the_first_by_uid_survives(tmp_path: Path, pool: Path, model: str) -> None:
    before = [{"score": "clip"}]
    asked = {"keep": "best", "by": "clip", "clusters": 1, "threshold": -0.999}
    assert run(cleaned(pool, tmp_path / "a", model, asked, before=before)).kept == 1
    scores = columns(tmp_path / "a", "score-clip")
    kept = columns(tmp_path / "a", "duplicates").query("weight > 0").merge(scores)
    assert kept["clip"].tolist() == [scores["clip"].max()]
    run(cleaned(pool, tmp_path / "b", model, {"keep": "first", "clusters": 1, "threshold": -0.999}))
    kept = columns(tmp_path / "b", "duplicates").query("weight > 0").merge(columns(tmp_path / "b", "ingest"))
    assert kept.uid.tolist() == [f"{0:032x}"]


def test_all_clusters_searched_is_one_cluster_searched(tmp_path: Path, pool: Path, model: str) -> None:
    one = {"keep": "first", "clusters": 1}
    run(cleaned(pool, tmp_path / "one", model, one))
    run(cleaned(pool, tmp_path / "all", model, {"keep": "first", "clusters": 4, "across": 3}))
    run(cleaned(pool, tmp_path / "own", model, {"keep": "first", "clusters": 4}))
    whole, across, own = (
        columns(tmp_path / home, "similar").max_similarity for home in ("one", "all", "own")
    )
    np.testing.assert_allclose(across, whole, atol=1e-5)
    assert (own <= across + 1e-6).all()
    assert (own < across - 1e-4).any()  # borders hide some


def test_a_share_is_looked_into_to_know_what_borders_hide(
    tmp_path: Path, pool: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "_CHECKED", 2.0)  # everybody
    run(cleaned(pool, tmp_path / "own", model, {"keep": "first", "clusters": 3}))
    run(cleaned(pool, tmp_path / "all", model, {"keep": "first", "clusters": 3, "across": 2}))
    own, across = (columns(tmp_path / home, "similar") for home in ("own", "all"))
    found = np.maximum(own.max_similarity, own.beyond)
    np.testing.assert_allclose(found, across.max_similarity, atol=1e-6)
    assert across.beyond.isna().all()


def test_bundles_change_nothing(
    tmp_path: Path, pool: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(cleaned(pool, tmp_path / "a", model, {"clusters": 6}))
    monkeypatch.setattr(stage, "_BUNDLE_BYTES", 1)
    run(cleaned(pool, tmp_path / "b", model, {"clusters": 6}))
    pd.testing.assert_frame_equal(columns(tmp_path / "a", "similar"), columns(tmp_path / "b", "similar"))
    assert not list((tmp_path / "b/run/state").rglob("*.arrow"))
    assert bundle_clusters(np.array([3, 3, 9, 0, 2, 2]), 6).tolist() == [0, 0, 1, 2, 2, 2]


def test_the_order_of_shards_changes_nothing(tmp_path: Path, pool: Path, model: str) -> None:
    paths = sorted(str(path) for path in pool.glob("*.tar"))
    run(cleaned(pool, tmp_path / "a", model))
    run(cleaned(paths[::-1], tmp_path / "b", model))
    assert result_bytes(tmp_path / "a")["decisions"] == result_bytes(tmp_path / "b")["decisions"]


@pytest.mark.slow
def test_workers_change_nothing(tmp_path: Path, pool: Path, model: str) -> None:
    run(cleaned(pool, tmp_path / "a", model))
    run(cleaned(pool, tmp_path / "b", model, engine={"workers": 2}))
    assert result_bytes(tmp_path / "a") == result_bytes(tmp_path / "b")


@pytest.mark.parametrize(
    ("semantic", "message"),
    [
        ({"keep": "best"}, "keep: best needs `by`"),
        ({"keep": "best", "by": "clip"}, "there is no score 'clip'"),
        ({"across": 2, "rule": "greedy"}, "rule: published only"),
        ({"threshold": 1.2}, "less than or equal to 1"),
    ],
)
def test_a_wrong_request_is_refused(
    tmp_path: Path, pool: Path, model: str, semantic: Any, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        run(cleaned(pool, tmp_path, model, semantic))

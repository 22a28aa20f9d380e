"""Clusters and density-based pruning in a run: exact counts, an account, the same on any way there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from curate import run
from filters.density import allocate, between_clusters
from pipelines.errors import ConfigError, StoppedError
from pipelines.stages import cluster as cluster_stage
from tests.making import write_encoder, write_pool
from tests.pools import config, result_bytes, write_raw_pool

PRUNE = {"prune": {"clusters": 4, "keep": 0.5}}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pool(tmp_path_factory.mktemp("raw") / "pool", n_shards=4, per_shard=10)


def pruned(pool: Path, home: Path, model: str, *stages: Any, **changes: Any) -> dict[str, Any]:
    encoder = {"model": model, "batch_size": 8}
    return config(pool, home, **{"encoder": encoder, "stages": list(stages) or [PRUNE], **changes})


def columns(home: Path, stage: str) -> pd.DataFrame:
    files = sorted((home / f"run/columns/{stage}").glob("*"))
    return pd.concat([pd.read_parquet(path).assign(shard=path.stem) for path in files], ignore_index=True)


def summary(home: Path, stage: str) -> dict[str, Any]:
    found = json.loads((home / f"run/state/{stage}.json").read_text())["summary"]
    assert isinstance(found, dict)
    return found


def test_keeps_the_hard_part_of_every_cluster_to_its_quota(tmp_path: Path, pool: Path, model: str) -> None:
    result = run(pruned(pool, tmp_path, model))
    assert (result.samples, result.kept, result.dropped) == (40, 20, {"prune.beyond_quota": 20})
    samples = columns(tmp_path, "ingest").merge(columns(tmp_path, "cluster"), on=["shard", "row"])
    samples = samples.merge(columns(tmp_path, "prune")[["shard", "row", "weight"]], on=["shard", "row"])
    account = pd.read_parquet(tmp_path / "run/clusters/prune.parquet")
    assert account["size"].tolist() == np.bincount(samples.cluster, minlength=4).tolist()
    assert account.quota.sum() == 20
    for number, quota in zip(account.cluster, account.quota, strict=True):
        own = samples[samples.cluster == number].sort_values(["similarity", "uid"])
        assert own.weight.tolist() == [1] * quota + [0] * (len(own) - quota)


def test_the_account_is_that_of_the_formulas(tmp_path: Path, pool: Path, model: str) -> None:
    run(pruned(pool, tmp_path, model))
    samples, account = columns(tmp_path, "cluster"), pd.read_parquet(tmp_path / "run/clusters/prune.parquet")
    vectors = np.stack(columns(tmp_path, "embed").image).astype(np.float64)
    (path,) = (tmp_path / "run/state").glob("cluster-*/centroids.npy")
    centroids = np.load(path)
    np.testing.assert_allclose(np.linalg.norm(centroids, axis=1), 1, atol=1e-6)
    products = vectors @ centroids.T
    np.testing.assert_array_equal(samples.cluster, products.argmax(1))
    np.testing.assert_allclose(samples.similarity, products.max(1), atol=1e-6)
    for number, d_intra in enumerate(account.d_intra):
        assert d_intra == pytest.approx((1 - samples.similarity[samples.cluster == number]).mean(), abs=1e-7)
    np.testing.assert_allclose(account.d_inter, between_clusters(centroids, account["size"]))
    expected = allocate(account.d_inter, account.d_intra, account["size"], 20)
    np.testing.assert_array_equal(account.quota, expected.quota)
    np.testing.assert_allclose(account.target, expected.target)


@pytest.mark.parametrize("order", ["easy", "random"])
def test_other_orders_keep_as_many(tmp_path: Path, pool: Path, model: str, order: str) -> None:
    result = run(pruned(pool, tmp_path, model, {"prune": {**PRUNE["prune"], "order": order}}))
    assert result.kept == 20
    if order == "easy":
        samples = columns(tmp_path, "cluster").merge(columns(tmp_path, "prune"), on=["shard", "row"])
        for _, own in samples.groupby("cluster"):
            near, far = own.similarity[own.weight > 0], own.similarity[own.weight == 0]
            assert near.min() >= far.max() if len(near) and len(far) else True


def test_pruning_stands_on_the_clusters_before_it(tmp_path: Path, pool: Path, model: str) -> None:
    clusters = {"cluster": {"clusters": 3, "full_passes": 2, "of": "text"}}
    run(pruned(pool, tmp_path, model, clusters, {"prune": {"keep": 10}}))
    found = summary(tmp_path, "cluster")
    assert (found["clusters"], found["trained_on"], found["of"]) == (3, 40, 40)
    assert 3 <= len(found["mean_similarity"]) <= 25 + 2  # k-means may end early
    assert found["mean_similarity"][-1] >= found["mean_similarity"][0]
    assert len(pd.read_parquet(tmp_path / "run/clusters/prune.parquet")) == 3


def test_auto_says_why(tmp_path: Path, pool: Path, model: str) -> None:
    events: list[dict[str, Any]] = []
    run(pruned(pool, tmp_path, model, {"prune": {"keep": 0.5}}), on_event=events.append)
    (note,) = [event for event in events if event["event"] == "note"]
    assert note["stage"] == "cluster"
    assert note["message"] == (
        "1 clusters for 40 samples: about 200 in each; trained on all 40 samples (points_per_centroid: 256)"
    )


def test_pruning_never_takes_the_clusters_of_a_search_for_duplicates(
    tmp_path: Path, pool: Path, model: str
) -> None:
    semantic = {"duplicates": {"semantic": {"threshold": 1.0, "clusters": 6}}}
    run(pruned(pool, tmp_path / "own", model, semantic, {"prune": {"keep": 9}}))
    assert len(pd.read_parquet(tmp_path / "own/run/clusters/prune.parquet")) == 1  # auto: few samples
    shared = {"duplicates": {"semantic": {"threshold": 1.0}}}
    run(pruned(pool, tmp_path / "one", model, {"cluster": {"clusters": 3}}, shared, {"prune": {"keep": 9}}))
    assert len(pd.read_parquet(tmp_path / "one/run/clusters/prune.parquet")) == 3
    assert not (tmp_path / "one/run/columns/cluster-2").exists()


@pytest.mark.parametrize("clusters", [1, 5])
def test_identical_vectors_leave_clusters_empty(
    tmp_path: Path, pool: Path, model: str, monkeypatch: pytest.MonkeyPatch, clusters: int
) -> None:
    plain = cluster_stage.matrix
    monkeypatch.setattr(
        cluster_stage, "matrix", lambda column: np.repeat(plain(column)[:1] * 0 + 0.25, len(column), 0)
    )
    result = run(pruned(pool, tmp_path, model, {"prune": {"clusters": clusters, "keep": 0.5}}))
    account = pd.read_parquet(tmp_path / "run/clusters/prune.parquet")
    assert result.kept == account.quota.sum() == 20
    assert sorted(account["size"])[-1] == 40
    assert (account.quota <= account["size"]).all()


def test_the_training_sample_has_the_size_that_is_stated(tmp_path: Path, pool: Path, model: str) -> None:
    run(
        pruned(
            pool,
            tmp_path,
            model,
            {"cluster": {"clusters": 3, "points_per_centroid": 5}},
            {"prune": {"keep": 9}},
        )
    )
    assert summary(tmp_path, "cluster")["trained_on"] == 15
    assert not list((tmp_path / "run/state").glob("cluster-*/0*.npy"))  # the sample is gone


def test_a_raw_pool_accounts_for_all(tmp_path: Path, model: str) -> None:
    result = run(
        pruned(write_raw_pool(tmp_path / "pool"), tmp_path, model, {"prune": {"clusters": 3, "keep": 0.5}})
    )
    assert result.samples == result.kept + sum(result.dropped.values()) + sum(result.set_aside.values())
    assert result.kept == 20


def test_vectors_that_are_no_numbers_are_set_aside(
    tmp_path: Path, pool: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = cluster_stage.matrix

    def spoiled(column: pa.ChunkedArray) -> np.ndarray:
        vectors = plain(column).copy()
        vectors[0, 3] = np.nan
        return vectors

    monkeypatch.setattr(cluster_stage, "matrix", spoiled)
    result = run(pruned(pool, tmp_path, model))
    assert result.set_aside == {"vector_not_finite": 4}
    assert result.kept == 18


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([{"prune": {"clusters": 50, "keep": 0.5}}], "can't make 50 clusters of 40 samples"),
        (
            [{"prune": {"clusters": 10, "keep": 3}}],
            r"can't keep 3 samples: \d+ clusters with at least 1 each",
        ),
        (
            [{"prune": {"clusters": 2, "keep": 41}}],
            "can't keep 41 samples: 2 clusters .* all together they have 40",
        ),
    ],
)
def test_what_can_not_be_had_stops_with_the_numbers(
    tmp_path: Path, pool: Path, model: str, stages: list[Any], message: str
) -> None:
    with pytest.raises(StoppedError, match=message):
        run(pruned(pool, tmp_path, model, *stages))


@pytest.mark.parametrize(
    ("prune", "message"),
    [
        ({"keep": 1.5}, "keep is a share of at most 1.0"),
        ({"keep": 0.5, "encoder": "x"}, "give clusters too"),
        ({"keep": 0.5, "preset": "papper"}, "preset"),
        ({"keep": 0.5, "temprature": 1}, "did you mean temperature"),
        ({}, "keep: is missing"),
    ],
)
def test_a_wrong_request_is_refused(tmp_path: Path, pool: Path, model: str, prune: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(pruned(pool, tmp_path, model, {"prune": prune}))


def test_the_presets_are_those_of_the_sheet(tmp_path: Path, pool: Path, model: str) -> None:
    run(pruned(pool, tmp_path, model, {"prune": {**PRUNE["prune"], "preset": "published_script"}}))
    account = pd.read_parquet(tmp_path / "run/clusters/prune.parquet")
    expected = allocate(account.d_inter, account.d_intra, account["size"], 20, temperature=0.5, floor=2)
    np.testing.assert_array_equal(account.quota, expected.quota)


def test_the_names_of_shards_alone_decide_not_their_order(tmp_path: Path, pool: Path, model: str) -> None:
    paths = sorted(str(path) for path in pool.glob("*.tar"))
    run(pruned(pool, tmp_path / "a", model))
    run(pruned(paths[::-1], tmp_path / "b", model))  # type: ignore[arg-type]
    assert result_bytes(tmp_path / "a")["decisions"] == result_bytes(tmp_path / "b")["decisions"]


@pytest.mark.slow
def test_workers_change_nothing(tmp_path: Path, pool: Path, model: str) -> None:
    run(pruned(pool, tmp_path / "a", model))
    run(pruned(pool, tmp_path / "b", model, engine={"workers": 2}))
    assert result_bytes(tmp_path / "a") == result_bytes(tmp_path / "b")

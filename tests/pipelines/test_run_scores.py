"""Runs with an encoder: vectors, CLIP score and the exact share that it keeps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from curate import run
from pipelines.errors import ConfigError
from tests.making import write_encoder, write_pool
from tests.pools import config, manifest, result_bytes, write_raw_pool

SCORED = [{"score": "clip"}, {"keep": {"by": "clip", "top": 0.5}}]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_encoder(tmp_path_factory.mktemp("encoder"))


def scored(pool: Path, home: Path, model: str, **changes: Any) -> dict[str, Any]:
    return config(pool, home, **{"encoder": {"model": model, "batch_size": 8}, "stages": SCORED, **changes})


def columns(home: Path, stage: str) -> pd.DataFrame:
    return pd.concat(
        pd.read_parquet(path).assign(shard=path.stem)
        for path in sorted((home / f"run/columns/{stage}").glob("*"))
    )


def test_the_best_half_by_score_is_kept(tmp_path: Path, model: str) -> None:
    result = run(scored(write_pool(tmp_path / "pool"), tmp_path, model))
    assert (result.samples, result.kept, result.dropped) == (24, 12, {"keep.low_clip": 12})
    samples = columns(tmp_path, "ingest").merge(columns(tmp_path, "score-clip"), on=["shard", "row"])
    best = samples.sort_values(["clip", "uid"], ascending=[False, True]).uid[:12]
    kept = pd.concat(pd.read_parquet(path) for path in (tmp_path / "curated").glob("*.parquet"))
    assert set(kept.uid) == set(best)
    assert np.array_equal(kept["clip"].sort_values(), samples["clip"].sort_values()[-12:])


def test_the_score_is_the_product_of_stored_unit_vectors(tmp_path: Path, model: str) -> None:
    run(scored(write_pool(tmp_path / "pool", n_shards=1), tmp_path, model))
    vectors, scores = columns(tmp_path, "embed"), columns(tmp_path, "score-clip")
    image, text = np.stack(vectors.image).astype(float), np.stack(vectors.text).astype(float)
    assert np.allclose(np.linalg.norm(image, axis=1), 1, atol=2e-3)
    assert np.allclose((image * text).sum(1), scores["clip"], atol=1e-5)


def test_a_model_counts_by_what_is_in_its_files_and_not_by_its_place(tmp_path: Path) -> None:
    for home in (tmp_path / "a", tmp_path / "b"):
        pool = write_pool(home / "pool", n_shards=1)
        run(
            scored(
                pool, home, write_encoder(home / "encoder"), encoders={"unused": {"model": "local-dir:gone"}}
            )
        )
    assert manifest(tmp_path / "a") == manifest(tmp_path / "b")
    run(scored(pool, home, write_encoder(home / "encoder", seed=1)))
    assert manifest(home)["config"]["encoder"] != manifest(tmp_path / "a")["config"]["encoder"]


def test_the_vectors_say_what_made_them(tmp_path: Path, model: str) -> None:
    run(scored(write_pool(tmp_path / "pool", n_shards=1), tmp_path, model))
    path = tmp_path / "run/columns/embed/00000.parquet"
    made_by = json.loads(pq.read_schema(path).metadata[b"encoder"])
    assert len(made_by["weights_sha256"]) == 64
    assert made_by["precision"] == "float32"
    assert made_by["transform"]["mean"] == [0.5, 0.5, 0.5]
    assert str(tmp_path) not in json.dumps(made_by)


def test_images_that_the_encoder_cant_decode_are_set_aside(tmp_path: Path, model: str) -> None:
    result = run(scored(write_raw_pool(tmp_path / "pool"), tmp_path, model))
    assert result.set_aside == {"broken_image": 4, "no_caption": 4}
    aside = pd.read_parquet(tmp_path / "run/set_aside.parquet")
    assert set(aside.stage[aside.reason == "broken_image"]) == {"embed"}


def test_other_weights_at_the_same_path_are_noticed(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool", n_shards=1)
    model = write_encoder(tmp_path / "encoder", seed=0)
    run(scored(pool, tmp_path, model))
    before = columns(tmp_path, "score-clip")["clip"].tolist()
    write_encoder(tmp_path / "encoder", seed=1)
    run(scored(pool, tmp_path, model))
    assert columns(tmp_path, "score-clip")["clip"].tolist() != before


def test_a_changed_share_embeds_nothing_again(tmp_path: Path, model: str) -> None:
    pool = write_pool(tmp_path / "pool")
    run(scored(pool, tmp_path, model))
    done: dict[str, int] = {}
    again = scored(pool, tmp_path, model, stages=[{"score": "clip"}, {"keep": {"by": "clip", "top": 7}}])
    result = run(again, on_event=lambda e: e["event"] == "stage_done" and done.update({e["stage"]: e["new"]}))
    assert result.kept == 7
    assert (done["ingest"], done["embed"], done["score-clip"], done["keep"]) == (0, 0, 0, 3)


@pytest.mark.slow
def test_workers_end_in_the_same_bytes(tmp_path: Path, model: str) -> None:
    pool = write_raw_pool(tmp_path / "pool")
    run(scored(pool, tmp_path / "here", model))
    run(scored(pool, tmp_path / "there", model, engine={"workers": 2}))
    assert result_bytes(tmp_path / "here") == result_bytes(tmp_path / "there")


def test_a_model_that_is_not_there_stops_before_any_work(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool", n_shards=1)
    with pytest.raises(ConfigError, match="holds no open_clip_config"):
        run(scored(pool, tmp_path, f"local-dir:{tmp_path}/nothing"))
    assert not (tmp_path / "run").exists()

"""Runs that fuse scores, combine selections, draw with repeats, and drop what stands too often."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from curate import run
from filters.fusion import fuse
from filters.soft_cap_sampling import soft_cap
from pipelines.config import RunConfig
from pipelines.errors import ConfigError, StoppedError
from pipelines.planning import plan
from pipelines.stages.repeats import RepeatsStage
from pipelines.storage import Folder
from pipelines.summaries import read_summary
from tests.making import picture, sample, write_encoder, write_pool, write_shard
from tests.pools import config, manifest, result_bytes, write_config

FUSED = [{"score": "clip"}, {"fuse": {"as": "mixed", "of": {"clip": 2}}}]
DRAWN = [*FUSED, {"soft_cap": {"by": "mixed", "total": 3.0, "alpha": 0.3}}]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pool(tmp_path_factory.mktemp("pool"))


def scored(pool: Path, home: Path, model: str, stages: list[Any], **changes: Any) -> dict[str, Any]:
    return config(pool, home, encoder={"model": model, "batch_size": 8}, stages=stages, **changes)


def columns(home: Path, folder: str) -> pd.DataFrame:
    paths = sorted((home / "run" / folder).glob("*"))
    return pd.concat([pd.read_parquet(path).assign(shard=path.stem) for path in paths], ignore_index=True)


def test_a_fused_score_is_that_of_the_library_over_the_whole_pool(
    tmp_path: Path, pool: Path, model: str
) -> None:
    run(scored(pool, tmp_path, model, [*FUSED, {"keep": {"by": "mixed", "top": 0.5}}]))
    clip = columns(tmp_path, "columns/score-clip")["clip"].to_numpy()
    mixed = columns(tmp_path, "columns/fuse-mixed")["mixed"].to_numpy()
    assert np.array_equal(mixed, fuse({"clip": clip}, {"clip": 2}))
    (scale,) = json.loads((tmp_path / "run/state/fuse-mixed.json").read_text())["summary"]
    assert scale == {"n": 24, "mean": pytest.approx(clip.mean()), "std": pytest.approx(clip.std(), rel=1e-4)}
    kept = pd.concat(pd.read_parquet(path) for path in (tmp_path / "curated").glob("*.parquet"))
    assert {"clip", "mixed"} <= set(kept.columns)


def test_draws_become_weights_and_repeats_in_the_subset(tmp_path: Path, pool: Path, model: str) -> None:
    run(scored(pool, tmp_path, model, DRAWN, seed=5))
    samples = columns(tmp_path, "columns/ingest").merge(columns(tmp_path, "decisions"), on=["uid", "shard"])
    mixed = columns(tmp_path, "columns/fuse-mixed")["mixed"].to_numpy()
    expected = soft_cap(mixed, 72, alpha=0.3, seed=5, uids=samples.uid)
    assert samples.weight.tolist() == expected.tolist()
    assert expected.max() > 1
    subset = np.load(tmp_path / "curated/subset.npy")
    assert len(subset) == 72
    assert np.array_equal(subset, np.sort(subset))
    assert np.unique(subset["f1"], return_counts=True)[1].tolist() == sorted_counts(samples)


def sorted_counts(samples: pd.DataFrame) -> list[int]:
    drawn = samples[samples.weight > 0].sort_values("uid")
    return [int(weight) for weight in drawn.weight]


def test_copies_are_spread_apart_in_the_shards(tmp_path: Path, pool: Path, model: str) -> None:
    run(scored(pool, tmp_path, model, DRAWN))
    weight = columns(tmp_path, "decisions").set_index("uid").weight
    shards = sorted((tmp_path / "curated").glob("*.parquet"))
    order = pd.concat([pd.read_parquet(path) for path in shards], ignore_index=True).uid
    assert order.value_counts().to_dict() == weight[weight > 0].to_dict()
    for copy in range(1, weight.max() + 1):
        # A copy comes only after all samples with as many copies had their earlier ones.
        begin = int((np.minimum(weight, copy - 1)).sum())
        here = order[begin : begin + int((weight >= copy).sum())]
        assert sorted(here) == sorted(weight[weight >= copy].index)


def test_an_own_seed_draws_as_itself_whatever_the_runs(tmp_path: Path, pool: Path, model: str) -> None:
    own = [*FUSED, {"soft_cap": {"by": "mixed", "total": 30, "seed": 7}}]
    run(scored(pool, tmp_path / "a", model, own, seed=1))
    run(scored(pool, tmp_path / "b", model, own, seed=2))
    weights = [columns(tmp_path / home, "decisions").weight.tolist() for home in "ab"]
    assert weights[0] == weights[1]


def test_weights_of_two_stages_multiply(tmp_path: Path, pool: Path, model: str) -> None:
    run(scored(pool, tmp_path, model, [*DRAWN, {"soft_cap": {"by": "clip", "total": 2.0}}]))
    drawn = [columns(tmp_path, f"columns/{stage}") for stage in ("soft_cap", "soft_cap-2")]
    first, second = (each.set_index(["shard", "row"]).weight for each in drawn)
    both = columns(tmp_path, "decisions").weight
    assert both.sum() == first.mul(second, fill_value=0).sum() > 72


def test_a_selection_judges_every_part_on_all_that_get_there(tmp_path: Path, pool: Path, model: str) -> None:
    halves = {"all": [{"by": "clip", "top": 0.5}, {"by": "clip", "band": [0.25, 1.0]}]}
    result = run(scored(pool, tmp_path, model, [{"score": "clip"}, {"select": halves}]))
    assert result.kept == 6
    assert result.dropped == {"select.part_1.low_clip": 12, "select.part_2.high_clip": 6}


@pytest.mark.slow
def test_workers_end_in_the_same_bytes(tmp_path: Path, pool: Path, model: str) -> None:
    stages = [{"repeats": {"max_caption_repeats": 1}}, *DRAWN]
    run(scored(pool, tmp_path / "here", model, stages))
    run(scored(pool, tmp_path / "there", model, stages, engine={"workers": 2}))
    assert result_bytes(tmp_path / "here") == result_bytes(tmp_path / "there")


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ({"fuse": {"as": "mixed", "of": {"clip": 1, "dfn": 1, "x": 1}}}, "not there at this point: dfn, x;"),
        ({"fuse": {"as": "clip", "of": {"clip": 1}}}, "'clip' is there already"),
        ({"fuse": {"as": "weight", "of": {"clip": 1}}}, "can't be called 'weight'"),
        ({"select": {"all": [{"by": "dfn", "top": 0.5}]}}, "no score 'dfn'"),
        ({"soft_cap": {"by": "dfn", "total": 5}}, "no score 'dfn'"),
        ({"baseline": {"name": "laion2b"}}, "no score 'clip_b32_similarity_score'"),
        ({"baseline": {"name": "basic_filter", "english": "language"}}, "no column 'language'"),
        ({"rules": {"languages": ["en"], "language_model": "no.bin"}}, "language_model: there is no file"),
        ({"baseline": {"name": "text_based", "entities": "no.txt"}}, "entities: there is no file"),
    ],
)
def test_what_is_not_there_stops_before_any_work(
    tmp_path: Path, pool: Path, model: str, stage: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        run(scored(pool, tmp_path, model, [{"score": "clip"}, stage]))
    assert not (tmp_path / "run").exists()


def test_a_total_that_cant_be_drawn_stops_with_the_numbers(tmp_path: Path, pool: Path, model: str) -> None:
    draw = {"soft_cap": {"by": "clip", "total": 100, "max_copies": 2}}
    with pytest.raises(StoppedError, match=r"soft_cap: 24 samples of at most 2 copies give 48"):
        run(scored(pool, tmp_path, model, [{"score": "clip"}, draw]))


def repeated_pool(folder: Path) -> Path:
    """Write 4 shards of 6 samples; 8 share a caption, 4 others a picture."""
    for shard in range(4):
        samples = []
        for place in range(6):
            members = sample(seed := shard * 6 + place)
            if place < 2:
                members["txt"] = ("A  stock caption", "a stock Caption")[place].encode()
            elif place == 2:
                members["jpg"] = picture(2)
            samples.append((f"{seed:09d}", members))
        write_shard(folder / f"{shard:05d}.tar", samples)
    return folder


def test_what_stands_too_often_is_dropped_with_every_copy(tmp_path: Path) -> None:
    pool = repeated_pool(tmp_path / "pool")
    limits = {"max_caption_repeats": 7, "max_image_repeats": 3}
    result = run(config(pool, tmp_path, stages=[{"repeats": limits}]))
    assert result.dropped == {"repeats.caption_repeats": 8, "repeats.image_repeats": 4}
    allowed = {"max_caption_repeats": 8, "max_image_repeats": 4}
    assert run(config(pool, tmp_path, stages=[{"repeats": allowed}])).dropped == {}


def test_small_parts_find_the_same_repeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = repeated_pool(tmp_path / "pool")
    stages = [{"repeats": {"max_caption_repeats": 2, "max_image_repeats": 2}}]
    run(config(pool, tmp_path / "one", stages=stages))
    stage = plan(RunConfig.model_validate(config(pool, tmp_path, stages=stages))).stages[1]
    assert isinstance(stage, RepeatsStage)
    small = replace(stage, keys_per_part=5)
    monkeypatch.setattr("pipelines.stages.repeats.RepeatsStage", lambda *a: small)
    run(config(pool, tmp_path / "many", stages=stages))
    _, summary = read_summary(Folder(str(tmp_path / "many/run")), "repeats")
    assert len(summary["digests"]) == 5
    assert result_bytes(tmp_path / "one") == result_bytes(tmp_path / "many")


def test_a_file_counts_by_what_is_in_it_not_by_where_it_lies(tmp_path: Path) -> None:
    pool, runs = write_pool(tmp_path / "pool", n_shards=1), []
    for home, words in (("a", "picture"), ("b", "picture"), ("c", "nothing\nnumber")):
        path = tmp_path / f"{home}.txt"
        path.write_text(words)
        stages = [{"baseline": {"name": "text_based", "entities": str(path)}}]
        run(config(pool, tmp_path / home, stages=stages))
        runs.append(manifest(tmp_path / home))
        assert str(path) not in json.dumps(runs[-1])
    assert runs[0] == runs[1]
    assert runs[0]["config"] != runs[2]["config"]


def test_a_changed_file_is_noticed_and_an_untouched_one_is_not(tmp_path: Path) -> None:
    pool, words = write_pool(tmp_path / "pool"), tmp_path / "words.txt"
    part = {"baseline": {"name": "text_based", "entities": str(words)}}
    content = config(pool, tmp_path, stages=[{"select": {"all": [part]}}])
    new: list[int] = []
    for text in ("picture", "picture", "3"):
        words.write_text(text)
        watch = new.append
        result = run(content, on_event=lambda e, w=watch: is_select(e) and w(e["new"]))  # type: ignore[misc]
    assert new == [3, 0, 3]
    assert result.kept == 1


def is_select(event: dict[str, Any]) -> bool:
    return bool(event["event"] == "stage_done" and event["stage"] == "select")


def test_files_may_lie_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("picture")
    part = {"baseline": {"name": "text_based", "entities": "words.txt"}}
    content = config(write_pool(tmp_path / "pool"), tmp_path, stages=[{"select": {"any": [part]}}])
    assert run(write_config(tmp_path / "curate.yaml", content)).kept == 24


def test_images_are_clustered_by_the_runs_own_vectors(tmp_path: Path, pool: Path, model: str) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "centroids.npy", centroids := rng.normal(size=(4, 16)))
    np.save(tmp_path / "targets.npy", np.array([1, 3]))
    images = {
        "name": "image_based",
        "centroids": str(tmp_path / "centroids.npy"),
        "target_centroids": str(tmp_path / "targets.npy"),
    }
    result = run(scored(pool, tmp_path, model, [{"score": "clip"}, {"baseline": images}]))
    vectors = np.stack(columns(tmp_path, "columns/embed").image).astype(np.float32)
    near = np.isin((vectors @ centroids.T.astype(np.float32)).argmax(1), [1, 3])
    reasons = columns(tmp_path, "columns/baseline").reason
    assert (reasons == "far_from_target").tolist() == (~near).tolist()
    assert result.kept == (near & reasons.isna()).sum()


def test_centroids_of_another_width_stop_the_run(tmp_path: Path, pool: Path, model: str) -> None:
    np.save(tmp_path / "centroids.npy", np.eye(3))
    np.save(tmp_path / "targets.npy", np.array([0]))
    images = {
        "name": "image_based",
        "centroids": str(tmp_path / "centroids.npy"),
        "target_centroids": str(tmp_path / "targets.npy"),
    }
    with pytest.raises(StoppedError, match="16 wide and the centroids 3"):
        run(scored(pool, tmp_path, model, [{"score": "clip"}, {"baseline": images}]))

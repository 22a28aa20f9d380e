"""A pool that grows: what was fitted is held, what was decided stays, and the history alone decides."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from curate import run
from pipelines.errors import ConfigError
from pipelines.output.rollback import verify
from pipelines.output.versions import history
from pipelines.storage import Folder
from tests.making import picture, sample, write_encoder, write_shard
from tests.pools import config, contents, manifest, result_bytes

BEST = [{"duplicates": {"exact": True}}, {"keep": {"by": "quality", "top": 0.55}}]
GROWN = {"when_grown_by": 0.5}


class World:
    """A pool to which shards come, and the run that follows it."""

    def __init__(self, home: Path, refit: Any = "never", stages: Any = None, **changes: Any) -> None:
        self.home, self.pool = home, home / "pool"
        self.given = {"refit": refit, "stages": BEST if stages is None else stages, **changes}
        self.events: list[dict[str, Any]] = []

    def add(self, shard: int, seeds: list[int], copies: dict[int, int] | None = None) -> None:
        """Add a shard of samples; `copies` says which of them show the picture of which other one."""
        samples = []
        for seed in seeds:
            members = sample(seed, quality=(seed * 37 % 100) / 100)
            if seed in (copies or {}):
                members["jpg"] = picture((copies or {})[seed])
            samples.append((f"{seed:09d}", members))
        write_shard(self.pool / f"{shard:05d}.tar", samples)

    def run(self, **changes: Any) -> dict[str, Any]:
        given = config(self.pool, self.home)
        pool = {"shards": str(self.pool), "scores": ["quality"]}
        self.events = []
        return run({**given, "pool": pool, **self.given, **changes}, on_event=self.events.append).as_dict()

    def new(self) -> dict[str, int]:
        """Return how many shards each stage of the last run worked on."""
        return {event["stage"]: event["new"] for event in self.events if event["event"] == "stage_done"}

    def said(self) -> str:
        (note,) = (e["message"] for e in self.events if e["event"] == "note" and e["stage"] == "refit")
        return str(note)

    def decided(self) -> dict[str, str]:
        """Return by uid what became of every sample."""
        files = sorted((self.home / "run/decisions").glob("*.parquet"))
        table = pd.concat([pd.read_parquet(file) for file in files])
        why = table.stage.fillna("kept") + "." + table.reason.fillna("")
        return dict(zip(table.uid.str.lstrip("0"), why, strict=True))

    def bytes(self) -> dict[str, str]:
        return contents(self.home / "run/decisions") | {
            name: digest for name, digest in contents(self.home / "curated").items() if name.endswith(".tar")
        }


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    for shard in range(3):
        made.add(shard, [*range(20 * shard + 1, 20 * shard + 21)])
    made.run()
    return made


def test_earlier_shards_keep_their_decisions_and_output(world: World) -> None:
    before, old = world.bytes(), world.decided()
    world.add(3, [*range(61, 81)])
    world.add(0, [*range(1, 21)])  # the same bytes again: nothing new in it
    result = world.run()
    assert world.new() == {"ingest": 2, "duplicates": 1, "keep": 1, "decisions": 1, "write": 2}
    after = world.bytes()
    assert {name for name in before if before[name] != after[name]} <= {"00003.tar"}  # was not full
    assert {uid: world.decided()[uid] for uid in old} == old
    assert result["samples"] == 80
    assert world.said() == "held what was fitted on 60 samples of 3 shards; 20 samples have come since"
    assert [version.parent for version in history(Folder(str(world.home / "curated")))] == [None, 1]
    assert verify(Folder(str(world.home / "curated")))[1] == []


def test_a_shard_whose_name_comes_first_moves_nothing(world: World) -> None:
    before = world.bytes()
    (world.pool / "00000.tar").rename(world.pool / "00007.tar")
    shutil.rmtree(world.home / "run")
    shutil.rmtree(world.home / "curated")
    world.run()
    before = world.bytes()
    world.add(0, [*range(61, 71)])
    world.run()
    after = world.bytes()
    assert {name for name in before if before[name] != after[name]} <= {"00003.tar"}


def test_new_samples_meet_the_threshold_of_the_fit(world: World) -> None:
    lowest = min(seed * 37 % 100 for seed in range(1, 61) if world.decided()[f"{seed:x}"] == "kept.")
    world.add(3, [*range(61, 81)])
    world.run()
    for seed in range(61, 81):
        kept = world.decided()[f"{seed:x}"] == "kept."
        assert kept == (seed * 37 % 100 > lowest) or seed * 37 % 100 == lowest


def test_a_new_copy_goes_and_the_old_one_stays_until_the_next_fit(tmp_path: Path) -> None:
    world = World(tmp_path, stages=[{"duplicates": {"exact": True}}])
    world.add(0, [10, 11, 12], {12: 11})
    world.run()
    assert world.decided()["c"] == "duplicates.same_bytes"
    world.add(1, [1, 2, 13], {1: 10, 2: 1, 13: 1})  # 1 has the lower uid than 10, whose picture it has
    world.run()
    found = world.decided()
    assert {uid for uid, why in found.items() if why == "kept."} == {"a", "b", "2"}
    assert found["1"] == "duplicates.same_bytes"
    world.run(refit="always")
    assert {uid for uid, why in world.decided().items() if why == "kept."} == {"1", "b", "2"}


def test_new_pictures_that_look_like_old_ones_go(tmp_path: Path) -> None:
    def smaller(seed: int) -> bytes:
        sink = io.BytesIO()
        Image.open(io.BytesIO(picture(seed, side=96))).resize((80, 76)).save(sink, "JPEG", quality=70)
        return sink.getvalue()

    world = World(tmp_path, stages=[{"duplicates": {"perceptual": {"radius": 12}}}])
    world.add(0, [10, 11])
    world.run()
    old = world.decided()
    samples = [(f"{seed:09d}", sample(seed) | {"jpg": smaller(of)}) for seed, of in ((1, 10), (2, 5), (3, 5))]
    write_shard(world.pool / "00001.tar", samples)
    world.run()
    found = world.decided()
    assert {uid: found[uid] for uid in old} == old
    assert [found[uid] for uid in "123"] == ["duplicates.looks_alike", "kept.", "duplicates.looks_alike"]
    world.run(refit="always")
    assert world.decided()["1"] == "kept."
    assert world.decided()["a"] == "duplicates.looks_alike"


def test_when_what_others_were_copies_of_vanishes_the_next_one_comes_back(tmp_path: Path) -> None:
    world = World(tmp_path, stages=[{"duplicates": {"exact": True}}])
    world.add(0, [10, 11])
    world.add(1, [20, 21], {20: 10})
    world.run()
    world.add(2, [1, 2], {1: 10})
    world.run()
    assert world.decided()["14"] == world.decided()["1"] == "duplicates.same_bytes"
    (world.pool / "00000.tar").unlink()
    world.run()
    assert world.decided()["14"] == "kept."  # it came before the other copy
    assert world.decided()["1"] == "duplicates.same_bytes"


def test_a_shard_that_changed_counts_as_new(tmp_path: Path) -> None:
    world = World(tmp_path, stages=[{"duplicates": {"exact": True}}])
    world.add(0, [10, 11])
    world.add(1, [20, 21])
    world.run()
    world.add(0, [10, 11, 12], {10: 20})  # now a copy of what has been there, with a lower uid
    world.run()
    assert world.decided()["a"] == "duplicates.same_bytes"
    assert world.decided()["14"] == "kept."


def test_it_is_fitted_again_once_the_pool_has_grown_enough(world: World) -> None:
    for shard, said in ((3, "held"), (4, "fitted on all 100 samples: 40 samples have come since")):
        world.add(shard, [*range(20 * shard + 1, 20 * shard + 21)])
        result = world.run(refit=GROWN)
        assert world.said().startswith(said)
    assert result["kept"] == 55
    world.add(5, [200])
    world.run(refit=GROWN)
    assert world.said().startswith("held what was fitted on 100 samples of 5 shards; 1 ")


@pytest.mark.slow
def test_the_outcome_is_a_function_of_the_history_alone(tmp_path: Path) -> None:
    def lived(home: Path, arrivals: list[list[int]], **changes: Any) -> dict[str, Any]:
        world = World(home, **changes)
        for shards in arrivals:
            for shard in shards:
                world.add(shard, [*range(20 * shard + 1, 20 * shard + 21)], {20 * shard + 1: 2})
            world.run()
            world.run()
        return {**result_bytes(home), "fits": manifest(home)["counts"]["pool"]["fits"]}

    first = lived(tmp_path / "a", [[4, 2], [1], [0, 3]])
    assert lived(tmp_path / "b", [[4, 2], [1], [0, 3]], engine={"workers": 2}) == first
    other = lived(tmp_path / "c", [[4, 2], [0, 3], [1]])
    assert other["fits"] != first["fits"]
    assert other["fits"]["fitted_on"] == first["fits"]["fitted_on"]
    assert other["fits"]["generations"] == first["fits"]["generations"] == 3


def test_without_holding_a_manifest_says_nothing_of_fits(world: World) -> None:
    world.run(refit="always")
    assert "fits" not in manifest(world.home)["counts"]["pool"]
    assert "refit" not in manifest(world.home)["config"]
    fresh = World(world.home / "fresh", refit="always")
    shutil.copytree(world.pool, fresh.pool)
    fresh.run()
    assert result_bytes(world.home) == result_bytes(fresh.home)


def test_edited_stages_are_fitted_anew(world: World) -> None:
    world.run(stages=[BEST[0], {"keep": {"by": "quality", "top": 0.25}}])
    assert "the stages have changed" in world.said()


def test_a_fit_that_another_run_replaced_is_not_held(world: World) -> None:
    path = world.home / "run/state/keep.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "made_from": "another"}))
    world.add(3, [*range(61, 81)])
    world.run()
    assert "was replaced" in world.said()


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["greedy", "component"])
def test_clusters_quotas_and_similarities_hold(tmp_path: Path, rule: str) -> None:
    model = write_encoder(tmp_path / "encoder")
    stages = [
        {"duplicates": {"semantic": {"threshold": 0.9999, "clusters": 3, "rule": rule}}},
        {"repeats": {"max_caption_repeats": 2}},
        {"score": "clip"},
        {"fuse": {"of": {"clip": 1, "quality": 1}, "as": "both"}},
        {"prune": {"clusters": 3, "keep": 0.7}},
    ]
    world = World(tmp_path, stages=stages, encoder={"model": model, "batch_size": 8})
    for shard in range(2):
        world.add(shard, [*range(15 * shard + 101, 15 * shard + 116)])
    world.run()
    old, before = world.decided(), world.bytes()
    world.add(2, [*range(1, 12)], {1: 101, 2: 102})
    world.run()
    assert world.said().startswith("held")
    assert {uid: world.decided()[uid] for uid in old} == old
    assert world.decided()["1"].startswith("duplicates.") or not old["65"].startswith("kept")
    assert {stage: n for stage, n in world.new().items() if n != 1} == {}
    after, last = world.bytes(), max(name for name in before if name.endswith(".tar"))
    assert {name for name in before if before[name] != after[name]} <= {last}  # was not full


@pytest.mark.parametrize(
    ("refit", "stages", "said"),
    [
        ("sometimes", BEST, "refit: should be always, never"),
        ({"when_grown_by": -1}, BEST, "refit: should be always, never"),
        ({"when_grown_by": "a lot"}, BEST, "refit: should be always, never"),
        ("never", [{"score": "s_clip_loss"}], "from everywhere in the pool; use refit: always"),
        (GROWN, [{"score": "s_clip_loss"}], "from everywhere in the pool; use refit: always"),
    ],
)
def test_what_can_not_be_held_is_said_before_any_work(
    tmp_path: Path, refit: Any, stages: Any, said: str
) -> None:
    world = World(tmp_path, refit, stages, encoder={"model": "ViT-B-32", "pretrained": "openai"})
    world.add(0, [1])
    with pytest.raises(ConfigError, match=said):
        world.run()
    assert not (tmp_path / "run").exists()

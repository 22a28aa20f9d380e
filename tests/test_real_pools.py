"""Real pools: every sample accounted for, and on `photos`, whose truth is known, the right ones found."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from curate import run
from pipelines.run import Result
from tests.making import SHARED
from tests.pools import config, result_bytes

POOLS = SHARED / "data"
pytestmark = pytest.mark.skipif(not POOLS.exists(), reason="the real pools of ../shared/data are not here")

SAMPLES = {"web": 5744, "photos": 5340, "products": 8000}


class Photos(NamedTuple):
    """A run that only looks for duplicates in `photos`: where, its result, its decisions beside the truth."""

    home: Path
    result: Result
    samples: pd.DataFrame

    def copied(self, home: Path) -> Path:
        """Return a folder with a copy of the run in it, for other stages to go on from."""
        shutil.copytree(self.home / "run", home / "run")
        return home


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    home = tmp_path_factory.mktemp("photos")
    result = run(config(POOLS / "photos", home, stages=[{"duplicates": {"exact": True}}]))
    decisions = pd.concat(pd.read_parquet(path) for path in (home / "run/decisions").glob("*.parquet"))
    return Photos(home, result, decisions.merge(pd.read_parquet(POOLS / "photos/truth.parquet"), on="uid"))


def test_just_the_broken_images_are_set_aside(photos: Photos) -> None:
    _, result, samples = photos
    assert sum(result.set_aside.values()) == 40
    assert set(samples[samples.set_aside].kind) == {"broken_image"}


def test_all_exact_duplicates_are_found_and_one_of_each_pair_stays(
    photos: Photos,
) -> None:
    _, result, samples = photos
    kept = samples.set_index("uid").kept
    pairs = samples[samples.kind == "exact_duplicate"]
    assert len(pairs) == 300
    assert (kept[pairs.uid].to_numpy() != kept[pairs.duplicate_of].to_numpy()).all()
    assert result.dropped == {"duplicates.same_bytes": 300}


def test_no_clean_picture_is_lost(photos: Photos) -> None:
    samples = photos.samples
    kept = set(samples[samples.kept].uid)
    copies = samples[samples.kind == "exact_duplicate"].set_index("duplicate_of").uid
    clean = samples[samples.kind == "clean"].uid
    assert all(uid in kept or copies[uid] in kept for uid in clean)


@pytest.mark.slow
def test_other_processes_in_another_order_end_in_the_same_bytes(tmp_path: Path, photos: Photos) -> None:
    stages = [{"rules": {"caption_words": [2, 77]}}, {"duplicates": {"exact": True}}]
    shards = [str(path) for path in sorted((POOLS / "photos").glob("*.tar"), reverse=True)]
    run(config(POOLS / "photos", photos.copied(tmp_path / "here"), stages=stages))
    run(config(shards, tmp_path / "there", stages=stages, engine={"workers": 2}))
    assert result_bytes(tmp_path / "here") == result_bytes(tmp_path / "there")


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_every_sample_is_accounted_for(tmp_path: Path, name: str) -> None:
    rules = {"caption_words": [2, 77], "caption_chars": [5, 2000], "min_side": 32, "languages": ["en"]}
    stages = [{"rules": rules}, {"duplicates": {"exact": True}}]
    result = run(config(POOLS / name, tmp_path, stages=stages))
    assert result.samples == SAMPLES[name]
    assert result.samples == result.kept + sum(result.dropped.values()) + sum(result.set_aside.values())


@pytest.mark.slow
def test_near_duplicates_are_found_by_what_they_look_like(tmp_path: Path, photos: Photos) -> None:
    run(config(POOLS / "photos", photos.copied(tmp_path), stages=[{"duplicates": {"perceptual": {}}}]))
    decisions = pd.concat(pd.read_parquet(path) for path in (tmp_path / "run/decisions").glob("*.parquet"))
    copies = []
    for path in sorted((tmp_path / "run/columns/duplicates").glob("*.parquet")):
        samples = pd.read_parquet(tmp_path / "run/columns/ingest" / path.name, columns=["row", "uid"])
        copies.append(pd.read_parquet(path).dropna(subset="duplicate_of").merge(samples, on="row"))
    dropped = dict(zip(*(pd.concat(copies)[name] for name in ("uid", "duplicate_of")), strict=True))
    truth = pd.read_parquet(POOLS / "photos/truth.parquet").set_index("uid")
    original = truth.duplicate_of.where(truth.duplicate_of.astype(bool) & truth.duplicate_of.notna())
    family = original.fillna(truth.index.to_series())
    right = {uid for uid, of in dropped.items() if family[uid] == family[of]}
    caught = right | {dropped[uid] for uid in right}
    near = truth.index[truth.kind == "near_duplicate"]
    clean = truth.index[truth.kind == "clean"]
    assert len(decisions) == len(truth) == SAMPLES["photos"]
    assert np.mean([uid in caught for uid in near]) >= 0.95
    assert np.mean([uid in dropped and uid not in right for uid in clean]) <= 0.01

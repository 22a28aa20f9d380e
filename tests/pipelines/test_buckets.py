"""A scored run is cut into buckets by rank: every survivor in one, the best first, no image copied."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from curate.config import load
from pipelines.errors import ConfigError
from pipelines.output.subset import read_subset, uids_of
from pipelines.proxies.buckets import Buckets, cut_buckets
from pipelines.storage import Folder
from tests.making import sample, write_shard


def pool(folder: Path, cut: int = 3, n: int = 24) -> Path:
    """Write a pool of `n` samples in `cut` shards; the score in the JSON ties in twos, two have none."""
    for shard, seeds in enumerate(np.array_split(np.arange(n), cut)):
        samples = []
        for seed in seeds.tolist():
            score = {} if seed in (4, 9) else {"aesthetic": (seed * 7 % n) // 2}
            samples.append((f"{seed:03d}", sample(seed, "word " * (1 + seed % 3), **score)))
        write_shard(folder / f"{shard:05d}.tar", samples)
    return folder


def content(tmp_path: Path, shards: Path, **changes: Any) -> dict[str, Any]:
    return {
        "name": "test",
        "pool": {"shards": str(shards), "scores": ["aesthetic"]},
        "run": str(tmp_path / "run"),
        "engine": {"workers": 0},
        "stages": [],
        "output": {"shards": str(tmp_path / "curated")},
        **changes,
    }


def cut(tmp_path: Path, shards: Path, cuts: list[float], **changes: Any) -> Buckets:
    config, base = load(content(tmp_path, shards, **changes))
    return cut_buckets(config, "aesthetic", cuts, str(tmp_path / "buckets"), base=base, record={})


def uids(tmp_path: Path, found: Buckets) -> list[list[str]]:
    return [uids_of(read_subset(f"{tmp_path}/buckets/{b.subset}")) for b in found.buckets]


def test_buckets_part_the_survivors_by_rank(tmp_path: Path) -> None:
    found = cut(tmp_path, pool(tmp_path / "pool"), [0.25, 0.5])
    assert found.names == ["0-25%", "25-50%", "50-100%"]
    assert found.unscored == 2
    scored = {f"{seed:032x}": (seed * 7 % 24) // 2 for seed in range(24) if seed not in (4, 9)}
    ranked = sorted(scored, key=lambda uid: (-scored[uid], uid))
    parts = uids(tmp_path, found)
    expected = [ranked[:6], ranked[6:11], ranked[11:]]  # 22 x 0.25 = 5.5, to the nearest
    assert [sorted(part) for part in expected] == parts
    first = found.buckets[0]
    assert (first.samples, first.draws) == (6, 6)
    own = [scored[uid] for uid in ranked[:6]]
    assert (first.score_low, first.score_high) == (min(own), max(own))
    assert first.score_mean == pytest.approx(np.mean(own))
    assert first.caption_words == pytest.approx(np.mean([1 + int(uid, 16) % 3 for uid in ranked[:6]]))
    assert (first.width, first.height) == (48, 48)
    assert not (tmp_path / "curated").exists()
    assert Buckets.read(Folder(str(tmp_path / "buckets"))) == found


def test_how_the_pool_is_cut_into_shards_does_not_matter(tmp_path: Path) -> None:
    one = cut(tmp_path / "a", pool(tmp_path / "pool-a", 1), [0.3, 0.6])
    many = cut(tmp_path / "b", pool(tmp_path / "pool-b", 5), [0.3, 0.6])
    assert uids(tmp_path / "a", one) == uids(tmp_path / "b", many)
    assert one.buckets == many.buckets


def test_what_the_run_dropped_is_in_no_bucket_and_its_weights_count(tmp_path: Path) -> None:
    stages = [{"rules": {"caption_words": [2, 3]}}]
    found = cut(tmp_path, pool(tmp_path / "pool"), [0.5], stages=stages)
    every = [uid for part in uids(tmp_path, found) for uid in part]
    decisions = pq.read_table(tmp_path / "run/decisions").to_pylist()
    kept = {row["uid"] for row in decisions if row["kept"]} - {f"{4:032x}", f"{9:032x}"}
    assert sorted(every) == sorted(kept)


def test_the_same_bands_are_kept_by_a_keep_stage(tmp_path: Path) -> None:
    from curate import run

    shards = pool(tmp_path / "pool")
    found = cut(tmp_path, shards, [0.25, 0.5, 0.75])
    for number, band in enumerate(pairwise([0, 0.25, 0.5, 0.75, 1])):
        home = tmp_path / f"keep-{number}"
        stages = [{"keep": {"by": "aesthetic", "band": list(band)}}]
        subset = str(home / "subset.npy")
        run(content(home, shards, stages=stages, output={"subset": subset}))
        assert uids_of(read_subset(subset)) == uids(tmp_path, found)[number]


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    shards = pool(tmp_path / "pool")
    for cuts, message in [([0.5, 0.5], "rise"), ([], "1 buckets"), ([1.2], "rise")]:
        with pytest.raises(ConfigError, match=message):
            cut(tmp_path, shards, cuts)
    config, base = load(content(tmp_path, shards))
    with pytest.raises(ConfigError, match="no score 'beauty'"):
        cut_buckets(config, "beauty", [0.5], str(tmp_path / "buckets"), base=base, record={})
    (tmp_path / "other").mkdir()
    (tmp_path / "other/buckets.json").write_text(json.dumps([1]))
    with pytest.raises(ConfigError, match="curate buckets"):
        Buckets.read(Folder(str(tmp_path / "other")))

"""Whatever is wrong with a shard, the run goes on, and no readable sample is lost beside a bad one."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from curate import run
from pipelines.run import Result
from tests.making import SHARED, sample, write_pool, write_shard
from tests.pools import config

DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut in a header": lambda tar: tar[: len(tar) // 2 // 512 * 512 + 100],
    "cut in a member": lambda tar: tar[: len(tar) * 2 // 3],
    "cut and begun again": lambda tar: tar[: len(tar) // 3] + tar,
    "garbage in the middle": lambda tar: tar[:5120] + random.Random(0).randbytes(700) + tar[5120:],
    "zeros over the middle": lambda tar: tar[:5120] + bytes(3000) + tar[8120:],
    "bytes lost": lambda tar: tar[:5000] + tar[6111:],
    "a page instead": lambda tar: b"<html>503</html>",
    "empty": lambda tar: b"",
}


def curate(pool: Path, home: Path) -> Result:
    content = config(pool, home, stages=[])
    content["pool"]["max_set_aside"] = 1.0
    result = run(content)
    assert result.samples == result.kept + sum(result.dropped.values()) + sum(result.set_aside.values())
    return result


@pytest.mark.parametrize("how", DAMAGE)
def test_damage_to_one_shard_costs_what_it_hit_and_no_more(tmp_path: Path, how: str) -> None:
    pool = write_pool(tmp_path / "pool", n_shards=3, per_shard=8)
    shard = pool / "00001.tar"
    shard.write_bytes(DAMAGE[how](shard.read_bytes()))
    curate(pool, tmp_path)
    decisions = pd.concat(map(pd.read_parquet, (tmp_path / "run/decisions").glob("*.parquet")))
    assert decisions[decisions.shard != "00001"].kept.all()
    # What is kept was written as it is: a picture and its own caption.
    rows = pd.concat(map(pd.read_parquet, (tmp_path / "curated").glob("*.parquet")))
    assert (rows.caption == [sample(int(uid, 16))["txt"].decode() for uid in rows.uid]).all()


@pytest.mark.parametrize(
    ("how", "n_kept"), [("garbage in the middle", 7), ("zeros over the middle", 6), ("bytes lost", 7)]
)
def test_what_stands_behind_damage_is_kept(tmp_path: Path, how: str, n_kept: int) -> None:
    pool = write_pool(tmp_path / "pool", n_shards=1, per_shard=8)
    shard = pool / "00000.tar"
    shard.write_bytes(DAMAGE[how](shard.read_bytes()))
    assert curate(pool, tmp_path).kept >= n_kept


def test_a_shard_of_hostile_names_and_texts_goes_through(tmp_path: Path) -> None:
    keys = ["../../etc/passwd", "/abs/olute", "a\nb", "<script>", "x" * 300, "$(rm -rf)", "猫", "'; DROP"]
    write_shard(
        tmp_path / "pool/00000.tar",
        ((key, sample(n, f"{key} \x1b[31m <b>&amp;")) for n, key in enumerate(keys)),
    )
    assert curate(tmp_path / "pool", tmp_path).kept == len(keys)
    inside = {path.resolve() for path in tmp_path.rglob("*")}
    assert all(path.is_relative_to(tmp_path.resolve()) for path in inside)
    rows = pd.read_parquet(tmp_path / "curated/00000.parquet")
    assert sorted(rows.source_key) == sorted(keys)


@pytest.mark.slow
def test_of_the_photos_all_broken_ones_and_all_exact_duplicates_are_found_and_nothing_else(
    tmp_path: Path,
) -> None:
    folder = SHARED / "data/photos"
    if not folder.exists():
        pytest.skip("the shared data is not here")
    content = config(folder, tmp_path, stages=[{"duplicates": {"exact": True}}])
    content["output"]["samples_per_shard"] = 1000
    result = run(content)
    assert sum(result.set_aside.values()) == 40
    truth = pd.read_parquet(folder / "truth.parquet").set_index("uid")
    decisions = pd.concat(map(pd.read_parquet, (tmp_path / "run/decisions").glob("*.parquet")))
    decisions["kind"] = truth.kind[decisions.uid].to_numpy()
    assert set(decisions[decisions.set_aside].kind) == {"broken_image"}
    kept = set(decisions[decisions.kept].uid)
    copies = truth[truth.kind == "exact_duplicate"]
    # Original and copy have the same bytes and the same caption: one of each pair stays.
    assert all((copy in kept) != (original in kept) for copy, original in copies.duplicate_of.items())
    assert sum(result.dropped.values()) == len(copies) == 300

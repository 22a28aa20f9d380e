"""A whole run: every sample accounted for, the same result in all circumstances, nothing done twice."""

from __future__ import annotations

import hashlib
import json
import random
import tarfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from curate import run
from pipelines.errors import ConfigError, StoppedError
from tests.making import write_pool
from tests.pools import config, contents, manifest, result_bytes, write_raw_pool


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    return write_raw_pool(tmp_path / "pool")


def work_done(home: dict[str, Any]) -> dict[str, int]:
    """Run and return how many shards each stage had to do."""
    done: dict[str, int] = {}
    run(
        home,
        on_event=lambda event: event["event"] == "stage_done" and done.update({event["stage"]: event["new"]}),
    )
    return done


def decisions(home: Path) -> pd.DataFrame:
    return pd.concat(pd.read_parquet(path) for path in sorted((home / "run/decisions").glob("*.parquet")))


def test_every_sample_is_accounted_for(pool: Path, tmp_path: Path) -> None:
    result = run(config(pool, tmp_path))
    assert result.samples == 48
    assert result.set_aside == {"broken_image": 4, "no_caption": 4}
    assert result.dropped == {"rules.caption_words": 4, "duplicates.same_bytes": 4}
    assert result.samples == result.kept + sum(result.dropped.values()) + sum(result.set_aside.values())


def test_decisions_name_every_sample_once_with_stage_and_reason(pool: Path, tmp_path: Path) -> None:
    result = run(config(pool, tmp_path))
    table = decisions(tmp_path)
    assert list(table)[:7] == ["uid", "key", "shard", "kept", "weight", "stage", "reason"]
    assert len(table) == result.samples
    assert table.uid.is_unique
    assert table.kept.sum() == result.kept
    gone = table[~table.kept & ~table.set_aside]
    assert (gone.stage + "." + gone.reason).value_counts().to_dict() == result.dropped
    assert table[table.set_aside].reason.value_counts().to_dict() == result.set_aside


def test_set_aside_samples_are_listed_with_shard_key_and_reason(pool: Path, tmp_path: Path) -> None:
    run(config(pool, tmp_path))
    table = pd.read_parquet(tmp_path / "run/set_aside.parquet")
    assert sorted(table.key) == [f"{12 * shard + place:09d}" for shard in range(4) for place in (5, 6)]
    assert set(table.reason) == {"broken_image", "no_caption"}


def test_kept_samples_are_copied_byte_for_byte(pool: Path, tmp_path: Path) -> None:
    run(config(pool, tmp_path))
    original = {}
    for shard in sorted(pool.glob("*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                stream = tar.extractfile(member)
                assert stream is not None
                original[member.name] = stream.read()
    for path in sorted((tmp_path / "curated").glob("*.parquet")):
        rows = pd.read_parquet(path)
        with tarfile.open(path.with_suffix(".tar")) as tar:
            for row in rows.itertuples():
                for suffix in ("jpg", "txt", "json"):
                    stream = tar.extractfile(f"{row.key}.{suffix}")
                    assert stream is not None
                    assert stream.read() == original[f"{row.source_key}.{suffix}"]


def test_new_shards_are_numbered_without_gaps_and_full_but_the_last(pool: Path, tmp_path: Path) -> None:
    result = run(config(pool, tmp_path))
    sizes = json.loads((tmp_path / "curated/sizes.json").read_text())
    assert list(sizes) == [f"{n:05d}.tar" for n in range(len(sizes))]
    assert [*sizes.values()] == [10, 10, 10, 2]
    assert sum(sizes.values()) == result.kept


def test_the_manifest_holds_every_file_with_its_hash(pool: Path, tmp_path: Path) -> None:
    run(config(pool, tmp_path))
    files = {name: facts["sha256"] for name, facts in manifest(tmp_path)["files"].items()}
    there = result_bytes(tmp_path)["output"]
    assert files == {name: digest for name, digest in there.items() if name != "MANIFEST.json"}


def test_shuffled_shard_lists_end_in_the_same_bytes(pool: Path, tmp_path: Path) -> None:
    run(config(pool, tmp_path / "a"))
    shards = [str(path) for path in pool.glob("*.tar")]
    random.Random(1).shuffle(shards)
    run(config(shards, tmp_path / "b"))
    assert result_bytes(tmp_path / "a") == result_bytes(tmp_path / "b")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_any_number_of_workers_ends_in_the_same_bytes(pool: Path, tmp_path: Path, workers: int) -> None:
    run(config(pool, tmp_path / "here"))
    run(config(pool, tmp_path / "there", engine={"workers": workers}))
    assert result_bytes(tmp_path / "here") == result_bytes(tmp_path / "there")


def test_a_second_run_does_nothing(pool: Path, tmp_path: Path) -> None:
    run(config(pool, tmp_path))
    before = contents(tmp_path / "curated")
    assert set(work_done(config(pool, tmp_path)).values()) == {0}
    assert contents(tmp_path / "curated") == before


def test_a_changed_rule_redoes_only_what_depends_on_it(pool: Path, tmp_path: Path) -> None:
    run(config(pool, tmp_path))
    looser = [{"rules": {"caption_words": [1, 77]}}, {"duplicates": {"exact": True}}]
    done = work_done(config(pool, tmp_path, stages=looser))
    assert done["ingest"] == 0
    assert done["rules"] == 4
    fresh = tmp_path / "fresh"
    run(config(pool, fresh, stages=looser))
    assert result_bytes(tmp_path) == result_bytes(fresh)


def test_a_rule_that_changes_nothing_leaves_all_behind_it_standing(pool: Path, tmp_path: Path) -> None:
    run(config(pool, tmp_path))
    same = [{"rules": {"caption_words": [2, 76]}}, {"duplicates": {"exact": True}}]
    done = work_done(config(pool, tmp_path, stages=same))
    assert (done["rules"], done["duplicates"], done["decisions"], done["write"]) == (4, 0, 0, 0)


def test_a_smaller_output_leaves_no_shard_of_the_larger_one(pool: Path, tmp_path: Path) -> None:
    run(config(pool, tmp_path))
    strict = [{"rules": {"caption_words": [2, 77], "min_side": 32}}, {"duplicates": {"exact": True}}]
    output = {"shards": str(tmp_path / "curated"), "samples_per_shard": 100}
    run(config(pool, tmp_path, stages=strict, output=output))
    assert sorted(path.name for path in (tmp_path / "curated").glob("*.tar")) == ["00000.tar"]


def test_a_shard_that_comes_later_costs_one_shard_of_ingest(pool: Path, tmp_path: Path) -> None:
    run(config(pool, tmp_path))
    write_raw_pool(tmp_path / "more", n_shards=5)
    (tmp_path / "more/00004.tar").rename(pool / "00004.tar")
    assert work_done(config(pool, tmp_path))["ingest"] == 1


def test_a_changed_shard_is_read_again(pool: Path, tmp_path: Path) -> None:
    run(config(pool, tmp_path))
    write_raw_pool(tmp_path / "other", n_shards=1, per_shard=9)
    (tmp_path / "other/00000.tar").replace(pool / "00000.tar")
    run(config(pool, tmp_path))
    run(config(pool, tmp_path / "fresh"))
    assert result_bytes(tmp_path) == result_bytes(tmp_path / "fresh")


def test_a_stage_that_keeps_nothing_stops_the_run(pool: Path, tmp_path: Path) -> None:
    with pytest.raises(StoppedError, match="keeps none of"):
        run(config(pool, tmp_path, stages=[{"rules": {"min_side": 5000}}]))


def test_too_many_unreadable_samples_stop_the_run(pool: Path, tmp_path: Path) -> None:
    strict = config(pool, tmp_path)
    strict["pool"]["max_set_aside"] = 0.1
    with pytest.raises(StoppedError, match="8 of 48 samples can't be used"):
        run(strict)


def test_a_foreign_output_folder_is_left_alone(pool: Path, tmp_path: Path) -> None:
    theirs = write_pool(tmp_path / "curated", n_shards=1)
    before = contents(theirs)
    with pytest.raises(ConfigError, match="holds shards that this run did not write"):
        run(config(pool, tmp_path))
    assert contents(theirs) == before


def test_no_stages_at_all_reshards_every_readable_sample(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool", n_shards=2, per_shard=7)
    result = run(config(pool, tmp_path, stages=[]))
    assert (result.samples, result.kept) == (14, 14)


def test_the_subset_file_holds_the_kept_uids_in_order(pool: Path, tmp_path: Path) -> None:
    import numpy as np

    result = run(config(pool, tmp_path))
    subset = np.load(tmp_path / "curated/subset.npy")
    kept = sorted(decisions(tmp_path).query("kept").uid)
    assert [f"{high:016x}{low:016x}" for high, low in subset.tolist()] == kept
    assert len(kept) == result.kept


def test_the_hash_in_the_parquet_is_of_the_stored_image(pool: Path, tmp_path: Path) -> None:
    run(config(pool, tmp_path))
    rows = pd.read_parquet(tmp_path / "curated/00000.parquet")
    with tarfile.open(tmp_path / "curated/00000.tar") as tar:
        stream = tar.extractfile(f"{rows.key[0]}.jpg")
        assert stream is not None
        assert hashlib.sha256(stream.read()).hexdigest() == rows.sha256[0]

"""Scores from the user's own Parquet files, whatever their cut and order, and subsets as a stage."""

from __future__ import annotations

import json
import os
import tarfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from curate import run
from pipelines.config import RunConfig
from pipelines.errors import ConfigError, StoppedError
from pipelines.output.subset import halves, subset_file
from pipelines.planning import plan
from pipelines.stages.file_scores import FileScoresStage
from tests.making import SHARED, sample, write_pool, write_shard
from tests.pools import config, manifest, result_bytes, write_config
from tests.tables import table_config, write_datacomp

DATACOMP = SHARED / "reference/vectors/filters/datacomp"
VECTORS = Path(__file__).parent / "vectors"
UIDS = [f"{n:032x}" for n in range(24)]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pool(tmp_path_factory.mktemp("pool"))


def scores(n: int = 24, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {"uid": UIDS[:n], "aesthetic": rng.normal(5, 1, n), "nsfw": rng.integers(0, 9, n), "note": ["x"] * n}
    )


def write_scores(folder: Path, table: pd.DataFrame, cuts: tuple[int, ...] = (9, 13)) -> str:
    """Write a table into several files, their rows in no order; return a pattern for them."""
    folder.mkdir(parents=True, exist_ok=True)
    mixed = table.sample(frac=1, random_state=1)
    for number, (first, last) in enumerate(zip((0, *cuts), (*cuts, len(table)), strict=True)):
        mixed[first:last].to_parquet(folder / f"{number}.parquet", row_group_size=4)
    return str(folder / "*.parquet")


def scored(pool: Path, home: Path, source: Any, *stages: Any, **changes: Any) -> dict[str, Any]:
    score = {"score": {"from": source, "columns": ["aesthetic", "nsfw"], **changes}}
    return config(pool, home, stages=[score, *stages])


def joined(home: Path, stage: str = "scores") -> pd.DataFrame:
    tables = [
        pd.read_parquet(home / f"run/columns/ingest/{path.stem}.parquet").merge(
            pd.read_parquet(path), on="row"
        )
        for path in sorted((home / "run/columns" / stage).glob("*"))
    ]
    return pd.concat(tables, ignore_index=True)


def test_every_sample_gets_its_own_scores_and_null_where_there_are_none(tmp_path: Path, pool: Path) -> None:
    table = scores().drop(index=[3, 17])
    keep = {"keep": {"by": "aesthetic", "top": 0.5}}
    result = run(scored(pool, tmp_path, write_scores(tmp_path / "s", table), keep))
    assert (result.kept, result.dropped) == (11, {"keep.low_aesthetic": 11, "keep.no_aesthetic": 2})
    found, wanted = joined(tmp_path).set_index("uid"), table.set_index("uid").reindex(UIDS)
    for name in ("aesthetic", "nsfw"):
        assert found[name].dtype == np.float32
        assert np.array_equal(found[name], wanted[name].astype("f4"), equal_nan=True)
    kept = pd.concat(pd.read_parquet(path) for path in (tmp_path / "curated").glob("*.parquet"))
    assert set(kept.uid) == set(table.nlargest(11, "aesthetic").uid)


def test_the_cut_of_the_files_and_of_the_join_changes_nothing(
    tmp_path: Path, pool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = {"keep": {"by": "nsfw", "at_most": 4}}
    run(scored(pool, tmp_path / "a", write_scores(tmp_path / "one", scores(), ()), keep))
    content = scored(pool, tmp_path / "b", write_scores(tmp_path / "many", scores(), (1, 2, 20)), keep)
    stage = plan(RunConfig.model_validate(content)).stages[1]
    assert isinstance(stage, FileScoresStage)
    monkeypatch.setattr("pipelines.stages.file_scores._ROWS_AT_ONCE", 3)
    monkeypatch.setattr(
        "pipelines.stages.file_scores.FileScoresStage",
        lambda name, own, *rest: replace(stage, config=own, rows_per_part=5),
    )
    monkeypatch.setattr("pipelines.run.FileScoresStage", FileScoresStage)
    run(content)
    assert result_bytes(tmp_path / "a") == result_bytes(tmp_path / "b")
    assert len(list((tmp_path / "b/run/state").glob("scores-*/*.parquet"))) == 5
    assert not list((tmp_path / "b/run/state").glob("scores-*/*/*.arrow"))


@pytest.mark.slow
def test_workers_end_in_the_same_bytes(tmp_path: Path, pool: Path) -> None:
    content = (write_scores(tmp_path / "s", scores()), {"keep": {"by": "aesthetic", "top": 0.3}})
    run(scored(pool, tmp_path / "here", *content))
    there = scored(pool, tmp_path / "there", *content)
    run({**there, "engine": {"workers": 2}})
    assert result_bytes(tmp_path / "here") == result_bytes(tmp_path / "there")


def test_scores_may_have_other_names_and_be_fused(tmp_path: Path, pool: Path) -> None:
    table = scores().rename(columns={"uid": "ID"})
    table["ID"] = table["ID"].str.upper()
    named = {"columns": {"beauty": "aesthetic", "bad": "nsfw"}, "match": {"uid": "ID"}}
    fuse = {"fuse": {"as": "both", "of": {"beauty": 1, "bad": -0.5}}}
    source = [
        str(tmp_path / "s/0.parquet"),
        str(tmp_path / "s/1.parquet") + "::" + str(tmp_path / "s/2.parquet"),
    ]
    write_scores(tmp_path / "s", table)
    run(scored(pool, tmp_path, source, fuse, {"keep": {"by": "both", "top": 5}}, **named))
    found = joined(tmp_path)
    assert np.array_equal(found.beauty, table.aesthetic.astype("f4"))
    assert np.array_equal(found.bad, table.nsfw.astype("f4"))


@pytest.mark.parametrize("column", ["key", "url"])
def test_files_may_know_samples_by_key_or_url(tmp_path: Path, column: str) -> None:
    addresses = [f"http://example.org/{n // 2}" for n in range(6)]
    samples = [(f"k{n}", sample(n, url=addresses[n])) for n in range(6)]
    write_shard(tmp_path / "pool/00000.tar", samples)
    names = {"key": [f"k{n}" for n in range(6)], "url": addresses[::2]}[column]
    (tmp_path / "s").mkdir()
    given = pd.DataFrame({column: [*names, None], "aesthetic": np.arange(len(names) + 1), "nsfw": 0})
    given.to_parquet(tmp_path / "s/a.parquet")
    run(scored(tmp_path / "pool", tmp_path, str(tmp_path / "s"), match=column))
    wanted = range(6) if column == "key" else [0, 0, 1, 1, 2, 2]
    assert joined(tmp_path).aesthetic.tolist() == list(wanted)


def test_metadata_pools_take_scores_from_files_too(tmp_path: Path) -> None:
    pool = write_datacomp(tmp_path / "pool", n_files=2)
    uids = np.concatenate([pd.read_parquet(path).uid for path in pool.glob("*.parquet")])
    write_scores(tmp_path / "s", pd.DataFrame({"uid": uids, "aesthetic": np.arange(40.0)}))
    score = {"score": {"from": str(tmp_path / "s"), "columns": "aesthetic"}}
    result = run(table_config(pool, tmp_path, [score, {"keep": {"by": "aesthetic", "at_least": 30}}]))
    assert result.kept == 10


# What is in the files decides


def test_touched_files_are_joined_again_and_nothing_behind_them(tmp_path: Path, pool: Path) -> None:
    keep = {"keep": {"by": "aesthetic", "top": 0.5}}
    source = write_scores(tmp_path / "s", scores())
    content = scored(pool, tmp_path, source, keep)
    run(content)
    new: dict[str, int] = {}

    def note(event: dict[str, Any]) -> None:
        if event["event"] == "stage_done":
            new[event["stage"]] = event["new"]

    run(content, on_event=note)
    assert set(new.values()) == {0}
    os.utime(tmp_path / "s/0.parquet", (1, 1))
    run(content, on_event=note)
    assert new == {"ingest": 0, "scores": 3, "keep": 0, "decisions": 0, "write": 0}
    write_scores(tmp_path / "s", scores(seed=1))
    run(content, on_event=note)
    assert (new["scores"], new["keep"]) == (3, 3)


def test_the_manifest_knows_the_scores_by_their_values_not_by_their_place(tmp_path: Path, pool: Path) -> None:
    for home, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_scores(tmp_path / home / "s", scores(seed=seed), (9,) if home == "b" else (4, 20))
        run(scored(pool, tmp_path / home, str(tmp_path / home / "s")))
    a, b, c = (manifest(tmp_path / home) for home in "abc")
    assert a == b
    assert a["config"] != c["config"]


def test_paths_start_at_the_configuration(tmp_path: Path, pool: Path) -> None:
    write_scores(tmp_path / "s", scores())
    content = scored(pool, tmp_path, "s/*.parquet", {"keep": {"by": "nsfw", "top": 4}})
    assert run(write_config(tmp_path / "curate.yaml", content)).kept == 4


# What can't be right


def test_rows_that_repeat_are_fine_and_rows_that_contradict_each_other_are_not(
    tmp_path: Path, pool: Path
) -> None:
    table = scores()
    same = pd.concat([table, table[:5].assign(nsfw=table.nsfw[:5]), table[:1]])
    source = write_scores(tmp_path / "s", same)
    assert run(scored(pool, tmp_path / "a", source)).kept == 24
    write_scores(tmp_path / "s", pd.concat([table, table[4:5].assign(nsfw=77)]))
    with pytest.raises(
        StoppedError, match=rf"same uid {UIDS[4]} has the nsfw .* in .*\.parquet and .*: leave one"
    ):
        run(scored(pool, tmp_path / "b", source))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"columns": ["beauty"]},
            r"columns: .*0\.parquet has no column 'beauty'; its columns are uid, aesthetic",
        ),
        ({"columns": ["note"]}, r"columns: 'note' in .* holds .*string, and a score is a number"),
        (
            {"match": {"uid": "id"}},
            r"has no column 'id' to join on; its columns are .*Write match: \{uid: ITS NAME\}",
        ),
        ({"match": "caption"}, r"match: is one of uid, key, url"),
        ({"columns": {"width": "nsfw"}}, r"the score 'width' is there already"),
        ({"columns": {"weight": "nsfw"}}, r"a score can't be called 'weight'"),
        ({"columns": []}, r"columns: "),
        ({"from": "nowhere/*.parquet"}, r"no \.parquet files match"),
        ({"form": "x"}, r"form: unknown key; did you mean from|form: unknown key"),
    ],
)
def test_files_that_dont_hold_the_scores_stop_before_any_work(
    tmp_path: Path, pool: Path, change: dict[str, Any], message: str
) -> None:
    source = write_scores(tmp_path / "s", scores())
    with pytest.raises(ConfigError, match=message):
        run(scored(pool, tmp_path, source, **change))
    assert not (tmp_path / "run").exists()


def test_a_uid_that_is_none_stops_the_run_with_file_and_row(tmp_path: Path, pool: Path) -> None:
    scores(3).assign(uid=[*UIDS[:2], "cat"]).to_parquet(tmp_path / "s.parquet")
    with pytest.raises(StoppedError, match=r"s\.parquet: row 2 has the uid 'cat'"):
        run(scored(pool, tmp_path, str(tmp_path / "s.parquet")))


def test_files_of_another_pool_stop_the_run(tmp_path: Path, pool: Path) -> None:
    scores().assign(uid=[f"{n:032x}" for n in range(100, 124)]).to_parquet(tmp_path / "s.parquet")
    with pytest.raises(
        StoppedError, match=r"none of 24 samples has a row in .*are the 'uid' there the samples' 'uid'"
    ):
        run(scored(pool, tmp_path, str(tmp_path / "s.parquet")))


# Subsets as a stage


def write_subset(path: Path, uids: list[str]) -> str:
    path.write_bytes(b"".join(subset_file(len(uids), lambda: [halves(uids)])))
    return str(path)


def test_a_subset_keeps_each_sample_as_often_as_it_lists_it(tmp_path: Path, pool: Path) -> None:
    file = write_subset(tmp_path / "s.npy", [UIDS[3], UIDS[5], UIDS[5], UIDS[9], "f" * 32])
    result = run(config(pool, tmp_path, stages=[{"subset": file}]))
    assert (result.kept, result.dropped) == (3, {"subset.not_in_subset": 21})
    kept = pd.read_parquet(tmp_path / "curated/00000.parquet")
    assert Counter(kept.uid) == {UIDS[3]: 1, UIDS[5]: 2, UIDS[9]: 1}
    assert (tmp_path / "curated/subset.npy").read_bytes() == Path(
        write_subset(tmp_path / "t.npy", [UIDS[3], UIDS[5], UIDS[5], UIDS[9]])
    ).read_bytes()


@pytest.mark.parametrize(
    ("name", "message"), [("unsorted.npy", "verify-subset"), ("ab.npy", "should hold uids")]
)
def test_a_subset_that_misleads_stops_before_any_work(
    tmp_path: Path, pool: Path, name: str, message: str
) -> None:
    file = VECTORS / name
    with pytest.raises(ConfigError, match=message):
        run(config(pool, tmp_path, stages=[{"subset": {"file": str(file)}}]))
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(not DATACOMP.is_dir(), reason="the reference vectors are not here")
def test_the_same_samples_are_written_as_by_datacomps_resharder(tmp_path: Path) -> None:
    content = config(
        DATACOMP / "pool/shards", tmp_path, stages=[{"subset": str(DATACOMP / "subsets/mixed.npy")}]
    )
    result = run(content)
    assert samples_in(tmp_path / "curated") == samples_in(DATACOMP / "reshard_mixed")
    told = json.loads((VECTORS / "expected_meta.json").read_text())
    keys = json.loads((VECTORS / "expected_keys_j1_shard20.json").read_text())
    written = uids_in(tmp_path / "curated")
    assert (result.samples, len(written)) == (told["processed_count"], told["output_count"])
    assert sorted(written) == sorted(key.partition("-")[0] for _, key in keys)


def uids_in(folder: Path) -> list[str]:
    return [uid for path in folder.glob("*.parquet") for uid in pd.read_parquet(path)["uid"]]


def samples_in(folder: Path) -> Counter[tuple[tuple[str, bytes], ...]]:
    """Return how often each sample, its members by suffix, stands in a folder's tars."""
    found: Counter[tuple[tuple[str, bytes], ...]] = Counter()
    for path in sorted(folder.glob("*.tar")):
        members: dict[str, dict[str, bytes]] = {}
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, suffix = member.name.partition(".")
                stream = tar.extractfile(member)
                assert stream is not None
                members.setdefault(key, {})[suffix] = stream.read()
        found.update(tuple(sorted(each.items())) for each in members.values())
    return found

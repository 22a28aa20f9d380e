"""Pools without tars: metadata as DataComp publishes it, clip-retrieval's folders, Parquet with vectors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate import run
from curate.forecast import forecast
from curate.status import status
from pipelines.config import RunConfig
from pipelines.errors import ConfigError, StoppedError
from pipelines.planning import plan
from pipelines.pool import tables
from pipelines.pool.tables import pool_shards
from pipelines.storage import Folder
from tests.making import sample, write_encoder, write_shard
from tests.pools import config, manifest, result_bytes
from tests.tables import metadata, table_config, unit_vectors, write_datacomp

VECTORS = Path(__file__).parents[1] / "filters" / "vectors" / "datacomp"  # of the published program
SCORED = [{"score": "clip"}, {"keep": {"by": "clip", "top": 0.5}}]
ALL = [
    {"rules": {"min_side": 150, "caption_words": [2, 77]}},
    {"duplicates": {"exact": "bytes"}},
    {"score": "clip"},
    {"score": {"name": "clip", "encoder": "l14"}},
    {"score": {"name": "s_clip_loss", "batch_size": 8}},
    {"cluster": {"clusters": 4}},
    {"duplicates": {"semantic": {"threshold": 0.8}}},
    {"prune": {"keep": 0.8}},
    {"select": {"any": [{"by": "clip", "top": 0.5}, {"by": "clip_l14_similarity_score", "top": 0.5}]}},
]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_datacomp(tmp_path_factory.mktemp("datacomp"))


def columns(home: Path, stage: str) -> pd.DataFrame:
    paths = sorted((home / "run/columns" / stage).glob("*"))
    return pd.concat([pd.read_parquet(path).assign(shard=path.stem) for path in paths], ignore_index=True)


def subset(home: Path) -> bytes:
    return (home / "curated/subset.npy").read_bytes()


# DataComp in, DataComp out


@pytest.mark.parametrize(
    ("name", "baseline"),
    [
        ("no_filter", {"name": "no_filter"}),
        ("basic_filter", {"name": "basic_filter", "english": "english"}),
        ("laion2b", {"name": "laion2b", "english": "english"}),
        ("clip_score_arch_l14_fraction_0.3", {"name": "clip_score", "arch": "l14", "fraction": 0.3}),
        ("clip_score_arch_b32_threshold_0.15", {"name": "clip_score", "arch": "b32", "threshold": 0.15}),
    ],
)
def test_a_baseline_on_metadata_ends_in_the_published_subset(
    tmp_path: Path, name: str, baseline: dict[str, Any]
) -> None:
    english = set(json.loads((VECTORS / "english_captions.json").read_text()))
    for path in VECTORS.glob("*.parquet"):
        table = pq.read_table(path)
        said = pa.array([text in english for text in table["text"].to_pylist()])
        pq.write_table(table.append_column("english", said), tmp_path / path.name)
    run(table_config(tmp_path, tmp_path / "home", [{"baseline": baseline}]))
    assert subset(tmp_path / "home") == (VECTORS / f"{name}.npy").read_bytes()


def test_scores_come_from_the_vectors_that_lie_beside(tmp_path: Path, pool: Path) -> None:
    result = run(table_config(pool, tmp_path, SCORED))
    assert (result.samples, result.kept) == (60, 30)
    found = columns(tmp_path, "ingest").merge(columns(tmp_path, "score-clip"), on=["shard", "row"])
    archives = [np.load(path) for path in sorted(pool.glob("*.npz"))]
    image, text = (np.concatenate([a[n] for a in archives]).astype(float) for n in ("b32_img", "b32_txt"))
    assert np.allclose(found["clip"], (image * text).sum(1), atol=1e-6)
    best = found.sort_values(["clip", "uid"], ascending=[False, True]).uid[:30]
    kept = np.load(tmp_path / "curated/subset.npy")
    assert [f"{high:016x}{low:016x}" for high, low in kept.tolist()] == sorted(best)


def test_every_stage_on_columns_works_and_all_samples_are_accounted_for(tmp_path: Path, pool: Path) -> None:
    result = run(table_config(pool, tmp_path, ALL))
    assert result.samples == result.kept + sum(result.dropped.values()) + sum(result.set_aside.values())
    assert {"rules.min_side", "duplicates.same_bytes", "prune.beyond_quota", "select.in_no_part"} <= {
        *result.dropped
    }
    assert result.kept > 0
    assert {path.name for path in (tmp_path / "curated").iterdir()} == {
        "MANIFEST.json",
        "subset.npy",
        ".versions",
    }
    assert manifest(tmp_path)["files"].keys() == {"subset.npy"}
    assert str(tmp_path) not in json.dumps(manifest(tmp_path))


def test_the_vectors_in_the_run_are_the_pools_bytes(tmp_path: Path, pool: Path) -> None:
    run(table_config(pool, tmp_path, SCORED))
    for path in pool.glob("*.npz"):
        stored = pd.read_parquet(tmp_path / f"run/columns/embed/{path.stem}.parquet")
        assert np.stack(stored.image).astype("f2").tobytes() == np.load(path)["b32_img"].tobytes()


# Order, cuts, restarts


@pytest.mark.parametrize("rows", [1, 7, 19])
def test_any_cut_of_the_files_ends_in_the_same_subset(
    tmp_path: Path, pool: Path, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = [
        {"score": "clip"},
        {"score": {"name": "clip", "encoder": "l14"}},
        {"keep": {"by": "clip", "top": 0.4}},
    ]
    run(table_config(pool, tmp_path / "whole", stages))
    monkeypatch.setattr(tables, "ROWS_PER_SHARD", rows)
    files = sorted((str(path) for path in pool.glob("*.parquet")), reverse=True)
    run(table_config(files, tmp_path / "cut", stages))
    assert subset(tmp_path / "whole") == subset(tmp_path / "cut")
    assert len(list((tmp_path / "cut/run/decisions").iterdir())) == 3 * -(-20 // rows)


@pytest.mark.slow
def test_workers_end_in_the_same_bytes(tmp_path: Path, pool: Path) -> None:
    run(table_config(pool, tmp_path / "here", ALL))
    run(table_config(pool, tmp_path / "there", ALL, engine={"workers": 2}))
    assert result_bytes(tmp_path / "here") == result_bytes(tmp_path / "there")


def test_a_run_that_stopped_half_way_goes_on(tmp_path: Path, pool: Path) -> None:
    run(table_config(pool, tmp_path / "whole", ALL))

    def stop(event: dict[str, Any]) -> None:
        if event["event"] == "shard" and event["stage"] == "embed":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(table_config(pool, tmp_path / "stopped", ALL), on_event=stop)
    run(table_config(pool, tmp_path / "stopped", ALL))
    assert result_bytes(tmp_path / "whole") == result_bytes(tmp_path / "stopped")


def test_a_rerun_writes_nothing(tmp_path: Path, pool: Path) -> None:
    content = table_config(pool, tmp_path, ALL)
    run(content)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    run(content)
    changed = {path.name for path, time in before.items() if path.stat().st_mtime_ns != time}
    assert changed <= {"events.jsonl", "finished", ".lock"}


def test_vectors_that_changed_are_read_again_and_nothing_else(tmp_path: Path) -> None:
    pool = write_datacomp(tmp_path / "pool")
    run(table_config(pool, tmp_path, SCORED))
    path = sorted(pool.glob("*.npz"))[1]
    np.savez(path, **{**np.load(path), "b32_img": unit_vectors(20, 8, seed=99)})
    new: dict[str, int] = {}
    run(
        table_config(pool, tmp_path, SCORED),
        on_event=lambda e: e["event"] == "stage_done" and new.update({e["stage"]: e["new"]}),
    )
    assert (new["ingest"], new["embed"], new["score-clip"]) == (0, 1, 1)


# Other layouts


def parquet_with_vectors(folder: Path, kind: pa.DataType | None = None) -> Path:
    """Write a plain Parquet file with vectors in columns; the second sample has none."""
    image, text = unit_vectors(9, 6, 1), unit_vectors(9, 6, 2)
    table = pa.table(
        {
            "uid": [f"{n:032X}" for n in range(9)],
            "image_vector": pa.array(
                [None if n == 1 else [*map(float, v)] for n, v in enumerate(image)], kind
            ),
            "text_vector": pa.array([[3 * float(x) for x in v] for v in text], kind),
            "aesthetic": pa.array([n / 3 for n in range(9)], pa.float64()),
            "language": ["en", "de", "en"] * 3,
            "good": [n % 2 == 0 for n in range(9)],
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / "all.parquet", row_group_size=4)
    return folder


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.float32()), pa.list_(pa.float64(), 6), pa.list_(pa.float16(), 6)]
)
def test_vectors_may_be_columns(tmp_path: Path, kind: pa.DataType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "ROWS_PER_SHARD", 5)
    names = {"image": "image_vector", "text": "text_vector"}
    pool = parquet_with_vectors(tmp_path / "pool", kind)
    result = run(table_config(pool, tmp_path, [{"score": "clip"}], encoder=names, encoders={}))
    assert (result.kept, result.set_aside) == (8, {"no_vector": 1})
    clip = columns(tmp_path, "score-clip")["clip"]
    wanted = (unit_vectors(9, 6, 1).astype(float) * unit_vectors(9, 6, 2)).sum(1)
    assert np.allclose(
        clip, np.delete(wanted, 1), atol=2e-3
    )  # texts were three times as long as they should be


def test_numbers_are_scores_and_truths_and_named_columns_come_along(tmp_path: Path) -> None:
    pool = parquet_with_vectors(tmp_path / "pool")
    more = {"metadata": str(pool), "columns": {"spoken": "language", "beauty": "aesthetic"}}
    run({**table_config("", tmp_path, [{"keep": {"by": "beauty", "at_least": 1}}]), "pool": more})
    found = columns(tmp_path, "ingest")
    assert found.beauty.dtype == np.float32
    assert "aesthetic" not in found
    assert found.good.tolist() == [n % 2 == 0 for n in range(9)]
    assert found.spoken.tolist() == ["en", "de", "en"] * 3
    assert found.uid.tolist() == [f"{n:032x}" for n in range(9)]
    assert len(np.load(tmp_path / "curated/subset.npy")) == 6


def test_only_the_scores_that_are_named_are_taken(tmp_path: Path, pool: Path) -> None:
    named = {"metadata": str(pool), "scores": []}
    with pytest.raises(ConfigError, match=r"no score 'clip_l14_similarity_score' at this point"):
        run(
            {
                **table_config("", tmp_path, [{"keep": {"by": "clip_l14_similarity_score", "top": 9}}]),
                "pool": named,
            }
        )


def clip_retrieval(folder: Path) -> Path:
    """Write two parts as clip-retrieval does; no uids."""
    for part in range(2):
        table = pa.table(
            {
                "image_path": [f"{n:09d}" for n in range(5)],
                "caption": [f"caption {part} {n}" for n in range(5)],
            }
        )
        for name, data in (("img_emb", unit_vectors(5, 4, part)), ("text_emb", unit_vectors(5, 4, part + 7))):
            (folder / name).mkdir(parents=True, exist_ok=True)
            np.save(folder / name / f"{name}_{part}.npy", data)
        (folder / "metadata").mkdir(exist_ok=True)
        pq.write_table(table, folder / f"metadata/metadata_{part}.parquet")
    return folder


def test_clip_retrievals_folders_are_a_pool(tmp_path: Path) -> None:
    pool = clip_retrieval(tmp_path / "pool")
    result = run(table_config(pool / "metadata", tmp_path, SCORED, encoder="clip-retrieval", encoders={}))
    assert (result.samples, result.kept) == (10, 5)
    found = columns(tmp_path, "ingest")
    assert found.uid.is_unique  # though keys repeat
    assert found.key.tolist() == [f"{n:09d}" for n in range(5)] * 2
    clip = columns(tmp_path, "score-clip")["clip"]
    wanted = [(unit_vectors(5, 4, p).astype(float) * unit_vectors(5, 4, p + 7)).sum(1) for p in range(2)]
    assert np.allclose(clip, np.concatenate(wanted), atol=1e-6)


def test_a_pool_on_a_store_is_one_too(tmp_path: Path, pool: Path) -> None:
    store = Folder("memory://tables/pool")
    for path in pool.iterdir():
        store.write(path.name, path.read_bytes())
    run(table_config(pool, tmp_path / "here", SCORED))
    run(table_config("memory://tables/pool/*.parquet", tmp_path / "there", SCORED))
    assert subset(tmp_path / "here") == subset(tmp_path / "there")


def test_one_kind_of_vectors_is_enough_for_stages_that_need_no_other(tmp_path: Path, pool: Path) -> None:
    only = {"encoder": {"image": "l14_img"}, "encoders": {}}
    np.save(tmp_path / "target.npy", unit_vectors(3, 12, 5))
    near = {"score": {"name": "norm_sim", "target": str(tmp_path / "target.npy")}}
    assert run(table_config(pool, tmp_path, [near, {"keep": {"by": "norm_sim", "top": 9}}], **only)).kept == 9
    with pytest.raises(ConfigError, match=r"stages: number 1 \(score\) needs text vectors"):
        run(table_config(pool, tmp_path, [{"score": "clip"}], **only))


def test_what_check_and_status_say(tmp_path: Path, pool: Path) -> None:
    content = table_config(pool, tmp_path, SCORED)
    found = forecast(RunConfig.model_validate(content), tmp_path)
    assert (found.samples, found.counted, found.encode_seconds) == (60, True, 0)
    run(content)
    state = status(str(tmp_path / "run"))
    assert state.published
    assert [stage.shards_done for stage in state.stages] == [3] * 5


# What can't be right


def test_samples_whose_vectors_are_no_directions_are_set_aside(tmp_path: Path) -> None:
    pool = write_datacomp(tmp_path / "pool", n_files=1)
    path = next(pool.glob("*.npz"))
    found = dict(np.load(path))
    found["b32_img"][3] = np.nan
    found["b32_txt"][4] = 0
    found["b32_txt"][5, 0] = np.inf
    np.savez(path, **found)
    result = run(table_config(pool, tmp_path, [{"score": "clip"}]))
    assert result.set_aside == {"vector_not_finite": 2, "vector_is_zero": 1}
    aside = pd.read_parquet(tmp_path / "run/set_aside.parquet")
    assert set(aside.stage) == {"embed"}
    assert sorted(aside.key) == ["3", "4", "5"]


def test_samples_without_a_caption_are_set_aside(tmp_path: Path) -> None:
    table = metadata(0, 4)
    table = table.set_column(2, "text", pa.array(["a", None, "", "b" * 99]))
    pq.write_table(table, tmp_path / "a.parquet")
    limits = {"metadata": str(tmp_path / "a.parquet"), "limits": {"caption_bytes": 98}}
    result = run({**table_config("", tmp_path, []), "pool": limits})
    assert result.set_aside == {"no_caption": 1, "caption_too_long": 1}


def cut_a_row(path: Path) -> None:
    np.savez(path, **{name: vectors[:-1] for name, vectors in np.load(path).items()})


def lose(path: Path) -> None:
    path.unlink()


def leave_out_an_array(path: Path) -> None:
    np.savez(path, b32_txt=np.load(path)["b32_txt"])


def widen(path: Path) -> None:
    np.savez(path, **{**np.load(path), "b32_img": unit_vectors(20, 9, 0)})


def pickle(path: Path) -> None:
    np.savez(path, **{**np.load(path), "b32_img": np.array([{}] * 20, object)})


def turn(path: Path) -> None:
    np.savez(path, **{**np.load(path), "b32_img": np.asfortranarray(unit_vectors(20, 8, 0))})


def spoil(path: Path) -> None:
    path.write_bytes(b"PK\x03\x04 no zip")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (cut_a_row, r"b32_img in .*\.npz has 19 rows and its Parquet file 20: they don't belong together"),
        (lose, r"has no vectors 'b32_img': .* nor in .*\.npz \(which is not there\)"),
        (leave_out_an_array, r"nor in .*\.npz \(which holds b32_txt\)"),
        (widen, r"b32_img is 9 wide in .*\.npz and 8 wide in|b32_img is 8 wide in .* and 9 wide in"),
        (pickle, r"should be a matrix of floats \(rows, width\), and is object"),
        (turn, r"lies column by column: save it again in C order"),
        (spoil, r"\.npz can't be read"),
    ],
)
def test_vectors_that_dont_fit_stop_the_run_before_any_work(
    tmp_path: Path, harm: Callable[[Path], None], message: str
) -> None:
    pool = write_datacomp(tmp_path / "pool")
    harm(sorted(pool.glob("*.npz"))[1])
    with pytest.raises(ConfigError, match=message):
        run(table_config(pool, tmp_path, SCORED))
    assert not (tmp_path / "run").exists()


def test_columns_of_several_widths_stop_the_run_with_the_widths(tmp_path: Path) -> None:
    vectors = pa.array([[1.0, 0.0], [1.0, 0.0, 0.0]])
    pq.write_table(pa.table({"v": vectors}), tmp_path / "a.parquet")
    only = {"encoder": {"image": "v"}, "encoders": {}}
    with pytest.raises(StoppedError, match="one width, and these are 2, 3 wide"):
        run(table_config(tmp_path / "a.parquet", tmp_path, [{"cluster": {"clusters": 1}}], **only))


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.list_(pa.float16())])
def test_files_of_several_widths_stop_the_run_before_any_work(tmp_path: Path, kind: pa.DataType) -> None:
    for name, width in (("a", 2), ("b", 3)):
        rows = [[0.5] * width] * 4
        pq.write_table(pa.table({"v": pa.array(rows, kind)}), tmp_path / f"{name}.parquet")
    only = {"encoder": {"image": "v"}, "encoders": {}}
    with pytest.raises(ConfigError, match=r"v is 3 wide in .*b\.parquet and 2 wide in .*a\.parquet"):
        run(table_config(tmp_path, tmp_path / "home", [{"cluster": {"clusters": 1}}], **only))


def test_a_column_that_holds_no_vectors_is_named(tmp_path: Path, pool: Path) -> None:
    only = {"encoder": {"image": "url", "text": "b32_txt"}}
    with pytest.raises(ConfigError, match=r"'url' holds string, and vectors are lists of floats"):
        run(table_config(pool, tmp_path, SCORED, **only))


def test_a_file_without_a_single_vector_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"v": pa.array([None] * 3, pa.list_(pa.float32()))}), tmp_path / "a.parquet")
    only = {"encoder": {"image": "v"}, "encoders": {}}
    with pytest.raises(StoppedError, match=r"a\.parquet: none of 3 rows has a vector"):
        run(table_config(tmp_path / "a.parquet", tmp_path, [{"cluster": {"clusters": 1}}], **only))


def test_a_uid_that_is_none_stops_the_run_with_file_and_row(tmp_path: Path) -> None:
    table = metadata(0, 4)
    table = table.set_column(0, "uid", pa.array([*table["uid"].to_pylist()[:2], "cat", None]))
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(
        StoppedError, match=r"a\.parquet: row 2 has the uid 'cat', and a uid is 32 hex digits"
    ):
        run(table_config(tmp_path / "a.parquet", tmp_path, []))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"pool": {"columns": {"caption": "alt"}}},
            r"pool\.columns\.caption: .* has no column 'alt'; its columns",
        ),
        (
            {"pool": {"scores": ["aesthetic"]}},
            r"pool\.scores: .* has no column 'aesthetic'; its columns are uid",
        ),
        ({"pool": {"scores": ["text"]}}, r"pool\.scores: 'text' in .* holds string, and a score is a number"),
        ({"pool": {"scores": ["original_width"]}}, r"can't be called 'original_width'"),
        (
            {"pool": {"columns": {"similarity": "clip_l14_similarity_score"}}, "stages": [{"cluster": {}}]},
            r"cluster makes a column 'similarity', and there is a score of that name: rename",
        ),
        ({"pool": {"shards": "pool"}}, "give one of shards"),
        (
            {"stages": [{"duplicates": {"exact": True}}]},
            "a pool of metadata has no images to compare pixel by",
        ),
        ({"stages": [{"duplicates": {"perceptual": {}}}]}, "a pool of metadata has no images to look at"),
        (
            {"stages": [{"rules": {"blocked_hosts": ["a.b"]}}, {"keep": {"by": "x", "top": 1}}]},
            "no score 'x'",
        ),
        ({"output": {"shards": "out"}}, "metadata has no images to write"),
        ({"output": {}}, "give shards .*, subset .*, or both"),
        ({"encoder": "datacomp:b16"}, "there is no 'datacomp:b16'; there are datacomp:b32"),
        ({"encoder": {"image": "b32_img", "txt": "b32_txt"}}, "encoder.txt: unknown key; did you mean text"),
        ({"encoder": {"modle": "ViT-B-32"}}, "encoder.model: is missing"),
    ],
)
def test_what_makes_no_sense_stops_before_any_work(
    tmp_path: Path, pool: Path, change: dict[str, Any], message: str
) -> None:
    content = table_config(pool, tmp_path, SCORED)
    for key, value in change.items():
        content[key] = {**content[key], **value} if key == "pool" else value
    with pytest.raises(ConfigError, match=message):
        run(content)
    assert not (tmp_path / "run").exists()


def test_a_model_has_nothing_to_see_and_stored_vectors_need_metadata(tmp_path: Path, pool: Path) -> None:
    model = {"model": write_encoder(tmp_path / "encoder")}
    with pytest.raises(ConfigError, match="a pool of metadata has no images for a model to see"):
        run(table_config(pool, tmp_path, SCORED, encoder=model))
    tars = write_shard(tmp_path / "tars/00000.tar", [("0", sample(0))]).parent
    with pytest.raises(ConfigError, match=r"stored vectors .* this pool is one of shards: name a model"):
        run(config(tars, tmp_path, stages=SCORED, encoder="datacomp:b32"))


def test_files_of_another_shape_are_named(tmp_path: Path) -> None:
    pool = write_datacomp(tmp_path / "pool", n_files=2)
    last = sorted(pool.glob("*.parquet"))[-1]
    pq.write_table(pq.read_table(last).drop_columns(["url"]), last)
    with pytest.raises(ConfigError, match=rf"{last.name} has no column 'url'"):
        run(table_config(pool, tmp_path, []))
    last.write_bytes(b"PAR1")
    with pytest.raises(ConfigError, match=rf"{last.name} is no Parquet file that can be read"):
        run(table_config(pool, tmp_path, []))


# Scores that the shards themselves bring


def test_numbers_in_the_samples_json_are_scores(tmp_path: Path) -> None:
    values = [0.25, 3, None, "high", float("nan"), True, 1e300]
    samples = [(f"{n:09d}", sample(n, aesthetic=value)) for n, value in enumerate(values)]
    write_shard(tmp_path / "pool/00000.tar", samples)
    content = config(tmp_path / "pool", tmp_path, stages=[{"keep": {"by": "aesthetic", "at_least": 0.2}}])
    content["pool"]["scores"] = ["aesthetic"]
    result = run(content)
    assert (result.kept, result.dropped) == (3, {"keep.no_aesthetic": 4})
    assert pd.read_parquet(tmp_path / "curated/00000.parquet").aesthetic.tolist() == [0.25, 3, 1]


def test_a_score_cant_take_a_samples_own_column(tmp_path: Path) -> None:
    content = config(write_shard(tmp_path / "a.tar", [("0", sample(0))]), tmp_path, stages=[])
    content["pool"]["scores"] = ["width"]
    with pytest.raises(ConfigError, match=r"pool\.scores: a score can't be called 'width'"):
        run(content)


def test_a_pool_of_shards_may_end_in_a_subset_alone(tmp_path: Path) -> None:
    tars = write_shard(tmp_path / "tars/00000.tar", [(str(n), sample(n)) for n in range(4)]).parent
    result = run(config(tars, tmp_path, stages=[], output={"subset": str(tmp_path / "out/kept.npy")}))
    assert result.kept == 4
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"kept.npy", "MANIFEST.json", ".versions"}


def test_a_subset_may_lie_beside_the_shards_of_others(tmp_path: Path) -> None:
    tars = write_shard(tmp_path / "tars/00000.tar", [("0", sample(0))]).parent
    (tars / ".half.curate-partial").write_bytes(b"of a run that is at work")
    run(config(tars, tmp_path, stages=[], output={"subset": str(tars / "kept.npy")}))
    assert {path.name for path in tars.iterdir()} == {
        "00000.tar",
        "kept.npy",
        "MANIFEST.json",
        ".versions",
        ".half.curate-partial",
    }


def test_the_listing_of_a_pool_reads_no_rows(pool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", None)
    content = RunConfig.model_validate(table_config(pool, Path("x"), SCORED))
    found = pool_shards(content, vectors=plan(content).stored_vectors)
    assert [shard.rows for shard in found] == [(0, 20)] * 3
    assert [file.name for file in found[0].vectors] == ["b32_img", "b32_txt"]

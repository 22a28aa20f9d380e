"""DataComp's baselines keep what the published program keeps, to the uid."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from filters.baselines import Baseline
from filters.datacomp_rules import caption_rules, nearest_centroid
from filters.select import Select
from tests.passes import cut, decide

VECTORS = Path(__file__).parent / "vectors" / "datacomp"


@pytest.fixture(scope="module")
def pool() -> pa.Table:
    """Return the vectors' metadata as the pool's columns; English is what the vectors' detector says."""
    table = pa.concat_tables(pq.read_table(path) for path in sorted(VECTORS.glob("*.parquet")))
    english = set(json.loads((VECTORS / "english_captions.json").read_text()))
    said = [text in english for text in table["text"].to_pylist()]
    unknown = pa.nulls(len(table), pa.int32())
    table = table.rename_columns([{"text": "caption"}.get(name, name) for name in table.column_names])
    return (
        table.append_column("english", [said])
        .append_column("width", unknown)
        .append_column("height", unknown)
    )


def subset(uids: list[str]) -> NDArray[Any]:
    halves = [(int(uid[:16], 16), int(uid[16:], 16)) for uid in uids]
    return np.sort(np.array(halves, np.dtype("u8,u8")))


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("no_filter", {"name": "no_filter"}),
        ("basic_filter", {"name": "basic_filter", "english": "english"}),
        ("laion2b", {"name": "laion2b", "english": "english"}),
        ("clip_score_arch_l14_fraction_0.3", {"name": "clip_score", "arch": "l14", "fraction": 0.3}),
        ("clip_score_arch_b32_threshold_0.15", {"name": "clip_score", "arch": "b32", "threshold": 0.15}),
    ],
)
def test_a_baseline_keeps_the_published_subset(pool: pa.Table, name: str, parameters: dict[str, Any]) -> None:
    for shards in ([pool], cut(pool, random.Random(0))):
        weight = decide(Baseline(**parameters), shards).weight
        kept = subset(pool.filter(pa.array(weight > 0))["uid"].to_pylist())
        published = np.load(VECTORS / f"{name}.npy")
        assert kept.dtype == published.dtype
        assert kept.tobytes() == published.tobytes()


def test_a_share_of_all_keeps_all_where_the_published_program_fails(pool: pa.Table) -> None:
    assert decide(Baseline(name="clip_score", fraction=1.0), pool).weight.all()


def test_the_language_can_come_as_a_code(pool: pa.Table) -> None:
    codes = pa.array(["en" if said else None for said in pool["english"].to_pylist()])
    coded = pool.append_column("language", codes)
    by_code = decide(Baseline(name="basic_filter", english="language"), coded).weight
    assert by_code.tolist() == decide(Baseline(name="basic_filter", english="english"), pool).weight.tolist()


def test_without_a_column_a_model_tells_the_language(pool: pa.Table) -> None:
    reason = decide(Baseline(name="basic_filter"), pool).reason.to_pylist()
    by_caption = dict(zip(pool["caption"].to_pylist(), reason, strict=True))
    assert by_caption["la casa grande de mi padre"] not in (None, "few_words")
    assert None in reason


def basics(caption: str, width: int, height: int, original: tuple[int | None, int | None]) -> str | None:
    table = pa.table(
        {
            "uid": ["0" * 32],
            "caption": [caption],
            "width": pa.array([width], pa.int32()),
            "height": pa.array([height], pa.int32()),
            "original_width": pa.array([original[0]], pa.int32()),
            "original_height": pa.array([original[1]], pa.int32()),
            "english": [True],
        }
    )
    found: str | None = decide(Baseline(name="basic_filter", english="english"), table).reason[0].as_py()
    return found


@pytest.mark.parametrize(
    ("caption", "original", "expected"),
    [
        ("a b cd", (200, 600), None),
        ("a b c", (200, 600), "few_chars"),
        ("ab cdef", (200, 600), "few_words"),
        ("a b cd", (199, 300), "small"),
        ("a b cd", (200, 601), "long_shape"),
        ("a b cd", (None, None), "small"),  # then the stored image's sides count
    ],
)
def test_the_basic_bounds_are_the_published_ones(
    caption: str, original: tuple[int | None, int | None], expected: str | None
) -> None:
    assert basics(caption, 10, 10, original) == expected


@pytest.mark.parametrize(
    ("caption", "expected"),
    [("picture", "few_words"), ("two w", "few_chars"), ("two words", None), ("picture\n", None)],
)
def test_tokens_are_fasttexts_where_a_line_end_is_one(caption: str, expected: str | None) -> None:
    rules = caption_rules(pa.table({"caption": [caption]}))
    assert next((name for name, mask in rules if mask[0]), None) == expected


def english(captions: list[str], **more: Any) -> pa.Table:
    n = len(captions)
    uid = [f"{i:032x}" for i in range(n)]
    return pa.table({"uid": uid, "caption": captions, "english": [True] * n, **more})


def test_text_based_keeps_captions_that_name_an_entity(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("dog\nBeach\n\n")
    captions = ["my DOG here", "the dog, again", "on a beach", "hotdog", ""]
    baseline = Baseline(name="text_based", english="english", entities=str(tmp_path / "words.txt"))
    assert decide(baseline, english(captions)).weight.tolist() == [1, 0, 1, 0, 0]


def clustered(folder: Path, **more: Any) -> dict[str, Any]:
    np.save(folder / "targets.npy", np.array([0, 2]))
    return {"english": "english", "target_centroids": str(folder / "targets.npy"), **more}


def test_image_based_keeps_what_lies_nearest_to_a_target_centroid(tmp_path: Path) -> None:
    np.save(tmp_path / "centroids.npy", np.eye(3, 4, dtype=np.float16))
    vectors = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0.1, 0.9, 0], [0.6, 0.7, 0, 0]], np.float16)
    image = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 4)
    table = english(["some caption"] * 4, image=image)
    parameters = clustered(tmp_path, centroids=str(tmp_path / "centroids.npy"))
    decision = decide(Baseline(name="image_based", **parameters), table)
    assert decision.reason.to_pylist() == [None, "far_from_target", None, "far_from_target"]


def test_clusters_may_come_as_a_column(tmp_path: Path) -> None:
    table = english(["some caption"] * 3 + ["word"], cluster=pa.array([0, 1, None, 2], pa.int32()))
    decision = decide(Baseline(name="image_based", **clustered(tmp_path, cluster="cluster")), table)
    assert decision.reason.to_pylist() == [None, "far_from_target", "far_from_target", "few_words"]


def test_the_intersection_takes_the_threshold_of_the_whole_pool(tmp_path: Path) -> None:
    score = pa.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], pa.float32())
    cluster = pa.array([1, 1, 0, 0, 0, 0], pa.int32())
    table = english(["some caption"] * 6, cluster=cluster, clip_l14_similarity_score=score)
    images = clustered(tmp_path, cluster="cluster")
    both = Baseline(name="image_based_intersect_clip_score", fraction=0.34, **images)
    assert decide(both, table).weight.tolist() == [0, 0, 1, 0, 0, 0]  # the best 3 of 6, not of the 4 images
    parts = [{"baseline": {"name": "image_based", **images}}]
    parts += [{"by": "clip_l14_similarity_score", "top": 0.34, "compat": "datacomp"}]  # type: ignore[dict-item]
    selected = decide(Select.model_validate({"all": parts}), table)
    assert selected.weight.tolist() == [0, 0, 1, 0, 0, 0]


def test_vectors_of_another_width_are_refused() -> None:
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.ones(8, np.float16)), 4)
    with pytest.raises(ValueError, match="4 wide and the centroids 3"):
        nearest_centroid(vectors, np.eye(3, dtype=np.float32))


@pytest.mark.parametrize(
    ("content", "field", "message"),
    [
        (np.zeros(3), "centroids", r"shape \(3,\): centroids are"),
        (np.full((2, 2), np.nan), "centroids", "floats"),
        (np.zeros((2, 2)), "target_centroids", "numbers of centroids"),
        (b"no array", "target_centroids", "can't be read as .npy"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, content: Any, field: str, message: str) -> None:
    np.save(tmp_path / "centroids.npy", np.eye(3))
    parameters = clustered(tmp_path, centroids=str(tmp_path / "centroids.npy"))
    path = tmp_path / "wrong.npy"
    path.write_bytes(content) if isinstance(content, bytes) else np.save(path, content)
    with pytest.raises(ValueError, match=message):
        Baseline(name="image_based", **{**parameters, field: str(path)}).check()


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_a_list_without_words_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / f"words-{len(content)}.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="holds no words"):
        Baseline(name="text_based", entities=str(path)).check()


def test_a_list_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"words.txt is no text in UTF-8"):
        Baseline(name="text_based", entities=str(tmp_path / "words.txt")).check()


def test_a_file_that_is_no_language_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lid.bin").write_bytes(b"no model")
    with pytest.raises(ValueError, match="no fastText model"):
        Baseline(name="basic_filter", language_model=str(tmp_path / "lid.bin")).check()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"name": "clip_score"}, "fraction or threshold"),
        ({"name": "clip_score", "fraction": 0.3, "threshold": 0.2}, "fraction or threshold"),
        ({"name": "basic_filter", "fraction": 0.3}, "goes with clip_score"),
        ({"name": "basic_filter", "fraction": 0.3, "threshold": 0.2}, "goes with clip_score"),
        ({"name": "text_based"}, "needs entities"),
        ({"name": "image_based", "cluster": "c"}, "needs target_centroids"),
        ({"name": "image_based", "target_centroids": "t.npy"}, "one of centroids"),
        ({"name": "best_filter"}, "no_filter"),
    ],
)
def test_what_is_missing_is_named(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Baseline.model_validate(parameters)

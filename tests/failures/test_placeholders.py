"""A picture that stands under many captions is told of: in events, the summary and the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from curate import cli, run
from curate.report import write_report
from pipelines.pool.placeholders import (
    LEAST_CAPTIONS,
    MOST,
    Placeholder,
    frequent_images,
    placeholders,
    told,
    told_of_all,
)
from tests.making import picture, sample, write_shard
from tests.pools import config


def pool(folder: Path, n_shards: int = 2, often: int = LEAST_CAPTIONS, per_shard: int = 14) -> Path:
    """Write shards in which the first `often` samples have one picture, each its own caption."""
    for shard in range(n_shards):
        samples = []
        for place in range(per_shard):
            seed = shard * per_shard + place
            members = sample(seed, f"<b>caption</b> number {seed}")
            if place < often:
                members["jpg"] = picture(10_000)
            samples.append((f"{seed:09d}", members))
        write_shard(folder / f"{shard:05d}.tar", samples)
    return folder


@pytest.mark.parametrize("stages", [[], [{"duplicates": {"exact": True}}]], ids=["by bytes", "by pixels"])
def test_a_placeholder_is_in_events_result_and_report(tmp_path: Path, stages: list[Any]) -> None:
    events: list[dict[str, Any]] = []
    result = run(config(pool(tmp_path / "pool"), tmp_path, stages=stages), on_event=events.append)
    (told,) = [event for event in events if event["event"] == "placeholder"]
    (found,) = result.placeholders
    assert found["samples"] == told["samples"] == 2 * LEAST_CAPTIONS
    assert found["captions"] == [f"<b>caption</b> number {n}" for n in range(3)]
    assert found["image"] in told["message"]
    page = Path(write_report(str(tmp_path / "run")).path).read_text(encoding="utf-8")
    assert "One picture, many captions" in page
    assert found["image"] in page
    assert "<b>caption</b>" not in page
    again = run(config(pool(tmp_path / "pool"), tmp_path, stages=stages))
    assert again.placeholders == result.placeholders


def test_the_summary_says_it(tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    file.write_text(json.dumps(config(pool(tmp_path / "pool"), tmp_path)))
    said = CliRunner().invoke(cli.app, ["run", str(file)]).output
    assert "note: 20 samples or more have one picture under different captions" in said
    printed = CliRunner().invoke(cli.app, ["run", str(file), "--json"]).stdout
    assert json.loads(printed)["placeholders"][0]["samples"] == 20


def test_of_many_the_summary_says_the_first_and_how_many_others() -> None:
    found = [Placeholder(f"{n}", 20 - n, ["a caption", "b" * 100]) for n in range(MOST)]
    assert told_of_all(found[:1]) == told(found[0])
    assert told_of_all(found[:2]).endswith("; the report shows one other picture of that kind")
    assert told_of_all(found).endswith("; the report shows 4 other pictures of that kind")
    assert "b" * 41 not in told_of_all(found)


def test_the_rule_that_the_report_names_drops_them(tmp_path: Path) -> None:
    stages = [{"repeats": {"max_image_repeats": 9}}]
    assert run(config(pool(tmp_path / "pool"), tmp_path, stages=stages)).dropped == {
        "repeats.image_repeats": 2 * LEAST_CAPTIONS
    }


@pytest.mark.parametrize("exact", [True, "bytes"])
def test_one_that_stands_in_a_shard_but_twice_is_found_over_the_whole_pool(
    tmp_path: Path, exact: Any
) -> None:
    folder = pool(tmp_path / "pool", n_shards=LEAST_CAPTIONS // 2, often=2, per_shard=3)
    stages = [{"duplicates": {"exact": exact}}]
    events: list[dict[str, Any]] = []
    result = run(config(folder, tmp_path, stages=stages), on_event=events.append)
    (found,) = result.placeholders
    assert [found] == [
        {name: event[name] for name in found} for event in events if event["event"] == "placeholder"
    ]
    assert found["samples"] == LEAST_CAPTIONS
    assert found["captions"] == [f"<b>caption</b> number {n}" for n in (0, 1, 3)]
    assert run(config(folder, tmp_path / "again", stages=stages, engine={"workers": 2})).placeholders == (
        found,
    )
    assert found["image"] in Path(write_report(str(tmp_path / "run")).path).read_text(encoding="utf-8")


def test_without_a_search_for_copies_it_is_noticed_in_single_shards_alone(tmp_path: Path) -> None:
    folder = pool(tmp_path / "pool", n_shards=LEAST_CAPTIONS // 2, often=2, per_shard=3)
    assert not run(config(folder, tmp_path, stages=[])).placeholders


def test_a_few_descriptions_of_one_picture_are_no_placeholder(tmp_path: Path) -> None:
    result = run(config(pool(tmp_path / "pool", n_shards=1, often=LEAST_CAPTIONS - 1), tmp_path))
    assert not result.placeholders
    page = Path(write_report(str(tmp_path / "run")).path).read_text(encoding="utf-8")
    assert "One picture, many captions" not in page


def rows(images: list[str | None], captions: list[str | None], **more: Any) -> pa.Table:
    return pa.table({"sha256": images, "caption": captions, **more})


def test_what_counts_is_different_captions_of_samples_that_can_be_read() -> None:
    captions: list[str | None] = [f"caption {n}" for n in range(LEAST_CAPTIONS)]
    same: list[str | None] = ["a"] * LEAST_CAPTIONS
    assert [found.samples for found in frequent_images(rows(same, captions))] == [LEAST_CAPTIONS]
    assert not frequent_images(rows(same, ["one"] * LEAST_CAPTIONS))
    assert not frequent_images(rows([None] * LEAST_CAPTIONS, captions))
    assert not frequent_images(rows(same, captions, problem=["broken"] + [None] * (LEAST_CAPTIONS - 1)))
    assert not frequent_images(rows([], []))
    assert not frequent_images(pa.table({"row": [1]}))


def test_the_pools_are_the_sum_of_the_shards_whatever_their_order() -> None:
    noted = [{"placeholders": [["a", 10, ["x"]], ["b", 30, ["y"]]]}, {}, {"placeholders": [["a", 25, ["z"]]]}]
    assert [(found.image, found.samples) for found in placeholders(noted)] == [("a", 35), ("b", 30)]
    assert [(found.image, found.samples) for found in placeholders(noted[::-1])] == [("a", 35), ("b", 30)]

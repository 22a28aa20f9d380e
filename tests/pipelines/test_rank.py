"""Filters are ranked by what they induce; what is done stays done, and what is asked wrongly is refused."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from curate.commands.dfn import app
from pipelines.errors import ConfigError
from pipelines.output.subset import read_subset, uids_of
from pipelines.proxies.rank import RANKING, RUNS, rank_filters
from pipelines.proxies.rank_config import RankPlan
from pipelines.proxies.rank_table import standings
from scoring import clip_score
from scoring.encoder import Encoder
from scoring.paired import mean_and_margin
from tests.making import sample, write_encoder, write_shard
from tests.training import register_micro

N = 24


@pytest.fixture(autouse=True, scope="module")
def micro(tmp_path_factory: pytest.TempPathFactory) -> None:
    register_micro(tmp_path_factory.mktemp("models"))


def content(folder: Path, **changes: Any) -> dict[str, Any]:
    """Write a pool, held-out pairs and two networks; return a plan with relative paths."""
    if not (folder / "pool").exists():
        for name, seeds in (("pool", range(N)), ("held-out", range(100, 112))):
            samples = [(f"{n:06d}", sample(n, label=f"kind {n % 3}")) for n in seeds]
            write_shard(folder / name / "00000.tar", samples)
        write_encoder(folder / "one", seed=1)
        write_encoder(folder / "two", seed=2)
    return {
        "shards": "pool",
        "output": "ranked",
        "keep_ratio": 0.5,
        "filters": {"one": {"model": "local-dir:one"}, "two": {"model": "local-dir:two"}},
        "seeds": [0, 1],
        "train": {"model": "micro", "batch_size": 8, "samples_seen": 32, "warmup_steps": 1},
        "evaluations": [
            {"retrieval": {"shards": "held-out", "k": [3]}},
            {"zero_shot": {"shards": "held-out", "templates": ["a {}", "{}"]}},
        ],
        "engine": {"workers": 0},
        **changes,
    }


def plan(folder: Path, **changes: Any) -> RankPlan:
    return RankPlan.model_validate(content(folder, **changes)).at(folder)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_every_filter_keeps_its_best_and_every_result_is_trained_on_alike(tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    ranking = rank_filters(plan(tmp_path), emit=events.append)
    assert {standing.filter for standing in ranking.standings} == {"one", "two", "none", "random"}
    assert {standing.kept for standing in ranking.standings if standing.filter != "none"} == {N // 2}
    runs = table(tmp_path / "ranked" / RUNS)
    assert [(row["filter"], row["seed"]) for row in runs] == [
        (name, seed) for name in ("one", "two", "none", "random") for seed in "01"
    ]
    assert {row["samples_seen"] for row in runs} == {"32"}
    spec = plan(tmp_path).filters["one"]
    numbers = list(range(N))
    found = Encoder.load(spec).encode((sample(n)["jpg"], sample(n)["txt"].decode()) for n in numbers)
    best = np.argsort(-clip_score(found.image, found.text), kind="stable")[: N // 2]
    kept = uids_of(np.asarray(read_subset(str(tmp_path / "ranked/filters/one/subset.npy"))))
    assert kept == sorted(f"{n:032x}" for n in best)
    drawn = [read_subset(str(tmp_path / f"ranked/filters/random/seed-{s}/subset.npy")) for s in (0, 1)]
    assert uids_of(np.asarray(drawn[0])) != uids_of(np.asarray(drawn[1]))


def test_the_order_is_that_of_the_induced_models_and_not_the_filters_own(tmp_path: Path) -> None:
    ranking = rank_filters(plan(tmp_path))
    runs = table(tmp_path / "ranked" / RUNS)
    for standing in ranking.standings:
        values = [float(row["recall_at_3"]) for row in runs if row["filter"] == standing.filter]
        assert standing.induced == pytest.approx(np.mean(values))
        assert (standing.own is None) == (standing.filter in ("none", "random"))
    means = [standing.induced for standing in ranking.standings]
    assert means == sorted(means, reverse=True)
    assert [row["filter"] for row in table(tmp_path / "ranked" / RANKING)] == [
        standing.filter for standing in ranking.standings
    ]
    by_zero_shot = rank_filters(plan(tmp_path, metric="zero_shot"))
    assert by_zero_shot.measure == "zero_shot"


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def stop(event: dict[str, Any]) -> None:
        if event["event"] == "proxy" and event["seed"] == 1:
            raise Stopped

    with pytest.raises(Stopped):
        rank_filters(plan(tmp_path), emit=stop)
    done = tmp_path / "ranked/proxies/one/seed-1/measured.json"
    before = done.stat().st_mtime_ns
    rank_filters(plan(tmp_path))
    tables = [(tmp_path / "ranked" / name).read_bytes() for name in (RUNS, RANKING)]
    rank_filters(plan(tmp_path))
    assert done.stat().st_mtime_ns == before
    assert tables == [(tmp_path / "ranked" / name).read_bytes() for name in (RUNS, RANKING)]
    rank_filters(plan(tmp_path, output="undisturbed"))
    assert tables == [(tmp_path / "undisturbed" / name).read_bytes() for name in (RUNS, RANKING)]


def test_other_held_out_shards_under_the_same_name_are_noticed(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"seeds": [0], "baselines": []}
    rank_filters(plan(tmp_path, **settings))
    done = tmp_path / "ranked/proxies/one/seed-0/measured.json"
    own = tmp_path / "ranked/filters/one/own.json"
    before = done.read_text(), own.read_text()
    write_shard(tmp_path / "held-out/00000.tar", [(f"{n}", sample(n, label="x")) for n in range(50, 60)])
    rank_filters(plan(tmp_path, **settings))
    assert (done.read_text() != before[0], own.read_text() != before[1]) == (True, True)


def test_names_that_differ_little_stay_apart(tmp_path: Path) -> None:
    filters = {"a_b": {"model": "local-dir:one"}, "a-b": {"model": "local-dir:two"}}
    rank_filters(plan(tmp_path, filters=filters, seeds=[0], baselines=[]))
    kept = [(tmp_path / f"ranked/filters/{name}/subset.npy").read_bytes() for name in filters]
    assert kept[0] != kept[1]


def rows_of(values: dict[str, list[float | None]]) -> list[dict[str, Any]]:
    return [
        {"filter": name, "seed": seed, "pool_size": 10, "status": "done", "recall": value}
        if value is not None
        else {"filter": name, "seed": seed, "pool_size": 10, "status": "diverged"}
        for name, own in values.items()
        for seed, value in enumerate(own)
    ]


def test_differences_are_paired_over_seeds() -> None:
    values: dict[str, list[float | None]] = {
        "steady": [0.10, 0.30, 0.50],  # seeds do much, and the same to both
        "better": [0.12, 0.33, 0.53],
        "noisy": [0.50, 0.10, 0.30],
        "failed": [0.9, None, 0.9],
    }
    found = {s.filter: s for s in standings(rows_of(values), {"noisy": {"recall": 0.7}}, "recall")}
    assert [s.filter for s in found.values()] == ["better", "steady", "noisy", "failed"]
    assert found["steady"].behind == pytest.approx(0.08 / 3)
    assert found["steady"].told_apart
    assert not found["noisy"].told_apart
    assert found["steady"].margin > 0.3 > 0.02 > found["steady"].behind_margin
    assert found["failed"].diverged == 1
    assert found["noisy"].own == 0.7
    assert json.loads(json.dumps(found["better"].as_dict()))["own"] is None


def test_the_interval_is_student_s() -> None:
    mean, margin = mean_and_margin([1.0, 2.0, 4.0])
    assert mean == pytest.approx(7 / 3)
    assert margin == pytest.approx(4.302653 * np.std([1, 2, 4], ddof=1) / np.sqrt(3), rel=1e-6)
    assert np.isnan(mean_and_margin([3.0])[1])


def test_the_command_prints_the_ranking(tmp_path: Path) -> None:
    settings = content(tmp_path, seeds=[0], baselines=["none"])
    (tmp_path / "plan.yaml").write_text(json.dumps(settings))
    result = CliRunner().invoke(app, ["rank", str(tmp_path / "plan.yaml")])
    assert result.exit_code == 0, result.output
    assert "recall_at_3" in result.stdout
    assert "its own" in result.stdout
    result = CliRunner().invoke(app, ["rank", str(tmp_path / "plan.yaml"), "--json"])
    found = json.loads(result.stdout.splitlines()[-1])
    assert {row["filter"] for row in found["ranking"]} == {"one", "two", "none"}
    assert found["ranking"][0]["margin"] is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": {"model": "micro", "samples_seen": 8, "seed": 1}}, "train.seed is not for a plan"),
        ({"train": {"model": "micro"}}, "either samples_seen or epochs"),
        ({"filters": {"none": {"model": "local-dir:one"}}}, "the name of a baseline"),
        ({"metric": "recall_at_7"}, "no evaluation gives 'recall_at_7'"),
        ({"seeds": [1, 1]}, "once"),
        ({"filters": {"one": {"model": "local-dir:nowhere"}}}, "nowhere"),
        ({"keep_ratio": 0.01}, "0.01 of 24 samples are 0, fewer than train.batch_size"),
        ({"keep_ratio": 0.2}, "raise the one or lower the other"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    (tmp_path / "plan.yaml").write_text(json.dumps(content(tmp_path, **changes)))
    result = CliRunner().invoke(app, ["rank", str(tmp_path / "plan.yaml")])
    assert isinstance(result.exception, ConfigError), result.output
    assert message in str(result.exception)

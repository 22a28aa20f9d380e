"""From a scored pool to the shards to train on: buckets, proxies, advice, autopilot, and their page."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from curate.advice import LAW, RANKING, advise, brief, candidates, materialising, told
from curate.budget_page import budget_page
from curate.cli import app
from pipelines.errors import ConfigError, StoppedError
from pipelines.output.subset import read_subset, uids_of
from pipelines.proxies.buckets import Bucket, Buckets
from scaling_laws import Pool, RepetitionLaw, mixture
from tests.making import sample, write_pool, write_shard

MICRO = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1},
}
NAMES = ["0-25%", "25-50%", "50-75%", "75-100%"]


def measured(seed: int = 0) -> pd.DataFrame:
    """Return runs of four buckets of 1,000 samples and of the best two, three and four, by a known law."""
    rng = np.random.default_rng(seed)
    laws = [
        RepetitionLaw(exponent=-0.30 + 0.05 * n, half_life=4.0, anchor=200, irreducible=0.2) for n in range(4)
    ]
    pools = {name: Pool(name, 1000, law) for name, law in zip(NAMES, laws, strict=True)}
    unions = [[name] for name in NAMES] + [NAMES[:n] for n in (2, 3, 4)]
    rows = []
    for members in unions:
        union = mixture([pools[name] for name in members])
        for budget in (1000, 2000, 4000, 8000, 16000):
            for own in (0, 1):
                error = float(union.predict(budget)) + rng.normal(0, 0.002)
                rows.append((" + ".join(members), union.size, budget, error, own, "done"))
    names = ["pool", "pool_size", "samples_seen", "error", "seed", "status"]
    return pd.DataFrame(rows, columns=names)


def cut(run: dict[str, Any] | None = None) -> Buckets:
    edges = [0, 0.25, 0.5, 0.75, 1.0]
    rows = [
        Bucket(name, (low, high), f"bucket-{n + 1}.npy", 1000, 1000, 0.1, 0.2, 0.15, 6.0, 30.0, 48.0, 48.0)
        for n, (name, low, high) in enumerate(zip(NAMES, edges, edges[1:], strict=False))
    ]
    return Buckets("clip", ("a.tar",), run or {"stages": [{"score": "clip"}]}, 0, tuple(rows))


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "runs.csv"
    measured().to_csv(path, index=False)
    return path


def test_the_law_answers_where_it_was_measured(table: Path) -> None:
    small, large = advise(table, 1000, n_draws=100), advise(table, 24000, n_draws=100)
    assert (small.rule, large.rule) == (LAW, LAW)
    assert small.members == NAMES[:1]
    assert len(large.members) > 1  # one bucket alone is worn out by then
    words = "\n".join(told(large))
    assert "extrapolated, to 1.5 times the most measured" in words
    assert "inside what was measured" in "\n".join(told(small))


def test_what_the_chosen_pool_was_not_repeated_for_is_said(table: Path) -> None:
    words = "\n".join(told(advise(table, 24000, n_draws=50)))
    assert "repetition beyond what was measured" in words
    assert "repetition beyond what was measured" not in "\n".join(told(advise(table, 8000, n_draws=50)))


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        ("0-25%", "0-25%"),
        ("0-25% + 25-50% + 50-75%", "0-75%"),
        ("0-25% + 50-75% + 75-100%", "0-25% + 50-100%"),
        ("web + books", "web + books"),
    ],
)
def test_neighbouring_ranges_are_shown_as_one(pool: str, expected: str) -> None:
    assert brief(pool) == expected


def test_where_it_refuses_a_stated_rule_answers(table: Path) -> None:
    found = advise(table, 2e5, n_draws=50)
    assert found.rule == RANKING
    assert found.choice is None
    runs = measured()
    last = runs[runs["samples_seen"] == 16000].groupby("pool")["error"].mean()
    assert found.pool == last.idxmin()
    words = "\n".join(told(found))
    assert "the law does not answer: budget 2e+05 is more than 10 times" in words
    assert "fallback, single-scale ranking" in words
    forced = advise(table, 2e5, n_draws=50, force=True)
    assert forced.rule == LAW
    assert any("more than 10 times" in note for note in forced.notes)


def test_too_little_measured_is_a_refusal_and_nothing_measured_an_error(tmp_path: Path) -> None:
    runs = measured()
    runs[runs["samples_seen"] == 1000].to_csv(tmp_path / "thin.csv", index=False)
    found = advise(tmp_path / "thin.csv", 1000)
    assert found.rule == RANKING
    assert found.study is None
    assert "one budget shows no trend" in "\n".join(told(found))
    runs.assign(status="diverged").to_csv(tmp_path / "none.csv", index=False)
    with pytest.raises(ConfigError, match="no runs"):
        advise(tmp_path / "none.csv", 1000)


def test_what_diverged_is_left_out_and_said(tmp_path: Path) -> None:
    runs = measured()
    runs.loc[0, ["error", "status"]] = [None, "diverged"]
    runs.to_csv(tmp_path / "runs.csv", index=False)
    found = advise(tmp_path / "runs.csv", 4000, n_draws=50)
    assert len(found.runs) == len(runs) - 1
    assert any("left out, diverged" in note for note in found.notes)


def test_unions_of_the_best_that_were_not_measured_are_candidates_too() -> None:
    runs = measured()
    runs = runs[runs["pool"] != " + ".join(NAMES[:3])]
    found = candidates(runs)
    assert dict.fromkeys(NAMES[:3], 1.0) in found
    assert {" + ".join(NAMES[:2]): 1.0} in found


@pytest.mark.parametrize(
    ("members", "stage"),
    [
        (NAMES[:1], {"keep": {"by": "clip", "top": 0.25}}),
        (NAMES[:3], {"keep": {"by": "clip", "top": 0.75}}),
        (NAMES[1:3], {"keep": {"by": "clip", "band": [0.25, 0.75]}}),
        (
            [NAMES[0], NAMES[2]],
            {"select": {"any": [{"by": "clip", "top": 0.25}, {"by": "clip", "band": [0.5, 0.75]}]}},
        ),
    ],
)
def test_the_configuration_keeps_just_the_chosen_buckets(members: list[str], stage: dict[str, Any]) -> None:
    found = materialising(cut(), members, {"shards": "chosen"})
    assert found["stages"] == [{"score": "clip"}, stage]
    assert found["output"] == {"shards": "chosen"}


class _Page(HTMLParser):
    """Collects what a page would load, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "srcset")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_says_it_all_and_loads_nothing(table: Path) -> None:
    hostile = '<script>alert("x")</script>'
    page = budget_page(hostile, advise(table, 24000, n_draws=50), cut())
    assert hostile not in page
    found = _Page(page)
    assert len(found.loads) == 2
    assert all(load.startswith("data:image/png;base64,") for load in found.loads)
    for words in ("P(best)", "half-life", "utility b", "extrapolated", "single-scale ranking", "no decay"):
        assert words in found.text
    assert re.search(r"0-25%.{0,60}1,000.{0,60}0\.1 to 0\.2", found.text)


def test_a_page_without_a_law_says_why(table: Path) -> None:
    page = _Page(budget_page("pool", advise(table, 2e5, n_draws=50)))
    assert "the law does not answer" in page.text
    assert "fallback, single-scale ranking" in page.text


@pytest.fixture(scope="module")
def micro(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("models") / "micro-loop.json"
    path.write_text(json.dumps(MICRO))
    open_clip.add_model_config(path)


def scored(folder: Path) -> Path:
    """Write a pool of 48 samples with a score in their JSON, and a configuration that ends in a `keep`."""
    for shard in range(2):
        seeds = range(24 * shard, 24 * shard + 24)
        samples = ((f"{s:03d}", sample(s, quality=float(s * 5 % 48))) for s in seeds)
        write_shard(folder / f"pool/{shard:05d}.tar", samples)
    write_pool(folder / "held-out", 1, 8)
    content = {
        "name": "tiny",
        "pool": {"shards": "pool", "scores": ["quality"]},
        "run": "run",
        "engine": {"workers": 0},
        "stages": [{"keep": {"by": "quality", "top": 0.1}}],
        "output": {"shards": "chosen", "subset": "chosen/subset.npy"},
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(content))
    plan = {
        "seeds": [0],
        "train": {"model": "micro-loop", "batch_size": 2, "warmup_steps": 2},
        "evaluations": [{"retrieval": {"shards": "held-out", "k": [2]}}],
    }
    (folder / "plan.yaml").write_text(yaml.safe_dump(plan))
    return folder


def run(*arguments: object, code: int = 0) -> Any:
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return json.loads(result.stdout) if "--json" in arguments else result.stdout


@pytest.mark.slow
def test_the_commands_one_by_one(tmp_path: Path, micro: None) -> None:
    scored(tmp_path)
    config = yaml.safe_load((tmp_path / "run.yaml").read_text()) | {"stages": []}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    found = run("buckets", tmp_path / "run.yaml", "--by", "quality", "--n", 2, "--json")
    assert [bucket["samples"] for bucket in found["buckets"]] == [24, 24]
    plan = yaml.safe_load((tmp_path / "plan.yaml").read_text())
    own = {"buckets": "run/buckets", "output": "proxies", "budgets": [40, 80, 160], "engine": {"workers": 0}}
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan | own))
    measured = run("proxy", tmp_path / "plan.yaml", "--json")
    assert measured == {"runs": str(tmp_path / "proxies/runs.csv"), "rows": 9, "diverged": 0}
    advice = run("advise", tmp_path / "plan.yaml", "--budget", "160", "--json")
    assert advice["rule"] in (LAW, RANKING)
    choice = yaml.safe_load((tmp_path / "proxies/choice.yaml").read_text())
    run("run", tmp_path / "proxies/choice.yaml", "--json")
    subsets = {b["name"]: read_subset(f"{found['output']}/{b['subset']}") for b in found["buckets"]}
    chosen = [uid for name in advice["pool"].split(" + ") for uid in uids_of(subsets[name])]
    assert uids_of(read_subset(choice["output"]["subset"])) == sorted(chosen)
    assert (tmp_path / "proxies/budget.html").exists()


@pytest.mark.slow
def test_autopilot_ends_with_a_choice_a_page_and_shards_and_does_nothing_twice(
    tmp_path: Path, micro: None
) -> None:
    scored(tmp_path)
    flight = ["autopilot", tmp_path / "run.yaml", "--budget", 600, "--share", 4, "--n", 2]
    flight += ["--plan", tmp_path / "plan.yaml", "--json"]
    found = run(*flight)
    result = found["result"]
    assert result["samples"] == result["kept"] + sum(result["dropped"].values())
    kept = uids_of(read_subset(str(tmp_path / "chosen/subset.npy")))
    buckets = json.loads((tmp_path / "run/autopilot/buckets/buckets.json").read_text())["buckets"]
    chosen = [bucket for bucket in buckets if bucket["name"] in found["pool"].split(" + ")]
    assert len(kept) == sum(bucket["samples"] for bucket in chosen) == result["kept"]
    assert (tmp_path / "chosen/00000.tar").exists()
    assert brief(found["pool"]) in _Page((tmp_path / "run/budget.html").read_text()).text
    runs = pd.read_csv(found["runs"])
    # Every proxy goes down the trunk to 80 % of its largest budget, and down each branch by 20 % of that one.
    largest = runs.groupby(["pool", "seed"])["samples_seen"]
    assert (0.8 * largest.max() + 0.2 * largest.sum()).sum() <= 4 * 600 * 1.05  # batches are whole
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run/autopilot").rglob("*.json")}
    assert run(*flight)["pool"] == found["pool"]
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_autopilot_refuses_before_any_work(tmp_path: Path) -> None:
    scored(tmp_path)
    config = tmp_path / "run.yaml"

    def refused(*more: object) -> str:
        result = CliRunner().invoke(app, ["autopilot", str(config), *map(str, more)])
        assert isinstance(result.exception, ConfigError), result.output
        return str(result.exception)

    assert "--held-out" in refused("--budget", 1000)
    assert "budget" in refused("--budget", "much", "--held-out", tmp_path / "held-out")
    (tmp_path / "plan.yaml").write_text("budgets: [3]")
    assert "budgets is the autopilot's" in refused("--budget", 1000, "--plan", tmp_path / "plan.yaml")
    assert not (tmp_path / "run").exists()
    said = refused("--budget", 1000, "--held-out", tmp_path / "held-out")
    assert "give --share" in said
    content = yaml.safe_load(config.read_text()) | {"stages": [], "pool": {"shards": "pool"}}
    config.write_text(yaml.safe_dump(content))
    assert "no score is made" in refused("--budget", 1000, "--held-out", tmp_path / "held-out")


def test_a_command_that_is_stopped_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("curate.loop.cut_buckets", stop)
    result = CliRunner().invoke(app, ["buckets", str(scored(tmp_path) / "run.yaml"), "--by", "quality"])
    assert isinstance(result.exception, StoppedError)
    assert "run it again" in str(result.exception)

"""Scorers, filters and rules of one's own: allowed by name, known by content, blamed by line."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml

from curate import run
from curate.config import load
from curate.loop import buckets_of
from curate.report.axes import axes_of
from curate.report.finished import open_run
from curate.status import status
from pipelines.errors import ConfigError, StoppedError
from pipelines.finished import is_up_to_date
from pipelines.plugins import offers
from pipelines.plugins.code import WrongResultError
from pipelines.plugins.results import checked_decision, checked_scores
from pipelines.run import Result
from scoring.images import decode_rgb
from tests.making import picture, sample, write_encoder, write_pool, write_shard
from tests.pools import config, manifest, result_bytes
from tests.tables import table_config, write_datacomp

EXAMPLE = Path(__file__).parents[2] / "examples/plugins/calm.py"


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    return write_pool(tmp_path / "pool", n_shards=2, per_shard=6)


def plugin(folder: Path, body: str, name: str = "mine.py") -> Path:
    head = "import numpy as np\nimport pyarrow as pa\nfrom filters import *\nfrom scoring import Scorer\n"
    path = folder / name
    path.write_text(head + body)
    return path


def using(pool: Path, home: Path, path: Path, *stages: Any, **changes: Any) -> dict[str, Any]:
    return config(pool, home, plugins=[str(path)], stages=list(stages), **changes)


def curated(pool: Path, home: Path, path: Path, *stages: Any, **changes: Any) -> Result:
    return run(using(pool, home, path, *stages, **changes), allow_plugin=[str(path)])


def column(home: Path, stage: str, name: str) -> list[Any]:
    paths = sorted((home / "run/columns" / stage).glob("*.parquet"))
    found: list[Any] = pd.concat([pd.read_parquet(path) for path in paths])[name].tolist()
    return found


def test_the_example_drops_and_scores(tmp_path: Path) -> None:
    captions = ["a calm dog", "BUY THIS NOW", "NASA and a dog", "A LOUD CAT", "one more"]
    samples = [(f"{n}", sample(n, text)) for n, text in enumerate(captions)]
    write_shard(tmp_path / "pool/00000.tar", samples)
    stages = [{"shouting": {"most": 0.5}}, {"score": "contrast"}, {"keep": {"by": "contrast", "top": 2}}]
    result = curated(tmp_path / "pool", tmp_path, EXAMPLE, *stages)
    assert dict(result.dropped) == {"shouting.upper_case": 2, "keep.low_contrast": 1}
    wanted = [decode_rgb(picture(n)).std() for n in (0, 2, 4)]
    assert column(tmp_path, "score-contrast", "contrast") == pytest.approx(wanted, rel=1e-6)


def test_twenty_lines_are_enough() -> None:
    lines = [line for line in EXAMPLE.read_text().splitlines() if line.strip()]
    assert len(lines) <= 20


def test_code_never_runs_without_having_been_allowed(pool: Path, tmp_path: Path) -> None:
    path = plugin(tmp_path, f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    for allow in ([], ["other.py"], ["mine.py"]):
        with pytest.raises(ConfigError, match=rf"mine\.py is code of yours.*--allow-plugin {path}"):
            run(using(pool, tmp_path, path), allow_plugin=allow)
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "run").exists()


def test_paths_start_where_they_are_written(
    pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(EXAMPLE, tmp_path / "calm.py")
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(config(pool, tmp_path, plugins=["calm.py"], stages=[])))
    monkeypatch.chdir(tmp_path.parent)
    assert load(tmp_path / "a.yaml", allow_plugin=[f"{tmp_path.name}/calm.py"])[0].plugins
    with pytest.raises(ConfigError, match=f"--allow-plugin {tmp_path.name}/calm.py"):
        load(tmp_path / "a.yaml", allow_plugin=["calm.py"])


RULE = """
class Odd(Rule):
    kind = "odd"
    needs = ("width",)
    reason = "even"
    above: int = 0
    def keep(self, table):
        return np.arange(len(table)) % 2 > self.above - 1
"""


def test_a_run_can_be_looked_at_where_its_code_may_not_run(pool: Path, tmp_path: Path) -> None:
    path = plugin(tmp_path, RULE + SCORER)
    unused = plugin(tmp_path, RULE.replace('"odd"', '"even"'), "unused.py")
    content = using(pool, tmp_path, path, {"odd": {"above": 1}}, {"score": "words"})
    content["plugins"].append(str(unused))
    assert run(content, allow_plugin=[str(path), str(unused)]).kept == 6
    assert status(str(tmp_path / "run")).stages[1].name == "odd"
    result = curated(pool, tmp_path, path, {"odd": {"above": 1}}, {"score": "words"})
    assert (result.kept, dict(result.dropped)) == (6, {"odd.even": 6})
    path.unlink()
    found = status(str(tmp_path / "run"))
    assert [stage.name for stage in found.stages] == ["ingest", "odd", "score-words", "decisions"]
    assert [stage.tally["kept"] for stage in found.stages] == [12, 6, 6, 6]
    with pytest.raises(ConfigError, match=r"mine\.py is code of yours"):
        run(tmp_path / "run/run.yaml")


def test_a_run_goes_on_from_its_own_record(pool: Path, tmp_path: Path) -> None:
    path = plugin(tmp_path, RULE)
    curated(pool, tmp_path, path, {"odd": {"above": 1}})
    before = result_bytes(tmp_path)
    events: list[dict[str, Any]] = []
    run(tmp_path / "run/run.yaml", on_event=events.append, allow_plugin=[str(path)])
    assert result_bytes(tmp_path) == before
    assert [event["new"] for event in events if event["event"] == "stage_done"] == [0, 0, 0, 0]


def test_an_edit_does_its_stage_again_and_a_move_does_not(pool: Path, tmp_path: Path) -> None:
    path = plugin(tmp_path, RULE)
    stage = {"odd": {"above": 1}}
    assert curated(pool, tmp_path, path, stage).kept == 6
    decided = json.dumps(manifest(tmp_path)["config"])
    assert str(tmp_path) not in decided
    (tmp_path / "elsewhere").mkdir()
    moved = shutil.move(path, tmp_path / "elsewhere/moved.py")
    events: list[dict[str, Any]] = []
    run(using(pool, tmp_path, moved, stage), on_event=events.append, allow_plugin=[str(moved)])
    assert {event["new"] for event in events if event["event"] == "stage_done"} == {0}
    edited = plugin(tmp_path, RULE.replace("self.above - 1", "self.above"))
    run(using(pool, tmp_path, edited, {"odd": {"above": 0}}), allow_plugin=[str(edited)])
    assert json.dumps(manifest(tmp_path)["config"]) != decided
    same = plugin(tmp_path, RULE + "# a word\n")
    events.clear()
    run(using(pool, tmp_path, same, stage), on_event=events.append, allow_plugin=[str(same)])
    new = {event["stage"]: event["new"] for event in events if event["event"] == "stage_done"}
    assert (new["ingest"], new["odd"]) == (0, 2)


SCORER = """
class Words(Scorer):
    kind = "words"
    needs = ("caption", "width")
    batch_size = 4
    times: float = 1.0
    def score(self, samples):
        assert len(samples["caption"]) == len(samples["width"]) <= 4
        return [len(text.split()) * self.times for text in samples["caption"]]
"""


def test_a_scorer_takes_parameters_and_a_name(pool: Path, tmp_path: Path) -> None:
    path = plugin(tmp_path, SCORER)
    stages = [{"score": "words"}, {"score": {"name": "words", "times": 2, "as": "twice"}}]
    curated(pool, tmp_path, path, *stages, {"keep": {"by": "twice", "at_least": 1}})
    assert column(tmp_path, "score-twice", "twice") == [
        2 * n for n in column(tmp_path, "score-words", "words")
    ]


def test_a_scorer_sees_vectors_of_the_encoder_that_it_asks_for(pool: Path, tmp_path: Path) -> None:
    body = """
class Near(Scorer):
    kind = "near"
    needs = ("image_vectors", "text_vectors", "clip")
    def score(self, samples):
        own = (samples["image_vectors"].astype("f4") * samples["text_vectors"].astype("f4")).sum(1)
        assert np.allclose(own, samples["clip"], atol=1e-3)
        return own
"""
    encoder = {"model": write_encoder(tmp_path / "encoder"), "batch_size": 8}
    other = {"model": write_encoder(tmp_path / "other", seed=1), "batch_size": 8}
    stages = [
        {"score": "clip"},
        {"score": "near"},
        {"score": {"name": "clip", "encoder": "b", "as": "clip_b"}},
    ]
    path = plugin(tmp_path, body)
    curated(pool, tmp_path, path, *stages, encoder=encoder, encoders={"b": other})
    assert column(tmp_path, "score-near", "near") == pytest.approx(
        column(tmp_path, "score-clip", "clip"), abs=1e-3
    )
    stages[1] = {"score": {"name": "near", "encoder": "b"}}
    with pytest.raises(StoppedError, match=r"mine\.py, line 11, on shard 0000[01]: AssertionError"):
        curated(pool, tmp_path, path, *stages, encoder=encoder, encoders={"b": other})


def test_images_that_dont_decode_are_set_aside(tmp_path: Path) -> None:
    broken = sample(1) | {"jpg": picture(1)[:-200]}
    write_shard(tmp_path / "pool/00000.tar", [("0", sample(0)), ("1", broken), ("2", sample(2))])
    content = using(tmp_path / "pool", tmp_path, EXAMPLE, {"score": "contrast"})
    content["pool"] |= {"verify": "header", "max_set_aside": 0.5}
    result = run(content, allow_plugin=[str(EXAMPLE)])
    assert (result.kept, dict(result.set_aside)) == (2, {"broken_image": 1})


def test_a_sample_may_have_no_score(pool: Path, tmp_path: Path) -> None:
    body = SCORER.replace("len(text.split()) * self.times", "None if '3' in text else 1")
    result = curated(
        pool, tmp_path, plugin(tmp_path, body), {"score": "words"}, {"keep": {"by": "words", "top": 1.0}}
    )
    assert dict(result.dropped) == {"keep.no_words": 1}


POOL_FILTER = """
class AboveMean(PoolFilter):
    kind = "above_mean"
    by: str = "words"
    @property
    def columns(self):
        return (self.by,)
    @property
    def scores(self):
        return (self.by,)
    def start(self):
        return None
    def measure(self, table, state):
        values = table[self.by].to_numpy()
        return np.array([values.sum(), len(values)], np.int64)
    def advance(self, state, part):
        return int(part[0]) / int(part[1])
    def finished(self, state):
        return state is not None
    def decide(self, table, state):
        high = table[self.by].to_numpy() >= state
        return Decision(high.astype(np.int32) * 2, pa.array(np.where(high, None, "low"), pa.string()))
"""


def test_a_filter_may_look_at_the_whole_pool_and_repeat(pool: Path, tmp_path: Path) -> None:
    body = SCORER.replace("len(text.split())", "len(text)") + POOL_FILTER
    path = plugin(tmp_path, body)
    result = curated(pool, tmp_path, path, {"score": "words"}, "above_mean")
    assert dict(result.dropped) == {"above_mean.low": 10}  # 10 and 11 have one more digit
    assert len(np.load(tmp_path / "curated/subset.npy")) == 4


@pytest.mark.slow
def test_workers_get_the_code(pool: Path, tmp_path: Path) -> None:
    path = plugin(tmp_path, SCORER.replace("len(text.split())", "len(text)") + POOL_FILTER)
    stages = [{"score": "words"}, "above_mean"]
    curated(pool, tmp_path / "here", path, *stages)
    curated(pool, tmp_path / "there", path, *stages, engine={"workers": 2})
    assert result_bytes(tmp_path / "here") == result_bytes(tmp_path / "there")
    bad = plugin(
        tmp_path, "class Own(Exception): pass\n" + SCORER.replace("assert", "raise Own('no')\n        assert")
    )
    with pytest.raises(StoppedError, match=r"score-words: mine\.py, line 13, on shard 0000[01]: Own: no"):
        curated(pool, tmp_path / "there", bad, *stages[:1], engine={"workers": 1, "retries": 0})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("x = 1 +\n", r"mine\.py, line 5 can't be loaded: SyntaxError"),
        ("\nimport nowhere_at_all\n", r"mine\.py, line 6 can't be loaded: ModuleNotFoundError"),
        ("import sys\nsys.exit(0)\n", r"mine\.py, line 6 can't be loaded: SystemExit"),
        ("x = 1\n", r"mine\.py has no plugin: a class whose base is filters\.Rule"),
        (
            RULE.replace('"odd"', '"Odd One"'),
            r"Odd\.kind is 'Odd One', and should be a name of small",
        ),
        (RULE.replace('"odd"', '"ingest"'), r"Odd\.kind is 'ingest'"),
        (RULE.replace('"odd"', '"keep"'), r"mine\.py: curate has a 'keep' of its own"),
        (SCORER.replace('"words"', '"clip"'), r"mine\.py: curate has a 'clip' of its own"),
        (SCORER.replace('("caption", "width")', "()"), r"Words\.needs is \(\), and should name what it sees"),
        (RULE.replace('("width",)', '("width")'), r"Odd\.needs is 'width', and should name what it sees"),
        (RULE + RULE.replace("class Odd", "class Even"), r"two filters are called 'odd', in mine\.py"),
    ],
)
def test_code_that_can_be_no_plugin_stops_before_any_work(
    pool: Path, tmp_path: Path, body: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        curated(pool, tmp_path, plugin(tmp_path, body), {"odd": {"above": 1}})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ({"odd": {"abve": 1}}, r"stage 1 \(odd\): abve: unknown key; did you mean above\?"),
        ({"odd": {"above": "much"}}, r"stage 1 \(odd\): above: .*integer"),
        ({"odd": [1]}, r"stage 1 \(odd\): its parameters should be keys and values, .*not \[1\]"),
        ("even", r"there is no stage 'even'; there are .*odd"),
        ({"score": "letters"}, r"there is no score 'letters'; there are .*words"),
        ({"score": {"name": "words", "as": "a b"}}, r"stage 1 \(words\): as: a score can't be called 'a b'"),
        ({"score": {"name": "words", "encoder": "b"}}, r"encoder: words needs no vectors"),
        ({"score": {"name": "words", "as": "row"}}, r"can't be called 'row'"),
    ],
)
def test_what_the_configuration_gets_wrong_is_said(
    pool: Path, tmp_path: Path, stage: Any, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        curated(pool, tmp_path, plugin(tmp_path, RULE + SCORER), stage)


def test_columns_must_be_there(pool: Path, tmp_path: Path) -> None:
    body = SCORER.replace('"width"', '"beauty"')
    with pytest.raises(ConfigError, match=r"number 1 \(score\): there is no column 'beauty'"):
        curated(pool, tmp_path, plugin(tmp_path, body), {"score": "words"})
    tables = table_config(write_datacomp(tmp_path / "tables"), tmp_path / "b", [{"score": "contrast"}])
    with pytest.raises(ConfigError, match="a pool of metadata has no images for contrast to see"):
        run({**tables, "plugins": [str(EXAMPLE)]}, allow_plugin=[str(EXAMPLE)])


def test_an_error_names_plugin_line_and_shard(pool: Path, tmp_path: Path) -> None:
    body = RULE.replace("return np", "if len(table): {}['x']\n        return np")
    with pytest.raises(StoppedError, match=r"^odd: mine\.py, line 12, on shard 00000: KeyError: 'x'$"):
        curated(pool, tmp_path, plugin(tmp_path, body), {"odd": {"above": 1}})
    with pytest.raises(StoppedError, match=r"^odd: mine\.py, on shard 00000: .*keep should return True"):
        curated(pool, tmp_path, plugin(tmp_path, RULE.replace("> self.above - 1", "* 1.0")), {"odd": {}})


NOT_SCORES: list[tuple[Any, str]] = [
    ([1.0, float("nan"), 2.0], "returned nan for the sample in row 7"),
    (np.array([1, 2, np.inf]), "returned inf for the sample in row 9"),
    (np.array([1e300, 1, 1]), "returned 1e\\+300 for the sample in row 5"),
    ([1.0, 2.0], "should return 3 numbers here, one for each sample, and returned .* shape \\(2,\\)"),
    (np.zeros((3, 1)), "shape \\(3, 1\\)"),
    (["a", "b", "c"], "should return 3 numbers"),
    ([1, "a", None], "a list that is not one of numbers"),
    (None, "should return 3 numbers here, one for each sample, and returned NoneType"),
    (0.5, "returned float"),
    ({1: 2}, "returned dict"),
]


@pytest.mark.parametrize(("found", "message"), NOT_SCORES)
def test_scores_that_are_none_are_refused(found: Any, message: str) -> None:
    with pytest.raises(WrongResultError, match=message):
        checked_scores(found, np.array([5, 7, 9]))


def test_scores_may_come_in_any_dress() -> None:
    rows = np.arange(3)
    for found in ([1, 2, 3], (1.0, 2.0, 3.0), np.array([1, 2, 3], np.uint8), pa.array([1, 2, 3])):
        assert checked_scores(found, rows).tolist() == [1, 2, 3]
    assert checked_scores(np.array([True, False, True]), rows).tolist() == [1, 0, 1]
    for none in ([None, 2.5, None], pa.chunked_array([[None], [2.5, None]], pa.float32())):
        assert np.isnan(checked_scores(none, rows)).tolist() == [True, False, True]


NOT_DECISIONS: list[tuple[Any, str]] = [
    (None, "a filters.Decision, not NoneType"),
    ((np.ones(2), pa.nulls(2)), "3 whole numbers, 0 or more, and is float64 of shape"),
    ((np.array([1.0, np.nan, 0]), pa.nulls(3)), "whole numbers"),
    ((np.array([1, -1, 1]), pa.nulls(3)), "whole numbers"),
    ((np.array([1, 0, 1]), pa.nulls(3)), "a text where the weight is 0"),
    ((np.array([1, 1, 1]), pa.array(["a", None, None])), "null everywhere else"),
    ((np.array([1, 0, 1]), pa.array([None, "a"])), "3 long"),
    ((np.array([1, 0, 1]), object()), "should hold texts"),
]


@pytest.mark.parametrize(("found", "message"), NOT_DECISIONS)
def test_decisions_that_are_none_are_refused(found: Any, message: str) -> None:
    with pytest.raises(WrongResultError, match=message):
        checked_decision(found, 3)


# Installed plugins


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put a distribution with plugins where Python looks for some."""
    site = tmp_path / "site"

    def put(name: str, body: str, points: str) -> None:
        info = site / f"{name}-1.5.dist-info"
        info.mkdir(parents=True)
        plugin(site, body, f"{name}_code.py")
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n")
        (info / "entry_points.txt").write_text(points)
        importlib.invalidate_caches()

    monkeypatch.syspath_prepend(str(site))
    return put


def test_installed_plugins_need_no_allowance(pool: Path, tmp_path: Path, install: Any) -> None:
    points = "[curate.filters]\nodd = nice_rules_code:Odd\n[curate.scorers]\nwords = nice_rules_code:Words\n"
    install("nice_rules", RULE + SCORER, points)
    assert {(sort, point.name) for sort, point in offers.installed()} >= {
        ("filter", "odd"),
        ("scorer", "words"),
    }
    result = run(config(pool, tmp_path, stages=[{"odd": {"above": 1}}, {"score": "words"}]))
    assert dict(result.dropped) == {"odd.even": 6}


def test_installed_plugins_that_cant_be_used_are_named(pool: Path, tmp_path: Path, install: Any) -> None:
    install("broken", "\n1 / 0\n", "[curate.filters]\nbroken = broken_code:Odd\n")
    install("other", RULE, "[curate.filters]\nodder = other_code:Odd\ntwice = other_code:Odd\n")
    install("second", RULE, "[curate.filters]\ntwice = second_code:Odd\n")
    for stage, message in [
        ("broken", r"broken 1\.5, line 6 can't be loaded: ZeroDivisionError"),
        ("odder", r"other_code:Odd, the entry point, is no filter whose kind is 'odder'"),
        ("twice", r"other and second both have a filter 'twice'"),
    ]:
        with pytest.raises(ConfigError, match=message):
            run(config(pool, tmp_path, stages=[stage]))


def test_files_that_parameters_name_count_by_what_is_in_them(pool: Path, tmp_path: Path) -> None:
    body = """
class Listed(Rule):
    kind = "listed"
    needs = ("key",)
    files = ("keys",)
    keys: str
    def check(self):
        if not open(self.keys).read():
            raise ValueError("the file of keys is empty")
    def keep(self, table):
        return np.isin(table["key"].to_pylist(), open(self.keys).read().split())
"""
    path = plugin(tmp_path, body)
    content = using(pool, tmp_path, path, {"listed": {"keys": str(tmp_path / "keys.txt")}})
    allow = [str(path)]
    with pytest.raises(ConfigError, match=r"stage 1 \(listed\): listed: keys: there is no file"):
        run(content, allow_plugin=allow)
    (tmp_path / "keys.txt").write_text("")
    with pytest.raises(ConfigError, match=r"stage 1 \(listed\): the file of keys is empty"):
        run(content, allow_plugin=allow)
    (tmp_path / "keys.txt").write_text("000000001 000000007")
    assert run(content, allow_plugin=allow).kept == 2
    checked, base = load(content, allow_plugin=allow)
    assert is_up_to_date(checked, base)
    (tmp_path / "keys.txt").write_text("000000001 000000007 000000008")
    assert not is_up_to_date(checked, base)
    assert run(content, allow_plugin=allow).kept == 3
    assert str(tmp_path / "keys.txt") not in json.dumps(manifest(tmp_path)["config"])
    plugin(tmp_path, body + "# changed\n")
    assert not is_up_to_date(*load(content, allow_plugin=allow))


def test_the_report_shows_the_score_that_a_plugin_decides_by(pool: Path, tmp_path: Path) -> None:
    path = plugin(tmp_path, SCORER.replace("len(text.split())", "len(text)") + POOL_FILTER)
    curated(pool, tmp_path, path, {"score": "words"}, "above_mean")
    path.unlink()
    finished = open_run(str(tmp_path / "run"))
    (stage,) = [stage for stage in finished.stages if stage.name == "above_mean"]
    assert [axis.label for axis in axes_of(finished, stage)] == ["words"]


def test_a_runs_buckets_need_its_code_and_get_it(pool: Path, tmp_path: Path) -> None:
    path = plugin(tmp_path, SCORER.replace("len(text.split())", "int(text.split()[5])"))
    curated(pool, tmp_path, path, {"score": "words"})
    with pytest.raises(ConfigError, match=r"mine\.py is code of yours"):
        buckets_of(str(tmp_path / "run"), "words", [0.5])
    found, _ = buckets_of(str(tmp_path / "run"), "words", [0.5], allow_plugin=[str(path)])
    assert [(bucket.samples, bucket.score_mean) for bucket in found.buckets] == [(6, 8.5), (6, 2.5)]
    assert found.run["plugins"][0]["file"] == str(path)

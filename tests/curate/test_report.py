"""The report says what the run did, shows the right samples, and can't be harmed by what they hold."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from curate import cli
from curate.html import document, shown
from curate.report import samples as report_samples
from curate.report import write_report
from curate.report.charts import number
from curate.report.choice import Nearest, identity
from curate.report.histogram import Histogram, Scale
from pipelines.errors import ConfigError
from tests.curate.conftest import HARMFUL, Reported


def data(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="report">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    content = json.loads(found[1])
    assert isinstance(content, dict)
    return content


def columns(home: Path, stage: str) -> pd.DataFrame:
    folder = home / "run" / (stage if stage == "decisions" else f"columns/{stage}")
    parts = [pd.read_parquet(path).assign(shard=path.stem) for path in sorted(folder.glob("*.parquet"))]
    return pd.concat([part.assign(row=part.get("row", pd.Series(range(len(part))))) for part in parts])


def test_every_count_is_the_runs(reported: Reported) -> None:
    counts = dict(re.findall(r'data-count="([^"]+)">([\d,]+)<', reported.page))
    found = {name: int(n.replace(",", "")) for name, n in counts.items()}
    result = reported.result
    assert result.dropped
    assert result.set_aside
    sums = {
        "pool": result.samples,
        "kept": result.kept,
        "dropped": sum(result.dropped.values()),
        "aside": sum(result.set_aside.values()),
    }
    aside = {f"ingest.{reason}": n for reason, n in result.set_aside.items()}
    assert found == {**sums, **result.dropped, **aside}


def test_samples_nearest_to_the_threshold_come_first(reported: Reported) -> None:
    content = data(reported.page)
    whole = columns(reported.home, "keep").merge(columns(reported.home, "score-clip"), on=["shard", "row"])
    whole = whole.merge(columns(reported.home, "ingest")[["shard", "row", "uid"]], on=["shard", "row"])
    kept = whole[whole.weight > 0].sort_values("clip").uid.tolist()
    dropped = whole[whole.weight == 0].sort_values("clip", ascending=False).uid.tolist()
    uids = content["samples"]["uid"]
    assert [uids[n] for n in content["panels"]["keep"]["kept"]] == kept[:24]
    assert [uids[n] for n in content["panels"]["keep"]["low_clip"]] == dropped[:24]
    highest = whole.loc[whole.weight == 0, "clip"].max()
    assert f"kept from {number(float(highest))}" in reported.page


def test_each_sample_comes_with_its_fate_scores_and_cluster(reported: Reported) -> None:
    content = data(reported.page)
    own = pd.DataFrame({name: content["samples"][name] for name in ("uid", "stage", "reason", "cluster")})
    own["clip"] = content["samples"]["scores"][content["scores"].index("clip")]
    truth = columns(reported.home, "decisions").set_index("uid").loc[own.uid]
    assert own.stage.fillna("").tolist() == truth.stage.fillna("").tolist()
    assert own.reason.fillna("").tolist() == truth.reason.fillna("").tolist()
    uids = columns(reported.home, "ingest")[["shard", "row", "uid"]]
    for name, stage in (("clip", "score-clip"), ("cluster", "cluster")):
        values = columns(reported.home, stage).merge(uids, on=["shard", "row"]).set_index("uid")[name]
        np.testing.assert_allclose(own[name].astype(float), values.reindex(own.uid).astype(float), atol=1e-5)


def test_groups_of_duplicates_are_the_runs(reported: Reported) -> None:
    content = data(reported.page)
    uids = content["samples"]["uid"]
    truth = columns(reported.home, "duplicates").dropna(subset="duplicate_of").groupby("duplicate_of").size()
    groups = {uids[survivor]: size - 1 for size, survivor, _ in content["groups"]["duplicates"]}
    assert groups == truth.to_dict()


def test_clusters_hold_their_own(reported: Reported) -> None:
    content = data(reported.page)
    for cluster, ids in content["clusters"]["cluster"].items():
        assert ids
        assert {content["samples"]["cluster"][n] for n in ids} == {int(cluster)}
    account = pd.read_parquet(reported.home / "run/clusters/prune.parquet")
    sizes = {int(c): int(n) for c, n in re.findall(r'data-cluster="(\d+)" data-size="(\d+)"', reported.page)}
    assert sizes == dict(zip(account.cluster, account["size"], strict=True))


def test_captions_are_data_and_never_markup(reported: Reported) -> None:
    page = reported.page
    assert page.count("<script") == 2  # the data, and the page's own
    assert "window.ran" not in re.sub(r'<script type="application/json".*?</script>', "", page, flags=re.S)
    captions = {text for text in data(page)["samples"]["caption"] if text and text.startswith("harmful")}
    assert captions == {shown(text) for text in HARMFUL.values()}
    assert len(page) < 2_000_000


def test_the_policy_allows_the_pages_own_style_and_script_and_nothing_else(reported: Reported) -> None:
    page = reported.page
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    rules = dict(rule.split(" ", 1) for rule in policy[1].split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    for name, pattern in (("style-src", r"<style>(.*?)</style>"), ("script-src", r"<script>(.*?)</script>")):
        (text,) = re.findall(pattern, page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[name] == f"'sha256-{digest}'"
    assert not re.findall(r"https?://", re.sub(r"<script.*?</script>", "", page, flags=re.S))
    assert " style=" not in page


def test_a_report_comes_out_the_same(reported: Reported, tmp_path: Path) -> None:
    write_report(str(reported.home / "run"), str(tmp_path / "again.html"))
    assert (tmp_path / "again.html").read_text() == reported.page


def test_without_the_pool_there_are_no_pictures_and_all_else(reported: Reported, tmp_path: Path) -> None:
    shutil.copytree(reported.home / "run", tmp_path / "run")
    file = tmp_path / "run" / "run.yaml"
    file.write_text(file.read_text().replace(str(reported.home / "pool"), str(tmp_path / "gone")))
    made = write_report(str(tmp_path / "run"))
    assert (made.pictures, made.shown) == (0, reported.written.shown)
    there, gone = data(reported.page)["samples"], data(Path(made.path).read_text())["samples"]
    assert {**there, "image": None} == {**gone, "image": None}


def test_pictures_stop_where_there_is_no_more_room(
    reported: Reported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_samples, "MAX_PICTURE_CHARS", 10_000)
    made = write_report(str(reported.home / "run"), str(tmp_path / "small.html"))
    images = data((tmp_path / "small.html").read_text())["samples"]["image"]
    assert 0 < made.pictures < reported.written.pictures
    assert sum(len(each or "") for each in images) <= 10_000


def test_an_unfinished_run_has_no_report_yet(reported: Reported, tmp_path: Path) -> None:
    shutil.copytree(reported.home / "run", tmp_path / "run")
    (tmp_path / "run/columns/keep/00001.parquet").unlink()
    with pytest.raises(ConfigError, match=r"keep has done 4 of 5 shards: `curate run`"):
        write_report(str(tmp_path / "run"))
    with pytest.raises(ConfigError, match="is not a run folder"):
        write_report(str(tmp_path))


def test_the_command_says_what_it_wrote(
    reported: Reported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "page.html"
    monkeypatch.setattr(sys, "argv", ["curate", "report", str(reported.home / "run"), "-o", str(target)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"wrote {target}: ")
    assert target.exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  two\n\twords  ", "two words"),
        ("a\x00b\x1b[0m", "a⟨U+0000⟩b⟨U+001B⟩[0m"),
        ("\u202eabc", "⟨U+202E⟩abc"),
        ("<b>&amp;", "<b>&amp;"),
        ("👩\u200d🔬 قارب", "👩\u200d🔬 قارب"),
        ("\ud800", "⟨U+D800⟩"),
        ("x" * 10_000_000, "x" * 20 + "…"),
        (" " * 1000 + "late", "…"),
    ],
)
def test_nothing_in_a_text_stays_hidden(text: str, expected: str) -> None:
    assert shown(text, 20) == expected


def test_data_in_a_page_can_not_end_its_element() -> None:
    page = document("t", "", style="", data={"d": {"x": "</script><!--<script>&"}})
    (text,) = re.findall(r'id="d">(.*?)</script>', page, re.DOTALL)
    assert json.loads(text) == {"x": "</script><!--<script>&"}


def test_the_nearest_do_not_depend_on_the_order_of_shards() -> None:
    rng = np.random.default_rng(0)
    distance = rng.integers(0, 6, (10, 50)) / 4  # many ties
    draw = identity(rng.integers(48, 58, (500, 32), np.uint8)).reshape(10, 50)
    found = []
    for order in (range(10), rng.permutation(10)):
        nearest = Nearest(17)
        for shard in order:
            nearest.add("", int(shard), np.arange(50), distance[shard], draw[shard])
        found.append(nearest.chosen(""))
    best = sorted((distance[s, r], draw[s, r], s, r) for s in range(10) for r in range(50))[:17]
    assert found[0] == found[1] == [(s, r) for _, _, s, r in best]


@pytest.mark.parametrize(
    ("scale", "include"),
    [(Scale(-1, 1), [0.25]), (Scale(0, 100, whole=True), [2, 77]), (Scale(1, 5000, log=True), [5.0])],
)
def test_bars_add_up_to_all_samples_and_hold_the_threshold(scale: Scale, include: list[float]) -> None:
    rng = np.random.default_rng(1)
    usual = np.abs(rng.normal(0.3, 0.2, 5000)) + (1 if scale.low else 0)
    values = np.concatenate([usual, [1e9, -1e9, np.nan]])
    kept = rng.random(len(values)) < 0.3
    histogram = Histogram(scale)
    histogram.add(values[:2000], kept[:2000])
    histogram.add(values[2000:], kept[2000:])
    edges, n_kept, n_dropped = histogram.drawn(60, include)
    assert len(n_kept) <= 60
    assert (n_kept.sum(), n_dropped.sum()) == (kept[:-1].sum(), (~kept[:-1]).sum())
    assert histogram.missing == 1
    assert all(edges[0] <= each <= edges[-1] for each in include)

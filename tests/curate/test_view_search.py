"""What is found in a whole pool is what the run's columns say, in the order that was asked for."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from curate.report.choice import Place
from curate.view import search as view_search
from curate.view.match import Matcher
from curate.view.query import Query, QueryError, Range, parse
from curate.view.samples import cards, duplicate_of, metadata_text, picture, steps
from curate.view.search import PER_PAGE, Search
from curate.view.standing import Standing, look
from curate.view.viewer import Viewer
from tests.curate.conftest import Reported


@pytest.fixture(scope="module")
def standing(reported: Reported) -> Standing:
    return look(str(reported.home / "run"))


@pytest.fixture(scope="module")
def search(standing: Standing) -> Search:
    return Search(standing)


@pytest.fixture(scope="module")
def truth(reported: Reported) -> pd.DataFrame:
    """Return a row for each sample of the pool, in its order."""
    return whole(reported.home / "run")


def whole(run: Path) -> pd.DataFrame:
    parts = []
    for number, path in enumerate(sorted((run / "decisions").glob("*.parquet"))):
        part = pd.read_parquet(path).assign(number=number)
        part["row"] = range(len(part))
        for stage, names in {"ingest": ["caption"], "score-clip": ["clip"], "cluster": ["cluster"]}.items():
            own = pd.read_parquet(run / "columns" / stage / path.name, columns=["row", *names])
            part = part.merge(own, on="row", how="left")
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def places(table: pd.DataFrame) -> list[Place]:
    return [Place(int(number), int(row)) for number, row in zip(table.number, table.row, strict=True)]


def everything(search: Search, query: Query) -> list[Place]:
    """Return what is on all pages of a query."""
    first = search.find(query)
    rest = (search.find(query.but(page=n)).places for n in range(2, first.pages + 1))
    found = [*first.places, *(place for part in rest for place in part)]
    assert len(found) == first.total
    return found


def test_every_fate_and_reason_is_the_runs(search: Search, reported: Reported) -> None:
    result = reported.result
    assert search.find(Query()).total == result.samples
    assert search.find(Query(fate="kept")).total == result.kept
    assert search.find(Query(fate="dropped")).total == sum(result.dropped.values())
    assert search.find(Query(fate="aside")).total == sum(result.set_aside.values())
    assert search.find(Query(fate="waiting")).total == 0
    for name, n in result.dropped.items():
        stage, reason = name.split(".")
        assert search.find(Query(fate="dropped", stage=stage, reason=reason)).total == n
    for reason, n in result.set_aside.items():
        assert search.find(Query(reason=reason)).total == n


@pytest.mark.parametrize("fate", ["", "kept", "dropped", "aside"])
@pytest.mark.parametrize("stage", ["", "ingest", "rules", "embed", "keep"])
def test_counts_of_the_tallies_are_what_is_listed(search: Search, fate: str, stage: str) -> None:
    query = Query(fate=fate, stage=stage)
    matcher = Matcher(search.standing, query)
    listed = [len(matcher.rows(shard)) for shard in range(5)]
    assert listed == [matcher.count(shard) for shard in range(5)]
    assert len(everything(search, query)) == sum(listed)


@pytest.mark.parametrize("sort", ["clip", "-clip", "", "random"])
def test_pages_hold_each_sample_once_and_in_order(search: Search, truth: pd.DataFrame, sort: str) -> None:
    found = everything(search, Query(sort=sort))
    assert len(set(found)) == len(truth)
    if sort == "":
        assert found == places(truth)
    elif sort != "random":
        order = truth.sort_values("clip", ascending=sort == "clip", kind="stable", na_position="last")
        assert found == places(order)


def test_an_order_goes_on_behind_what_was_put_in_order_at_once(
    standing: Standing, truth: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view_search, "SORTED_AT_ONCE", PER_PAGE)
    order = truth.sort_values("clip", kind="stable", na_position="last")
    assert everything(Search(standing), Query(sort="clip")) == places(order)
    monkeypatch.setattr(view_search, "MOST_SORTED", PER_PAGE + 5)
    cut = Search(standing)
    assert cut.find(Query(sort="clip")).pages == 2
    assert cut.find(Query(sort="clip", page=2)).places == places(order)[PER_PAGE : PER_PAGE + 5]
    assert cut.find(Query(sort="clip", page=3)).places == []


def test_scores_clusters_and_words_narrow_it_down(search: Search, truth: pd.DataFrame) -> None:
    low, high = truth["clip"].quantile([0.25, 0.5])
    between = Query(ranges=(Range("clip", float(low), float(high)),))
    assert everything(search, between) == places(truth[truth["clip"].between(low, high)])
    assert everything(search, Query(cluster=2)) == places(truth[truth.cluster == 2])
    said = truth[truth.caption.str.contains("NUMBER 7", case=False, regex=False, na=False)]
    assert everything(search, Query(text="NUMBER 7")) == places(said)
    assert len(said) > 1
    both = truth[truth["clip"].between(low, high) & (truth.cluster == 2) & truth.kept]
    assert everything(search, between.but(cluster=2, fate="kept")) == places(both)
    one = truth.iloc[7]
    assert (
        everything(search, Query(text=one.uid))
        == everything(search, Query(text=one.key))
        == places(truth[7:8])
    )


def test_the_nearest_to_a_threshold_are_those_of_the_report(search: Search, reported: Reported) -> None:
    content = json.loads(re.findall(r'id="report">(.*?)</script>', reported.page, re.DOTALL)[0])
    uids = content["samples"]["uid"]
    for stage, fate, group in (
        ("keep", "kept", "kept"),
        ("keep", "dropped", "low_clip"),
        ("rules", "dropped", "caption_words"),
    ):
        found = search.find(
            Query(fate=fate, stage=stage, sort="near", reason="" if fate == "kept" else group)
        )
        shown = [uids[n] for n in content["panels"][stage][group]]
        ours = [card.uid for card in cards(search.standing, found.places)]
        assert ours[: len(shown)] == shown if stage == "keep" else set(shown) <= set(ours)


def test_a_copy_and_the_sample_that_stayed_know_of_each_other(search: Search, reported: Reported) -> None:
    copies = pd.concat(pd.read_parquet(p) for p in (reported.home / "run/columns/duplicates").glob("*"))
    uid = copies.duplicate_of.dropna().iloc[0]
    found = search.find(Query(group=uid))
    shown = cards(search.standing, found.places)
    assert found.total == 1 + int((copies.duplicate_of == uid).sum())
    assert [card.uid == uid for card in shown].count(True) == 1
    for card in shown:
        partner = duplicate_of(search.standing, card.place, ["duplicates"])
        assert partner == (None if card.uid == uid else uid)


def test_a_sample_is_told_stage_by_stage(search: Search, truth: pd.DataFrame) -> None:
    dropped = truth[truth.reason == "low_clip"].iloc[0]
    place = Place(int(dropped.number), int(dropped.row))
    (card,) = cards(search.standing, [place])
    assert (card.fate, card.kind, card.caption) == ("keep: low clip", "dropped", dropped.caption)
    np.testing.assert_allclose(card.numbers["clip"], dropped["clip"])
    found = steps(search.standing, place)
    assert [step.stage for step in found] == search.standing.names
    assert [step.kind for step in found] == ["kept"] * (len(found) - 1) + ["dropped"]
    assert dict(found[search.standing.names.index("cluster")].facts)["cluster"] == str(int(dropped.cluster))
    assert json.loads(metadata_text(search.standing, place) or "")["uid"] == dropped.uid
    aside = truth[truth.set_aside].iloc[0]
    (only,) = steps(search.standing, Place(int(aside.number), int(aside.row)))
    assert only.kind == "aside"
    assert aside.reason.replace("_", " ") in only.outcome


def test_a_run_on_an_object_store_is_shown_from_there(reported: Reported, tmp_path: Path) -> None:
    import fsspec

    store = fsspec.filesystem("memory")
    store.put(str(reported.home / "pool"), "/viewed/pool", recursive=True)
    shutil.copytree(reported.home / "run", tmp_path / "run")
    file = tmp_path / "run" / "run.yaml"
    file.write_text(file.read_text().replace(str(reported.home / "pool"), "memory://viewed/pool"))
    store.put(str(tmp_path / "run"), "/viewed/run", recursive=True)
    far, near = look("memory://viewed/run"), look(str(reported.home / "run"))
    assert far.run.shards[0].url.startswith("memory://")
    for query in (Query(fate="kept", sort="-clip"), Query(text="number 7"), Query(group="0" * 32)):
        assert Search(far).find(query) == Search(near).find(query)
    assert picture(far, Place(1, 0), 64, 60) == picture(near, Place(1, 0), 64, 60) is not None
    store.rm("/viewed/pool", recursive=True)
    assert picture(far, Place(1, 0), 64, 60) is None
    store.rm("/viewed", recursive=True)


WRONG = [
    ({"fate": ["eaten"]}, "fate is one of"),
    ({"stage": ["../../etc"]}, "stage is one of"),
    ({"sort": ["uid"]}, "no score"),
    ({"sort": ["near"]}, "needs a stage"),
    ({"cluster": ["-1"]}, "whole number"),
    ({"page": ["1e9"]}, "whole number"),
    ({"min.clip": ["nan"]}, "is a number"),
    ({"min.secret": ["1"]}, "nothing to choose by"),
    ({"columns": ["uid"]}, "nothing to choose by"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[next(iter(each)) for each, _ in WRONG])
def test_what_makes_no_sense_is_refused(standing: Standing, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(QueryError, match=message):
        parse(arguments, standing)


def test_a_query_is_its_url(standing: Standing) -> None:
    from urllib.parse import parse_qs, urlsplit

    query = Query(
        "a&b=ü <", "dropped", "keep", "low_clip", 3, "cluster", "f" * 32, (Range("clip", -0.25),), "-clip", 7
    )
    assert parse(parse_qs(urlsplit(query.url()).query), standing) == query


def half_done(reported: Reported, home: Path) -> Path:
    """Return a copy of the run in which two shards have not been through the last stages."""
    shutil.copytree(reported.home / "run", home / "run")
    for path in (home / "run/decisions").glob("*"):
        path.unlink()
    for stage in ("keep", "prune"):
        for shard in ("00001", "00003"):
            (home / "run/columns" / stage / f"{shard}.parquet").unlink()
    (home / "run/columns/ingest/00002.parquet").unlink()
    return home / "run"


def test_of_a_run_that_goes_on_there_is_what_stands(
    reported: Reported, truth: pd.DataFrame, tmp_path: Path
) -> None:
    standing = look(str(half_done(reported, tmp_path)))
    assert not standing.decided
    assert standing.depth.tolist() == [8, 6, 0, 6, 8]
    there = truth[truth.number != 2]
    search = Search(standing)
    undecided = there.number.isin([1, 3]) & (there.kept | there.stage.isin(["prune", "keep"]))
    assert everything(search, Query()) == places(there)
    assert everything(search, Query(fate="waiting")) == places(there[undecided])
    assert everything(search, Query(fate="kept")) == places(there[there.kept & ~undecided])
    dropped = there[~there.kept & ~there.set_aside & ~undecided]
    assert everything(search, Query(fate="dropped")) == places(dropped)
    assert search.find(Query(fate="kept", stage="rules")).total == standing.run.tallies["rules"]["kept"]
    waiting = cards(standing, search.find(Query(fate="waiting")).places)
    assert {card.fate for card in waiting} == {"waits for prune"}
    assert standing.sums.kept == len(there) - len(dropped) - there.set_aside.sum()


def test_columns_of_an_earlier_configuration_do_not_stand(reported: Reported, tmp_path: Path) -> None:
    run = half_done(reported, tmp_path)
    stale = run / "columns/duplicates"
    shutil.copy(stale / "00000.parquet", stale / "00004.parquet")  # it saw another shard's samples
    assert look(str(run)).depth.tolist() == [8, 6, 0, 6, 2]


def test_a_page_loaded_again_shows_what_has_come(
    reported: Reported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("curate.view.viewer._AGAIN_SECONDS", 0.0)
    monkeypatch.setattr("curate.view.viewer._SHARE", 1e9)
    run = half_done(reported, tmp_path)
    viewer = Viewer(str(run))
    before = viewer.search()
    assert viewer.search() is before
    shutil.copytree(reported.home / "run", run, dirs_exist_ok=True)
    after = viewer.search()
    assert after is not before
    assert after.standing.decided
    assert after.find(Query(fate="kept")).total == reported.result.kept

"""The server shows the run's numbers, and gives nothing to whom it should not."""

from __future__ import annotations

import io
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import psutil
import pytest
from PIL import Image

from curate import cli, run
from curate.html import escape, shown
from curate.view.server import Server
from pipelines.errors import ConfigError
from tests.curate.conftest import HARMFUL, Reported
from tests.curate.serving import Reply, Served, serve
from tests.tables import table_config, write_datacomp

PAGES = [
    "/",
    "/samples",
    "/samples?fate=aside",
    "/samples?text=harmful",
    "/sample/0/3",
    "/sample/4/0",
    "/stage/keep",
    "/stage/rules",
    "/stage/prune",
    "/stage/score-clip",
    "/stage/embed",
    "/clusters",
    "/clusters/cluster?sort=size",
    "/groups",
    "/groups/duplicates?page=2",
]


@pytest.fixture(scope="module")
def harmful(served: Served) -> list[Reply]:
    """Return every page on which a harmful caption stands."""
    listed = served.get("/samples?text=harmful")
    links = re.findall(r'href="(/sample/[^"]+)"', listed.text)
    assert len(links) == len(HARMFUL)
    return [listed, *(served.get(link.replace("&amp;", "&")) for link in links)]


def elements(page: str) -> list[tuple[str, dict[str, str | None]]]:
    """Return the tags of a page with their attributes, as a browser would see them."""
    found: list[tuple[str, dict[str, str | None]]] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.append((tag, dict(attrs)))

    Reader().feed(page)
    return found


@pytest.mark.parametrize("path", PAGES)
def test_a_page_comes_with_every_guard(served: Served, path: str) -> None:
    reply = served.get(path)
    assert reply.status == 200
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(rule.split(" ", 1) for rule in reply.headers["content-security-policy"].split("; "))
    assert policy == {
        "default-src": "'none'",
        "img-src": "'self'",
        "style-src": "'self'",
        "form-action": "'self'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["cross-origin-resource-policy"] == "same-origin"
    for tag, attributes in elements(reply.text):
        assert tag not in ("script", "iframe", "object", "embed", "base")
        for name, value in attributes.items():
            assert name != "style"
            assert not name.startswith("on")
            assert name not in ("src", "href", "action") or (value or "").startswith(("/", "#"))


def test_the_numbers_are_the_runs(served: Served, reported: Reported) -> None:
    result, page = reported.result, served.get("/")
    assert page.count("pool") == result.samples
    assert page.count("kept") == result.kept
    assert page.count("dropped") == sum(result.dropped.values())
    assert page.count("aside") == sum(result.set_aside.values())
    for name, n in result.dropped.items():
        stage, reason = name.split(".")
        assert page.count(name) == n
        link = f"/samples?fate=dropped&stage={stage}&reason={reason}"
        assert escape(link) in page.text
        assert served.get(link).count("found") == n
    groups = served.get("/groups").count("groups")
    assert groups == result.dropped["duplicates.same_bytes"]


def test_captions_are_text_whatever_they_hold(harmful: list[Reply]) -> None:
    for page in harmful:
        assert "<script" not in page.text
        assert "<img src=x" not in page.text
        assert "\u202e" not in page.text
        assert "\x1b" not in page.text
        assert len(page.body) < 100_000
    for caption in HARMFUL.values():
        assert any(escape(shown(caption, 100).rstrip("…")) in page.text for page in harmful[1:])


def test_pictures_are_encoded_anew(served: Served, reported: Reported) -> None:
    for kind, most in (("small", 256), ("full", 1600)):
        reply = served.get(f"/picture/{kind}/0/0")
        assert reply.headers["content-type"] == "image/webp"
        assert reply.headers["x-content-type-options"] == "nosniff"
        picture = Image.open(io.BytesIO(reply.body))
        assert picture.format == "WEBP"
        assert max(picture.size) <= most
    again = served.get(
        "/picture/small/0/0", **{"If-None-Match": served.get("/picture/small/0/0").headers["etag"]}
    )
    assert (again.status, again.body) == (304, b"")
    broken = served.get("/picture/small/0/5")  # cut short
    assert broken.headers["content-type"].startswith("image/svg+xml")
    assert "can’t be read" in broken.text


def test_another_name_for_this_server_is_refused(served: Served) -> None:
    for name in (
        "evil.example",
        f"evil.example:{served.port}",
        "127.0.0.1",
        f"127.0.0.1.evil.example:{served.port}",
        "",
    ):
        reply = served.get("/", Host=name)
        assert reply.status in (400, 403)
        assert b"in the pool" not in reply.body
    assert served.get("/", Host=f"localhost:{served.port}").status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
def test_nothing_but_get_is_answered(served: Served, method: str) -> None:
    assert served.get("/samples", method).status == 405


NOWHERE = [
    "/picture/small/0/999999",
    "/picture/small/99/0",
    "/picture/huge/0/0",
    "/picture/small/..%2F..%2Frun.yaml/0",
    "/picture/small/-1/0",
    "/sample/0/99999999999999999999",
    "/stage/..%2F..%2Fetc%2Fpasswd",
    "/stage/decisions",
    "/clusters/keep",
    "/groups/keep",
    "/groups/..%2Fx",
    "/../run.yaml",
    "/run.yaml",
    "/budget",
    "/static/x",
]


@pytest.mark.parametrize("path", NOWHERE)
def test_there_is_nothing_but_the_runs_own_pages(served: Served, path: str) -> None:
    reply = served.get(path)
    assert reply.status == 404
    assert "There is nothing here." in reply.text


def test_a_bad_question_says_what_is_wrong(served: Served) -> None:
    reply = served.get("/samples?sort=%3Cscript%3E")
    assert reply.status == 400
    assert "there is no score &#x27;&lt;script&gt;&#x27; to sort by." in reply.text
    assert served.get("/clusters?sort=uid").status == 400
    assert served.get("/samples?page=x").status == 400


def test_what_a_form_sends_becomes_a_short_url(served: Served) -> None:
    sent = "/samples?text=&fate=kept&stage=&reason=&sort=-clip&min.clip=&max.clip=0%2C5&cluster="
    reply = served.get(sent)
    assert reply.status == 302
    assert reply.headers["location"] == "/samples?fate=kept&sort=-clip&max.clip=0.5"
    assert served.get(reply.headers["location"]).status == 200


def test_neighbours_in_a_list_are_linked(served: Served) -> None:
    listed = served.get("/samples?fate=kept&sort=-clip")
    links = [link.replace("&amp;", "&") for link in re.findall(r'href="(/sample/[^"]+)"', listed.text)]
    page = served.get(links[3])
    assert f'rel="prev" href="{escape(links[2])}"' in page.text
    assert f'rel="next" href="{escape(links[4])}"' in page.text
    assert 'rel="prev"' not in served.get(links[0]).text


def test_a_copy_stands_beside_the_sample_that_stayed(served: Served) -> None:
    listed = served.get("/samples?fate=dropped&stage=duplicates&reason=same_bytes")
    link = re.findall(r'href="(/sample/[^"]+)"', listed.text)[0].replace("&amp;", "&")
    page = served.get(link).text
    assert "2 samples, the one that stays first." in page
    assert page.index("partners") < page.index("duplicates: same bytes", page.index("partners"))


def test_the_budget_page_can_not_do_anything(reported: Reported, tmp_path: Path) -> None:
    shutil.copytree(reported.home / "run", tmp_path / "run")
    (tmp_path / "run/budget.html").write_text("<script>1</script>the budget")
    with serve(str(tmp_path / "run")) as own:
        reply = own.get("/budget")
        assert "the budget" in reply.text
        assert "sandbox; default-src 'none'" in reply.headers["content-security-policy"]
        assert 'href="/budget"' in own.get("/").text


def test_a_run_that_goes_on_is_shown_with_what_there_is(reported: Reported, tmp_path: Path) -> None:
    shutil.copytree(reported.home / "run", tmp_path / "run")
    shutil.rmtree(tmp_path / "run/decisions")
    (tmp_path / "run/columns/keep/00001.parquet").unlink()
    with serve(str(tmp_path / "run")) as own:
        page = own.get("/")
        assert "This run has work left: the stage keep has done 4 of 5 shards." in page.text
        assert "still in" in page.text
        assert own.get("/samples?fate=waiting").count("found") > 0
        assert own.get("/stage/keep").status == own.get("/stage/rules").status == 200
        assert own.get("/groups").status == 200
        unready = own.get("/clusters")
        assert unready.status == 400
        assert "clusters are shown when the run is done" in unready.text


def test_it_listens_on_this_machine_alone(served: Served) -> None:
    own = psutil.Process().net_connections("inet")
    assert {each.laddr.ip for each in own if each.laddr.port == served.port and each.status == "LISTEN"} == {
        "127.0.0.1"
    }


def test_a_port_that_is_taken_is_said(served: Served, reported: Reported) -> None:
    with pytest.raises(ConfigError, match=f"port {served.port} can't be had .*--port 0"):
        Server(str(reported.home / "run"), served.port)


def test_a_folder_that_is_no_run_ends_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["curate", "view", str(tmp_path), "--no-browser"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "is not a run folder" in capsys.readouterr().err


PAGE = (Path(__file__).parents[2] / "docs/report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("url", re.findall(r"\| `(/[^`]+)` \|", PAGE))
def test_a_url_on_the_page_finds_something(served: Served, url: str) -> None:
    assert served.get(url).count("found") > 0


@pytest.mark.slow
def test_the_command_on_the_page_serves_until_it_is_interrupted(reported: Reported) -> None:
    ((name, *words),) = re.findall(r"^\$ (curate) (view) runs/photos$", PAGE, re.MULTILINE)
    command = [
        Path(sys.executable).parent / name,
        *words,
        reported.home / "run",
        "--port",
        "0",
        "--no-browser",
    ]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout is not None
    port = re.search(r"http://127\.0\.0\.1:(\d+)/", process.stdout.readline())
    assert port is not None
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port[1]}/", timeout=30) as reply:
        assert b"in the pool" in reply.read()
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    assert process.stdout.read().endswith("ended\n")


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve a run over a pool of metadata, which has no images."""
    home = tmp_path_factory.mktemp("tables")
    stages = [
        {"rules": {"min_side": 150}},
        {"duplicates": {"exact": "bytes"}},
        {"score": "clip"},
        {"prune": {"keep": 0.8, "clusters": 4}},
        {"keep": {"by": "clip", "top": 0.5}},
    ]
    run(table_config(write_datacomp(home / "pool"), home, stages))
    with serve(str(home / "run")) as own:
        yield own


@pytest.mark.parametrize(
    "path",
    ["/", "/samples?text=number+7&sort=-clip_l14_similarity_score", "/sample/0/3", "/stage/rules", "/groups"],
)
def test_a_pool_without_images_is_shown_without_pictures(tables: Served, path: str) -> None:
    reply = tables.get(path)
    assert reply.status == 200
    assert "<img" not in reply.text


def test_a_cluster_without_pictures_says_so(tables: Served) -> None:
    assert tables.get("/clusters").status == 200
    assert "no picture here" in tables.get("/picture/small/0/0").text


def test_a_run_that_has_just_begun_has_its_pages(reported: Reported, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    shutil.copy(reported.home / "run/run.yaml", tmp_path / "run")
    with serve(str(tmp_path / "run")) as own:
        for path in ("/", "/samples", "/samples?sort=clip", "/stage/rules"):
            assert own.get(path).status == 200
        assert own.get("/samples").count("found") == 0
        assert own.get("/sample/0/0").status == 404

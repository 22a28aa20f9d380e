"""The site: built without a network and without a broken link, and whole when it is opened from a disk."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag

import pytest

from tests.browsing import Window, needs_browser

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src"}


class Page(HTMLParser):
    """What a page links to, what it loads, and the anchors it has."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.loads: set[str] = set()
        self.anchors: set[str] = {""}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attributes}
        self.anchors |= {found[name] for name in ("id", "name") if name in found}
        if tag in LOADED and LOADED[tag] in found:
            self.loads.add(found[LOADED[tag]])
        elif "href" in found:
            self.links.add(found["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(DOCS, folder / "docs")
    shutil.copy(ROOT / "zensical.toml", folder)
    build = [Path(sys.executable).parent / "zensical", "build", "--strict"]
    result = subprocess.run(build, cwd=folder, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder / "site"


def named_in(navigation: Any) -> Iterator[str]:
    if isinstance(navigation, str):
        yield navigation
    else:
        for each in navigation.values() if isinstance(navigation, dict) else navigation:
            yield from named_in(each)


def test_the_navigation_has_every_page_once() -> None:
    settings = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))
    named = sorted(named_in(settings["project"]["nav"]))
    assert named == sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))


def test_every_link_leads_somewhere(site: Path) -> None:
    pages = {path: Page(path) for path in site.rglob("*.html") if path.name != "404.html"}  # a server's own
    assert len(pages) > 10
    broken = []
    for path, page in pages.items():
        for link in page.links | page.loads:
            target, anchor = urldefrag(unquote(link))
            if "//" in target or target.startswith("mailto:"):
                continue
            there = (path.parent / target).resolve() if target else path
            there = there / "index.html" if there.is_dir() else there
            if not there.exists() or (there in pages and anchor not in pages[there].anchors):
                broken.append(f"{path.name}: {link}")
    assert broken == []


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    loads = {load for path in site.rglob("*.html") for load in Page(path).loads}
    assert loads
    assert [load for load in loads if "//" in load] == []


@pytest.fixture(scope="module")
def pages(site: Path) -> list[str]:
    return [path.as_uri() for path in sorted(site.glob("*.html")) if path.name != "404.html"]


@needs_browser
@pytest.mark.slow
def test_from_a_disk_each_page_is_whole_on_a_phone_and_dark_where_that_is_wanted(
    browser: Any, pages: list[str]
) -> None:
    phone = {"width": 390, "height": 800}
    window = Window(browser, pages[0], viewport=phone, color_scheme="dark")
    for page in pages:
        window.page.goto(page)
        assert window.wrong == [], page
        assert [url for url in window.asked if not url.startswith("file:")] == [], page
        assert window.broken_pictures() == 0, page
        assert not window.is_light(), page
        window.require_room(phone["width"])
    window.context.close()


@needs_browser
@pytest.mark.slow
def test_from_a_disk_the_search_finds_what_is_typed(browser: Any, pages: list[str]) -> None:
    window = Window(browser, pages[0])
    window.page.keyboard.press("/")
    window.page.keyboard.type("SemDeDup", delay=20)
    found = window.page.get_by_role("option", name="Semantic duplicates").first
    found.wait_for()
    assert window.wrong == []
    found.click()
    window.page.wait_for_url(re.compile(r"/pruning\.html.*#semantic-duplicates"))
    window.context.close()

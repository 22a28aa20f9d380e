"""The pages of `curate view` in a real browser: no complaint, no script, usable by all and by keyboard."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.browsing import Window, needs_browser
from tests.curate.conftest import HARMFUL, Reported
from tests.curate.serving import Served

pytestmark = needs_browser

PATHS = {
    "overview": "/",
    "samples": "/samples?fate=dropped&sort=-clip",
    "aside": "/samples?fate=aside",
    "harmful": "/samples?text=harmful&min.clip=-1",
    "sample": "/sample/0/3?fate=dropped&at=0",
    "stage": "/stage/keep",
    "rules": "/stage/rules",
    "clusters": "/clusters",
    "groups": "/groups",
    "trouble": "/samples?sort=nothing",
}


@pytest.fixture
def window(browser: Any, served: Served) -> Iterator[Window]:
    own = Window(browser, served.url + "/", viewport={"width": 1280, "height": 800})
    yield own
    own.context.close()


def see_all(window: Window) -> None:
    """Bring every picture near the window once, and wait for it."""
    for image in window.page.query_selector_all("img"):
        image.scroll_into_view_if_needed()
    window.page.wait_for_function("() => [...document.images].every((image) => image.complete)")


@pytest.mark.parametrize("name", [name for name in PATHS if name != "trouble"])
def test_a_page_loads_without_a_complaint_and_asks_nobody_else(
    window: Window, served: Served, name: str
) -> None:
    window.page.goto(served.url + PATHS[name])
    see_all(window)
    assert window.wrong == []
    assert {f"{urlsplit(url).scheme}://{urlsplit(url).netloc}" for url in window.asked} == {served.url}
    assert window.broken_pictures() == 0
    if name not in ("overview", "rules", "harmful"):
        assert window.page.locator("img").count() > 0


def test_the_numbers_are_the_runs(window: Window, reported: Reported) -> None:
    result = reported.result
    numbers = [result.samples, result.kept, sum(result.dropped.values()), sum(result.set_aside.values())]
    shown = window.page.locator(".sum b").all_inner_texts()
    assert [int(text.replace(",", "")) for text in shown] == numbers
    window.page.locator(".funnel a", has_text="same bytes").click()
    assert window.page.locator("#found b").inner_text() == str(result.dropped["duplicates.same_bytes"])
    fates = window.page.locator(".grid .meta span").all_inner_texts()
    assert set(fates) == {"duplicates: same bytes"}
    assert len(fates) == result.dropped["duplicates.same_bytes"]


def test_a_script_in_a_caption_never_runs_and_is_shown_as_it_stands(window: Window, served: Served) -> None:
    page = window.page
    page.goto(served.url + "/samples?text=harmful")
    captions = page.locator(".grid .caption").all_inner_texts()
    assert len(captions) == len(HARMFUL)
    assert any("</script><script>window.ran = 1</script>" in text for text in captions)
    assert any("⟨U+202E⟩gnp.exe" in text for text in captions)
    for number in range(len(HARMFUL)):
        page.goto(served.url + "/samples?text=harmful")
        page.locator("a.card").nth(number).click()
        page.wait_for_load_state()
        assert page.evaluate("() => window.ran") is None
    assert window.wrong == []


def test_a_question_is_asked_and_taken_back_by_keyboard_alone(window: Window, reported: Reported) -> None:
    page = window.page
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.className") == "skip"
    page.get_by_role("link", name="Samples", exact=True).focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/samples")
    page.get_by_role("searchbox").focus()
    page.keyboard.type("number 7")
    page.keyboard.press("Enter")
    page.wait_for_url("**/samples?text=number+7")
    found = int(page.locator("#found b").inner_text())
    assert 0 < found < reported.result.samples
    first = page.locator(".grid .caption").first.inner_text()
    page.locator("a.card").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/sample/**")
    assert page.locator(".said").inner_text() == first
    page.get_by_role("link", name="next").focus()
    page.keyboard.press("Enter")
    page.wait_for_function("(first) => document.querySelector('.said').innerText !== first", arg=first)
    page.get_by_role("link", name="back to the list").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/samples?text=number+7")
    page.get_by_role("link", name="“number 7”").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/samples")
    assert int(page.locator("#found b").inner_text()) == reported.result.samples
    assert window.wrong == []


def test_scores_and_clusters_can_be_asked_for(window: Window, served: Served) -> None:
    page = window.page
    page.goto(served.url + "/samples")
    page.get_by_text("scores and clusters").click()
    page.get_by_label("clip from").fill("0")
    page.get_by_label("in the order").select_option("clip")
    page.get_by_role("button", name="show").click()
    page.wait_for_url("**/samples?sort=clip&min.clip=0.0")
    values = [float(text.removeprefix("clip ").replace("−", "-")) for text in clips(page)]
    assert values == sorted(values)
    assert values[0] >= 0
    assert page.get_by_label("clip from").input_value() == "0.0"


def clips(page: Any) -> list[str]:
    return [
        text for text in page.locator(".grid .meta").all_inner_texts() if re.match(r"clip [\d−.]+$", text)
    ]


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (360, "dark"), (1280, "dark")])
def test_pages_can_be_read_at_any_width_by_day_and_by_night(
    browser: Any, served: Served, width: int, scheme: str
) -> None:
    own = Window(browser, served.url, viewport={"width": width, "height": 800}, color_scheme=scheme)
    for path in PATHS.values():
        own.page.goto(served.url + path)
        own.require_room(width)
        assert own.is_light() == (scheme == "light")
    own.context.close()


LOOKED_AT = [(name, "light") for name in PATHS] + [
    (name, "dark") for name in ("overview", "samples", "sample")
]


@pytest.mark.parametrize(("name", "scheme"), LOOKED_AT)
def test_axe_has_no_complaint(browser: Any, served: Served, name: str, scheme: str) -> None:
    size = {"width": 1280, "height": 800}
    own = Window(browser, served.url + PATHS[name], viewport=size, color_scheme=scheme)
    own.require_access()
    own.context.close()

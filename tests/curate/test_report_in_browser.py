"""The report in a real browser: it loads, searches, can be read by all, and runs no script but its own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browsing import Window, needs_browser
from tests.curate.conftest import HARMFUL, Reported

pytestmark = needs_browser


class Opened(Window):
    """The report in a window."""

    def __init__(self, browser: Any, reported: Reported, **options: Any) -> None:
        super().__init__(browser, Path(reported.written.path).as_uri(), **options)

    def see_all(self) -> None:
        """Bring every part near the window once, so that all is filled in."""
        self.page.evaluate(
            "() => document.querySelectorAll('[data-stage], [data-groups], .tiles > li, #results')"
            ".forEach((part) => part.scrollIntoView({behavior: 'instant'}))"
        )
        for part in self.page.query_selector_all("[data-stage], [data-groups], .tiles > li, #results"):
            part.scroll_into_view_if_needed()
            self.page.wait_for_function("(part) => part.querySelector('li')", arg=part)

    def find(self, **fields: str) -> int:
        """Search, and return how many samples the page says it found."""
        form = self.page.locator("#filters")
        form.locator("button[type=reset]").click()
        for name, value in fields.items():
            own = form.locator(f"[name={name}]")
            own.select_option(value) if name in ("fate", "score") else own.fill(value)
        self.pass_time(150)  # the page waits a moment for more letters
        return int(re.sub(r"\D", "", self.page.locator("#found").inner_text()))


@pytest.fixture
def opened(browser: Any, reported: Reported) -> Iterator[Opened]:
    own = Opened(browser, reported, viewport={"width": 1280, "height": 800})
    yield own
    own.context.close()


def samples(page: Any) -> dict[str, Any]:
    content = json.loads(page.locator("#report").evaluate("(block) => block.textContent"))
    assert isinstance(content, dict)
    return content


def test_it_loads_without_a_complaint_and_asks_for_nothing(opened: Opened, reported: Reported) -> None:
    opened.see_all()
    assert opened.wrong == []
    asked = [url for url in opened.asked if not url.startswith("data:")]
    assert asked == [Path(reported.written.path).as_uri()]
    assert opened.page.locator("img").count() > 50
    assert opened.broken_pictures() == 0


def test_the_numbers_on_top_are_the_runs(opened: Opened, reported: Reported) -> None:
    result = reported.result
    numbers = [result.samples, result.kept, sum(result.dropped.values()), sum(result.set_aside.values())]
    shown = opened.page.locator(".sum b").all_inner_texts()
    assert [int(text.replace(",", "")) for text in shown] == numbers


def test_a_script_in_a_caption_never_runs_and_is_shown_as_it_stands(opened: Opened) -> None:
    opened.see_all()
    assert opened.find(text="harmful") == len(HARMFUL)
    captions = opened.page.locator("#results .caption").all_inner_texts()
    assert any("</script><script>window.ran = 1</script>" in text for text in captions)
    assert any("⟨U+202E⟩gnp.exe" in text for text in captions)
    opened.page.locator("#results .card").first.click()
    assert opened.page.locator("dialog[open]").count() == 1
    opened.pass_time(100)
    assert opened.page.evaluate("() => window.ran") is None
    assert opened.wrong == []


def test_a_search_finds_what_is_there(opened: Opened) -> None:
    content = samples(opened.page)
    own = content["samples"]
    n = len(own["uid"])
    clip = own["scores"][content["scores"].index("clip")]
    known = sorted(value for value in clip if value is not None)
    low, high = known[len(known) // 4], known[len(known) // 2]
    opened.page.locator("#results").scroll_into_view_if_needed()
    assert opened.find() == n
    assert opened.find(fate="kept") == own["stage"].count(None)
    assert opened.find(fate="rules.caption_words") == own["reason"].count("caption_words")
    assert opened.find(score="clip", **{"from": str(low), "to": str(high)}) == sum(
        value is not None and low <= value <= high for value in clip
    )
    assert opened.find(cluster="2") == own["cluster"].count(2)
    assert opened.find(text=own["uid"][3]) == 1
    assert opened.find(text="nothing says this") == 0


def test_a_reason_in_the_funnel_leads_to_its_samples(opened: Opened, reported: Reported) -> None:
    opened.page.locator(".funnel a", has_text="same bytes").click()
    opened.page.wait_for_function("() => document.getElementById('results').children.length > 0")
    fates = opened.page.locator("#results .meta span").all_inner_texts()
    assert set(fates) == {"duplicates: same bytes"}
    assert len(fates) == reported.result.dropped["duplicates.same_bytes"]


def test_all_of_it_works_by_keyboard(opened: Opened) -> None:
    page = opened.page
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.className") == "skip"
    card = page.locator("[data-stage=keep][data-side=kept] .card")
    page.locator("[data-stage=keep][data-side=kept]").scroll_into_view_if_needed()
    first, second = (card.nth(n).locator(".caption").inner_text() for n in (0, 1))
    card.first.focus()
    page.keyboard.press("Enter")
    caption = page.locator("#detail-caption")
    assert caption.inner_text() == first
    page.keyboard.press("ArrowRight")
    assert caption.inner_text() == second
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0
    assert page.evaluate("() => document.activeElement.className") == "card"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_it_can_be_read_at_any_width_by_day_and_by_night(
    browser: Any, reported: Reported, width: int, scheme: str
) -> None:
    own = Opened(browser, reported, viewport={"width": width, "height": 800}, color_scheme=scheme)
    own.see_all()
    own.require_room(width)
    assert own.is_light() == (scheme == "light")
    assert own.wrong == []
    own.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_has_no_complaint(browser: Any, reported: Reported, scheme: str) -> None:
    own = Opened(browser, reported, viewport={"width": 1280, "height": 800}, color_scheme=scheme)
    own.see_all()
    own.require_access()
    own.context.close()

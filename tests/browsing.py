"""A page in a real browser, watched: what it complains of, what it asks for, and whether all can use it."""

from __future__ import annotations

import re
import shutil
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((found for name in NAMES if (found := shutil.which(name))), None)
WAIT_MS = 60_000  # just ends what hangs: a busy machine may take long
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed: apt install chromium")


class Window:
    """A page in a window of its own, and what went wrong in it."""

    def __init__(self, browser: Any, url: str, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(WAIT_MS)
        self.wrong: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.wrong.append(message.text))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(url)

    def pass_time(self, milliseconds: int) -> None:
        """Let the page's own clock go on: what was to come sooner has come, however slow the machine is."""
        self.page.evaluate("(time) => new Promise((done) => setTimeout(done, time))", milliseconds)

    def broken_pictures(self) -> int:
        """Return how many pictures did not come."""
        count = "() => [...document.images].filter((image) => image.complete && !image.naturalWidth).length"
        return int(self.page.evaluate(count))

    def is_light(self) -> bool:
        """Tell whether the paper is light."""
        colour = self.page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        return sum(int(part) for part in re.findall(r"\d+", colour)[:3]) > 384

    def require_room(self, width: int) -> None:
        """Fail where something stands out of the window."""
        assert self.page.evaluate("() => document.documentElement.scrollWidth") <= width

    def require_access(self) -> None:
        """Fail on anything that axe finds; skip, and say so, where axe is not installed."""
        axe = pytest.importorskip(
            "axe_playwright_python.sync_playwright", reason="no axe: install the dev extra"
        )
        violations = axe.Axe().run(self.page).response["violations"]
        found = [(each["id"], [node["html"] for node in each["nodes"]][:3]) for each in violations]
        assert not found, found

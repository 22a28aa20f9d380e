"""What holds for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

from tests.browsing import CHROMIUM

# How long an example takes says more about who else uses the machine than about the code.
settings.register_profile("house", deadline=None)
settings.load_profile("house")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Yield the one browser of all tests: playwright can be started once in a process."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as started:
        own = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield own
        own.close()

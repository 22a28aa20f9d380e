"""What holds for all tests."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from multiprocessing import forkserver
from typing import Any

import pytest
from hypothesis import settings

from tests.browsing import CHROMIUM

# How long an example takes says more about who else uses the machine than about the code.
settings.register_profile("house", deadline=None)
settings.load_profile("house")


@pytest.fixture(autouse=True, scope="module")
def nothing_left() -> Iterator[None]:
    """Leave to the next file neither who answers ^C nor a fork server, whose imports weigh on its workers."""
    handler = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, handler)
    forkserver._forkserver._stop()  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Yield the one browser of all tests: playwright can be started once in a process."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as started:
        own = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield own
        own.close()

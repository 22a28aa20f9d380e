"""A run that is looked at again while it goes on."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

import pyarrow as pa

from curate.view.search import Search
from curate.view.standing import look
from pipelines.errors import ConfigError

_AGAIN_SECONDS = 3.0
_SHARE = 0.05  # of the time may go into looking whether there is more


class Viewer:
    """Keeps the search over a run as it stands; used by several threads."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._lock = threading.Lock()
        self._search = Search(look(run))
        self._events = self._size_of_events()
        self._next_look = 0.0

    def search(self) -> Search:
        """Return what finds samples in the run as it stands now."""
        with self._lock:
            started = time.monotonic()
            if started >= self._next_look and self._may_have_changed():
                with suppress(ConfigError, OSError, pa.ArrowException):  # else what was there stays
                    self._look_again()
                ended = time.monotonic()
                self._next_look = ended + max(_AGAIN_SECONDS, (ended - started) / _SHARE)
            return self._search

    def _look_again(self) -> None:
        standing = look(self._run)
        if standing.is_same_as(self._search.standing):
            self._search.standing = standing
        else:
            self._search = Search(standing)

    def _may_have_changed(self) -> bool:
        standing = self._search.standing
        before, self._events = self._events, self._size_of_events()
        return standing.working or not standing.decided or before != self._events

    def _size_of_events(self) -> int | None:
        return self._search.standing.run.folder.size("events.jsonl")

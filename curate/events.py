"""What happens during a run, kept in the run folder."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pipelines.machine import describe_machine
from pipelines.storage import Folder, is_local


class EventLog:
    """Adds a run's events, but not those of single shards, to `events.jsonl` in its folder."""

    def __init__(self, run: Folder) -> None:
        self.run = run
        self._lines: list[str] = []

    def write(self, event: dict[str, Any]) -> None:
        """Add one event, with the time."""
        if event["event"] == "shard":
            return
        stamped = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **event}
        line = json.dumps(stamped) + "\n"
        if is_local(self.run.url):
            with (Path(self.run.url) / "events.jsonl").open("a") as stream:
                stream.write(line)
        else:
            self._lines.append(line)  # an object store has no append: put when the run ends

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.nullcontext() if error is None else contextlib.suppress(Exception):
            self._put()  # after an error, most often of the store, that one is what people should see

    def _put(self) -> None:
        if self._lines:
            before = self.run.read("events.jsonl") if self.run.exists("events.jsonl") else b""
            self.run.write("events.jsonl", before + "".join(self._lines).encode())


def machine() -> dict[str, Any]:
    """Return the event that says where a run is started; workers may be elsewhere."""
    return {"event": "machine", **describe_machine()}

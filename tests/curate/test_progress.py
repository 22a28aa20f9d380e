"""What is shown of a run under way: to those who watch, to logs, and to programs."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console

from curate.progress import LineProgress, Pace, TerminalProgress, shown, watched


class Clock:
    """A time that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


EVENTS: list[dict[str, Any]] = [
    {"event": "pool", "shards": 4, "bytes": 18_800_000, "first": "0", "last": "3"},
    {"event": "engine", "workers": 2, "seconds": 1.0},
    {"event": "stage", "stage": "ingest", "shards": 4, "done": 2},
    {"event": "shard", "stage": "ingest", "shard": "2", "samples": 500, "kept": 490},
    {"event": "shard", "stage": "ingest", "shard": "3", "samples": 500, "kept": 490},
    {"event": "stage_done", "stage": "ingest", "seconds": 4.2, "new": 2, "samples": 2000, "kept": 1960},
    {"event": "summary", "stage": "duplicates"},
    {"event": "note", "stage": "duplicates", "message": "[brackets] stay"},
    {"event": "stage", "stage": "duplicates", "shards": 4, "done": 4},
    {"event": "stage_done", "stage": "duplicates", "seconds": 0.1, "new": 0, "samples": 1960, "kept": 1900},
    {"event": "warning", "message": "the shards' numbers have gaps"},
    {"event": "done", "samples": 2000, "kept": 1900},
]


def test_a_log_gets_a_line_for_each_stage_and_no_control_characters() -> None:
    sink = io.StringIO()
    show = LineProgress(Console(file=sink, width=80))
    for event in EVENTS:
        show(event)
    assert sink.getvalue().splitlines() == [
        "pool: 4 shards, 18.8 MB",
        "ingest                2,000 →         1,960      4.2 s  2 of 4 done before",
        "duplicates: [brackets] stay",
        "duplicates            1,960 →         1,900      0.1 s  done before",
        "note: the shards' numbers have gaps",
    ]


def test_lines_fit_a_narrow_terminal() -> None:
    sink = io.StringIO()
    show = LineProgress(Console(file=sink, width=40))
    for event in EVENTS[:6]:
        show(event)
    assert all(len(line) <= 40 for line in sink.getvalue().splitlines())


@pytest.mark.parametrize("width", [40, 80, 120])
def test_a_terminal_shows_the_same_lines_and_a_bar_that_fits(width: int) -> None:
    sink, clock = io.StringIO(), Clock()
    console = Console(file=sink, width=width, force_terminal=True, color_system=None, legacy_windows=False)
    with TerminalProgress(console, clock) as show:
        for event in EVENTS[:5]:
            show(event)
            clock.now += 5
        drawn = io.StringIO()
        Console(file=drawn, width=width).print(show._bars.get_renderable())
        for event in EVENTS[5:]:
            show(event)
    lines = [line for line in drawn.getvalue().splitlines() if line.strip()]
    assert len(lines) == 1
    assert len(lines[0].rstrip()) <= width
    assert "ingest" in lines[0]
    assert "4/4" in lines[0]
    assert "2 of 4 done before" in sink.getvalue() or width == 40


def test_the_time_left_does_not_extrapolate_the_start() -> None:
    """Two workers: the first shards take 60 s each, as models are loaded; all others 10 s."""
    pace = Pace(2, 0.0)
    assert pace.seconds_left(10, 5.0) is None
    pace.add(100, 60.0)
    assert pace.seconds_left(9, 60.0) is None
    pace.add(100, 60.0)
    assert pace.seconds_left(8, 60.0) == 240  # no second round yet: all that is known
    pace.add(100, 70.0)
    pace.add(100, 70.0)
    assert pace.seconds_left(6, 70.0) == 30
    assert pace.samples_per_second == 20
    assert pace.seconds_left(6, 75.0) == 25  # it runs down between shards
    assert pace.seconds_left(6, 500.0) == 0


def test_a_burst_of_shards_is_no_pace() -> None:
    pace = Pace(1, 0.0)
    pace.add(100, 10.0)
    pace.add(100, 10.1)
    pace.add(100, 10.2)
    assert pace.seconds_left(3, 10.2) == pytest.approx(10.2)
    pace.add(100, 13.0)
    assert pace.seconds_left(3, 13.0) == pytest.approx(3.0)


def test_only_who_can_see_it_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as some build servers do: still nobody watches
    assert not watched(Console(file=io.StringIO()))


def test_programs_get_every_event(capsys: pytest.CaptureFixture[str]) -> None:
    with shown(as_json=True) as show:
        for event in EVENTS:
            show(event)
    assert [json.loads(line) for line in capsys.readouterr().err.splitlines()] == EVENTS

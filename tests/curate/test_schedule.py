"""Schedules: when they are due, who keeps them, and a server that neither loses nor doubles a tick."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from curate.schedule import records
from curate.schedule.entry import Entry, Store
from curate.schedule.records import Tick, stamp
from curate.schedule.serve import Server
from curate.schedule.show import described
from curate.schedule.times import check, last_before, next_after
from pipelines.errors import ConfigError
from pipelines.storage import Folder

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("cron", "after", "due"),
    [
        ("0 3 * * *", "2026-01-10T12:00", ["2026-01-11T02:00", "2026-01-12T02:00"]),
        # 2:30 does not exist on March 29 in Berlin: right after the change, at 3:00 summer time
        ("30 2 * * *", "2026-03-28T12:00", ["2026-03-29T01:00", "2026-03-30T00:30"]),
        # 2:30 exists twice on October 25: once is enough
        ("30 2 * * *", "2026-10-24T12:00", ["2026-10-25T00:30", "2026-10-26T01:30"]),
        # but what is due every hour is due in both hours
        ("30 * * * *", "2026-10-25T00:00", ["2026-10-25T00:30", "2026-10-25T01:30", "2026-10-25T02:30"]),
    ],
)
def test_times_are_those_of_the_zone_across_changes_of_the_clock(
    cron: str, after: str, due: list[str]
) -> None:
    when = utc(after)
    for expected in due:
        when = next_after(cron, "Europe/Berlin", when)
        assert when.astimezone(UTC) == utc(expected)
    for expected in reversed(due[:-1]):
        when = last_before(cron, "Europe/Berlin", when)
        assert when.astimezone(UTC) == utc(expected)


@pytest.mark.parametrize(
    ("cron", "timezone", "said"),
    [
        ("0 3 * *", "UTC", "five fields"),
        ("0 0 3 * * *", "UTC", "five fields"),
        ("61 3 * * *", "UTC", "not a time of cron"),
        ("0 0 31 2 *", "UTC", "day"),
        ("0 3 * * *", "Mars/Olympus", "no time zone"),
        ("0 3 * * *", "../../etc/passwd", "no time zone"),
    ],
)
def test_what_is_no_time_is_said(cron: str, timezone: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check(cron, timezone)


def entry(home: Path, name: str = "a", **changes: Any) -> Entry:
    given = {
        "config": str(home / f"{name}.yaml"),
        "cron": "0 * * * *",
        "run": str(home / name),
        "since": START,
    }
    return Entry(**{"name": name, **given, **changes})


def test_a_store_keeps_entries_and_refuses_what_it_can_not(tmp_path: Path) -> None:
    store = Store(tmp_path / "deep/er/schedules.json")
    assert store.read() == []
    store.add(entry(tmp_path, "b"))
    store.add(entry(tmp_path, "a"))
    assert [each.name for each in store.read()] == ["a", "b"]
    assert store.path.stat().st_mode & 0o077 == 0
    with pytest.raises(ConfigError, match="already"):
        store.add(entry(tmp_path, "a"))
    store.remove("a")
    with pytest.raises(ConfigError, match="there are: b"):
        store.remove("a")
    store.path.write_text("[{]")
    with pytest.raises(ConfigError, match="not a store"):
        store.add(entry(tmp_path, "c"))
    assert store.path.read_text() == "[{]"


def test_one_process_serves_a_store(tmp_path: Path) -> None:
    store = Store(tmp_path / "schedules.json")
    assert not store.is_served()
    with store.served():
        assert store.is_served()
        with pytest.raises(ConfigError, match="another process"), Store(store.path).served():
            pass
    assert not store.is_served()


@dataclass
class Fake:
    """A tick that ends when a test says so."""

    code: int | None = None

    def poll(self) -> int | None:
        return self.code

    def said(self) -> str:
        return "no space left"

    def stop(self) -> None:
        self.code = 3

    def kill(self) -> None:
        pass


@dataclass
class World:
    """A server with its clock, and the ticks that it started."""

    store: Store
    now: datetime = START
    started: list[tuple[str, datetime]] = field(default_factory=list)
    fakes: list[Fake] = field(default_factory=list)
    at_once: int = 1

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self.server = Server(self.store, self._start, lambda words: None, self.at_once)

    def _start(self, entry: Entry, due: datetime) -> Fake:
        self.started.append((entry.name, due))
        self.fakes.append(Fake())
        return self.fakes[-1]

    def at(self, when: datetime) -> float:
        self.now = when
        return self.server.step(when)

    def end(self, code: int = 0, *, record: Path | None = None) -> None:
        """End the last tick, which leaves a record if it had work."""
        self.fakes[-1].code = code
        if record is not None:
            due = self.started[-1][1]
            records.write(Folder(str(record)), Tick(stamp(due), stamp(self.now), "done", stamp(self.now)))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(Store(tmp_path / "schedules.json"))


def test_ticks_start_when_they_are_due_and_not_before(world: World, tmp_path: Path) -> None:
    world.store.add(entry(tmp_path))
    assert world.at(START + timedelta(minutes=59)) == 60
    assert world.started == []
    world.at(START + HOUR)  # on the dot: due a moment later, at the next look
    world.at(START + HOUR + timedelta(seconds=1))
    assert world.started == [("a", START + HOUR)]
    world.end()
    world.at(START + HOUR + timedelta(seconds=2))
    assert len(world.started) == 1


def test_missed_times_get_one_tick_and_restarts_double_none(world: World, tmp_path: Path) -> None:
    world.store.add(entry(tmp_path))
    world.at(START + 5.5 * HOUR)
    assert world.started == [("a", START + 5 * HOUR)]
    world.end(record=tmp_path / "a")
    world.restart()
    world.at(START + 5.6 * HOUR)
    assert len(world.started) == 1
    world.at(START + 6.1 * HOUR)
    assert world.started[1:] == [("a", START + 6 * HOUR)]


def test_a_server_killed_at_work_starts_again_without_doubling(world: World, tmp_path: Path) -> None:
    world.store.add(entry(tmp_path))
    world.at(START + 1.1 * HOUR)
    due = stamp(START + HOUR)
    records.write(Folder(str(tmp_path / "a")), Tick(due, due, "running"))  # by the tick, which lives on
    world.restart()
    world.at(START + 1.2 * HOUR)
    assert len(world.started) == 1


def test_clocks_that_jump_neither_lose_nor_double(world: World, tmp_path: Path) -> None:
    world.store.add(entry(tmp_path))
    world.at(START + 3.1 * HOUR)
    world.end()
    world.at(START + 1.1 * HOUR)
    world.at(START + 3.2 * HOUR)
    assert [due for _, due in world.started] == [START + 3 * HOUR]
    world.at(START + 4.1 * HOUR)
    assert [due for _, due in world.started] == [START + 3 * HOUR, START + 4 * HOUR]


@pytest.mark.parametrize("overlap", ["skip", "wait"])
def test_overlapping_ticks_are_skipped_or_one_waits(world: World, tmp_path: Path, overlap: str) -> None:
    world.store.add(entry(tmp_path, overlap=overlap))
    for hours in (1.1, 2.1, 3.1):
        world.at(START + hours * HOUR)
    assert len(world.started) == 1
    world.end()
    world.at(START + 3.2 * HOUR)
    later = [due for _, due in world.started[1:]]
    skipped = [(tick.due, tick.outcome) for tick in records.read(Folder(str(tmp_path / "a")))]
    if overlap == "skip":
        assert later == []
        assert skipped == [(stamp(START + hours * HOUR), "skipped") for hours in (2, 3)]
    else:
        assert later == [START + 3 * HOUR]
        assert skipped == []


def test_so_many_at_once_and_the_others_take_turns(world: World, tmp_path: Path) -> None:
    for name in "abc":
        world.store.add(entry(tmp_path, name))
    world.at(START + 1.1 * HOUR)
    assert [name for name, _ in world.started] == ["a"]
    for _ in "bc":
        world.end()
        world.at(START + 1.2 * HOUR)
    assert [name for name, _ in world.started] == ["a", "b", "c"]


@pytest.mark.parametrize("began", [False, True])
def test_a_tick_that_died_without_a_word_is_on_record(world: World, tmp_path: Path, began: bool) -> None:
    world.store.add(entry(tmp_path))
    world.at(START + 1.1 * HOUR)
    if began:
        due = stamp(START + HOUR)
        records.write(Folder(str(tmp_path / "a")), Tick(due, due, "running", process=2**22 + 1))
    world.end(-9)
    world.at(START + 1.2 * HOUR)
    (tick,) = records.read(Folder(str(tmp_path / "a")))
    assert (tick.outcome, tick.message, tick.due) == ("failed", "no space left", stamp(START + HOUR))


def test_entries_come_and_go_while_it_serves(world: World, tmp_path: Path) -> None:
    world.at(START)
    world.store.add(entry(tmp_path))
    world.at(START + 1.1 * HOUR)
    assert len(world.started) == 1
    world.store.remove("a")
    world.at(START + 1.2 * HOUR)
    world.end()
    world.at(START + 2.1 * HOUR)
    world.at(START + 3.1 * HOUR)
    assert len(world.started) == 1
    world.store.path.write_text("half edi")
    world.at(START + 4.1 * HOUR)


def test_records_tell_who_died_and_only_the_newest_are_kept(tmp_path: Path) -> None:
    run = Folder(str(tmp_path))
    for number in range(110):
        when = stamp(START + number * HOUR)
        tick = Tick(when, when, "running", process=2**22 + 1)  # beyond the largest process number
        records.write(run, tick)
        run.write(tick.log(1), b"words")
    records.forget(run)
    ticks = records.read(run)
    assert len(ticks) == 100
    assert {tick.outcome for tick in ticks} == {"died"}
    assert ticks[0].due == stamp(START + 10 * HOUR)
    assert len((run / records.FOLDER).files()) == 200
    (tmp_path / "ticks/9999.json").write_text("{}")
    assert len(records.read(run)) == 100


def test_a_run_folder_out_of_reach_hides_no_other_schedule(tmp_path: Path) -> None:
    there = described(entry(tmp_path), START)
    assert (there["last"], there["out_of_reach"], there["next"]) == (None, None, "2026-03-01T13:00:00+00:00")
    lost = described(entry(tmp_path, run="nowhere://bucket/run"), START)
    assert "nowhere" in lost["out_of_reach"]

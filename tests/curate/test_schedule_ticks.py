"""One tick: nothing when there is nothing new, else a run, tried again, on record, and told of."""

from __future__ import annotations

import io
import json
import os
import shlex
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Sequence
from contextlib import redirect_stdout
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import IO, Any, ClassVar

import pytest
from typer.testing import CliRunner

from curate import api
from curate.cli import app
from curate.schedule import notify as notifying
from curate.schedule import records
from curate.schedule.entry import Store, Work
from curate.schedule.tick import Ticker, run_command, tick_command
from pipelines.errors import ConfigError
from pipelines.lock import own
from pipelines.storage import Folder
from tests.making import sample, write_shard
from tests.pools import config, write_config, write_raw_pool


class World:
    """A pool, a clock that only sleeping moves, and runs in this process, which fail as often as is asked."""

    def __init__(self, home: Path, run: str | None = None) -> None:
        self.home, self.pool = home, write_raw_pool(home / "pool", n_shards=2)
        self.run = Folder(run or str(home / "run"))
        self.file = write_config(home / "curate.yaml", config(self.pool, home, run=self.run.url))
        self.now = datetime(2026, 3, 1, tzinfo=UTC)
        self.slept: list[float] = []
        self.codes: list[int] = []
        self.ticker = Ticker(lambda: self.now, self.sleep, self.start, jitter=lambda: 1.0)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += timedelta(seconds=seconds)

    def start(self, command: Sequence[str], log: IO[bytes] | int) -> int:
        assert not isinstance(log, int)
        if code := self.codes.pop(0) if self.codes else 0:
            log.write(b'{"event": "pool"}\ncurate: no space left on the device\n')
            return code
        result = api.run(command[-1])
        log.write(json.dumps(result.as_dict()).encode() + b"\n")
        return 0

    def work(self, **changes: Any) -> Work:
        return Work(config=str(self.file), **changes)

    def records(self) -> list[records.Tick]:
        return records.read(self.run)

    def add_shard(self, name: str = "00009") -> None:
        write_shard(self.pool / f"{name}.tar", [("000000900", sample(900))])

    def everything(self) -> dict[str, tuple[int, int]]:
        """Return size and time of last change of every file and folder."""
        return {
            str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(self.home.rglob("*"))
        }


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_tick_runs_once_and_then_finds_nothing_new_and_writes_nothing(world: World) -> None:
    tick = world.ticker.tick(world.work())
    assert tick is not None
    assert (tick.outcome, tick.message) == ("done", "kept 16 of 24 samples")
    assert world.records() == [tick]
    before = world.everything()
    assert world.ticker.tick(world.work()) is None
    assert world.everything() == before


def test_records_and_logs_of_a_run_on_a_store_lie_there(tmp_path: Path) -> None:
    world = World(tmp_path, f"memory://{uuid.uuid4().hex}/run")
    world.codes = [3]
    tick = world.ticker.tick(world.work(retries=1))
    assert tick is not None
    assert tick.outcome == "done"
    assert world.records() == [tick]
    (attempt,) = tick.attempts
    assert attempt.log == world.run.path(tick.log(1))
    assert b"no space left" in world.run.read(tick.log(1))
    assert world.ticker.tick(world.work()) is None


def something_new(world: World, what: str) -> None:
    first = next(iter(sorted(world.pool.glob("*.tar"))))
    match what:
        case "a shard more":
            world.add_shard()
        case "a shard less":
            first.unlink()
        case "a shard touched":
            os.utime(first, ns=(1, 1))
        case "a configuration edited":
            write_config(world.file, config(world.pool, world.home, stages=[]))
        case "an output removed":
            (world.home / "curated/MANIFEST.json").unlink()
        case "an output replaced":
            (world.home / "curated/MANIFEST.json").write_text("{}")


@pytest.mark.parametrize(
    "what",
    [
        "a shard more",
        "a shard less",
        "a shard touched",
        "a configuration edited",
        "an output removed",
        "an output replaced",
    ],
)
def test_whatever_is_new_is_noticed(world: World, what: str) -> None:
    world.ticker.tick(world.work())
    something_new(world, what)
    tick = world.ticker.tick(world.work())
    assert tick is not None
    assert tick.outcome == "done"
    assert world.ticker.tick(world.work()) is None


def test_what_fails_is_tried_again_with_back_off_and_its_logs_are_kept(world: World) -> None:
    world.codes = [3, -9, 1]
    tick = world.ticker.tick(world.work(retries=3, backoff=10))
    assert tick is not None
    assert tick.outcome == "done"
    assert world.slept == [10, 20, 40]
    assert [each.code for each in tick.attempts] == [3, -9, 1]
    assert tick.attempts[0].message == "no space left on the device"
    assert tick.attempts[1].message == "killed by signal 9 (Killed)"
    for each in tick.attempts:
        assert each.log is not None
        assert "no space left" in Path(each.log).read_text()
    assert len(list((world.home / "run/ticks").glob("*.log"))) == 3


def test_a_tick_that_fails_for_good_says_so_and_the_next_goes_on(world: World) -> None:
    world.codes = [3, 3]
    tick = world.ticker.tick(world.work(retries=1))
    assert tick is not None
    assert (tick.outcome, len(tick.attempts)) == ("failed", 2)
    assert world.records()[-1] == tick
    again = world.ticker.tick(world.work())
    assert again is not None
    assert again.outcome == "done"


def test_status_and_list_show_what_failed_until_one_is_done(world: World) -> None:
    store = world.home / "schedules.json"
    invoke = CliRunner(env={"COLUMNS": "300"}).invoke
    added = invoke(app, ["schedule", "add", str(world.file), "--cron", "0 3 * * *", "--store", str(store)])
    assert "added test; first due" in added.stdout
    world.ticker.tick(world.work())
    world.codes = [3, 1]
    world.add_shard()
    world.ticker.tick(world.work(retries=1))
    for words in (["status", str(world.home / "run")], ["schedule", "list", "--store", str(store)]):
        shown = invoke(app, words).stdout
        assert "failed after 2 failed attempts: no space left on the device" in shown
        assert shown.count(".log") == 2
    listed = invoke(app, ["schedule", "list", "--json", "--store", str(store)])
    assert json.loads(listed.stdout)["schedules"][0]["failed"] == 1
    world.ticker.tick(world.work())
    for words in (["status", str(world.home / "run")], ["schedule", "list", "--store", str(store)]):
        shown = invoke(app, words).stdout
        assert "done: kept 17 of 25 samples" in shown
        assert ".log" not in shown
    assert invoke(app, ["schedule", "remove", "test", "--store", str(store)]).exit_code == 0
    assert "no schedules" in invoke(app, ["schedule", "list", "--store", str(store)]).stdout


def test_a_tick_is_skipped_or_waits_while_a_run_is_at_work(
    world: World, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path_factory.mktemp("shared")
    monkeypatch.setattr(tempfile, "tempdir", str(shared))
    with own(Folder(str(world.home / "run"))):
        tick = world.ticker.tick(world.work())
        assert tick is not None
        assert (tick.outcome, world.slept) == ("skipped", [])
    owner = own(Folder(str(world.home / "run")))
    owner.__enter__()

    def sleep(seconds: float) -> None:
        world.slept.append(seconds)
        second = world.ticker.tick(world.work(overlap="wait"))  # only one may wait
        assert second is not None
        assert second.outcome == "skipped"
        assert len(list(shared.iterdir())) == 1
        owner.__exit__(None, None, None)

    waiting = Ticker(lambda: world.now, sleep, world.start)
    tick = waiting.tick(world.work(overlap="wait"))
    assert tick is not None
    assert (tick.outcome, len(world.slept)) == ("done", 1)
    assert not list(shared.iterdir())


def test_a_full_disk_keeps_no_tick_from_its_work(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(records, "write", full)
    tick = world.ticker.tick(world.work())
    assert tick is not None
    assert tick.outcome == "done"


class Hook(BaseHTTPRequestHandler):
    """Takes what is posted."""

    said: ClassVar[list[dict[str, Any]]] = []
    code = 200

    def do_POST(self) -> None:
        self.said.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(type(self).code)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Any:
    server = HTTPServer(("127.0.0.1", 0), Hook)
    monkeypatch.setattr(Hook, "said", [])
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook"
    server.shutdown()
    server.server_close()


def test_a_webhook_and_a_command_are_told_of_success_and_failure_alone(
    world: World, hook: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK", hook)
    script = (
        "import os, sys\n"
        f"with open({str(world.home / 'told')!r}, 'a') as file:\n"
        "    file.write(os.environ['CURATE_OUTCOME'] + sys.stdin.read()[:9] + '\\n')"
    )
    command = shlex.join([sys.executable, "-c", script, "; rm -rf /tmp/nothing $(echo)"])
    work = world.work(notify_url="env:HOOK", notify_command=command, retries=0)
    world.codes = [3]
    for _ in range(3):
        world.ticker.tick(work)
    assert [said["outcome"] for said in Hook.said] == ["failed", "done"]
    assert Hook.said[0]["name"] == "test"
    assert Hook.said[0]["attempts"][0]["message"] == "no space left on the device"
    assert (world.home / "told").read_text() == 'failed{"event":\ndone{"event":\n'


def test_what_can_not_be_told_is_noted_and_holds_nothing_up(
    world: World, hook: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Hook, "code", 500)
    work = world.work(notify_url=hook, notify_command="/there/is/no/such")
    tick = world.ticker.tick(work)
    assert tick is not None
    assert "HTTP Error 500" in tick.message
    assert "no/such" in tick.message
    assert tick.outcome == "done"
    monkeypatch.setattr(notifying, "_URL_SECONDS", 0.05)
    monkeypatch.setattr(Hook, "do_POST", lambda self: time.sleep(0.3))
    world.add_shard()
    tick = world.ticker.tick(world.work(notify_url=hook))
    assert tick is not None
    assert "the webhook" in tick.message


@pytest.mark.parametrize(
    "changes", [{"notify_url": "file:///etc/passwd"}, {"notify_command": "'"}, {"notify_command": ""}]
)
def test_what_can_never_be_told_is_refused(world: World, changes: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="--notify"):
        notifying.check(world.work(**changes))


def test_commands_survive_hostile_paths() -> None:
    work = Work(config="/a b/--help;$(x)'\"\n.yaml", overrides=("name=--json",), notify_command="say 'a b'")
    for command in (run_command(work), tick_command(work)):
        assert command[-2:] == ["--", work.config]
        assert "name=--json" in command
        assert command[1:4] == ["-P", "-m", "curate"]  # no yaml.py beside a configuration is imported


def test_a_tick_that_is_stopped_takes_its_run_along(tmp_path: Path) -> None:
    script = """
import signal, sys
from curate.schedule.tick import run_process
def stop(*_): raise KeyboardInterrupt
signal.signal(signal.SIGTERM, stop)
child = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
run_process([sys.executable, "-c", child], sys.stdout.fileno())
"""
    tick = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert tick.stdout is not None
    child = int(tick.stdout.readline())
    tick.terminate()
    assert tick.wait(60) != 0
    tick.stdout.close()
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_a_server_ends_by_sigterm_and_lets_another_one_serve(world: World) -> None:
    store = Store(world.home / "schedules.json")
    command = [sys.executable, "-m", "curate", "schedule", "serve", "--store", str(store.path)]
    for _ in range(2):
        server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert server.stderr is not None
        assert "serving" in server.stderr.readline()
        while not store.is_served():  # it is about to
            time.sleep(0.01)
        server.terminate()
        assert server.wait(60) == 0
        assert server.stderr.read().endswith("stopped\n")
        server.stderr.close()
        assert not store.is_served()


def test_a_whole_process_ends_within_two_seconds_without_torch(world: World) -> None:
    with redirect_stdout(io.StringIO()):
        world.ticker.tick(world.work())
    before = world.everything()
    script = (
        "import sys; from curate.cli import app\n"
        f"app(['schedule', 'tick', {str(world.file)!r}], standalone_mode=False)\n"
        "heavy = {'torch', 'faiss', 'distributed', 'pandas', 'scipy', 'open_clip'} & {*sys.modules}\n"
        "assert not heavy, heavy"
    )
    started = time.process_time(), os.times().children_user
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "nothing new\n"
    assert os.times().children_user - started[1] < 2
    assert world.everything() == before

"""One run at a time owns a run folder, for as long as it lives."""

from __future__ import annotations

import fcntl
import json
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines import lock
from pipelines.errors import ConfigError, StoppedError
from pipelines.lock import is_owned, own
from pipelines.storage import Folder

HOLD = """
import sys
from pipelines.lock import own
from pipelines.storage import Folder
with own(Folder(sys.argv[1])):
    print("owned", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(params=["disk", "store"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    return Folder(str(tmp_path / "run") if request.param == "disk" else f"memory://{uuid.uuid4().hex}")


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that owns `tmp_path`."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "owned\n"
        yield process
        process.kill()


def test_a_second_owner_is_refused_and_told_of_the_first(run: Folder) -> None:
    with own(run), pytest.raises(ConfigError, match=r"another run works in .*process [0-9]+ on "), own(run):
        pass


def test_it_is_free_when_the_block_ends_however_it_ends(run: Folder) -> None:
    with own(run):
        pass
    with pytest.raises(KeyError), own(run):
        raise KeyError
    with own(run):
        pass


def test_whether_a_run_is_at_work_is_known_and_asking_changes_nothing(run: Folder) -> None:
    assert not is_owned(run)
    assert run.files() == []
    with own(run):
        before = run.read(".lock")
        assert is_owned(run)
        assert run.read(".lock") == before
    assert not is_owned(run)


def test_two_runs_with_one_output_are_refused_and_the_first_keeps_both(run: Folder) -> None:
    with own(run / "a", run / "out"):
        with pytest.raises(ConfigError, match=r"another run works in .*/out"), own(run / "b", run / "out"):
            pass
        assert not is_owned(run / "b")
        assert is_owned(run / "out")
    with own(run / "out", run / "out"):
        pass


def test_two_folders_have_two_owners(tmp_path: Path) -> None:
    with own(Folder(str(tmp_path / "a"))), own(Folder(str(tmp_path / "b"))):
        assert is_owned(Folder(str(tmp_path / "a")))


def test_another_process_is_refused_until_the_owner_is_killed(
    tmp_path: Path, owner: subprocess.Popen[str]
) -> None:
    folder = Folder(str(tmp_path))
    with pytest.raises(ConfigError, match=f"process {owner.pid} on"), own(folder):
        pass
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    with own(folder):
        assert is_owned(folder)


def test_a_moment_of_asking_does_not_refuse_a_run(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    with (tmp_path / ".lock").open() as asking:
        fcntl.flock(asking, fcntl.LOCK_SH)
        threading.Timer(0.05, lambda: fcntl.flock(asking, fcntl.LOCK_UN)).start()
        with own(Folder(str(tmp_path))):
            pass


# On an object store


def signed(folder: Folder, age: float, who: str = "somebody") -> None:
    content = {"owner": "another", "who": who, "at": time.time() - age}
    folder.write(".lock", json.dumps(content).encode())


@pytest.fixture
def store() -> Folder:
    return Folder(f"memory://{uuid.uuid4().hex}")


def test_an_owner_heard_of_lately_holds_the_folder(store: Folder) -> None:
    signed(store, age=lock._LOST_SECONDS - 10, who="process 5 on elsewhere")
    with pytest.raises(ConfigError, match="process 5 on elsewhere"), own(store):
        pass
    assert is_owned(store)


def test_an_owner_not_heard_of_for_long_is_gone(store: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_BEAT_SECONDS", 0.001)
    signed(store, age=lock._LOST_SECONDS + 1)
    assert not is_owned(store)
    with own(store):
        assert is_owned(store)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"at": "x"}', b"\xff"])
def test_a_damaged_signature_is_nobodys(store: Folder, content: bytes) -> None:
    store.write(".lock", content)
    with own(store):
        assert is_owned(store)


def test_an_owner_signs_again_and_again(store: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    signatures: list[bytes] = []
    third = threading.Event()
    write = Folder.write

    def noted(folder: Folder, name: str, data: bytes) -> None:
        write(folder, name, data)
        signatures.append(data)
        if len(signatures) == 3:
            third.set()

    monkeypatch.setattr(lock, "_BEAT_SECONDS", 0.001)
    monkeypatch.setattr(Folder, "write", noted)
    with own(store):
        assert third.wait(60)
    times = [json.loads(each)["at"] for each in signatures]
    assert times == sorted(times)
    assert len({json.loads(each)["owner"] for each in signatures}) == 1
    assert not is_owned(store)


def test_two_that_start_at_one_moment_do_not_both_own(store: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Folder.write
    theirs = json.dumps({"owner": "another", "who": "somebody", "at": time.time()}).encode()
    monkeypatch.setattr(Folder, "write", lambda folder, name, ours: write(folder, name, theirs))
    with pytest.raises(ConfigError, match="at the same moment"), own(store):
        pass
    assert store.read(".lock") == theirs


@pytest.mark.parametrize("age", [lock._LOST_SECONDS + 1, 1e6, -lock._LOST_SECONDS - 1, -1e6])
def test_an_owner_whose_clock_is_wrong_still_holds_the_folder(
    store: Folder, monkeypatch: pytest.MonkeyPatch, age: float
) -> None:
    monkeypatch.setattr(lock, "_BEAT_SECONDS", 0.001)
    signed(store, age)
    monkeypatch.setattr(lock.time, "sleep", lambda seconds: signed(store, age - 1, "process 5 on elsewhere"))
    with pytest.raises(ConfigError, match="process 5 on elsewhere"), own(store):
        pass


def test_an_owner_that_slept_and_lost_the_folder_is_told_and_leaves_the_other_alone(
    store: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "_BEAT_SECONDS", 0.001)

    def work(refuse_lost: Callable[[], None]) -> None:
        refuse_lost()
        signed(store, age=0, who="process 5 on elsewhere")
        for _ in range(20_000):
            threading.Event().wait(0.001)
            refuse_lost()

    with pytest.raises(StoppedError, match="another run works in"), own(store) as refuse_lost:
        work(refuse_lost)
    assert json.loads(store.read(".lock"))["who"] == "process 5 on elsewhere"


def test_a_store_that_fails_for_a_while_does_not_end_the_signing(
    store: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, failed, again = Folder.write, threading.Event(), threading.Event()

    def fails_once(folder: Folder, name: str, data: bytes) -> None:
        if failed.is_set():
            again.set()
        elif threading.current_thread() is not threading.main_thread():
            failed.set()
            raise OSError("the store is away")
        write(folder, name, data)

    monkeypatch.setattr(lock, "_BEAT_SECONDS", 0.001)
    monkeypatch.setattr(Folder, "write", fails_once)
    with own(store):
        assert again.wait(60)


# On a disk


def test_what_a_dead_process_on_another_host_left_behind_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("process 12345 on a-host-that-died")
    assert not is_owned(Folder(str(tmp_path)))
    with own(Folder(str(tmp_path))):
        assert (tmp_path / ".lock").read_text().startswith("process ")
        assert "a-host-that-died" not in (tmp_path / ".lock").read_text()

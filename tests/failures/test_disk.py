"""Disks that are full or read-only, few handles: a message, nothing half-written, the same bytes later."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow.parquet as pq
import pytest

from curate import run
from pipelines import storage
from pipelines.errors import StoppedError
from pipelines.output.rollback import verify
from pipelines.storage import Folder
from tests.forking import Forks
from tests.pools import config, contents, result_bytes, write_raw_pool

FULL = "No space left on device.*make room there and run again to go on from here"


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    return write_raw_pool(tmp_path / "pool", n_shards=3)


@pytest.fixture
def wanted(pool: Path, tmp_path: Path) -> dict[str, dict[str, str]]:
    run(config(pool, tmp_path / "undisturbed"))
    return result_bytes(tmp_path / "undisturbed")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Return what mounts a small disk, or mounts it again in another way."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = False

    def mount(options: str) -> Path:
        nonlocal mounted
        how = f"remount,{options}" if mounted else options
        command = ["mount", "-t", "tmpfs", "-o", how, "tmpfs", str(place)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode and not mounted:
            pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
        assert done.returncode == 0, done.stderr
        mounted = True
        return place

    yield mount
    if mounted:
        subprocess.run(["umount", "-l", str(place)], check=True)


def check_left(home: Path, wanted: dict[str, dict[str, str]]) -> None:
    """Check that everything under a final name is whole."""
    output = home / "curated"
    if output.exists():
        there = {name: digest for name, digest in contents(output).items() if name[0] != "."}
        assert there.items() <= wanted["output"].items()
        if (output / "MANIFEST.json").exists():
            assert verify(Folder(str(output)))[1] == []
    for path in (home / "run").rglob("*.parquet"):
        pq.read_table(path)


@pytest.mark.slow
@pytest.mark.parametrize("part", [0.0, 0.1, 0.2, 0.35, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95])
def test_a_disk_that_fills_up(
    pool: Path, wanted: dict[str, Any], disk: Callable[[str], Path], part: float
) -> None:
    home = disk("size=64m")
    run(config(pool, home))
    room = os.statvfs(home)
    for folder in ("run", "curated"):
        shutil.rmtree(home / folder)
    disk(f"size={max(1, int(part * (room.f_blocks - room.f_bfree))) * room.f_bsize // 1024}k")
    with pytest.raises(StoppedError, match=FULL):
        run(config(pool, home))
    check_left(home, wanted)
    disk("size=64m")
    run(config(pool, home))
    assert result_bytes(home) == wanted
    assert not list(home.rglob("*.curate-partial"))


@pytest.mark.slow
def test_a_disk_that_fills_up_under_workers(
    pool: Path, wanted: dict[str, Any], disk: Callable[[str], Path]
) -> None:
    home = disk("size=120k")
    with pytest.raises(StoppedError, match=FULL):
        run(config(pool, home, engine={"workers": 2}))
    check_left(home, wanted)
    disk("size=64m")
    run(config(pool, home))
    assert result_bytes(home) == wanted


@pytest.mark.parametrize("which", ["run", "output"])
@pytest.mark.parametrize("begun", [False, True])
def test_a_read_only_folder(
    pool: Path,
    wanted: dict[str, Any],
    tmp_path: Path,
    disk: Callable[[str], Path],
    which: str,
    begun: bool,
) -> None:
    place = disk("size=64m")
    content = config(pool, tmp_path)
    if which == "run":
        content["run"] = str(place / "run")
    else:
        content["output"] |= {"shards": str(place / "curated"), "subset": str(place / "curated/subset.npy")}
    if begun:
        run({**content, "stages": []})
    disk("ro")
    with pytest.raises(StoppedError, match=f"Read-only file system: {place}.*make it writable and run again"):
        run(content)
    disk("rw")
    run(content)
    decisions = contents((place if which == "run" else tmp_path) / "run/decisions")
    output = contents((place if which == "output" else tmp_path) / "curated")
    assert decisions == wanted["decisions"]
    assert {name: digest for name, digest in output.items() if name[0] != "."} == wanted["output"]


def test_an_output_that_becomes_read_only_during_the_run(
    pool: Path, wanted: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a system does it when it finds a disk damaged; asked for, it would not, as files are open there."""

    def read_only(path: Path) -> Any:
        if path.is_relative_to(tmp_path / "curated"):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return _create_local(path)

    def listen(event: dict[str, Any]) -> None:
        if (event["event"], event.get("stage")) == ("shard", "write"):
            monkeypatch.setattr(storage, "_create_local", read_only)

    with pytest.raises(StoppedError, match=r"Read-only file system: .*curated.*make it writable"):
        run(config(pool, tmp_path), on_event=listen)
    check_left(tmp_path, wanted)
    monkeypatch.undo()
    run(config(pool, tmp_path))
    assert result_bytes(tmp_path) == wanted


class FullAfter:
    """A stream that takes half of what is written to it and then fails, at the n-th write of all streams."""

    def __init__(self, n: int) -> None:
        self._left = n

    @contextlib.contextmanager
    def create(self, path: Path) -> Iterator[IO[bytes]]:
        with _create_local(path) as stream:
            write = stream.write

            def failing(data: bytes) -> int:
                self._left -= 1
                if not self._left:
                    write(data[: len(data) // 2])
                    raise OSError(errno.ENOSPC, "No space left on device")
                return write(data)

            yield _Stream(stream, failing)  # type: ignore[misc]


_create_local = storage._create_local


class _Stream:
    def __init__(self, stream: IO[bytes], write: Callable[[bytes], int]) -> None:
        self._stream, self.write = stream, write

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def stopped_by(content: dict[str, Any]) -> str:
    try:
        run(content)
    except StoppedError as error:
        return str(error)
    return ""


@pytest.mark.slow
def test_any_write_may_be_the_one_that_finds_no_room(
    pool: Path, wanted: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(1, 1000, 4):
        home = tmp_path / str(n)
        with monkeypatch.context() as patched:
            patched.setattr(storage, "_create_local", FullAfter(n).create)
            if message := stopped_by(config(pool, home)):
                assert "No space left on device: /" in message
            else:
                break  # there are fewer writes than that
        check_left(home, wanted)
        run(config(pool, home))
        assert result_bytes(home) == wanted
    assert n > 60


@pytest.mark.slow
def test_few_file_handles(pool: Path, wanted: dict[str, Any], tmp_path: Path) -> None:
    with Forks() as forks:
        assert forks.run(config(pool, tmp_path / "warm")).code == 0
        few = [forks.run(config(pool, tmp_path / str(n)), handles=n) for n in (6, 9, 14)]
        assert {ended.code for ended in few} <= {0, 3}, few
        assert few[0].code == 3
        assert "Too many open files" in few[0].message
        for n in (6, 9, 14):
            check_left(tmp_path / str(n), wanted)
            assert forks.run(config(pool, tmp_path / str(n))).code == 0
            assert result_bytes(tmp_path / str(n)) == wanted

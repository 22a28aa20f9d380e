"""A file is under its name whole or not at all, on a disk and on an object store."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.storage import Folder, RangeReader, is_local, open_stream, resolve


@pytest.fixture(params=["disk", "store"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    return Folder(str(tmp_path / "folder") if request.param == "disk" else f"memory://{uuid.uuid4().hex}")


def test_what_is_written_is_read(folder: Folder) -> None:
    folder.write("a/b.bin", b"data")
    assert folder.read("a/b.bin") == b"data"
    assert (folder / "a").read("b.bin") == b"data"
    assert folder.open("a/b.bin").read() == b"data"
    assert folder.size("a/b.bin") == 4
    assert folder.exists("a/b.bin")


def test_what_was_never_written_is_not_there(folder: Folder) -> None:
    assert not folder.exists("a")
    assert folder.size("a") is None
    assert folder.files() == []
    folder.remove("a")
    with pytest.raises(FileNotFoundError):
        folder.read("a")


def test_files_are_listed_in_order_at_any_depth(folder: Folder) -> None:
    for name in ("b.bin", "a/2.bin", "a/1.bin", "c/d/e.bin"):
        folder.write(name, b"")
    assert folder.files() == ["a/1.bin", "a/2.bin", "b.bin", "c/d/e.bin"]
    assert (folder / "a").files() == ["1.bin", "2.bin"]


def test_a_file_is_replaced_and_removed(folder: Folder) -> None:
    folder.write("a", b"first")
    folder.write("a", b"second")
    assert folder.read("a") == b"second"
    folder.remove("a")
    assert not folder.exists("a")


def fail_halfway(folder: Folder) -> None:
    with folder.create("a") as stream:
        stream.write(b"half of it")
        raise KeyError


def test_an_error_while_writing_leaves_nothing(folder: Folder) -> None:
    with pytest.raises(KeyError):
        fail_halfway(folder)
    assert not folder.exists("a")
    assert folder.files() == []


def test_an_error_while_writing_leaves_what_was_there(folder: Folder) -> None:
    folder.write("a", b"before")
    with pytest.raises(KeyError):
        fail_halfway(folder)
    assert folder.read("a") == b"before"


def test_nothing_is_there_while_it_is_written(folder: Folder) -> None:
    with folder.create("a") as stream:
        stream.write(b"half of it")
        assert not folder.exists("a")
        assert folder.files() == []
    assert folder.read("a") == b"half of it"


def test_what_a_killed_writer_leaves_is_no_file_and_is_swept_up(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    writer = folder.create("a.bin")
    writer.__enter__().write(b"half of it")
    assert folder.files() == []
    assert len(list(tmp_path.iterdir())) == 1
    folder.sweep()
    assert list(tmp_path.iterdir()) == []


def test_ranges_are_read_and_a_cut_file_is_noticed(folder: Folder) -> None:
    folder.write("a", bytes(range(100)))
    with RangeReader(folder.path("a")) as reader:
        assert reader.read(10, 3) == bytes([10, 11, 12])
        assert reader.read(99, 1) == bytes([99])
        assert reader.read(0, 0) == b""
        with pytest.raises(EOFError, match="expected 2 bytes at 99, found 1"):
            reader.read(99, 2)


def test_streams_are_read_from_front_to_back(folder: Folder) -> None:
    folder.write("a", b"data")
    with open_stream(folder.path("a")) as stream:
        assert (stream.read(1), stream.read(), stream.read()) == (b"d", b"ata", b"")


@pytest.mark.parametrize("read", [open_stream, RangeReader])
def test_a_missing_file_is_an_error(read: Callable[[str], object], folder: Folder) -> None:
    with pytest.raises(FileNotFoundError):
        read(folder.path("missing"))


def test_relative_paths_start_at_their_base(tmp_path: Path) -> None:
    assert resolve("a/b", "/base") == "/base/a/b"
    assert resolve("../b", "/base/a") == "/base/b"
    assert resolve("/a", "/base") == "/a"
    assert resolve("~/a", "/base") == str(Path.home() / "a")
    assert resolve("s3://bucket/a", "/base") == "s3://bucket/a"
    assert resolve("file:///a", "/base") == "/a"


def test_what_lies_on_this_machine_is_known() -> None:
    assert is_local("/a/b")
    assert is_local("file:///a/b")
    assert not is_local("memory://a")

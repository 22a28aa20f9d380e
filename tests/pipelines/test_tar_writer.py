"""What is written is a tar for everyone, and its bytes depend on nothing but names and data."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
import webdataset
from hypothesis import given
from hypothesis import strategies as st

from pipelines.output.tar_writer import TarWriter, header
from pipelines.pool.tar_reader import Member, read_members

NAMES = ["000000001.jpg", "x" * 100, "x" * 101, "ü" * 60 + ".txt", "d" * 200 + "/" + "f" * 120, "猫/犬.json"]

names = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1, max_size=120
)
contents = st.lists(st.tuples(names, st.binary(max_size=1100)), max_size=6)


def write(files: list[tuple[str, bytes]]) -> bytes:
    sink = io.BytesIO()
    with TarWriter(sink) as tar:
        for name, data in files:
            tar.add(name, data)
    return sink.getvalue()


def by_tarfile(tar: bytes) -> list[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        return [(m.name, opened.extractfile(m).read()) for m in opened]  # type: ignore[union-attr]


@given(contents)
def test_tarfile_and_our_reader_read_it_back(files: list[tuple[str, bytes]]) -> None:
    tar = write(files)
    assert by_tarfile(tar) == files
    found = [each for each in read_members(io.BytesIO(tar)) if isinstance(each, Member)]
    assert [(each.name, each.data) for each in found] == files


@pytest.mark.parametrize("name", NAMES)
def test_names_of_any_length_and_script_come_back(name: str) -> None:
    assert by_tarfile(write([(name, b"data"), ("next", b"")])) == [(name, b"data"), ("next", b"")]


def test_headers_are_those_of_python_where_it_says_the_same() -> None:
    for name, size in [("a.jpg", 0), ("x" * 100, 12345), ("a/b.c.json", 8**11 - 1)]:
        info = tarfile.TarInfo(name)
        info.size, info.mode = size, 0o444
        assert header(name, size) == info.tobuf(tarfile.USTAR_FORMAT)


def test_sizes_past_eight_gibibytes_are_said_in_pax() -> None:
    size = 8**11 + 1
    stream = io.BytesIO(header("huge.jpg", size))
    with tarfile.open(fileobj=stream) as tar:
        assert tar.firstmember is not None
        assert (tar.firstmember.name, tar.firstmember.size) == ("huge.jpg", size)


def test_nobody_owns_it_and_it_has_no_date() -> None:
    with tarfile.open(fileobj=io.BytesIO(write([(name, b"data") for name in NAMES]))) as tar:
        for member in tar:
            facts = (member.mode, member.mtime, member.uid, member.gid, member.uname, member.gname)
            assert facts == (0o444, 0, 0, 0, "", "")
            assert member.isreg()


@pytest.mark.parametrize("n", [0, 1, 19, 20, 21])
def test_the_end_is_marked_and_padded_as_tar_does(n: int) -> None:
    files = [(f"{number}.txt", b"x" * 512) for number in range(n)]
    theirs = io.BytesIO()
    with tarfile.open(fileobj=theirs, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o444
            tar.addfile(info, io.BytesIO(data))
    assert write(files) == theirs.getvalue()


def test_large_members_go_through_the_buffer_whole() -> None:
    files = [(f"{n}.bin", bytes([n]) * size) for n, size in enumerate((3 << 20, 100, (1 << 20) + 1, 0))]
    assert by_tarfile(write(files)) == files


def test_an_error_inside_leaves_no_end_marker() -> None:
    def fail(sink: io.BytesIO) -> None:
        with TarWriter(sink) as tar:
            tar.add("a.txt", b"data")
            raise KeyError

    sink = io.BytesIO()
    with pytest.raises(KeyError):
        fail(sink)
    assert sink.getvalue() == b""


def test_webdataset_reads_it_back(tmp_path: Path) -> None:
    samples = {f"part/{n:05d}": {"jpg": bytes([n]) * 700, "txt": f"caption {n}".encode()} for n in range(5)}
    path = tmp_path / "00000.tar"
    path.write_bytes(
        write([(f"{key}.{s}", data) for key, files in samples.items() for s, data in files.items()])
    )
    found = {
        sample["__key__"]: {suffix: sample[suffix] for suffix in ("jpg", "txt")}
        for sample in webdataset.WebDataset(str(path), shardshuffle=False)
    }
    assert found == samples

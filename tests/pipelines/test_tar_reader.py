"""Every file that Python's tarfile finds in a whole tar is found; of a damaged one, all that is readable."""

from __future__ import annotations

import io
import random
import tarfile
import tracemalloc
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.pool.tar_reader import BLOCK, MAX_HEADER_TEXT, Damage, Member, read_members
from tests.making import SHARED

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
GARBAGE = random.Random(0).randbytes(1 << 17)

Files = list[tuple[str, bytes]]


def make_tar(files: Iterable[tuple[str, bytes]], format: int = tarfile.PAX_FORMAT) -> bytes:
    """Write files with Python's tarfile."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=format) as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return sink.getvalue()


def one(info: tarfile.TarInfo, data: bytes = b"", format: int = tarfile.GNU_FORMAT) -> bytes:
    """Return the header and padded data of a single member, without an end marker."""
    return info.tobuf(format, "utf-8") + data + bytes(-len(data) % BLOCK)


def file(name: str, data: bytes, **fields: object) -> bytes:
    """Return a regular file's header and data, some header fields set by hand."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return one(info, data)


def extension(kind: bytes, data: bytes) -> bytes:
    """Return a header of the kind that speaks of the next member: PAX records or a GNU long name."""
    return file("././@Extension", data, type=kind)


def patched(block: bytes, offset: int, field: bytes) -> bytes:
    """Return a tar whose first header has other bytes in one field, and the right checksum."""
    changed = block[:offset] + field + block[offset + len(field) :]
    total = sum(changed[:148]) + 8 * ord(" ") + sum(changed[156:BLOCK])
    return changed[:148] + b"%06o\0 " % total + changed[156:]


def read(tar: bytes, **options: int) -> list[Member | Damage]:
    return list(read_members(io.BytesIO(tar), **options))


def files(found: Iterable[Member | Damage]) -> list[tuple[str, bytes | None]]:
    return [(each.name, each.data) for each in found if isinstance(each, Member)]


def damage(found: Iterable[Member | Damage]) -> list[Damage]:
    return [each for each in found if isinstance(each, Damage)]


def by_tarfile(tar: bytes) -> Files:
    with tarfile.open(fileobj=io.BytesIO(tar), ignore_zeros=True) as opened:
        return [(m.name, opened.extractfile(m).read()) for m in opened if m.isreg()]  # type: ignore[union-attr]


names = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=130
).filter(lambda name: name.isprintable() and len(name.encode()) < 400)
contents = st.lists(st.tuples(names, st.binary(max_size=1500)), max_size=5)


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["gnu", "pax"])
@given(contents)
def test_what_tarfile_writes_is_read(format: int, written: Files) -> None:
    found = read(make_tar(written, format))
    assert files(found) == written
    assert not damage(found)


@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize(
    "name",
    ["a.jpg", "x" * 99, "y" * 100, f"{'d' * 150}/{'f' * 95}.jpg", f"{'deep/' * 45}000000001.jpg"],
    ids=["short", "99", "100", "prefix", "deep"],
)
def test_names_of_any_length_are_read(format: int, name: str) -> None:
    tar = make_tar([(name, b"data"), ("behind", b"it")], format)
    assert files(read(tar)) == by_tarfile(tar) == [(name, b"data"), ("behind", b"it")]


def test_members_say_where_their_bytes_lie() -> None:
    tar = make_tar([("a", b"first"), ("long" * 80, b"second"), ("c", b"")])
    found = [each for each in read(tar) if isinstance(each, Member)]
    assert [tar[each.offset : each.offset + each.size] for each in found] == [b"first", b"second", b""]


def test_the_oldest_format_is_read() -> None:
    v7 = patched(file("old.jpg", b"data"), 257, bytes(255)) + bytes(2 * BLOCK)
    assert files(read(v7)) == by_tarfile(v7) == [("old.jpg", b"data")]


@pytest.mark.parametrize("size", [b"00000000004\0", b"          4 ", b"4\0          ", b"4\0junk      "])
def test_sizes_are_read_however_they_are_padded(size: bytes) -> None:
    tar = patched(file("a", b"data"), 124, size) + bytes(2 * BLOCK)
    assert files(read(tar)) == by_tarfile(tar) == [("a", b"data")]


def test_checksums_of_signed_bytes_are_accepted_as_by_tarfile() -> None:
    tar = file("é.jpg", b"data")
    signed = sum(b - 256 * (b > 127) for b in tar[:148] + tar[156:BLOCK]) + 8 * ord(" ")
    tar = tar[:148] + b"%06o\0 " % signed + tar[156:]
    assert files(read(tar)) == by_tarfile(tar) == [("é.jpg", b"data")]


def test_sizes_past_eight_gibibytes_are_understood() -> None:
    size = (1 << 33) + 5
    for format in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):  # base 256, a PAX record
        info = tarfile.TarInfo("huge.jpg")
        info.size = size
        stream = Sparse(info.tobuf(format, "utf-8"), -(-size // BLOCK) * BLOCK, file("next.jpg", b"data"))
        found = [each for each in read_members(stream) if isinstance(each, Member)]
        assert [(each.name, each.size, each.data) for each in found] == [
            ("huge.jpg", size, None),
            ("next.jpg", 4, b"data"),
        ]


class Sparse(io.RawIOBase):
    """A tar with a very long stretch of zeros between its head and its tail, without storing it."""

    def __init__(self, head: bytes, n_zeros: int, tail: bytes) -> None:
        self._head, self._zeros, self._tail = io.BytesIO(head), n_zeros, io.BytesIO(tail)
        self._piece = bytes(1 << 20)

    def read(self, size: int = -1) -> bytes:
        if data := self._head.read(size):
            return data
        if self._zeros:
            n = min(size, self._zeros, len(self._piece))
            self._zeros -= n
            return self._piece[:n]
        return self._tail.read(size)


def test_streams_that_give_a_few_bytes_at_a_time_are_read() -> None:
    class Trickle(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(size or 0, 7))

    written = [("a.jpg", b"x" * 700), ("b.jpg", b"y" * 3)]
    assert files(read_members(Trickle(make_tar(written)))) == written


def test_real_shards_are_read_as_tarfile_reads_them() -> None:
    shards = sorted(SHARED.glob("data/*/00000.tar"))
    if not shards:
        pytest.skip("the shared data is not here")
    for shard in shards[:3]:
        tar = shard.read_bytes()
        assert files(read(tar)) == by_tarfile(tar), shard


# Cut tars


def test_a_tar_cut_at_any_byte_yields_its_good_prefix_and_says_what_was_cut() -> None:
    written = [("a.jpg", b"first"), ("n" * 120 + ".jpg", b"x" * 600), ("b.jpg", b""), ("c.jpg", b"z" * 512)]
    tar = make_tar(written, tarfile.GNU_FORMAT)
    whole = [each for each in read(tar) if isinstance(each, Member)]
    starts = [0, *(each.offset + -(-each.size // BLOCK) * BLOCK for each in whole)]
    for cut in range(len(tar)):
        found = read(tar[:cut])
        n_good = sum(each.offset + each.size <= cut for each in whole)
        assert files(found) == written[:n_good], cut
        something_is_cut = n_good < len(whole) and cut > starts[n_good]
        assert len(damage(found)) == something_is_cut, cut
        if something_is_cut and cut > whole[n_good].offset:
            assert damage(found)[0].name == written[n_good][0]


def test_a_tar_without_an_end_marker_is_whole() -> None:
    found = read(file("a.jpg", b"data"))
    assert files(found) == [("a.jpg", b"data")]
    assert not damage(found)


# Damaged tars


@pytest.mark.parametrize(
    "n_bytes", [BLOCK, 3 * BLOCK, 100, 512 + 77, (1 << 16) + 200], ids=lambda n: f"{n} bytes"
)
@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
def test_all_behind_garbage_is_found_again(format: int, n_bytes: int) -> None:
    before, behind = [("a.jpg", b"1")], [("long" * 20 + ".jpg", b"2"), ("c.jpg", b"3" * 999)]
    start = make_tar(before, format)[: 2 * BLOCK]
    found = read(start + GARBAGE[:n_bytes] + make_tar(behind, format))
    assert files(found) == before + behind
    assert [each.offset for each in damage(found)] == [len(start)]


def test_one_bad_header_costs_one_member() -> None:
    tar = bytearray(make_tar([("a.jpg", b"1"), ("b.jpg", b"2" * 2000), ("c.jpg", b"3")]))
    tar[2 * BLOCK + 20] ^= 1
    found = read(bytes(tar))
    assert files(found) == [("a.jpg", b"1"), ("c.jpg", b"3")]
    assert len(damage(found)) == 1


def test_the_name_of_a_member_whose_header_is_bad_is_known_from_the_one_before() -> None:
    tar = extension(b"L", b"known.jpg\0") + GARBAGE[:BLOCK] + file("c.jpg", b"3")
    found = read(tar)
    assert files(found) == [("c.jpg", b"3")]
    assert damage(found)[0].name == "known.jpg"


def test_a_name_meant_for_a_lost_member_is_not_given_to_the_next() -> None:
    tar = extension(b"x", b"18 path=known.jpg\n") + GARBAGE[:BLOCK] + file("c.jpg", b"3")
    assert files(read(tar)) == [("c.jpg", b"3")]


def test_concatenated_tars_are_read_to_the_end() -> None:
    tar = make_tar([("a", b"1")]) + make_tar([("b", b"2")], tarfile.GNU_FORMAT)
    assert files(read(tar)) == by_tarfile(tar) == [("a", b"1"), ("b", b"2")]


def test_an_empty_file_and_an_empty_tar_hold_nothing() -> None:
    assert read(b"") == []
    assert read(make_tar([])) == []


def test_what_is_no_tar_is_damage_and_nothing_else() -> None:
    found = read(b"<html>not found</html>" * 100)
    assert not files(found)
    assert len(damage(found)) == 1


# Members that are no files


@pytest.mark.parametrize("kind", [*b"123456", *b"DMNSVXZ"], ids=chr)
def test_what_is_no_file_yields_no_data(kind: int) -> None:
    special = tarfile.TarInfo("special.jpg")
    special.type, special.linkname = bytes([kind]), "/etc/passwd"
    assert files(read(one(special) + file("c.jpg", b"3"))) == [("c.jpg", b"3")]


def test_sparse_files_are_passed_over_with_their_data() -> None:
    sparse = file("sparse.jpg", b"s" * 700, type=tarfile.GNUTYPE_SPARSE)
    assert files(read(sparse + file("c.jpg", b"3"))) == [("c.jpg", b"3")]


def test_folders_of_the_oldest_format_are_known_by_their_slash() -> None:
    folder = patched(file("folder", b""), 0, b"folder/")
    found = read(patched(folder, 156, b"\0") + file("folder/c.jpg", b"3"))
    assert files(found) == [("folder/c.jpg", b"3")]


def test_global_pax_records_name_nothing() -> None:
    tar = extension(b"g", b"13 path=evil\n") + file("c.jpg", b"3") + file("d.jpg", b"4")
    assert files(read(tar)) == [("c.jpg", b"3"), ("d.jpg", b"4")]


# Hostile tars


def test_a_member_above_the_limit_is_passed_over() -> None:
    tar = make_tar([("a", b"1"), ("big", b"x" * 1001), ("c", b"y" * 1000)])
    assert files(read(tar, max_member_bytes=1000)) == [("a", b"1"), ("big", None), ("c", b"y" * 1000)]


def test_a_size_that_is_a_lie_takes_no_memory() -> None:
    lie = patched(file("lie.jpg", b"data"), 124, b"\x80" + b"\x7f" * 11)
    tracemalloc.start()
    found = read(lie)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [each.name for each in damage(found)] == ["lie.jpg"]
    assert peak < 8 << 20


@pytest.mark.parametrize(
    "records",
    [
        b"0 path=x\n",
        b"-5 path=x\n",
        b"99999999999999999999999 path=x\n",
        b"5 path=x\n",
        b"path=x\n",
        b"\xff\xfe\xfd",
        b"3 \n" * 100,
        b"12 size=-12\n",
        b"14 size=1e999\n",
        "12 size=٣٣\n".encode(),
        b"",
    ],
)
def test_malicious_pax_records_are_ignored(records: bytes) -> None:
    found = read(extension(b"x", records) + file("c.jpg", b"3") + file("d.jpg", b"4"))
    assert files(found) == [("c.jpg", b"3"), ("d.jpg", b"4")]


def test_records_before_a_malformed_one_hold() -> None:
    tar = extension(b"x", b"14 path=a.jpg\nrubbish") + file("c.jpg", b"3")
    assert files(read(tar)) == [("a.jpg", b"3")]


@pytest.mark.parametrize("kind", [b"x", b"L", b"K", b"g"])
def test_header_text_of_absurd_length_is_passed_over(kind: bytes) -> None:
    tar = extension(kind, b"a" * (MAX_HEADER_TEXT + 1)) + file("c.jpg", b"3")
    assert files(read(tar)) == [("c.jpg", b"3")]


def test_different_names_stay_different_when_they_are_no_utf8() -> None:
    tar = b"".join(patched(file("?.jpg", b""), 0, bad + b".jpg") for bad in (b"\xff", b"\xfe"))
    assert len({name for name, _ in files(read(tar))}) == 2


def test_names_are_never_paths() -> None:
    for name in ("/etc/passwd", "../../up.jpg", "..", "C:\\x.jpg"):
        assert files(read(file(name, b"data"))) == [(name, b"data")]


def test_mutated_tars_never_crash_and_never_yield_bytes_that_are_not_there() -> None:
    chance = random.Random(20261123)
    written = [("a.jpg", b"1" * 40), ("n" * 150, b"2" * 700), ("ü.txt", b"3"), ("d/e.json", b"{}")]
    tars = [make_tar(written, tarfile.GNU_FORMAT), make_tar(written, tarfile.PAX_FORMAT)]
    tars.append(make_tar(written[2:], tarfile.USTAR_FORMAT))
    for _ in range(4000):
        tar = mutated(bytearray(chance.choice(tars)), chance)
        found = read(tar, max_member_bytes=1 << 16)
        for each in found:
            if isinstance(each, Member) and each.data is not None:
                assert each.data == tar[each.offset : each.offset + each.size]
        offsets = [each.offset for each in found]
        assert offsets == sorted(offsets)


def mutated(tar: bytearray, chance: random.Random) -> bytes:
    """Return a tar with some bytes changed, cut out or repeated, its first checksum often put right."""
    for _ in range(chance.randint(1, 6)):
        place = chance.randrange(len(tar))
        match chance.randrange(5):
            case 0:
                tar[place] ^= 1 << chance.randrange(8)
            case 1:
                tar[place : place + chance.randrange(1, 600)] = chance.randbytes(chance.randrange(600))
            case 2:
                del tar[place : place + chance.randrange(1, 2000)]
            case 3:
                tar[place:place] = tar[chance.randrange(len(tar)) :][: chance.randrange(1, 2000)]
            case 4:
                field = place % BLOCK
                header = bytes(tar[place - field : place - field + BLOCK])
                if len(header) == BLOCK and not 148 <= field < 156:
                    tar[place - field : place - field + BLOCK] = patched(header, field, chance.randbytes(1))
        if not tar:
            break
    return bytes(tar)


def test_a_shard_is_read_from_disk(tmp_path: Path) -> None:
    path = tmp_path / "00000.tar"
    path.write_bytes(make_tar([("a.jpg", b"1")]))
    with path.open("rb") as stream:
        assert files(read_members(stream)) == [("a.jpg", b"1")]

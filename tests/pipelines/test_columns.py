"""A column file says what it was made from and what is in it; a damaged one is not there."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.columns import ColumnStore, Stamp, digest, fingerprint, survives, tally
from pipelines.storage import Folder

TABLE = pa.table(
    {
        "row": pa.array([0, 1, 2, 3, 4], pa.int32()),
        "weight": pa.array([1, 0, 3, 1, 0], pa.int32()),
        "reason": pa.array([None, "dull", None, None, "long"]),
        "problem": pa.array([None, None, None, "broken", None]),
    }
)


@pytest.fixture
def store(tmp_path: Path) -> ColumnStore:
    return ColumnStore(Folder(str(tmp_path)))


def test_columns_come_back_with_their_stamp(store: ColumnStore) -> None:
    written = store.write("rules", "a/00000", TABLE, "made-from-this")
    assert store.stamp("rules", "a/00000") == written
    assert (written.fingerprint, written.digest) == ("made-from-this", digest(TABLE))
    assert store.read("rules", "a/00000") == TABLE
    assert store.read("rules", "a/00000", ("row",)).column_names == ["row"]


def test_what_became_of_samples_is_read_without_other_columns(store: ColumnStore) -> None:
    store.write("rules", "a", TABLE.append_column("score", pa.array(np.zeros(5))), "")
    assert store.outcome("rules", "a") == TABLE
    store.write("score", "a", TABLE.select(["row"]), "")
    assert store.outcome("score", "a").column_names == ["row"]


def test_stamps_of_all_shards_that_are_there_are_found(store: ColumnStore) -> None:
    for name in ("a", "c"):
        store.write("rules", name, TABLE, name)
    assert {name: stamp.fingerprint for name, stamp in store.stamps("rules", "abc").items()} == {
        "a": "a",
        "c": "c",
    }


def test_decisions_lie_where_people_look(store: ColumnStore, tmp_path: Path) -> None:
    store.write("decisions", "00000", TABLE, "")
    store.write("rules", "00000", TABLE, "")
    assert (tmp_path / "decisions/00000.parquet").exists()
    assert (tmp_path / "columns/rules/00000.parquet").exists()


def test_a_file_cut_anywhere_is_not_there(store: ColumnStore, tmp_path: Path) -> None:
    store.write("rules", "a", TABLE, "made-from-this")
    path = tmp_path / "columns/rules/a.parquet"
    whole = path.read_bytes()
    for cut in (*range(0, len(whole), 7), len(whole) - 1):
        path.write_bytes(whole[:cut])
        assert store.stamp("rules", "a") is None


def test_no_damage_to_a_footer_stops_anything(store: ColumnStore, tmp_path: Path) -> None:
    store.write("rules", "a", TABLE, "made-from-this")
    path = tmp_path / "columns/rules/a.parquet"
    whole = path.read_bytes()
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    for place in range(footer, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        found = store.stamp("rules", "a")
        assert found is None or isinstance(found, Stamp)


def test_a_parquet_file_of_somebody_else_is_not_there(store: ColumnStore, tmp_path: Path) -> None:
    path = tmp_path / "columns/rules/a.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(TABLE, path)
    assert store.stamp("rules", "a") is None


# What is in a table

SAME: dict[str, Callable[[pa.Table], pa.Table]] = {
    "in chunks": lambda table: pa.concat_tables([table.slice(0, 2), table.slice(2)]),
    "cut out of a longer one": lambda table: pa.concat_tables([table, table]).slice(0, 5),
    "cut out of the middle": lambda table: pa.concat_tables([table, table]).combine_chunks().slice(5, 5),
    "through Parquet": lambda table: through_parquet(table),
    "taken row by row": lambda table: table.take(pa.array(range(5))),
}
OTHER: dict[str, Callable[[pa.Table], pa.Table]] = {
    "another value": lambda table: table.set_column(0, "row", pa.array([0, 1, 2, 3, 5], pa.int32())),
    "another null": lambda table: table.set_column(2, "reason", pa.array([None, None, None, None, "long"])),
    "an empty text for a null": lambda table: table.set_column(
        2, "reason", pa.array(["", "dull", None, None, "long"])
    ),
    "another type": lambda table: table.set_column(0, "row", table["row"].cast(pa.int64())),
    "another name": lambda table: table.rename_columns(["rows", "weight", "reason", "problem"]),
    "another order": lambda table: table.take(pa.array([1, 0, 2, 3, 4])),
    "another order of columns": lambda table: table.select(["weight", "row", "reason", "problem"]),
    "one row less": lambda table: table.slice(0, 4),
}


def through_parquet(table: pa.Table) -> pa.Table:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return pq.read_table(pa.BufferReader(sink.getvalue()))


@pytest.mark.parametrize("how", SAME)
def test_the_same_content_has_the_same_digest_however_it_lies_in_memory(how: str) -> None:
    assert SAME[how](TABLE) == TABLE
    assert digest(SAME[how](TABLE)) == digest(TABLE)


@pytest.mark.parametrize("how", OTHER)
def test_other_content_has_another_digest(how: str) -> None:
    assert digest(OTHER[how](TABLE)) != digest(TABLE)


def test_fingerprints_take_in_everything_and_no_order_of_keys() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    parts: list[tuple[object, ...]] = [
        (1,),
        ("1",),
        (1.5,),
        ([1],),
        (1, 1),
        ([1, 1],),
        (None,),
        ("é",),
        ({"a": 1},),
    ]
    assert len({fingerprint(*each) for each in parts}) == len(parts)


def test_a_fingerprint_never_changes() -> None:
    # Were it to, every run folder there is would be done anew.
    text = b'["rules",1,{"languages":["\\u00e9"],"min_side":32}]'
    expected = hashlib.blake2b(text, digest_size=16).hexdigest()
    assert fingerprint("rules", 1, {"min_side": 32, "languages": ["é"]}) == expected


# Who goes on


def test_samples_go_on_without_a_problem_and_with_a_weight() -> None:
    assert survives(TABLE).tolist() == [True, False, True, False, False]
    assert survives(TABLE.select(["row"])).all()


def test_a_tally_adds_up() -> None:
    counts = tally(TABLE)
    assert counts == {
        "samples": 5,
        "kept": 2,
        "weights": [[1, 1], [3, 1]],
        "dropped": {"dull": 1, "long": 1},
        "set_aside": {"broken": 1},
    }


def test_an_empty_shard_has_an_empty_tally() -> None:
    empty = {"samples": 0, "kept": 0, "weights": [], "dropped": {}, "set_aside": {}}
    assert tally(TABLE.slice(0, 0)) == empty

"""No shard of somebody else is touched, and the manifest says what is there."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from pipelines.errors import ConfigError
from pipelines.output import publish
from pipelines.storage import Folder

# Whose folder it is


def test_an_empty_folder_is_free() -> None:
    publish.refuse_foreign(Folder("memory://free/out"), Folder("memory://free/run"))


def test_shards_of_somebody_else_are_refused() -> None:
    output = Folder("memory://foreign/out")
    output.write("00000.tar", b"theirs")
    with pytest.raises(ConfigError, match=r"holds shards that this run did not write \(00000.tar"):
        publish.refuse_foreign(output, Folder("memory://foreign/run"))


def test_shards_that_this_run_has_begun_to_write_are_its_own() -> None:
    output, run = Folder("memory://own/out"), Folder("memory://own/run")
    output.write("00000.tar", b"ours")
    run.write("state/write/00000.json", b"{}")
    publish.refuse_foreign(output, run)
    output.write("00001.tar", b"theirs")
    with pytest.raises(ConfigError, match="did not write"):
        publish.refuse_foreign(output, run)


def test_other_files_are_nobodys_business() -> None:
    output = Folder("memory://notes/out")
    output.write("notes.txt", b"")
    output.write("below/00000.tar", b"")
    publish.refuse_foreign(output, Folder("memory://notes/run"))


# What a manifest says


def test_a_file_that_is_there_already_is_not_written_again(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    facts = publish.put_if_changed(folder, "a", b"data")
    before = (tmp_path / "a").stat()
    assert publish.put_if_changed(folder, "a", b"data") == facts
    assert (tmp_path / "a").stat() == before
    publish.put_if_changed(folder, "a", b"DATA")
    assert (tmp_path / "a").read_bytes() == b"DATA"
    assert facts == {"sha256": hashlib.sha256(b"data").hexdigest(), "size": 4}


def test_a_file_written_in_pieces_is_known_by_its_hash(tmp_path: Path) -> None:
    facts = publish.put_stream(Folder(str(tmp_path)), "a", iter([b"da", b"", b"ta"]))
    assert (tmp_path / "a").read_bytes() == b"data"
    assert facts == {"sha256": hashlib.sha256(b"data").hexdigest(), "size": 4}


def test_a_manifest_is_the_same_for_the_same_content() -> None:
    one = publish.manifest("a", {"x": 1, "y": 2}, {"kept": 1}, {"b": {}, "a": {}})
    two = publish.manifest("a", {"y": 2, "x": 1}, {"kept": 1}, {"a": {}, "b": {}})
    assert one == two
    assert set(json.loads(one)) == {"name", "config", "counts", "files", "versions"}

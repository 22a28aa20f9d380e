"""Every published output is a version that can be checked, compared and brought back to the byte."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from curate import run
from curate.cli import app
from curate.config import load
from curate.forecast import forecast
from pipelines.errors import ConfigError, StoppedError
from pipelines.output.rollback import roll_back, verify
from pipelines.output.version_diff import changes, count
from pipelines.output.versions import history, kept_file, manifest_of, version_of
from pipelines.storage import Folder
from tests.making import sample, write_pool, write_shard
from tests.pools import config, result_bytes, write_raw_pool

FEW = [{"rules": {"caption_chars": [34, 99]}}]  # keeps the samples whose number has two digits
ALL: list[Any] = []


class Home:
    """A pool with its run and output, on a disk or a store."""

    def __init__(self, pool: Path, where: str) -> None:
        self.run, self.output, self._pool = Folder(f"{where}/run"), Folder(f"{where}/curated"), pool
        self._where = where

    def asked(self, stages: list[Any], **output: Any) -> dict[str, Any]:
        out = {
            "shards": self.output.url,
            "samples_per_shard": 5,
            "subset": self.output.path("subset.npy"),
            **output,
        }
        return config(self._pool, Path("unused"), run=self.run.url, stages=stages, output=out)

    def curate(self, stages: list[Any], **output: Any) -> None:
        run(self.asked(stages, **output))

    def size(self) -> int:
        """Return how many bytes the newest version's files hold, the same ones counted once."""
        files = manifest_of(self.output, version_of(self.output))["files"]
        return sum({facts["sha256"]: facts["size"] for facts in files.values()}.values())

    def roll_back(self, number: int | None = None) -> int:
        return roll_back(self.run, self.output, number, 2).number

    def bytes(self) -> dict[str, bytes]:
        return {name: self.output.read(name) for name in self.output.files() if name[0] != "."}


@pytest.fixture(params=["disk", "store"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    pool = write_pool(tmp_path / "pool", n_shards=2, per_shard=8)
    where = str(tmp_path) if request.param == "disk" else f"memory://{uuid.uuid4().hex}"
    return Home(pool, where)


def test_every_change_is_a_version_with_its_parent(home: Home) -> None:
    for stages in (ALL, ALL, FEW):
        home.curate(stages)
    assert [(each.number, each.parent) for each in history(home.output)] == [(1, None), (2, 1)]
    kept = [manifest_of(home.output, each)["counts"]["kept"] for each in history(home.output)]
    assert kept == [16, 6]
    assert verify(home.output) == (2 * 3 + 2, [])


def test_a_second_run_keeps_nothing_and_writes_nothing(home: Home) -> None:
    home.curate(ALL)
    before = home.output.files()
    home.curate(ALL)
    assert home.output.files() == before


def test_a_rollback_brings_every_byte_back_and_can_be_rolled_back(home: Home) -> None:
    home.curate(ALL)
    first = home.bytes()
    home.curate(FEW)
    second = home.bytes()
    assert first != second
    assert home.roll_back() == 3
    assert home.bytes() == first
    assert home.roll_back() == 4
    assert home.bytes() == second
    assert version_of(home.output).restores == 2


def test_a_run_after_a_rollback_writes_its_own_version_again(home: Home) -> None:
    home.curate(ALL)
    home.curate(FEW)
    second = home.bytes()
    home.roll_back(1)
    home.curate(FEW)
    assert home.bytes() == second
    assert version_of(home.output).parent == 3


def test_files_of_old_versions_go_and_a_rollback_to_them_is_refused(home: Home) -> None:
    for stages in (ALL, FEW, [{"rules": {"caption_chars": [0, 33]}}]):
        home.curate(stages)
    before = home.bytes()
    with pytest.raises(ConfigError, match="no longer kept"):
        home.roll_back(1)
    assert home.bytes() == before
    second = manifest_of(home.output, version_of(home.output, 2))["files"]
    kept = [name for name in home.output.files() if name.startswith(".versions/files/")]
    assert kept
    assert {name.rpartition("/")[2] for name in kept} <= {facts["sha256"] for facts in second.values()}


def test_one_version_keeps_no_files(home: Home) -> None:
    for stages in (ALL, FEW):
        home.curate(stages, versions=1)
    assert not [name for name in home.output.files() if name.startswith(".versions/files/")]


def test_a_forecast_counts_the_versions_that_stay_beside_the_next(home: Home) -> None:
    def earlier(versions: int) -> int:
        return forecast(*load(home.asked(ALL, versions=versions))).earlier_bytes

    assert earlier(2) == 0
    home.curate(ALL)
    first = home.size()
    assert earlier(1) == earlier(2) == first  # even the only one stays until the next one is whole
    home.curate(FEW)
    assert earlier(2) == home.size()
    assert home.size() < earlier(3) <= first + home.size()


def test_a_kept_file_that_was_damaged_is_not_brought_back(home: Home) -> None:
    home.curate(ALL)
    facts = manifest_of(home.output, version_of(home.output))["files"]["00000.tar"]
    home.curate(FEW)
    home.output.write(kept_file(facts["sha256"]), bytes(facts["size"]))
    with pytest.raises(StoppedError, match="damaged"):
        home.roll_back()
    home.curate(FEW)
    assert verify(home.output)[1] == []


def test_a_rollback_that_was_cut_off_goes_on(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.curate(ALL)
    first = home.bytes()
    home.curate(FEW)
    copy, left = Folder.put_copy, [8 + 3]  # so many files are kept; then the third is not brought back

    def until(folder: Folder, name: str, source: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        copy(folder, name, source)

    monkeypatch.setattr(Folder, "put_copy", until)
    with pytest.raises(KeyboardInterrupt):
        home.roll_back()
    monkeypatch.undo()
    assert not home.output.exists("MANIFEST.json")
    home.roll_back(1)
    assert home.bytes() == first


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("00001.tar", None, "00001.tar: is missing"),
        ("00001.tar", b"", "00001.tar: holds 0 bytes, not"),
        ("sizes.json", b"other", "sizes.json: holds"),
        ("00009.tar", b"more", "00009.tar: not in the manifest"),
    ],
)
def test_verify_finds_what_is_wrong(home: Home, name: str, data: bytes | None, problem: str) -> None:
    home.curate(ALL)
    home.output.remove(name) if data is None else home.output.write(name, data)
    assert [problem in line for line in verify(home.output)[1]] == [True]


def test_verify_finds_a_changed_bit_and_a_run_mends_it(home: Home) -> None:
    home.curate(ALL)
    good = home.output.read("00001.tar")
    home.output.write("00001.tar", good[:600] + bytes([good[600] ^ 1]) + good[601:])
    assert verify(home.output)[1] == ["00001.tar: holds other bytes"]
    home.output.remove("00001.tar")
    home.curate(ALL)
    assert home.output.read("00001.tar") == good
    assert verify(home.output)[1] == []


def test_a_diff_says_what_entered_and_left_and_why(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool", n_shards=2, per_shard=8)
    home = Home(pool, str(tmp_path))
    home.curate([{"rules": {"caption_chars": [0, 33]}}])
    write_shard(pool / "00002.tar", [("x", sample(5, "a short one"))])
    (pool / "00000.tar").unlink()
    home.curate([{"rules": {"caption_chars": [14, 34]}}])
    a, b = ((home.output, version_of(home.output, number)) for number in (1, 2))
    entered, left, repeats = count(changes(a, b))
    assert (entered, left, repeats) == ({"rules.caption_chars": 6}, {"gone from the pool": 8}, 0)
    back = count(changes(b, a))
    assert back == ({"new in the pool": 8}, {"rules.caption_chars": 6}, 0)


def test_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = write_raw_pool(tmp_path / "pool", n_shards=2)
    monkeypatch.chdir(tmp_path)
    run(config(pool, tmp_path))
    first = result_bytes(tmp_path)["output"]
    run(config(pool, tmp_path, stages=[{"rules": {"caption_words": [2, 77]}}]))
    typed = CliRunner().invoke
    found = typed(app, ["diff", "curated@1", "curated", "-o", "changes.csv"])
    assert "entered" in found.stdout
    assert "was: duplicates.same_bytes  2" in found.stdout
    assert len((tmp_path / "changes.csv").read_text().splitlines()) == 3
    assert "are what the manifest says" in typed(app, ["verify", "curated"]).stdout
    assert "is version 1 again, as its version 3" in typed(app, ["rollback", "run"]).stdout
    assert result_bytes(tmp_path)["output"] == first
    assert "brought back from 1" in typed(app, ["versions", "curated"]).stdout

"""However the pool is spelled, the same shards come out in the same order."""

from __future__ import annotations

import os
from pathlib import Path

import fsspec
import pytest

from pipelines.errors import ConfigError, StoppedError
from pipelines.pool.shards import Shard, expand, numbering_gaps, refuse_changed


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    folder = tmp_path / "pool"
    for name in [
        "00000.tar",
        "00001.tar",
        "00002.tar",
        "00010.tar",
        "deep/00000.tar",
        "00000.parquet",
        "x.txt",
    ]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def names(shards: list[Shard]) -> list[str]:
    return [shard.name for shard in shards]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("pool", ["00000", "00001", "00002", "00010"]),
        ("pool/", ["00000", "00001", "00002", "00010"]),
        ("pool/*.tar", ["00000", "00001", "00002", "00010"]),
        ("pool/0000?.tar", ["00000", "00001", "00002"]),
        ("pool/0000[02].tar", ["00000", "00002"]),
        ("pool/{00000..00002}.tar", ["00000", "00001", "00002"]),
        ("pool/{00001,00010}.tar", ["00001", "00010"]),
        ("pool/{00000..00001,00010}.tar", ["00000", "00001", "00010"]),
        ("pool/000{0..1}0.tar", ["00000", "00010"]),
        ("pool/00010.tar", ["00010"]),
        ("pool/00010.tar::pool/00001.tar", ["00001", "00010"]),
        (["pool/00010.tar", "pool/{00000..00001}.tar"], ["00000", "00001", "00010"]),
        ("pool/**/*.tar", ["00000", "00001", "00002", "00010", "deep/00000"]),
        ("{pool,pool/deep}", ["00000", "00001", "00002", "00010", "deep/00000"]),
        ("pool/*", ["00000", "00001", "00002", "00010"]),
    ],
)
def test_a_pool_may_be_spelled_in_many_ways(pool: Path, spec: str | list[str], expected: list[str]) -> None:
    assert names(expand(spec, pool.parent)) == expected


@pytest.mark.parametrize("spec", ["{base}/2026-*/*.tar", "{base}/*/*.tar", "{base}/**/*.tar"])
@pytest.mark.parametrize("base", ["disk", "memory://growing"])
def test_shards_that_come_rename_none_that_are_there(tmp_path: Path, base: str, spec: str) -> None:
    base = str(tmp_path / base) if base == "disk" else base
    fs, root = fsspec.url_to_fs(base)
    found = []
    for month in ("2026-01", "2026-02"):
        fs.makedirs(f"{root}/{month}", exist_ok=True)
        fs.pipe_file(f"{root}/{month}/00000.tar", b"")
        found.append(names(expand(spec.format(base=base))))
    fs.rm(root, recursive=True)
    assert found == [["2026-01/00000"], ["2026-01/00000", "2026-02/00000"]]


def test_a_shard_that_is_named_twice_is_there_once(pool: Path) -> None:
    assert names(expand(["pool", "pool/*.tar", "pool/00000.tar"], pool.parent)) == [
        "00000",
        "00001",
        "00002",
        "00010",
    ]


def test_the_order_of_a_list_means_nothing(pool: Path) -> None:
    assert expand(["pool/00002.tar", "pool/00000.tar"], pool.parent) == expand(
        ["pool/00000.tar", "pool/00002.tar"], pool.parent
    )


def test_absolute_paths_need_no_base(pool: Path) -> None:
    assert expand(str(pool)) == expand("pool", pool.parent)


def test_shards_know_their_size_and_change_their_version_with_the_file(pool: Path) -> None:
    before = expand("pool/00000.tar", pool.parent)[0]
    assert before.size == len("00000.tar")
    os.utime(pool / "00000.tar", (1, 1))
    assert expand("pool/00000.tar", pool.parent)[0].version != before.version


def test_a_pool_may_be_moved_and_keeps_its_names(pool: Path) -> None:
    before = names(expand("pool/**/*.tar", pool.parent))
    pool.rename(pool.parent / "elsewhere")
    assert names(expand("elsewhere/**/*.tar", pool.parent)) == before


@pytest.mark.parametrize("spec", ["linked", "linked/*.tar", "linked/{00000..00001}.tar", "linked/**/*.tar"])
def test_links_to_shards_are_shards(pool: Path, spec: str) -> None:
    linked = pool.parent / "linked"
    linked.mkdir()
    for name in ("00000.tar", "00001.tar"):
        (linked / name).symlink_to(pool / name)
        os.utime(pool / name, (1, 1))
    (linked / "00002.tar").symlink_to(pool / "nowhere.tar")
    shards = expand(spec, pool.parent)
    assert names(shards) == ["00000", "00001"]
    for shard in shards:
        refuse_changed(shard)
    os.utime(pool / "00000.tar", (2, 2))
    assert expand(spec, pool.parent)[0] != shards[0]
    with pytest.raises(ConfigError, match=r"00002\.tar does not exist"):
        expand("linked/00002.tar", pool.parent)


def test_urls_name_shards_too() -> None:
    memory = fsspec.filesystem("memory")
    for name in ("00000.tar", "00001.tar"):
        memory.pipe_file(f"/test_shards/{name}", b"data")
    for spec in (
        "memory://test_shards/{00000..00001}.tar",
        "memory://test_shards",
        "memory://test_shards/*.tar",
    ):
        shards = expand(spec)
        assert names(shards) == ["00000", "00001"]
        assert all(fsspec.open(shard.url).open().read() == b"data" for shard in shards)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("pool/{00000..00003}.tar", "00003.tar does not exist"),
        ("pool/00007.tar", "00007.tar does not exist"),
        ("pool/*.tgz", "no shards match"),
        ("nowhere", "does not exist"),
        ("nowhere/*.tar", "no shards match"),
        ("nowhere/{0..1}.tar", "does not exist"),
        ("pool/{00005..00001}.tar", "should rise"),
        ("pool/{0..99999999}.tar", "should rise, by at most"),
        ("pool/x.txt", "neither a .tar nor a folder"),
        ([], "no shards match"),
        ("", "no shards match"),
    ],
)
def test_what_is_not_there_is_named(pool: Path, spec: str | list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        expand(spec, pool.parent)


def test_a_folder_of_folders_says_how_to_spell_it(tmp_path: Path) -> None:
    (tmp_path / "pool/a").mkdir(parents=True)
    (tmp_path / "pool/a/0.tar").touch()
    with pytest.raises(ConfigError, match=r"pool/\*\*/\*\.tar"):
        expand("pool", tmp_path)


def test_gaps_between_numbers_are_found() -> None:
    def shards(*found: str) -> list[Shard]:
        return [Shard(name, name, 0, "") for name in found]

    assert numbering_gaps(shards("00000", "00001", "00003", "00005")) == ["00002", "00004"]
    assert numbering_gaps(shards("00007")) == []
    assert numbering_gaps(shards("a", "c")) == []
    assert numbering_gaps(shards("a/train-01", "a/train-03", "b/train-02")) == ["a/train-02"]
    assert numbering_gaps(shards("00ff12", "00ff99", "²", "a7")) == []  # hashes, not numbers
    assert len(numbering_gaps(shards("00000", "90000"))) < 10


def test_a_shard_that_changes_during_the_run_stops_it(pool: Path) -> None:
    shard = expand("pool/00000.tar", pool.parent)[0]
    refuse_changed(shard)
    (pool / "00000.tar").write_bytes(b"other bytes")
    with pytest.raises(StoppedError, match="changed during the run"):
        refuse_changed(shard)
    (pool / "00000.tar").unlink()
    with pytest.raises(StoppedError, match="vanished during the run"):
        refuse_changed(shard)

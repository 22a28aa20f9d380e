"""Pool, run folder and output behind an S3 server that fails now and then: the same bytes as on a disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from curate import run
from pipelines import lock, object_store
from pipelines.errors import ConfigError, StoppedError
from pipelines.output.rollback import roll_back, verify
from pipelines.storage import Folder
from tests.failures.test_killed import run_and_kill
from tests.pools import config, result_bytes, write_config
from tests.stores import Faults, Request, hashes, on


@pytest.mark.slow
@pytest.mark.parametrize("every", [0, 7])
def test_a_run_on_s3_ends_in_the_bytes_of_one_on_disk(
    bucket: Folder, server: tuple[str, Faults], tmp_path: Path, every: int
) -> None:
    run(config(tmp_path / "pool", tmp_path))
    server[1].every, failed = every, server[1].failed
    run(on(bucket))
    server[1].every = 0
    assert hashes(bucket / "out") == result_bytes(tmp_path)["output"]
    assert hashes(bucket / "run/decisions") == result_bytes(tmp_path)["decisions"]
    assert (server[1].failed - failed > 10) == bool(every)


@pytest.mark.slow
def test_versions_on_s3_are_checked_and_brought_back(bucket: Folder) -> None:
    run(on(bucket))
    first = hashes(bucket / "out")
    run(on(bucket, stages=[]))
    assert hashes(bucket / "out") != first
    roll_back(bucket / "run", bucket / "out", None, 2)
    assert hashes(bucket / "out") == first
    assert verify(bucket / "out")[1] == []


@pytest.mark.slow
@pytest.mark.parametrize("after_events", [3, 8, 12])
def test_a_run_on_s3_that_is_killed_goes_on(
    bucket: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after_events: int
) -> None:
    assert run_and_kill(write_config(tmp_path / "curate.yaml", on(bucket)), after_events)
    with pytest.raises(ConfigError, match=r"another run works in .*if that one was killed"):
        run(on(bucket))  # nobody can know so soon that it does not work any more
    monkeypatch.setattr(lock, "_LOST_SECONDS", 0.0)
    monkeypatch.setattr(lock, "_BEAT_SECONDS", 0.01)
    run(on(bucket))
    run(config(tmp_path / "pool", tmp_path))
    assert hashes(bucket / "out") == result_bytes(tmp_path)["output"]
    assert hashes(bucket / "run/decisions") == result_bytes(tmp_path)["decisions"]


class SomeReads:
    """Lets some reads of large bodies go wrong in one way; every retry goes well."""

    def __init__(self, how: str, every: int) -> None:
        self._how, self._every = how, every
        self._seen = 0

    def __call__(self, request: Request) -> str | None:
        if request["REQUEST_METHOD"] != "GET" or not request["PATH_INFO"].endswith((".tar", ".parquet")):
            return None
        self._seen += 1
        return self._how if self._seen % self._every == 0 else None


@pytest.mark.slow
@pytest.mark.parametrize(("how", "every"), [("cut", 4), ("hang", 20), ("stall", 20)])
def test_reads_that_break_off_or_hang_are_tried_again(
    bucket: Folder,
    server: tuple[str, Faults],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    every: int,
) -> None:
    monkeypatch.setenv(object_store.TIMEOUT_VARIABLE, "1")
    faults = server[1]
    faults.release.clear()
    faults.how, failed = SomeReads(how, every), faults.failed
    run(on(bucket))
    assert faults.failed > failed
    faults.clear()
    run(config(tmp_path / "pool", tmp_path))
    assert hashes(bucket / "out") == result_bytes(tmp_path)["output"]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["500", "cut", "hang", "stall"])
def test_a_store_that_stays_broken_ends_in_a_message_and_the_run_goes_on_later(
    bucket: Folder, server: tuple[str, Faults], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setenv(object_store.TIMEOUT_VARIABLE, "1")
    monkeypatch.setenv(object_store.ATTEMPTS_VARIABLE, "2")
    faults = server[1]
    faults.release.clear()
    faults.how = lambda request: how if "pool/00001.tar" in request["PATH_INFO"] else None
    faults.requests = 0
    with pytest.raises(StoppedError, match="run again to go on from here"):
        run(on(bucket))
    assert faults.failed <= 2**3 * 3  # bounded: two layers, one of them inside the other for reads
    assert not (bucket / "out").exists("MANIFEST.json")
    faults.clear()
    done: dict[str, int] = {}

    def listen(event: dict[str, Any]) -> None:
        if event["event"] == "stage":
            done[event["stage"]] = event["done"]

    run(on(bucket), on_event=listen)
    assert done["ingest"] >= 1  # what was done is not done again
    run(config(tmp_path / "pool", tmp_path))
    assert hashes(bucket / "out") == result_bytes(tmp_path)["output"]


@pytest.mark.slow
def test_a_shard_that_changes_in_the_store_stops_the_run(bucket: Folder) -> None:
    def change(event: dict[str, Any]) -> None:
        if (event["event"], event.get("stage")) == ("stage_done", "ingest"):
            import s3fs

            # As another process does it: not through what this one remembers of the bucket.
            other = s3fs.S3FileSystem(skip_instance_cache=True)
            other.pipe_file(bucket.path("pool/00001.tar"), whole[:-5120])

    whole = bucket.read("pool/00001.tar")
    with pytest.raises(StoppedError, match=r"00001\.tar changed during the run"):
        run(on(bucket), on_event=change)


@pytest.mark.slow
def test_shards_that_another_process_adds_are_seen(bucket: Folder) -> None:
    import s3fs

    first = run(on(bucket))
    other = s3fs.S3FileSystem(skip_instance_cache=True)
    other.pipe_file(bucket.path("pool/00007.tar"), bucket.read("pool/00001.tar"))
    assert run(on(bucket)).samples > first.samples


@pytest.mark.slow
def test_more_files_than_one_answer_lists_are_all_listed(
    bucket: Folder, server: tuple[str, Faults], monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "10")  # an answer of S3 lists a thousand
    fs = s3fs.S3FileSystem()
    names = {f"{number:05d}.txt" for number in range(33)}
    fs.pipe({bucket.path(f"many/{name}"): b"x" for name in names})
    before = server[1].requests
    assert set((bucket / "many").files()) == names
    assert server[1].requests >= before + 4
    assert (bucket / "many").files()[-1] == "00032.txt"


LARGE = bytes(range(256)) * (11 << 12)  # 11 MiB


def uploads(bucket: Folder) -> list[Any]:
    import s3fs

    return list(s3fs.S3FileSystem().list_multipart_uploads(bucket.url.removeprefix("s3://")))


@pytest.mark.slow
@pytest.mark.parametrize("number", [None, 1, 3])
def test_a_large_file_goes_in_parts_and_appears_whole_or_not_at_all(
    bucket: Folder, server: tuple[str, Faults], monkeypatch: pytest.MonkeyPatch, number: int | None
) -> None:
    monkeypatch.setattr(object_store, "PART_BYTES", 5 << 20)
    monkeypatch.setenv(object_store.ATTEMPTS_VARIABLE, "1")
    parts: list[str] = []

    def fail_part(request: Request) -> str | None:
        query = request["QUERY_STRING"]
        if "partNumber=" not in query:
            return None
        parts.append(query)
        return "500" if f"partNumber={number}&" in query + "&" else None

    server[1].how = fail_part
    if number is None:
        bucket.write("large", LARGE)
        assert len(parts) == 3
        assert bucket.read("large") == LARGE
    else:
        with pytest.raises(OSError):
            bucket.write("large", LARGE)
        assert not bucket.exists("large")
    server[1].clear()
    assert uploads(bucket) == []


def test_a_put_that_fails_leaves_no_object(
    bucket: Folder, server: tuple[str, Faults], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(object_store.ATTEMPTS_VARIABLE, "1")
    server[1].how = lambda request: "500" if request["REQUEST_METHOD"] == "PUT" else None
    with pytest.raises(OSError):
        bucket.write("a", b"data")
    server[1].clear()
    assert not bucket.exists("a")
    assert "a" not in bucket.files()

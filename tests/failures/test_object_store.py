"""Pool, run folder and output behind an S3 server that fails now and then: the same bytes as on a disk."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curate import run
from pipelines.output.rollback import roll_back, verify
from pipelines.storage import Folder
from tests.pools import config, result_bytes, write_raw_pool

pytest.importorskip("moto", reason="moto is in the extra dev")
s3fs = pytest.importorskip("s3fs", reason="s3fs is in the extra s3")


class Faults:
    """Passes requests on to a WSGI application; every so many of them are answered with a status 500."""

    def __init__(self, application: Any) -> None:
        self._application = application
        self._lock = threading.Lock()
        self.every = self.requests = self.failed = 0

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        with self._lock:
            self.requests += 1
            fail = bool(self.every) and self.requests % self.every == 0
            self.failed += fail
        if not fail:
            return self._application(environ, start_response)
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start_response("500 Internal Server Error", [("Content-Length", "0")])
        return [b""]


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, Faults]]:
    """Return the address of an S3 server on loopback, and what makes it fail."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    faults = Faults(DomainDispatcherApplication(create_backend_app))
    serving = make_server("127.0.0.1", 0, faults, threaded=True)
    thread = threading.Thread(target=serving.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{serving.server_port}", faults
    serving.shutdown()
    thread.join()


@pytest.fixture
def bucket(server: tuple[str, Faults], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Folder]:
    """Return a bucket with a raw pool; address and credentials come from the environment alone."""
    address, faults = server
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    name = hashlib.sha256(str(tmp_path).encode()).hexdigest()[:16]
    s3fs.S3FileSystem().mkdir(name)
    found = Folder(f"s3://{name}")
    for path in write_raw_pool(tmp_path / "pool", n_shards=3).glob("*.tar"):
        found.write(f"pool/{path.name}", path.read_bytes())
    yield found
    faults.every = 0
    s3fs.S3FileSystem.clear_instance_cache()


def on(bucket: Folder, **changes: Any) -> dict[str, Any]:
    output = {"shards": bucket.path("out"), "samples_per_shard": 10, "subset": bucket.path("out/subset.npy")}
    place = {"run": bucket.path("run"), "output": output}
    return config(bucket.path("pool"), Path("unused"), **{**place, **changes})


def hashes(folder: Folder) -> dict[str, str]:
    return {n: hashlib.sha256(folder.read(n)).hexdigest() for n in folder.files() if n[0] != "."}


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

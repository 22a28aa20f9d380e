"""An S3 server for the tests that need one, and a bucket on it with a pool."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.storage import Folder
from tests.pools import write_raw_pool
from tests.stores import Faults, served


@pytest.fixture(scope="session")
def server() -> Iterator[tuple[str, Faults]]:
    """Return the address of an S3 server on loopback, and what makes it fail."""
    pytest.importorskip("moto", reason="moto is in the extra dev")
    pytest.importorskip("s3fs", reason="s3fs is in the extra s3")
    with served() as found:
        yield found


@pytest.fixture
def bucket(server: tuple[str, Faults], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Folder]:
    """Return a bucket with a raw pool; address and credentials come from the environment alone."""
    import s3fs

    address, faults = server
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-for-tests")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    name = hashlib.sha256(str(tmp_path).encode()).hexdigest()[:16]
    s3fs.S3FileSystem().mkdir(name)
    found = Folder(f"s3://{name}")
    for path in write_raw_pool(tmp_path / "pool", n_shards=3).glob("*.tar"):
        found.write(f"pool/{path.name}", path.read_bytes())
    yield found
    faults.clear()
    s3fs.S3FileSystem.clear_instance_cache()

"""What is said of a disk or a store that fails, and what is told apart from it: a file that is damaged."""

from __future__ import annotations

import asyncio
import errno
import zipfile
from urllib.error import URLError

import pyarrow as pa
import pytest
from botocore.exceptions import EndpointConnectionError

from pipelines.damage import is_damage
from pipelines.errors import ConfigError, StoppedError
from pipelines.failures import stop_when_files_fail, what_failed


@pytest.mark.parametrize(
    "error",
    [
        pa.ArrowInvalid("not a parquet file"),
        OSError("Couldn't deserialize thrift"),
        OSError(errno.EINVAL, "Invalid argument"),
        EOFError("No data left in file"),
        zipfile.BadZipFile("no zip"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        MemoryError(),
        ValueError("Cannot load file containing pickled data"),
    ],
)
def test_bytes_that_make_no_sense_are_damage(error: Exception) -> None:
    assert is_damage(error)


FAILS = [
    (OSError(errno.EIO, "Input/output error", "/disk/a"), "Input/output error: /disk/a; put it right"),
    (OSError(errno.ENOSPC, "No space left on device"), "No space left on device; make room there"),
    (PermissionError(errno.EACCES, "Permission denied", "/a"), "Permission denied: /a; put it right"),
    (FileNotFoundError("s3://bucket/a"), "FileNotFoundError: s3://bucket/a; put it right"),
    (TimeoutError(), "TimeoutError: no answer in time; put it right"),
    (asyncio.IncompleteReadError(b"", 9), "IncompleteReadError: 0 bytes read on a total of 9 expected bytes"),
    (EndpointConnectionError(endpoint_url="http://a"), "EndpointConnectionError: Could not connect"),
    (URLError("no route"), "URLError: <urlopen error no route>"),
]


@pytest.mark.parametrize(("error", "said"), FAILS)
def test_disks_and_stores_that_fail_are_named_and_are_no_damage(error: Exception, said: str) -> None:
    assert not is_damage(error)
    assert str(what_failed(error)).startswith(said)
    with pytest.raises(StoppedError, match="and run again to go on from here"), stop_when_files_fail():
        raise error


@pytest.mark.parametrize("error", [ConfigError("no"), StoppedError("later")])
def test_our_own_errors_pass_as_they_are(error: Exception) -> None:
    assert not is_damage(error)
    assert what_failed(error) is None

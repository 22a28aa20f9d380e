"""Credentials come from the environment alone: elsewhere they are refused, and they are never shown."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from curate import run
from curate.init import write_config as init
from pipelines.errors import ConfigError
from pipelines.storage import Folder, resolve
from tests.pools import config
from tests.stores import Faults, on

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCY"
URLS = [
    f"s3://AKIAIOSFODNN7:{SECRET}@bucket/pool/{{00000..00001}}.tar",
    f"https://user:{SECRET}@host:8080/pool/00000.tar",
    f"https://host/pool/00000.tar?X-Amz-Date=1&X-Amz-Signature={SECRET}",
    f"https://host/pool/00000.tar?sv=2024&sig={SECRET}",
]


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("place", ["pool", "run", "output", "subset"])
def test_urls_with_credentials_are_refused_before_any_work(tmp_path: Path, url: str, place: str) -> None:
    content = config(tmp_path / "pool", tmp_path)
    match place:
        case "pool":
            content["pool"]["shards"] = ["s3://bucket/fine.tar", f"x.tar::{url}"]
        case "run":
            content["run"] = url
        case "output":
            content["output"]["shards"] = url
        case "subset":
            content["stages"].append({"subset": {"uids": url}})
    with pytest.raises(ConfigError, match=r"carries credentials.*from the environment") as raised:
        run(content)
    assert SECRET not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "options",
    [
        {"pool": {"shards": "s3://b/*.tar", "storage_options": {"key": "AKIA", "secret": SECRET}}},
        {"pool": {"shards": "s3://b/*.tar", "aws_secret_access_key": SECRET}},
        {"engine": {"cluster": "a.B", "options": {"password": SECRET}}},
        {
            "engine": {
                "cluster": "a.B",
                "options": {"job_script_prologue": [f"export AWS_SECRET_ACCESS_KEY={SECRET}"]},
            }
        },
    ],
)
def test_credentials_under_any_key_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"credential.*from the environment") as raised:
        run({**config(tmp_path, tmp_path), **options})
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("url", URLS)
def test_every_other_way_in_refuses_them_too(tmp_path: Path, url: str) -> None:
    for act in (
        lambda: init(url, tmp_path / "curate.yaml", None, None),
        lambda: resolve(url, "."),
        lambda: Folder(url).read("a"),
        lambda: Folder(url).write("a", b""),
    ):
        with pytest.raises(ConfigError) as raised:
            act()
        assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket/a:b@c/00000.tar",
        "https://host:8080/pool/a@b.tar",
        "abfs://container@account.dfs.core.windows.net/pool",
        "/home/me/a:b@c?sig=1.tar",
        "s3://bucket/design=1/{00000..00003}.tar",
    ],
)
def test_addresses_that_only_look_alike_are_taken(url: str) -> None:
    assert resolve(url, "/") == url


@pytest.mark.slow
@pytest.mark.parametrize("fails", [False, True])
def test_the_secret_is_nowhere_after_a_run(
    bucket: Folder,
    server: tuple[str, Faults],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    fails: bool,
) -> None:
    import s3fs

    secret = os.environ["AWS_SECRET_ACCESS_KEY"]
    caplog.set_level(logging.INFO)
    events: list[dict[str, Any]] = []
    shown = ""
    if fails:
        monkeypatch.setenv("CURATE_STORE_ATTEMPTS", "1")
        server[1].how = lambda request: "500" if "00001.tar" in request["PATH_INFO"] else None
    try:
        run(on(bucket), on_event=events.append)
    except Exception as error:
        shown = repr(error) + str(error.__cause__)
    server[1].clear()
    assert bool(shown) == fails
    captured = capfd.readouterr()
    fs = s3fs.S3FileSystem()
    files = {name: fs.cat_file(name) for name in fs.find(bucket.url)}
    assert any(name.endswith("run.yaml") for name in files)
    texts = [shown, json.dumps(events), caplog.text, captured.out, captured.err]
    assert not [text for text in texts if secret in text]
    assert not [name for name, data in files.items() if secret.encode() in data]

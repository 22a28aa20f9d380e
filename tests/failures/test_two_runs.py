"""Two runs at once: the second one is refused, and the first one ends as if nothing had been."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest

from curate import run
from pipelines.errors import ConfigError
from pipelines.output.rollback import roll_back
from pipelines.storage import Folder
from tests.pools import config, result_bytes, write_raw_pool


@pytest.mark.parametrize("during", ["pool", "stage", "stage_done"])
@pytest.mark.parametrize("shared", ["run", "output"])
def test_a_second_run_on_one_folder_is_refused(tmp_path: Path, shared: str, during: str) -> None:
    pool = write_raw_pool(tmp_path / "pool", n_shards=2)
    run(config(pool, tmp_path / "undisturbed"))
    first = config(pool, tmp_path)
    second = config(pool, tmp_path / "second", stages=[], **{shared: first[shared]})
    refused = 0

    def disturb(event: dict[str, Any]) -> None:
        nonlocal refused
        if event["event"] == during:
            with pytest.raises(
                ConfigError, match=r"another run works in|holds shards that this run did not write"
            ):
                run(second)
            refused += 1

    run(first, on_event=disturb)
    assert refused
    assert result_bytes(tmp_path) == result_bytes(tmp_path / "undisturbed")


@pytest.mark.parametrize("where", ["disk", "store"])
def test_no_rollback_while_a_run_writes(tmp_path: Path, where: str) -> None:
    pool = write_raw_pool(tmp_path / "pool", n_shards=2)
    home = str(tmp_path) if where == "disk" else f"memory://{uuid.uuid4().hex}"
    output = {"shards": f"{home}/curated", "samples_per_shard": 10}
    content = config(pool, tmp_path, run=f"{home}/run", output=output)
    run({**content, "stages": []})

    def disturb(event: dict[str, Any]) -> None:
        if event["event"] == "shard":
            with pytest.raises(ConfigError, match="another run works in"):
                roll_back(Folder(f"{home}/run"), Folder(f"{home}/curated"), None, 2)

    run(content, on_event=disturb)

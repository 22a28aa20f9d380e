"""One run for all tests of its report: every kind of fate, and captions that mean harm."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from curate import run
from curate.report import Written, write_report
from pipelines.run import Result
from tests.commands import curate as curate  # a fixture
from tests.curate.serving import Served, serve
from tests.making import sample, write_encoder, write_shard
from tests.pools import config, write_raw_pool

HARMFUL = {
    "script": "harmful </script><script>window.ran = 1</script> words",
    "handler": "harmful <img src=x onerror='window.ran = 1'> words \"' onclick=window.ran=1",
    "turned": "harmful words \u202egnp.exe\u202c and \u2066more\u2069 \u200b of them",
    "control": "harmful words \x00 \x1b[31m \x9f here",
    "long": "harmful words " + "x " * 5_000_000,  # dropped before a model has to read it
}


class Reported(NamedTuple):
    """A run with its report."""

    home: Path
    result: Result
    written: Written

    @property
    def page(self) -> str:
        return Path(self.written.path).read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Reported:
    home = tmp_path_factory.mktemp("reported")
    pool = write_raw_pool(home / "pool", n_shards=4, per_shard=30)
    harmful = [(f"{900 + n}", sample(900 + n, caption)) for n, caption in enumerate(HARMFUL.values())]
    write_shard(pool / "00004.tar", harmful)
    stages = [
        {"rules": {"caption_words": [2, 77]}},
        {"duplicates": {"exact": True}},
        {"score": "clip"},
        {"cluster": {"clusters": 4}},
        {"prune": {"keep": 0.8}},
        {"keep": {"by": "clip", "top": 0.5}},
    ]
    encoder = {"model": write_encoder(home / "encoder"), "batch_size": 32}
    limits = {"caption_bytes": 20_000_000}
    content = config(pool, home, encoder=encoder, stages=stages)
    content["pool"]["limits"] = limits
    result = run(content)
    return Reported(home, result, write_report(str(home / "run")))


@pytest.fixture(scope="session")
def served(reported: Reported) -> Iterator[Served]:
    with serve(str(reported.home / "run")) as own:
        yield own

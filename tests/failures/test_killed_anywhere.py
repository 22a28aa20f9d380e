"""A run killed with SIGKILL between any two file operations, or at any moment, ends in the same bytes."""

from __future__ import annotations

import itertools
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipelines.output.rollback import roll_back, verify
from pipelines.storage import Folder
from tests.forking import Ended, Forks
from tests.pools import config, contents, result_bytes, write_raw_pool

N_KILLS = 60  # of each kind; now and then a run ends before it is to be killed, and counts as none
STAGES: list[Any] = [{"rules": {"caption_words": [2, 77]}}, {"duplicates": {"exact": True}}]


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    with Forks() as found:
        pool = write_raw_pool(tmp_path_factory.mktemp("warm") / "pool", n_shards=1)
        assert found.run(config(pool, pool.parent, stages=STAGES)).code == 0  # the later ones are quicker
        yield found


class Case:
    """A run that is killed: what it starts from, and what it ends in when nothing disturbs it."""

    def __init__(self, forks: Forks, home: Path, edited: bool) -> None:
        self._forks, self._home = forks, home
        self._pool = write_raw_pool(home / "pool", n_shards=3)
        self._begun = home / "begun" if edited else None
        self.earlier: dict[str, dict[str, str]] = {"output": {}}
        if self._begun:
            self.run(self._begun, [])  # an earlier version, which this run replaces
            self.earlier = result_bytes(self._begun)
        end = home / "undisturbed"
        self.start(end)
        self.undisturbed = self.run(end)
        self.bytes = result_bytes(end)
        self._whole = {*self.earlier["output"].items(), *self.bytes["output"].items()}

    def start(self, home: Path) -> None:
        if self._begun:
            shutil.copytree(self._begun, home)

    def run(self, home: Path, stages: list[Any] = STAGES, **asked: Any) -> Ended:
        return self._forks.run(config(self._pool, home, stages=stages), **asked)

    def check_left(self, home: Path) -> None:
        """Check that what a killed run left under final names is whole, and what a manifest says is true."""
        output = home / "curated"
        if output.exists():
            there = {(name, digest) for name, digest in contents(output).items() if name[0] != "."}
            assert there <= self._whole
            if (output / "MANIFEST.json").exists():
                assert verify(Folder(str(output)))[1] == []
        for path in (home / "run").rglob("*.parquet"):
            pq.read_table(path)
        for path in (home / "run").rglob("*.json"):
            json.loads(path.read_text())


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("edited", [False, True], ids=["first", "second version"])
def test_killed_anywhere_a_run_ends_in_the_same_bytes(forks: Forks, tmp_path: Path, edited: bool) -> None:
    case = Case(forks, tmp_path, edited)
    rng = random.Random(edited)
    killed = 0
    for number in itertools.count():
        home = tmp_path / str(number)
        case.start(home)
        if number % 2:
            point = {"kill_before": rng.randint(1, case.undisturbed.operations)}
        else:
            point = {"kill_after": rng.uniform(0, case.undisturbed.seconds)}
        ended = case.run(home, **point)
        assert ended.killed or ended.code == 0, ended
        killed += ended.killed
        case.check_left(home)
        if number % 3 == 0:  # and once more, on the way back
            case.run(home, kill_before=rng.randint(1, case.undisturbed.operations))
            case.check_left(home)
        if edited and number % 4 == 0:  # the edit is taken back
            assert case.run(home, []).code == 0
            assert result_bytes(home) == case.earlier, point
        assert case.run(home).code == 0
        assert result_bytes(home) == case.bytes, point
        if edited and number % 4 == 2:
            run, output = Folder(str(home / "run")), Folder(str(home / "curated"))
            roll_back(run, output, 1, n_versions=2)
            assert result_bytes(home)["output"] == case.earlier["output"], point
        shutil.rmtree(home)
        if killed == N_KILLS:
            break
        assert number < 2 * N_KILLS

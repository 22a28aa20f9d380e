"""Parquet files, arrays and archives that somebody tampered with: a run, or a message that names the file."""

from __future__ import annotations

import random
import resource
import time
from pathlib import Path
from typing import Any

import pytest

from curate import run
from pipelines.errors import CurateError
from pipelines.output.subset import halves, subset_file
from tests.failures.test_hostile_tars import few_or_many
from tests.fuzzing.tables import array_that_lies, mutated, npy, npz, table
from tests.pools import config


def check(home: Path, content: dict[str, Any]) -> None:
    """Run; every sample is accounted for, or a short message names a file."""
    said = ""
    try:
        result = run(content)
    except CurateError as error:
        said = str(error)
    else:
        gone = sum(result.dropped.values()) + sum(result.set_aside.values())
        assert result.samples == result.kept + gone
    assert len(said) < 3000
    assert not said or str(home) in said or "keeps none" in said


def curate(home: Path, encoder: object = None) -> None:
    """Run over the tables of a folder."""
    content = config("", home, stages=[], output={"subset": str(home / "subset.npy")})
    content["pool"] = {"metadata": str(home / "metadata"), "max_set_aside": 1.0}
    if encoder is not None:
        content |= {"encoder": encoder, "stages": [{"score": "clip"}]}
    check(home, content)


@few_or_many
def test_a_mutated_parquet_file_ends_in_a_run_or_in_a_message(tmp_path: Path, seeds: range) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for seed in seeds[::5]:
        chance = random.Random(seed)
        home = tmp_path / str(seed)
        (home / "metadata").mkdir(parents=True)
        (home / "metadata/0.parquet").write_bytes(mutated(table(seed), chance))
        (home / "metadata/1.parquet").write_bytes(table(seed))
        started = time.process_time()
        curate(home)
        assert time.process_time() - started < 5, seed
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 << 10  # KiB


@few_or_many
def test_mutated_vectors_end_in_a_run_or_in_a_message(tmp_path: Path, seeds: range) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for seed in seeds[::5]:
        chance = random.Random(seed)
        home = tmp_path / str(seed)
        for folder in ("metadata", "img_emb", "text_emb"):
            (home / folder).mkdir(parents=True)
        broken = array_that_lies(chance) if chance.random() < 0.4 else mutated(npy(), chance)
        if chance.random() < 0.5:
            (home / "metadata/metadata_0.parquet").write_bytes(table(seed))
            (home / "img_emb/img_emb_0.npy").write_bytes(broken)
            (home / "text_emb/text_emb_0.npy").write_bytes(npy())
            curate(home, "clip-retrieval")
        else:
            (home / "metadata/0.parquet").write_bytes(table(seed))
            (home / "metadata/0.npz").write_bytes(mutated(npz(chance.random() < 0.5), chance))
            curate(home, {"image": "img", "text": "txt"})
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 << 10  # KiB


@pytest.mark.parametrize("name", ["subset.npy", "scores.parquet"])
def test_mutated_files_of_stages_end_in_a_run_or_in_a_message(tmp_path: Path, name: str) -> None:
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata/0.parquet").write_bytes(table())
    uids = halves([f"{n:032x}" for n in range(5)])
    subset = b"".join(subset_file(5, lambda: [uids]))
    file = tmp_path / name
    stage = {
        "subset.npy": {"subset": str(file)},
        "scores.parquet": {"score": {"from": str(file), "columns": {"own": "quality"}}},
    }[name]
    for seed in range(60):
        chance = random.Random(seed)
        whole = subset if name == "subset.npy" else table(seed)
        file.write_bytes(array_that_lies(chance) if seed % 5 == 0 else mutated(whole, chance))
        home = tmp_path / str(seed)
        content = config("", home, stages=[stage], output={"subset": str(home / "subset.npy")})
        content["pool"] = {"metadata": str(tmp_path / "metadata")}
        check(tmp_path, content)

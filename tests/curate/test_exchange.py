"""`curate export` and `curate verify-subset`: what other tools read, and what they would be misled by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from curate import run
from pipelines.output import verify_subset
from pipelines.output.subset import halves
from tests.commands import Command
from tests.making import write_pool
from tests.pools import config, write_config
from tests.tables import table_config, write_datacomp

VECTORS = Path(__file__).parents[1] / "pipelines" / "vectors"
STAGES = [
    {"score": "clip"},
    {"keep": {"by": "clip", "top": 0.5}},
    {"score": {"name": "clip", "encoder": "l14"}},
    {"fuse": {"as": "scale", "of": {"clip": 1}}},
    {"soft_cap": {"by": "scale", "total": 1.5}},
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run over a pool of metadata, half of it kept, some of it twice."""
    home = tmp_path_factory.mktemp("home")
    run(table_config(write_datacomp(home / "pool"), home, STAGES))
    return home


def n_kept(home: Path) -> int:
    return len(np.unique(np.load(home / "curated/subset.npy")))


def test_the_subset_is_the_runs_own(home: Path, tmp_path: Path, curate: Command) -> None:
    code, out, _ = curate("export", home / "run", "-o", tmp_path / "a.npy")
    assert (code, out) == (0, f"wrote 45 uids to {tmp_path / 'a.npy'}\n")
    assert (tmp_path / "a.npy").read_bytes() == (home / "curated/subset.npy").read_bytes()


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_decisions_are_one_table_with_all_scores(
    home: Path, tmp_path: Path, kind: str, curate: Command
) -> None:
    assert curate("export", home / "run", "--as", kind, "-o", tmp_path / "a")[0] == 0
    read: Any = pd.read_csv if kind == "csv" else pd.read_parquet
    found = read(tmp_path / "a")
    decisions = [pd.read_parquet(path) for path in sorted((home / "run/decisions").glob("*"))]
    wanted = pd.concat(decisions, ignore_index=True)
    assert found.uid.tolist() == wanted.uid.tolist()
    assert found.weight.tolist() == wanted.weight.tolist()
    assert found.reason.fillna("").tolist() == wanted.reason.fillna("").tolist()
    assert found["clip"].notna().all()
    assert found["clip_l14"].notna().tolist() == (found.stage != "keep").tolist()


@pytest.mark.parametrize(("encoder", "names"), [(None, "b32"), ("l14", "l14")])
def test_vectors_go_out_as_clip_retrieval_lays_them_out_and_come_in_again(
    home: Path, tmp_path: Path, encoder: str | None, names: str, curate: Command
) -> None:
    option = ["--encoder", encoder] if encoder else []
    assert curate("export", home / "run", "--as", "clip-retrieval", "-o", tmp_path / "out", *option)[0] == 0
    metadata = pd.concat(
        [pd.read_parquet(path) for path in sorted((tmp_path / "out/metadata").iterdir())], ignore_index=True
    )
    assert {"image_path", "caption", "uid", "url"} <= set(metadata)
    stored = {}
    for path in (home / "pool").glob("*.npz"):
        uids = pd.read_parquet(path.with_suffix(".parquet")).uid
        stored |= dict(zip(uids, np.load(path)[f"{names}_img"], strict=True))
    parts = [np.load(path) for path in sorted((tmp_path / "out/img_emb").iterdir())]
    assert all(part.dtype == np.float16 and part.flags.c_contiguous for part in parts)
    assert np.array_equal(np.concatenate(parts), np.stack([stored[uid] for uid in metadata.uid]))
    again = table_config(tmp_path / "out/metadata", tmp_path, [{"score": {"name": "clip", "as": "same"}}])
    result = run({**again, "encoder": "clip-retrieval", "encoders": {}})
    assert result.kept == len(metadata) == n_kept(home)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--as", "clip-retrieval", "--encoder", "b16"], "no vectors by b16: name one with --encoder: l14"),
        (["--as", "json"], "--as json: there are datacomp, csv, parquet, clip-retrieval"),
    ],
)
def test_what_a_run_has_not_cant_go_out(
    home: Path, tmp_path: Path, arguments: list[str], message: str, curate: Command
) -> None:
    code, _, err = curate("export", home / "run", "-o", tmp_path / "a", *arguments)
    assert code == 2
    assert message in err
    assert not (tmp_path / "a").exists()


def test_an_unfinished_run_is_not_exported(tmp_path: Path, curate: Command) -> None:
    content = config(write_pool(tmp_path / "pool"), tmp_path, stages=[])

    def stop(event: dict[str, Any]) -> None:
        if event["event"] == "stage" and event["stage"] == "write":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(content, on_event=stop)
    code, _, err = curate("export", tmp_path / "run", "-o", tmp_path / "a.npy")
    assert (code, "has not come to its end" in err) == (2, True)
    run(content)
    assert curate("export", tmp_path / "run", "-o", tmp_path / "a.npy")[0] == 0
    with pytest.raises(KeyboardInterrupt):
        run(content, on_event=stop)
    assert curate("export", tmp_path / "run", "-o", tmp_path / "a.npy")[0] == 2


# verify-subset


def facts(curate: Command, *arguments: object) -> dict[str, Any]:
    code, out, err = curate("verify-subset", *arguments, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("name", ["mixed.npy", "mixed.raw"])
def test_what_a_subset_holds(name: str, curate: Command) -> None:
    found = facts(curate, VECTORS / name)
    assert (found["uids"], found["distinct"], found["most_copies"]) == (69, 62, 3)
    code, out, _ = curate("verify-subset", VECTORS / name)
    assert code == 0
    assert "69, sorted" in out


@pytest.mark.parametrize("at_once", [1, 2, 3, 1000])
def test_counts_dont_depend_on_how_much_is_read_at_once(
    at_once: int, curate: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_subset, "_AT_ONCE", at_once)
    found = facts(curate, VECTORS / "mixed.npy")
    assert (found["uids"], found["distinct"], found["most_copies"]) == (69, 62, 3)


def test_an_empty_subset_is_one(curate: Command) -> None:
    assert facts(curate, VECTORS / "empty.npy")["uids"] == 0


def test_a_pool_is_a_run_a_configuration_or_tables(home: Path, tmp_path: Path, curate: Command) -> None:
    yaml = write_config(tmp_path / "curate.yaml", table_config(home / "pool", home, STAGES))
    for pool in (home / "run", home / "pool", f"{home}/pool/*.parquet", yaml):
        found = facts(curate, home / "curated/subset.npy", "--pool", pool)
        assert found["pool"] == {"samples": 60, "wanted": n_kept(home), "missing": 0, "examples": []}


def test_the_pools_missing_uids_are_counted_and_fail_where_that_is_asked(
    home: Path, tmp_path: Path, curate: Command
) -> None:
    uids = np.sort(np.concatenate([np.load(home / "curated/subset.npy"), halves(["e" * 32, "f" * 32])]))
    np.save(tmp_path / "more.npy", uids)
    found = facts(curate, tmp_path / "more.npy", "--pool", home / "run")
    assert found["pool"] == {
        "samples": 60,
        "wanted": n_kept(home),
        "missing": 2,
        "examples": ["e" * 32, "f" * 32],
    }
    code, _, err = curate("verify-subset", tmp_path / "more.npy", "--pool", home / "run", "--strict")
    assert code == 2
    assert "2 uids" in err


def test_images_that_were_never_downloaded_are_not_in_the_pool(tmp_path: Path, curate: Command) -> None:
    table = pd.DataFrame({"uid": ["0" * 32, "1" * 32], "status": ["success", "failed_to_download"]})
    table.to_parquet(tmp_path / "00000.parquet")
    np.save(tmp_path / "s.npy", halves(["0" * 32, "1" * 32]))
    found = facts(curate, tmp_path / "s.npy", "--pool", tmp_path)
    assert (found["pool"]["samples"], found["pool"]["missing"]) == (1, 1)


def test_an_unsorted_subset_is_refused_and_sorted_into_a_new_file(tmp_path: Path, curate: Command) -> None:
    code, out, err = curate("verify-subset", VECTORS / "unsorted.npy")
    assert (code, out) == (2, "")
    assert "--fix -o NEW.npy" in err
    new = tmp_path / "new.npy"
    found = facts(curate, VECTORS / "unsorted.npy", "--fix", "-o", new)
    assert found["was_sorted"] is False
    assert np.array_equal(np.load(new), np.sort(np.load(VECTORS / "unsorted.npy")))
    assert facts(curate, new)["uids"] == found["uids"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ab.npy"], "should hold uids"),
        (["nothing.npy"], "can't be read"),
        (["mixed.npy", "--fix"], "goes with -o NEW.npy"),
        (["mixed.npy", "--pool", "nowhere/*.parquet"], "no .parquet files match"),
    ],
)
def test_what_cant_be_checked_ends_with_one_message(
    arguments: list[str], message: str, curate: Command
) -> None:
    code, out, err = curate("verify-subset", VECTORS / arguments[0], *arguments[1:])
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


def test_the_old_file_is_never_overwritten(tmp_path: Path, curate: Command) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes((VECTORS / "unsorted.npy").read_bytes())
    assert curate("verify-subset", path, "--fix", "-o", path)[0] == 2
    assert path.read_bytes() == (VECTORS / "unsorted.npy").read_bytes()


def test_a_run_that_has_read_nothing_knows_no_uids(tmp_path: Path, curate: Command) -> None:
    yaml = write_config(tmp_path / "curate.yaml", config(write_pool(tmp_path / "pool"), tmp_path))
    code, _, err = curate("verify-subset", VECTORS / "mixed.npy", "--pool", yaml)
    assert (code, "has not read 00000 yet: run it first" in err) == (2, True)

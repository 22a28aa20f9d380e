"""Proxies measure what they should, end in the same table however often they are killed, and may diverge."""

import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import open_clip
import pytest
from pydantic import ValidationError

from pipelines.errors import ConfigError
from pipelines.output.subset import halves, subset_file
from pipelines.proxies import proxy
from pipelines.proxies.buckets import BUCKETS
from pipelines.proxies.config import ProxyPlan
from pipelines.proxies.run import run_proxies
from scaling_laws import FitWarning, read_runs
from tests.making import sample, write_pool, write_shard

MICRO = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1},
}


@pytest.fixture(autouse=True, scope="module")
def micro(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("models") / "micro-proxy.json"
    path.write_text(json.dumps(MICRO))
    open_clip.add_model_config(path)


def bucketed(folder: Path) -> Path:
    """Write a pool of 32 samples, two buckets of 12 and 20 of it, and something held out."""
    write_pool(folder / "pool", 2, 16)
    write_pool(folder / "held-out", 1, 10)
    rows = []
    for number, seeds in enumerate([range(12), range(12, 32)]):
        uids = halves([f"{seed:032x}" for seed in seeds])
        path = folder / f"buckets/bucket-{number}.npy"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"".join(subset_file(len(uids), lambda uids=uids: [uids])))
        numbers = ("draws", "score_low", "score_high", "score_mean", "caption_words", "caption_chars")
        facts = {"name": "ab"[number], "band": [number / 2, 1], "subset": path.name, "samples": len(uids)}
        rows.append(facts | dict.fromkeys([*numbers, "width", "height"], 1))
    shards = [str(path) for path in sorted((folder / "pool").glob("*.tar"))]
    content = {"by": "score", "shards": shards, "run": {}, "unscored": 0, "buckets": rows}
    (folder / "buckets" / BUCKETS).write_text(json.dumps(content))
    return folder


def plan(folder: Path, **changes: Any) -> ProxyPlan:
    settings: dict[str, Any] = {
        "buckets": "buckets",
        "output": "proxies",
        "budgets": [32, 80],
        "seeds": [0, 1],
        "cooldown": 0.5,
        "train": {"model": "micro-proxy", "batch_size": 8, "warmup_steps": 2, "checkpoint_every": 2},
        "evaluations": [{"retrieval": {"shards": "held-out", "k": [1, 3]}}],
        "engine": {"workers": 0},
    }
    return ProxyPlan.model_validate(settings | changes).at(folder)


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "proxies/runs.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_every_pool_is_measured_at_every_budget_in_the_form_that_a_fit_reads(tmp_path: Path) -> None:
    found = run_proxies(plan(bucketed(tmp_path)))
    rows = table(tmp_path)
    assert {(r["pool"], r["pool_size"]) for r in rows} == {("a", "12"), ("b", "20"), ("a + b", "32")}
    assert [r["samples_seen"] for r in rows[:4]] == ["32", "80", "32", "80"]
    assert {r["metric"] for r in rows} == {"recall_at_3"}
    assert all(float(r["error"]) == pytest.approx(1 - float(r["recall_at_3"])) for r in rows)
    assert found.diverged == []
    assert len(read_runs(found.path)) == 12


def test_a_branch_is_what_a_training_of_its_own_would_be(tmp_path: Path) -> None:
    """The trunk comes back to where it was: the second budget does not feel that there was a first."""
    run_proxies(plan(bucketed(tmp_path), pools=[["a", "b"]], seeds=[0]))
    both = table(tmp_path)
    run_proxies(plan(tmp_path, pools=[["a", "b"]], seeds=[0], budgets=[80], output="alone"))
    alone = (tmp_path / "alone/runs.csv").read_text().splitlines()
    assert alone[1] == ",".join(both[1].values())


def test_a_larger_budget_that_is_added_goes_on_from_the_trunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"pools": [["b"]], "seeds": [3]}
    run_proxies(plan(bucketed(tmp_path), **own, budgets=[32]))
    taken = count_steps(monkeypatch)
    run_proxies(plan(tmp_path, **own, budgets=[32, 80]))
    assert len(taken) == 10 - 2  # of ten steps, the first two are the trunk that stood there
    extended = (tmp_path / "proxies/runs.csv").read_bytes()
    run_proxies(plan(tmp_path, **own, budgets=[32, 80], output="anew"))
    assert (tmp_path / "anew/runs.csv").read_bytes() == extended


def test_what_is_held_out_counts_by_its_content_and_not_by_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"pools": [["a"]], "seeds": [0], "budgets": [32]}
    run_proxies(plan(bucketed(tmp_path), **own))
    before = table(tmp_path)
    taken = count_steps(monkeypatch)
    (tmp_path / "held-out").rename(tmp_path / "elsewhere")
    moved = [{"retrieval": {"shards": "elsewhere", "k": [1, 3]}}]
    run_proxies(plan(tmp_path, **own, evaluations=moved))
    assert (taken, table(tmp_path)) == ([], before)
    samples = ((f"{seed:09d}", sample(seed)) for seed in range(500, 510))
    write_shard(tmp_path / "elsewhere/00000.tar", samples)
    run_proxies(plan(tmp_path, **own, evaluations=moved))
    assert taken


def count_steps(monkeypatch: pytest.MonkeyPatch, stop_at: int | None = None) -> list[int]:
    taken: list[int] = []
    take = proxy.Stepper.take

    def counted(self: Any, *arguments: Any) -> Any:
        if len(taken) == stop_at:
            raise KeyboardInterrupt
        taken.append(1)
        return take(self, *arguments)

    monkeypatch.setattr(proxy.Stepper, "take", counted)
    return taken


@pytest.mark.parametrize("schedule", ["cooldown", "cosine"])
def test_stopped_at_every_step_it_ends_in_the_same_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, schedule: str
) -> None:
    own: dict[str, Any] = {"pools": [["a"]], "seeds": [0], "schedule": schedule}
    run_proxies(plan(bucketed(tmp_path), **own))
    whole = (tmp_path / "proxies/runs.csv").read_bytes()
    again = plan(tmp_path, **own, output="stopped")
    for _ in range(20):
        with monkeypatch.context() as patch:
            count_steps(patch, stop_at=3)  # no more than three steps at a time, a checkpoint every two
            try:
                run_proxies(again)
                break
            except KeyboardInterrupt:
                continue
    assert (tmp_path / "stopped/runs.csv").read_bytes() == whole


def test_what_diverges_is_recorded_and_left_out_of_a_fit(tmp_path: Path) -> None:
    train = {"model": "micro-proxy", "batch_size": 8, "warmup_steps": 0, "gradient_clip": 1e30}
    wild = {"train": train | {"learning_rate": 1e30}, "pools": [["a"]], "seeds": [0]}
    found = run_proxies(plan(bucketed(tmp_path), **wild))
    assert [row["status"] for row in found.rows] == ["diverged"] * 2
    assert [row["error"] for row in table(tmp_path)] == ["", ""]
    calm = run_proxies(plan(tmp_path, pools=[["b"]], budgets=[80], output="calm"))
    both = tmp_path / "both.csv"
    lines = (tmp_path / "proxies/runs.csv").read_text().splitlines()
    header = (tmp_path / "calm/runs.csv").read_text().splitlines()[0]
    padded = [line + "," * (header.count(",") - line.count(",")) for line in lines[1:]]
    both.write_text("\n".join([Path(calm.path).read_text().strip(), *padded]) + "\n")
    with pytest.warns(FitWarning, match="left out, diverged: a at"):
        assert set(read_runs(both)["pool"]) == {"b"}


@pytest.mark.slow
def test_killed_among_its_workers_it_resumes_to_the_same_table(tmp_path: Path) -> None:
    code = (
        "import sys; from pipelines.proxies.run import run_proxies;"
        "from pipelines.proxies.config import ProxyPlan;"
        "run_proxies(ProxyPlan.model_validate_json(sys.argv[1]))"
    )
    small = {"model": "curate-nano", "batch_size": 8, "warmup_steps": 2, "checkpoint_every": 3}
    settings = {"train": small, "seeds": [0], "budgets": [64, 400], "engine": {"workers": 2}}
    run_proxies(plan(bucketed(tmp_path), **settings | {"engine": {"workers": 0}}))
    killed = plan(tmp_path, **settings, output="killed")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as left:  # who is killed takes nothing away
        process = subprocess.Popen(
            [sys.executable, "-c", code, killed.model_dump_json()],
            env={**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": left},
            cwd=Path(__file__).parents[2],
            start_new_session=True,
        )
        while not list((tmp_path / "killed").glob("*/seed-0/*.pt")):  # pytest's timeout ends what hangs
            assert process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert not (tmp_path / "killed/runs.csv").exists()
    run_proxies(killed)
    assert (tmp_path / "killed/runs.csv").read_bytes() == (tmp_path / "proxies/runs.csv").read_bytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": {"seed": 3}}, "train.seed is not for a plan"),
        ({"train": {"batchsize": 3}}, "did you mean batch_size"),
        ({"budgets": [100], "train": {}}, "not two batches"),
        ({"metric": "accuracy"}, "no evaluation gives 'accuracy'"),
        ({"evaluations": [{"call": "a:b"}]}, "metric: is missing"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        plan(tmp_path, **changes)


def test_pools_that_do_not_exist_or_are_too_small_stop_it(tmp_path: Path) -> None:
    bucketed(tmp_path)
    with pytest.raises(ConfigError, match="no bucket 'c'"):
        run_proxies(plan(tmp_path, pools=[["c"]]))
    with pytest.raises(ConfigError, match="batch_size: is 16"):
        run_proxies(plan(tmp_path, pools=[["a"]], train={"model": "micro-proxy", "batch_size": 16}))

"""`curate doctor` tells what is wrong and what to do, and nothing that is broken ends it."""

from __future__ import annotations

import json
import os
import select
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from curate import doctor
from curate.doctor import libraries, machine, packages
from curate.doctor.finding import Finding, guarded
from pipelines import limits
from tests.commands import Command

TORCH = {"torch": "2.6.0+cu124", "cuda": "12.4", "gpus": [["H100", 85_000_000_000]]}


def states(found: Iterator[Finding] | list[Finding]) -> dict[str, str]:
    return {each.name: each.state for each in found}


# Libraries


@pytest.mark.slow
def test_this_machine_is_looked_at(curate: Command, tmp_path: Path) -> None:
    ended = curate("doctor", tmp_path / "not/there/yet", "--json")
    found = json.loads(ended.out)
    names = {each["name"] for each in found["checks"]}
    assert {"Python", "packages", "torch", "FAISS", "GPU", "cores", "memory", "disk", "extras"} <= names
    assert ended.code == (0 if found["ok"] else 2)
    assert all(each["todo"] for each in found["checks"] if each["state"] != "ok")
    assert not list(tmp_path.iterdir())


def test_a_torchvision_that_does_not_fit_torch_is_wrong() -> None:
    error = "RuntimeError: operator torchvision::nms does not exist"
    (found,) = libraries.open_clip({"error": error}, None)
    assert (found.name, found.state) == ("torchvision", "wrong")
    assert "do not fit each other" in found.found
    assert "together" in found.todo


def test_an_open_clip_that_is_missing_is_told_apart_from_torchvision() -> None:
    found = libraries.open_clip({"torchvision": "0.21", "error": "ModuleNotFoundError: open_clip"}, None)
    assert states(found) == {"torchvision": "ok", "open_clip": "wrong"}


def test_a_torch_that_ends_its_process_is_wrong() -> None:
    assert states(libraries.torch({}, "ended with -11: Segmentation fault")) == {"torch": "wrong"}
    assert states(libraries.faiss({}, "ended with -6: abort")) == {"FAISS": "wrong"}


@pytest.mark.parametrize(
    ("torch", "faiss", "driver", "expected", "todo"),
    [
        (TORCH, {"gpus": 1}, "driver 550.1", {"GPU": "ok"}, ""),
        (TORCH, {"gpus": 0}, "driver 550.1", {"GPU": "ok", "FAISS": "warn"}, "faiss-gpu"),
        ({**TORCH, "gpus": [], "cuda": None}, {}, "driver 550.1", {"GPU": "wrong"}, "has no CUDA"),
        ({**TORCH, "gpus": []}, {}, "driver 450.1", {"GPU": "wrong"}, "too old"),
        ({**TORCH, "gpus": []}, {}, None, {"GPU": "ok"}, ""),
        ({**TORCH, "gpu_error": "no kernel image"}, {"gpus": 1}, None, {"GPU": "wrong"}, "not built for"),
    ],
)
def test_driver_torch_and_faiss_should_see_the_same_gpus(
    torch: dict[str, Any],
    faiss: dict[str, Any],
    driver: str | None,
    expected: dict[str, str],
    todo: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    found = list(libraries.gpus(torch, faiss, driver))
    assert states(found) == expected
    assert todo in found[-1].todo


def test_a_gpu_that_is_hidden_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (found,) = libraries.gpus({**TORCH, "gpus": []}, {"gpus": 0}, "driver 550.1")
    assert (found.state, found.todo) == ("warn", "unset it to use the GPU")


@pytest.mark.parametrize("found", [{}, {"torch": "2.6.0"}, {**TORCH, "open_clip": "3"}])
def test_gpus_that_nobody_came_to_look_for_are_wrong(found: dict[str, Any]) -> None:
    found = {name: value for name, value in found.items() if name != "gpus"}
    (line,) = libraries.gpus(found, {"gpus": 0}, None, "ended with -11: Segmentation fault")
    assert line.state == "wrong"
    assert "could not look for GPUs: ended with -11" in line.found


def test_a_gpu_that_ends_the_probe_is_not_open_clips_fault() -> None:
    found = {"torchvision": "0.21", "open_clip": "3"}
    assert states(libraries.open_clip(found, "ended with -11")) == {"torchvision": "ok", "open_clip": "ok"}
    assert states(libraries.open_clip({"torchvision": "0.21"}, "ended with -11"))["open_clip"] == "wrong"


def test_a_probe_survives_whatever_a_library_does(monkeypatch: pytest.MonkeyPatch) -> None:
    noisy = "import sys; print('a banner'); print('@{\"a\": 1}'); print('more', file=sys.stderr)"
    assert libraries.Probe(noisy).result() == ({"a": 1}, None)
    found, failure = libraries.Probe("print('@{\"a\": 1}', flush=True); import os; os.abort()").result()
    assert found == {"a": 1}
    assert "ended with -6" in str(failure)
    assert "No module named" in str(libraries.Probe("import no_such_module").result()[1])
    hangs = libraries.Probe("print('@{\"a\": 1}', flush=True); import time; time.sleep(60)")
    select.select([hangs._process.stdout], [], [])
    monkeypatch.setattr(libraries, "_SECONDS", 0.01)
    found, failure = hangs.result()
    assert found == {"a": 1}
    assert "did not answer" in str(failure)


# What fails


def test_a_check_that_fails_says_so_and_keeps_what_it_found() -> None:
    def check() -> Iterator[Finding]:
        yield Finding("disk", "ok", "there")
        raise PermissionError("no")

    found = guarded("disk", check)
    assert [each.state for each in found] == ["ok", "warn"]
    assert "PermissionError: no" in found[1].found


def test_something_wrong_ends_with_2(curate: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [Finding("torch", "wrong", "not there", "install it"), Finding("disk", "ok", "fine")]
    monkeypatch.setattr(doctor, "examine", lambda folder: lines)
    ended = curate("doctor")
    assert ended.code == 2
    assert ended.out.splitlines() == [
        "wrong  torch  not there",
        "              → install it",
        "ok     disk   fine",
        "1 wrong",
    ]
    assert json.loads(curate("doctor", "--json").out)["ok"] is False


# Packages


def test_a_requirement_that_is_not_met_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["numpy>=999", "no-such-package>=1; python_version > '3'", "other; extra == 'x'", "pyarrow"]
    monkeypatch.setattr(metadata, "requires", lambda name: lines)
    found = list(packages.requirements())
    assert found[0].state == "wrong"
    assert found[0].found == "missing or too old: numpy>=999, no-such-package>=1"
    assert found[0].todo == "pip install 'numpy>=999' 'no-such-package>=1'"


def test_a_curate_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "PACKAGE", "no-such-package")
    assert states(packages.requirements()) == {"packages": "warn"}
    assert states(packages.extras()) == {}


def test_extras_say_how_to_get_them() -> None:
    (found,) = packages.extras()
    assert "gcs" in found.found
    assert "dev" not in found.found.split()


# The machine


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(limits, "_CGROUP", tmp_path)
    monkeypatch.setattr(limits, "usable_cores", lambda: 64)
    return tmp_path


def test_a_container_has_the_cores_of_its_quota(cgroup: Path) -> None:
    assert limits.available_cores() == 64
    (cgroup / "cpu.max").write_text("max 100000\n")
    assert limits.available_cores() == 64
    (cgroup / "cpu.max").write_text("250000 100000\n")
    assert limits.cpu_quota() == 2.5
    assert limits.available_cores() == 3
    (cgroup / "cpu.max").write_text("20000 100000\n")
    assert limits.available_cores() == 1


def test_a_container_has_the_memory_of_its_limit(cgroup: Path) -> None:
    whole = limits.memory_limit()
    (cgroup / "memory.max").write_text("max\n")
    assert limits.memory_limit() == whole
    (cgroup / "memory.max").write_text("3000000000\n")
    assert limits.memory_limit() == 3_000_000_000
    assert states(machine.memory()) == {"memory": "warn"}


def test_more_threads_than_cores_are_told(cgroup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cgroup / "cpu.max").write_text("400000 100000\n")
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    found = list(machine.cores())
    assert states(found)["threads"] == "warn"
    assert "OMP_NUM_THREADS=4" in found[-1].todo


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_disk_that_can_not_be_written_to_is_wrong(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert states(machine.disk(str(tmp_path))) == {"disk": "wrong"}


def test_a_disk_without_room_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_TRIAL_BYTES", 1 << 60)
    assert states(machine.disk(str(tmp_path))) == {"disk": "wrong"}
    monkeypatch.setattr(machine, "_TRIAL_BYTES", 1 << 20)
    monkeypatch.setattr(machine, "_SLOW", 1e15)
    (found,) = machine.disk(str(tmp_path / "run"))
    assert found.state == "warn"
    assert not list(tmp_path.iterdir())

"""A schedule for other clocks: what they start is the same tick, however hostile its paths are."""

from __future__ import annotations

import shutil
import subprocess
import sys
import types
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from curate.cli import app
from curate.schedule.entry import Entry, Store
from curate.schedule.export import Place, export, slug
from curate.schedule.tick import tick_command
from pipelines.errors import ConfigError
from tests.pools import config, write_config

HOSTILE = 'it\'s 100% "$HOME" {{ dag }} $(id) `id` ;& \\ é.yaml'


@pytest.fixture
def entry(tmp_path: Path) -> Entry:
    file = write_config(tmp_path / HOSTILE, config(tmp_path / "pool", tmp_path))
    return Entry(
        name="photos of 2026",
        config=str(file),
        overrides=("name=a 'b' %c $(d)", "refit=never"),
        notify_command="mail -s '100%' $(someone)",
        cron="*/15 9-17 1 * mon-fri",
        timezone="Europe/Berlin",
        run=str(tmp_path / "run"),
        since=datetime(2026, 3, 1, tzinfo=UTC),
    )


def only(files: dict[str, str], suffix: str) -> str:
    (text,) = (text for name, text in files.items() if name.endswith(suffix))
    return text


def test_a_shell_that_cron_starts_gets_the_same_words(entry: Entry) -> None:
    *_, zone, line = only(export(entry, "cron"), ".cron").splitlines()
    assert zone == "CRON_TZ=Europe/Berlin"
    assert line.startswith("*/15 9-17 1 * mon-fri ")
    command = line.split(" ", 5)[5]
    assert "%" not in command.replace(r"\%", "")  # which would end it
    script = f"set -- {command.replace(chr(92) + '%', '%')}\nprintf '%s\\0' \"$@\""
    words = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    assert words.split("\0")[:-1] == tick_command(entry)


def test_cron_refuses_what_is_no_line(entry: Entry) -> None:
    with pytest.raises(ConfigError, match="line break"):
        export(entry.model_copy(update={"config": "a\n* * * * * evil"}), "cron")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed here")
def test_systemd_accepts_the_units_and_the_times(entry: Entry, tmp_path: Path) -> None:
    files = export(entry, "systemd")
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    verified = subprocess.run(
        ["systemd-analyze", "verify", *(str(tmp_path / name) for name in files)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert verified.returncode == 0, verified.stderr
    assert not [line for line in verified.stderr.splitlines() if "curate-" in line]
    times = [line.partition("=")[2] for line in only(files, ".timer").splitlines() if "OnCalendar" in line]
    assert len(times) == 2  # on the first, or from Monday to Friday
    for time in times:
        subprocess.run(["systemd-analyze", "calendar", time], capture_output=True, check=True)


def test_systemd_unquotes_to_the_same_words(entry: Entry) -> None:
    (line,) = (
        line for line in only(export(entry, "systemd"), ".service").splitlines() if line[:10] == "ExecStart="
    )
    command = line.removeprefix("ExecStart=:")
    executable, _, rest = command.partition(" ")
    words = rest.removeprefix('"').removesuffix('"').split('" "')
    found = [word.replace('\\"', '"').replace("%%", "%").replace("\\\\", "\\") for word in words]
    assert [executable, *found] == tick_command(entry)


@pytest.mark.parametrize(
    ("cron", "calendar"),
    [
        ("0 3 * * *", ["*-*-* 03:00:00"]),
        ("*/20 * * * 7", ["Sun *-*-* *:00,20,40:00"]),
        ("5 0 1 */6 *", ["*-01,07-01 00:05:00"]),
        ("0 0 13 * 5", ["*-*-13 00:00:00", "Fri *-*-* 00:00:00"]),
    ],
)
def test_times_in_the_words_of_systemd(entry: Entry, cron: str, calendar: list[str]) -> None:
    timer = only(export(entry.model_copy(update={"cron": cron}), "systemd"), ".timer")
    found = [line.removeprefix("OnCalendar=") for line in timer.splitlines() if "OnCalendar" in line]
    assert found == [f"{time} Europe/Berlin" for time in calendar]


@pytest.mark.parametrize("as_", ["cron", "systemd", "kubernetes"])
def test_times_that_a_clock_has_no_words_for_are_refused(entry: Entry, as_: str) -> None:
    with pytest.raises(ConfigError, match="leave out L and #"):
        export(entry.model_copy(update={"cron": "0 0 * * 5#2"}), as_, Place("image"))


def test_kubernetes_gets_a_job_with_the_whole_configuration(entry: Entry) -> None:
    place = Place("registry/curate:1", (("pool", "/data"),), "s3-keys")
    text = only(export(entry.model_copy(update={"cron": "0 3 * * 7"}), "kubernetes", place), ".yaml")
    config_map, job = yaml.safe_load_all(text)
    content = yaml.safe_load(config_map["data"]["curate.yaml"])
    assert (content["name"], content["refit"]) == ("a 'b' %c $(d)", "never")
    assert content["pool"]["shards"] == [str(Path(entry.config).parent / "pool")]
    assert (job["spec"]["schedule"], job["spec"]["timeZone"]) == ("0 3 * * 0", "Europe/Berlin")
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"][:3] == ["curate", "schedule", "tick"]
    assert container["command"][-1] == "/etc/curate/curate.yaml"
    assert "mail -s '100%' $$(someone)" in container["command"]
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/etc/curate", "/data"]
    assert {volume["name"] for volume in pod["volumes"]} == {m["name"] for m in container["volumeMounts"]}
    assert container["envFrom"] == [{"secretRef": {"name": "s3-keys"}}]


def test_airflow_starts_the_same_words_without_a_shell(entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    text = only(export(entry, "airflow"), ".py")
    asked: dict[str, Any] = {}

    def dag(**options: Any) -> Any:
        asked.update(options)
        return lambda function: function

    modules = {"airflow": types.ModuleType("airflow"), "airflow.sdk": types.ModuleType("airflow.sdk")}
    modules["airflow.sdk"].__dict__.update(dag=dag, task=lambda function: function)
    modules["pendulum"] = types.ModuleType("pendulum")
    modules["pendulum"].__dict__["datetime"] = lambda *when, tz: (*when, tz)
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    started: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", lambda command, check: started.append(command))
    exec(compile(text, "dag.py", "exec"), {"__name__": "dag"})
    assert started == [tick_command(entry)]
    assert asked["schedule"] == entry.cron
    assert asked["start_date"] == (2026, 3, 1, "Europe/Berlin")
    assert (asked["catchup"], asked["max_active_runs"]) == (False, 1)


def test_names_are_safe_and_differ() -> None:
    names = ["photos", "Photos", "../../etc", "", "ü", "a" * 100, "a" * 101, "-x-"]
    slugs = [slug(name) for name in names]
    assert slugs[0] == "photos"
    assert len({*slugs}) == len(names)
    assert all(each.replace("-", "").isalnum() and each.isascii() and len(each) <= 47 for each in slugs)


def test_the_command_writes_files_and_says_what_lacks(entry: Entry, tmp_path: Path) -> None:
    store = Store(tmp_path / "schedules.json")
    store.add(entry)
    words = ["schedule", "export", entry.name, "--store", str(store.path), "-o", str(tmp_path)]
    made = CliRunner().invoke(app, [*words, "--as", "systemd"])
    assert made.stdout.count("wrote") == len([*tmp_path.glob("curate-photos-of-2026-*.*")]) == 2
    kubernetes = [*words, "--as", "kubernetes", "--image", "curate:1", "--claim", f"a:{tmp_path}/pool"]
    lacking = CliRunner().invoke(app, kubernetes).stdout
    assert "on this machine alone" in lacking
    assert str(tmp_path / "run") in lacking
    for wrong in (["--as", "launchd"], ["--as", "kubernetes"], ["--as", "kubernetes", "--claim", "a"]):
        assert isinstance(CliRunner().invoke(app, [*words, *wrong]).exception, ConfigError)

"""The commands: what they print, how they end, and what they never load."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from curate import api
from tests.commands import Command, Ended
from tests.making import write_pool
from tests.pools import config, write_config, write_raw_pool


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration over a small raw pool."""
    pool = write_raw_pool(tmp_path / "pool", n_shards=2)
    return write_config(tmp_path / "curate.yaml", config(pool, tmp_path))


def is_one_message(ended: Ended) -> bool:
    return ended.err.startswith("curate: ") and "Traceback" not in ended.err and not ended.out


# run


def test_a_run_tells_what_became_of_every_sample(curate: Command, file: Path) -> None:
    ended = curate("run", file)
    assert ended.code == 0
    assert "24 = 16 kept + 4 dropped + 4 set aside" in ended.out
    for reason in ("rules.caption_words", "duplicates.same_bytes", "broken_image", "no_caption"):
        assert reason in ended.out


def test_with_json_a_run_prints_one_object_and_events_on_the_other_stream(
    curate: Command, file: Path
) -> None:
    ended = curate("run", file, "--json")
    result = json.loads(ended.out)
    fields = {"samples", "kept", "dropped", "set_aside", "output", "seconds", "placeholders"}
    assert set(result) == fields
    assert (result["samples"], result["kept"]) == (24, 16)
    assert result["dropped"] == {"rules.caption_words": 2, "duplicates.same_bytes": 2}
    assert result["set_aside"] == {"broken_image": 2, "no_caption": 2}
    events = [json.loads(line) for line in ended.err.splitlines()]
    assert [event["event"] for event in events][:: len(events) - 1] == ["pool", "done"]


def test_values_can_be_set_from_the_command_line(curate: Command, file: Path) -> None:
    ended = curate("run", file, "--json", "--set", "stages=[]", "--set", "output.samples_per_shard=5")
    assert json.loads(ended.out)["dropped"] == {}
    assert (file.parent / "curated/00003.tar").exists()


def test_python_and_the_command_line_do_the_same(curate: Command, file: Path) -> None:
    ran = json.loads(curate("run", file, "--json").out)
    again = api.run(file).as_dict()
    assert {**again, "seconds": 0} == {**ran, "seconds": 0}


# How commands end


def test_a_wrong_configuration_ends_with_2_and_one_message(curate: Command, file: Path) -> None:
    ended = curate("run", file, "--set", "pool.shard=x")
    assert ended.code == 2
    assert is_one_message(ended)
    assert "pool.shard: unknown key; did you mean shards?" in ended.err


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_configuration_that_is_not_there_ends_with_2(curate: Command, tmp_path: Path, command: str) -> None:
    ended = curate(command, tmp_path / "nowhere.yaml")
    assert ended.code == 2
    assert is_one_message(ended)


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_pool_that_is_not_there_ends_with_2(curate: Command, file: Path, command: str) -> None:
    ended = curate(command, file, "--set", "pool.shards=nowhere")
    assert ended.code == 2
    assert is_one_message(ended)
    assert not (file.parent / "run").exists()


def test_stages_that_make_no_sense_end_with_2_before_any_work(curate: Command, file: Path) -> None:
    ended = curate("run", file, "--set", "stages=[{keep: {by: clip, top: 0.3}}]")
    assert ended.code == 2
    assert is_one_message(ended)
    assert not (file.parent / "run").exists()


def test_work_that_is_left_ends_with_3(curate: Command, file: Path) -> None:
    ended = curate("run", file, "--set", "pool.max_set_aside=0.01")
    assert ended.code == 3
    assert "curate: 4 of 24 samples can't be used" in ended.err
    assert "Traceback" not in ended.err
    assert not ended.out


def test_an_interrupted_run_ends_with_3_and_can_go_on(
    curate: Command, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(api, "run_loaded", interrupted)
        ended = curate("run", file, "--set", "stages=[]")
    again = f"curate run {file} --set 'stages=[]'"
    assert (ended.code, ended.err) == (3, f"curate: stopped; to go on from here, run it again: {again}\n")
    assert curate("run", file).code == 0


def interrupted(*arguments: object, **options: object) -> None:
    raise KeyboardInterrupt


def test_whatever_is_interrupted_ends_with_3(
    curate: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("curate.demo.demo.plan_pool", interrupted)
    monkeypatch.setattr("curate.commands.dfn.load_train_config", interrupted)
    for command in (["demo", "--folder", tmp_path / "demo"], ["dfn", "train", "net.yaml"]):
        ended = curate(*command)
        assert ended.code == 3
        assert ended.err.startswith(f"curate: stopped; to go on from here, run it again: curate {command[0]}")


def test_a_file_that_can_not_be_written_ends_with_3(curate: Command, file: Path) -> None:
    ended = curate("init", file.parent / "pool", "-o", file / "below-a-file.yaml")
    assert ended.code == 3
    assert ended.err == f"curate: Not a directory: {file}/below-a-file.yaml; put it right and run it again\n"


@pytest.mark.parametrize(
    "arguments", [["fly"], ["run"], ["run", "a", "b"], ["run", "a", "--fly"], ["check", "--set"]]
)
def test_a_wrong_command_ends_with_2(curate: Command, arguments: list[str]) -> None:
    ended = curate(*arguments)
    assert ended.code == 2
    assert "Traceback" not in ended.err


def test_help_and_version_end_with_0(curate: Command) -> None:
    shown = curate("--help")
    assert shown.code == 0
    for command in ("init", "check", "run", "status", "demo"):
        assert command in shown.out
    assert curate("--version").out.startswith("curate 0.")


@pytest.mark.parametrize("command", ["init", "check", "run", "status", "demo"])
def test_every_command_has_help(curate: Command, command: str) -> None:
    assert curate(command, "--help").code == 0


# init and check


@pytest.mark.parametrize(
    "name", ["pool", "my pool: #1", 'a "quoted" pool', "päol 猫", "- pool", "yes", "12", "a\\b", "it's"]
)
def test_what_init_writes_passes_check(curate: Command, tmp_path: Path, name: str) -> None:
    write_pool(tmp_path / name, n_shards=2)
    file = tmp_path / "curate.yaml"
    written = curate("init", tmp_path / name, "--output", file)
    assert written.code == 0, written.err
    assert "for 2 shards" in written.out
    checked = curate("check", file, "--json")
    assert checked.code == 0, checked.err
    assert json.loads(checked.out)["shards"] == 2
    content = yaml.safe_load(file.read_text())
    assert content["name"] == name
    assert content["output"]["shards"] == f"curated/{name}"


def test_what_init_writes_runs(curate: Command, tmp_path: Path) -> None:
    write_pool(tmp_path / "pool", n_shards=1)
    file = tmp_path / "curate.yaml"
    curate("init", tmp_path / "pool", "-o", file)
    ended = curate("run", file, "--set", "engine.workers=0", "--json")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["kept"] == 8


def test_with_a_model_init_writes_a_score(curate: Command, tmp_path: Path) -> None:
    write_pool(tmp_path / "pool", n_shards=1)
    file = tmp_path / "curate.yaml"
    curate("init", tmp_path / "pool", "-o", file, "--model", "ViT-B-32", "--pretrained", "openai")
    content = yaml.safe_load(file.read_text())
    assert content["encoder"]["model"] == "ViT-B-32"
    assert [next(iter(stage)) for stage in content["stages"]] == ["rules", "duplicates", "score", "keep"]
    assert curate("check", file).code == 0


@pytest.mark.parametrize(
    "spelled", ["pool", "pool/*.tar", "pool/{00000..00001}.tar", "pool/00000.tar::pool/00001.tar"]
)
def test_init_takes_every_spelling_of_a_pool(
    curate: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelled: str
) -> None:
    write_pool(tmp_path / "pool", n_shards=2)
    (tmp_path / "configs").mkdir()
    monkeypatch.chdir(tmp_path)
    assert curate("init", spelled, "-o", "configs/curate.yaml").code == 0
    checked = curate("check", "configs/curate.yaml", "--json")
    assert checked.code == 0, checked.err
    assert json.loads(checked.out)["shards"] == 2


def test_init_overwrites_nothing(curate: Command, file: Path) -> None:
    before = file.read_bytes()
    ended = curate("init", file.parent / "pool", "-o", file)
    assert ended.code == 2
    assert is_one_message(ended)
    assert file.read_bytes() == before


def test_init_of_nothing_ends_with_2(curate: Command, tmp_path: Path) -> None:
    ended = curate("init", tmp_path / "nowhere", "-o", tmp_path / "curate.yaml")
    assert ended.code == 2
    assert is_one_message(ended)
    assert not (tmp_path / "curate.yaml").exists()


def test_check_says_what_would_be_done_and_does_nothing(curate: Command, file: Path) -> None:
    before = sorted(file.parent.rglob("*"))
    ended = curate("check", file)
    assert ended.code == 0
    assert "ingest → rules → duplicates → decisions → write" in ended.out
    found = json.loads(curate("check", file, "--json").out)
    assert found["shards"] == 2
    assert found["pool_bytes"] == sum(path.stat().st_size for path in file.parent.glob("pool/*.tar"))
    assert found["samples"] == pytest.approx(24, rel=0.5)  # an estimate: from bytes
    assert sorted(file.parent.rglob("*")) == before


def test_check_says_when_there_are_more_workers_than_shards(curate: Command, file: Path) -> None:
    assert "with 2 workers\n" in curate("check", file, "--set", "engine.workers=2").out
    shown = curate("check", file, "--set", "engine.workers=8").out
    assert "with 2 workers, of 8: each has a shard at a time" in shown


def test_check_counts_samples_where_the_pool_says_how_many(curate: Command, file: Path) -> None:
    (file.parent / "pool/sizes.json").write_text(json.dumps({"00000.tar": 12, "00001.tar": 12}))
    found = json.loads(curate("check", file, "--json").out)
    assert (found["samples"], found["counted"]) == (24, True)


# status


def test_status_tells_how_far_a_run_has_come(curate: Command, file: Path) -> None:
    run = file.parent / "run"
    curate("run", file, "--set", "pool.max_set_aside=0.01")
    stopped = json.loads(curate("status", run, "--json").out)
    assert (stopped["published"], stopped["running"]) == (False, False)
    assert [stage["shards_done"] for stage in stopped["stages"]] == [2, 0, 0, 0]
    shown = curate("status", run).out
    assert re.search(r"^rules +0 of 2 shards$", shown, re.MULTILINE)
    assert re.search(r"^decisions +to be done$", shown, re.MULTILINE)
    assert shown.splitlines()[-1] == f"to go on: curate run {run}/run.yaml"
    curate("run", file)
    done = json.loads(curate("status", run, "--json").out)
    assert done["published"]
    assert {stage["shards_done"] for stage in done["stages"]} == {2}
    assert "to go on" not in curate("status", run).out
    shown = curate("status", run).out
    assert "2 of 2 shards" in shown
    assert "complete" in shown


def test_status_tells_what_each_stage_has_cost(curate: Command, file: Path) -> None:
    run = file.parent / "run"
    assert curate("run", file).code == 0
    before = {
        stage["name"]: stage["cost"] for stage in json.loads(curate("status", run, "--json").out)["stages"]
    }
    assert before["ingest"]["seconds"] > 0
    assert before["ingest"]["cpu_seconds"] > 0
    assert before["ingest"]["gpu_seconds"] == 0
    curate("run", file)  # what is done is looked at again
    after = {
        stage["name"]: stage["cost"] for stage in json.loads(curate("status", run, "--json").out)["stages"]
    }
    assert after["ingest"]["seconds"] > before["ingest"]["seconds"]
    shown = curate("status", run, "--cost").out
    assert "CPU seconds" in shown
    assert "ingest" in shown


def test_status_of_what_is_no_run_ends_with_2(curate: Command, tmp_path: Path) -> None:
    ended = curate("status", tmp_path)
    assert ended.code == 2
    assert is_one_message(ended)


# What is never loaded

HEAVY = ("torch", "open_clip", "torchvision", "matplotlib", "scipy")
LOADED = """
import sys
from curate.cli import main
sys.argv = ["curate", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print("loaded", *sorted(sys.modules), file=sys.stderr)
"""


@pytest.mark.slow
def test_commands_that_need_no_model_never_load_torch(file: Path) -> None:
    pool, other = file.parent / "pool", file.parent / "other.yaml"
    write_config(
        file.parent / "scored.yaml",
        config(
            pool,
            file.parent,
            encoder={"model": "ViT-B-32", "pretrained": "openai"},
            stages=[{"score": "clip"}, {"keep": {"by": "clip", "top": 0.3}}],
        ),
    )
    commands: list[list[object]] = [
        ["--help"],
        ["init", pool, "-o", other],
        ["check", file.parent / "scored.yaml"],
        ["run", file],
        ["status", file.parent / "run"],
    ]
    for command in commands:
        ended = subprocess.run(
            [sys.executable, "-c", LOADED, *map(str, command)], capture_output=True, text=True, check=True
        )
        loaded = set(ended.stderr.splitlines()[-1].split())
        assert loaded.isdisjoint(HEAVY), command


def test_help_loads_next_to_nothing() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LOADED, "--help"], capture_output=True, text=True, check=True
    )
    loaded = set(ended.stderr.splitlines()[-1].split())
    assert loaded.isdisjoint((*HEAVY, "pyarrow", "distributed", "numpy", "pandas"))

"""The commands: thin, with one clear line and exit code 2 for what a user can mend."""

import json

import pytest
from typer.testing import CliRunner

from curate.commands.scaling import app
from tests.scaling_laws.simulated import simulate
from tests.scaling_laws.test_openclip_logs import write_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where = tmp_path_factory.mktemp("scaling")
    simulate(0.0024).to_csv(where / "runs.csv", index=False)
    result = call("fit", where / "runs.csv", "-o", where / "law.json", "--draws", "200")
    assert result.exit_code == 0, result.output
    return where


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_fit_writes_a_law_and_says_what_is_weak(folder):
    document = json.loads((folder / "law.json").read_text())
    assert document["pools"]["names"] == list("abcd")
    result = call("fit", folder / "runs.csv", "-o", folder / "again.json", "--draws", "50")
    assert "half_life[a]" in result.output
    assert "degenerate" in result.output


def test_choose_names_a_pool_per_budget_and_the_switch(folder):
    result = call(
        "choose", folder / "law.json", "--budget", "32M", "--budget", "1e8", "-o", folder / "choice.json"
    )
    assert result.exit_code == 0, result.output
    assert "switch at" in result.output
    document = json.loads((folder / "choice.json").read_text())
    assert document["budgets"][0]["best"]["name"] == "a"
    assert document["budgets"][0]["best"]["p_best"] == 1.0
    assert {"no decay", "random"} <= {row["rule"] for row in document["baselines"]}


def test_choose_takes_flops_and_gpu_hours(folder):
    cost = ["--flops-per-sample", "4.4e10", "--gpu-flops", "1e14"]
    result = call("choose", folder / "law.json", "--budget", "4.4e18 flops", "--budget", "12h", *cost)
    assert result.exit_code == 0, result.output
    assert "1e+08" in result.output


def test_choose_refuses_outside_the_range_with_reasons_in_json(folder):
    result = call("choose", folder / "law.json", "--budget", "2e9")
    assert result.exit_code == 2
    refusal = json.loads(result.stdout)
    assert refusal["refused"] is True
    assert "10 times the most samples" in refusal["reasons"][0]
    forced = call("choose", folder / "law.json", "--budget", "2e9", "--force")
    assert forced.exit_code == 0
    assert "warning: budget 2e+09" in forced.output


def test_flops_in_the_runs_price_a_sample(tmp_path):
    runs = simulate(0.0024)
    runs.assign(flops=runs["samples_seen"] * 4.4e10).to_csv(tmp_path / "runs.csv", index=False)
    assert call("fit", tmp_path / "runs.csv", "-o", tmp_path / "law.json", "--draws", "50").exit_code == 0
    result = call("choose", tmp_path / "law.json", "--budget", "4.4e18 flops")
    assert result.exit_code == 0, result.output
    assert "1e+08" in result.output


def test_a_budget_that_is_none_is_named(folder):
    result = call("choose", folder / "law.json", "--budget", "lots")
    assert result.exit_code == 2
    assert "is no budget" in result.stderr


def test_the_seed_bootstrap_needs_seeds(folder, tmp_path):
    result = call("fit", folder / "runs.csv", "-o", tmp_path / "law.json", "--bootstrap", "seed")
    assert result.exit_code == 2
    assert "add seeds" in result.stderr


def test_test_gives_the_verdict_first(folder):
    result = call("test", folder / "runs.csv", "-o", folder / "test.json")
    assert result.exit_code == 0, result.output
    verdict = json.loads((folder / "test.json").read_text())["verdict"]
    assert result.output.startswith(verdict[:30])


def test_plan_ranks_runs(folder):
    result = call("plan", folder / "law.json", "--top", "3", "-o", folder / "plan.json")
    assert result.exit_code == 0, result.output
    assert json.loads((folder / "plan.json").read_text())[0]["narrowing"] > 0


def test_plot_writes_three_figures(folder):
    result = call("plot", folder / "law.json", "-o", folder / "plots", "--budget", "64M")
    assert result.exit_code == 0, result.output
    assert {file.name for file in (folder / "plots").iterdir()} == {
        "frontier.png",
        "epochs.png",
        "residuals.png",
    }


def test_collect_gathers_training_folders_into_runs(tmp_path):
    write_run(tmp_path / "one")
    write_run(tmp_path / "two", rows=((8, 0.07),))
    table = tmp_path / "runs.csv"
    for name in ("one", "two"):
        result = call("collect", tmp_path / name, "--pool", "clip30", "--pool-size", "4e6", "-o", table)
        assert result.exit_code == 0, result.output
    assert "2 runs" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "missing.csv"], "no such file"),
        (["choose", "missing.json", "--budget", "1e8"], "not readable as a law"),
        (["choose", "missing.json"], "at least one --budget"),
        (["test", "missing.csv"], "no such file"),
        (["plan", "missing.json"], "not readable as a law"),
        (["plot", "missing.json"], "not readable as a law"),
        (["collect", "missing", "--pool", "a", "--pool-size", "1"], "no params.txt"),
    ],
)
def test_mistakes_get_one_line_and_exit_code_two(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = call(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert len(result.stderr.strip().splitlines()) == 1


def test_bad_rows_reach_the_user_with_row_and_remedy(tmp_path):
    runs = simulate()
    runs.loc[4, "error"] = 50
    runs.to_csv(tmp_path / "runs.csv", index=False)
    result = call("fit", tmp_path / "runs.csv", "-o", tmp_path / "law.json")
    assert result.exit_code == 2
    assert "row 5" in result.stderr
    assert not (tmp_path / "law.json").exists()

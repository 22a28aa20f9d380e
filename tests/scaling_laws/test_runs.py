"""Bad tables of runs: the row and the remedy, never a stack trace from below."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scaling_laws import FitWarning, RunsError, check_runs, read_runs
from tests.scaling_laws.simulated import simulate

RUNS = simulate()


def with_value(column, row, value):
    runs = RUNS.astype({column: object})
    runs.loc[row - 1, column] = value
    return runs


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        (RUNS.drop(columns="error"), "missing column error"),
        (RUNS.drop(columns=["error", "pool_size"]), "missing columns pool_size, error"),
        (RUNS.iloc[:0], "no runs"),
        (with_value("error", 3, "n/a"), "row 3: error is 'n/a', not a number"),
        (with_value("samples_seen", 5, None), "row 5: samples_seen is None"),
        (with_value("error", 2, np.inf), "row 2: error is inf"),
        (with_value("pool_size", 4, -1.0), "row 4: pool_size is -1; it must be positive"),
        (with_value("samples_seen", 4, 0.0), "row 4: samples_seen is 0"),
        (with_value("error", 7, -0.2), "row 7: error is -0.2; it must not be negative"),
        (with_value("error", 7, 71.5), "row 7: error is 71.5 while row 1 has .*mixed metrics"),
        (RUNS.assign(error=RUNS["error"] * 100), "row 1: error is .* outside .* Divide percentages by 100"),
        (
            with_value("pool_size", 3, 5e6),
            "row 3: pool 'a' has 5e.06 unique samples here and 1.28e.07",
        ),
        (with_value("pool", 6, None), "row 6: pool is empty"),
        (RUNS.assign(metric=["top1"] * 19 + ["top5"]), "row 20: mixed metrics .top1, top5."),
        (RUNS.assign(model=["B/32"] * 10 + ["B/16"] * 10), "row 11: mixed models"),
        (RUNS.assign(weight=0.0), "row 1: weight is 0"),
    ],
)
def test_bad_rows_are_named_with_a_remedy(runs, message):
    with pytest.raises(RunsError, match=message):
        check_runs(runs)


def test_losses_may_exceed_one_when_they_are_said_to_be_losses():
    checked = check_runs(RUNS.assign(error=RUNS["error"] + 2), metric="loss")
    assert checked["error"].min() > 2


def test_one_model_can_be_picked_and_an_unknown_one_is_named():
    runs = RUNS.assign(model=["B/32"] * 10 + ["B/16"] * 10)
    assert len(check_runs(runs, model="B/16")) == 10
    with pytest.raises(RunsError, match="no run of model 'L/14'"):
        check_runs(runs, model="L/14")


def test_the_callers_table_is_left_alone():
    before = RUNS.copy()
    check_runs(RUNS)
    pd.testing.assert_frame_equal(RUNS, before)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_every_format_reads_the_same_runs(tmp_path, suffix):
    file = tmp_path / f"runs{suffix}"
    if suffix == ".csv":
        RUNS.to_csv(file, index=False)
    elif suffix == ".parquet":
        RUNS.to_parquet(file)
    else:
        RUNS.to_json(file, orient="records", lines=True, double_precision=15)
    pd.testing.assert_frame_equal(read_runs(file), check_runs(RUNS), check_dtype=False)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("runs.xlsx", b"", "expected .csv"),
        ("runs", b"", "no suffix"),
        ("runs.parquet", b"not parquet", "not readable as parquet"),
        ("runs.jsonl", b"{broken", "not readable as jsonl"),
        ("runs.csv", b"", "not readable as csv"),
        ("runs.csv", b"\xff\xfe\x00", "not readable as csv"),
    ],
)
def test_unreadable_files_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RunsError, match=message):
        read_runs(tmp_path / name)


def test_accuracies_given_as_errors_are_recognised(tmp_path):
    RUNS.assign(error=1 - RUNS["error"]).to_csv(tmp_path / "runs.csv", index=False)
    with pytest.raises(RunsError, match="looks like accuracy; give 1 - accuracy"):
        read_runs(tmp_path / "runs.csv")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RunsError, match="no such file"):
        read_runs(tmp_path / "runs.csv")


def test_models_can_be_read_together_and_are_checked_apart(tmp_path):
    table = pd.concat([RUNS.assign(model="B/32"), RUNS.assign(model="B/16")], ignore_index=True)
    table.to_csv(tmp_path / "runs.csv", index=False)
    assert len(read_runs(tmp_path / "runs.csv", one_model=False)) == 40


def test_runs_that_diverged_are_left_out_with_a_warning(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {
            "pool": ["a"] * 3,
            "pool_size": [100.0] * 3,
            "samples_seen": [100, 200, 400],
            "error": [0.9, None, 0.7],
            "status": ["done", "diverged", "done"],
        }
    )
    table.to_csv(tmp_path / "runs.csv", index=False)
    with pytest.warns(FitWarning, match="left out, diverged: a at 200"):
        runs = read_runs(tmp_path / "runs.csv")
    assert runs["samples_seen"].tolist() == [100, 400]
    with pytest.warns(FitWarning), pytest.raises(RunsError, match="no runs"):
        check_runs(table.assign(status="diverged"))

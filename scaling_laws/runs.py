"""Reading and checking a table of training runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal
from warnings import warn

import numpy as np
import pandas as pd

from scaling_laws.fit_flags import FitWarning

REQUIRED_COLUMNS = ("pool", "pool_size", "samples_seen", "error")
Metric = Literal["error", "loss"]


class RunsError(ValueError):
    """A table of runs that cannot be used; the message says which row, why, and what to do."""


def read_runs(
    path: str | Path, metric: Metric = "error", model: str | None = None, *, one_model: bool = True
) -> pd.DataFrame:
    """Read a table of runs from CSV, Parquet or JSON lines and check it; see `check_runs`.

    With ``one_model=False`` every model is checked alone and all are returned, as a rollout takes them.

    Raises
    ------
    RunsError
        If the file is missing, cannot be read as its suffix says, or fails a check.
    """
    file = Path(path)
    readers: dict[str, Callable[[Path], pd.DataFrame]] = {
        ".csv": pd.read_csv,
        ".parquet": pd.read_parquet,
        ".jsonl": lambda name: pd.read_json(name, lines=True),
    }
    if file.suffix not in readers:
        raise RunsError(f"{file.name}: expected .csv, .parquet or .jsonl, got {file.suffix or 'no suffix'!r}")
    if not file.exists():
        raise RunsError(f"{file}: no such file")
    try:
        table = readers[file.suffix](file)
    except (ValueError, OSError) as reason:
        raise RunsError(f"{file.name}: not readable as {file.suffix[1:]}: {reason}") from None
    if one_model or "model" not in table:
        runs = check_runs(table, metric, model)
    else:
        models = dict.fromkeys(table["model"].dropna().astype(str))
        runs = pd.concat([check_runs(table, metric, name) for name in models], ignore_index=True)
    _check_errors_fall(runs)
    return runs


def check_runs(table: pd.DataFrame, metric: Metric = "error", model: str | None = None) -> pd.DataFrame:
    """Return the runs of one model, sorted by pool and samples seen, with float columns and a fresh index.

    Parameters
    ----------
    table
        One row per trained model: ``pool``, ``pool_size`` (unique samples), ``samples_seen`` (samples),
        ``error``; optionally ``seed``, ``model``, ``flops`` (per run), ``weight`` (inverse variance of the
        error), ``metric`` (its name) and ``status``: runs that are not ``done``, such as those that
        diverged, are left out with a `FitWarning`.
    metric
        ``error`` is 1 - accuracy and must lie in [0, 1]; ``loss`` may take any positive value.
    model
        Which model's rows to keep; needed when the table has several.

    Raises
    ------
    RunsError
        With the first offending row (counted from 1) and the remedy.
    """
    missing = [name for name in REQUIRED_COLUMNS if name not in table.columns]
    if missing:
        raise RunsError(
            f"missing column{'s' * (len(missing) > 1)} {', '.join(missing)}: a table of runs has "
            f"{', '.join(REQUIRED_COLUMNS)}; this one has {', '.join(map(str, table.columns)) or 'none'}"
        )
    runs = table.copy()
    runs["row"] = np.arange(1, len(runs) + 1)
    runs = _finished(_one_model(runs, model))
    if runs.empty:
        raise RunsError("the table has no runs: give one row per trained model")
    if runs["pool"].isna().any():
        raise RunsError(f"row {runs.loc[runs['pool'].isna(), 'row'].iloc[0]}: pool is empty; name the pool")
    runs["pool"] = runs["pool"].astype(str)
    for name in ("pool_size", "samples_seen", "error", "weight", "flops"):
        if name in runs:
            runs[name] = _numbers(runs, name)
    _check_values(runs, metric)
    _check_one_size_per_pool(runs)
    return runs.sort_values(["pool", "samples_seen", "row"], kind="stable").reset_index(drop=True)


def _one_model(runs: pd.DataFrame, model: str | None) -> pd.DataFrame:
    for name in ("metric", "model"):
        if name not in runs:
            continue
        values = sorted({str(value) for value in runs[name].dropna()})
        if name == "model" and model is not None:
            if model not in values:
                raise RunsError(f"no run of model {model!r}: the table has {', '.join(values) or 'none'}")
            runs = runs[runs["model"].astype(str) == model]
        elif len(values) > 1:
            what = "keep one metric" if name == "metric" else "choose one with model="
            row = runs.loc[runs[name].astype(str) != str(runs[name].iloc[0]), "row"].iloc[0]
            raise RunsError(f"row {row}: mixed {name}s ({', '.join(values)}) have no common law; {what}")
    return runs


def _finished(runs: pd.DataFrame) -> pd.DataFrame:
    """Leave out the runs that came to nothing, and say which."""
    if "status" not in runs:
        return runs
    done = runs["status"].astype(str) == "done"
    if not done.all():
        named = [f"{run.pool} at {run.samples_seen:g}" for run in runs[~done].itertuples()]
        more = f" and {len(named) - 3} more" if len(named) > 3 else ""
        what = ", ".join(sorted(set(runs.loc[~done, "status"].astype(str))))
        warn(f"left out, {what}: {', '.join(named[:3])}{more}", FitWarning, stacklevel=3)
    return runs[done]


def _numbers(runs: pd.DataFrame, name: str) -> pd.Series:
    numbers = pd.to_numeric(runs[name], errors="coerce").astype(float)
    bad = ~np.isfinite(numbers)
    if bad.any():
        first = runs[bad].iloc[0]
        raise RunsError(
            f"row {first['row']}: {name} is {first[name]!r}, not a number; correct or drop the row"
        )
    return numbers


def _check_values(runs: pd.DataFrame, metric: Metric) -> None:
    for name in ("pool_size", "samples_seen", "flops", "weight"):
        if name in runs and (runs[name] <= 0).any():
            first = runs[runs[name] <= 0].iloc[0]
            unit = "samples, not millions" if name in ("pool_size", "samples_seen") else "a positive number"
            raise RunsError(f"row {first['row']}: {name} is {first[name]:g}; it must be positive ({unit})")
    low, high = runs["error"] < 0, runs["error"] > 1
    if metric == "loss":
        high = pd.Series(False, index=runs.index)
    if not (low | high).any():
        return
    first = runs[low | high].iloc[0]
    say = f"row {first['row']}: error is {first['error']:g}"
    if first["error"] < 0:
        raise RunsError(f"{say}; it must not be negative. Give 1 - accuracy, or a loss with metric='loss'")
    if not high.all():
        inside = runs[~(low | high)].iloc[0]
        raise RunsError(
            f"{say} while row {inside['row']} has {inside['error']:g}: mixed metrics or units. "
            "Give 1 - accuracy as a fraction in every row, or losses in every row with metric='loss'"
        )
    raise RunsError(
        f"{say}, outside [0, 1]. Divide percentages by 100, or say metric='loss' if this is a loss"
    )


def _check_errors_fall(runs: pd.DataFrame) -> None:
    """Refuse a table whose every curve rises: it holds accuracies."""
    keys = ["pool", "model"] if "model" in runs else ["pool"]
    ordered = runs.sort_values("samples_seen", kind="stable").groupby(keys)
    ends = ordered.agg(first=("error", "first"), last=("error", "last"), budgets=("samples_seen", "nunique"))
    ends = ends[ends["budgets"] > 1]
    if len(ends) and (ends["last"] > ends["first"]).all():
        raise RunsError(
            f"error rises with samples_seen in every pool (from {ends['first'].iloc[0]:g} to "
            f"{ends['last'].iloc[0]:g} in the first): this looks like accuracy; give 1 - accuracy"
        )


def _check_one_size_per_pool(runs: pd.DataFrame) -> None:
    sizes = runs.groupby("pool")["pool_size"].transform("first")
    differs = ~np.isclose(runs["pool_size"], sizes, rtol=1e-6)
    if differs.any():
        first = runs[differs].iloc[0]
        raise RunsError(
            f"row {first['row']}: pool {first['pool']!r} has {first['pool_size']:g} unique samples here and "
            f"{sizes[differs].iloc[0]:g} before; give every size its own pool name"
        )

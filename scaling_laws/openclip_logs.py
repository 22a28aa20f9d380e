"""Reading runs from open_clip's training folders."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from scaling_laws.runs import RunsError

_EVALUATION = re.compile(r"Eval Epoch: (\d+)\s+(.*)$")
_PROGRESS = re.compile(r"Train Epoch: \d+ \[\s*\d+/(\d+) ")
_METRIC = re.compile(r"([^\s:]+): ([-+.\deE]+|nan)")
DEFAULT_METRIC = "imagenet-zeroshot-val-top1"


def read_openclip_run(
    folder: str | Path,
    pool: str,
    pool_size: float,
    metric: str = DEFAULT_METRIC,
    *,
    final_only: bool = True,
) -> pd.DataFrame:
    """Read one training folder written with ``--save-logs`` (``params.txt``, ``out.log``, ``checkpoints/``).

    Parameters
    ----------
    folder
        The run's folder, as open_clip names it.
    pool, pool_size
        The pool trained on and its unique samples; open_clip's own figure is an epoch's samples, which may
        repeat.
    metric
        An accuracy in [0, 1]; the error is 1 minus it.
    final_only
        Keep the last evaluation only. Earlier ones lie on a decaying learning rate and are not comparable
        with the ends of shorter runs.

    Returns
    -------
    pandas.DataFrame
        Columns ``pool, pool_size, samples_seen, error, seed, model, epoch``, one row per evaluation.

    Raises
    ------
    RunsError
        If the folder is no such run, or holds no evaluation with the metric.
    """
    run = Path(folder)
    parameters = _parameters(run)
    per_epoch = _samples_per_epoch(run, parameters)
    rows = [
        {
            "pool": pool,
            "pool_size": pool_size,
            "samples_seen": epoch * per_epoch,
            "error": 1.0 - values[metric],
            "seed": int(parameters.get("seed", "0")),
            "model": parameters.get("model", "unknown"),
            "epoch": epoch,
        }
        for epoch, values in _evaluations(run)
        if metric in values and epoch > 0
    ]
    if not rows:
        raise RunsError(f"{run}: no evaluation reports {metric!r}; train with --imagenet-val or name another")
    table = pd.DataFrame(rows).drop_duplicates("epoch", keep="last").sort_values("epoch")
    return table.tail(1 if final_only else len(table)).reset_index(drop=True)


def _parameters(run: Path) -> dict[str, str]:
    file = run / "params.txt"
    if not file.exists():
        raise RunsError(f"{run}: no params.txt; give the folder of an open_clip run")
    lines = (line.partition(": ") for line in file.read_text(encoding="utf-8").splitlines())
    return {name.strip(): value.strip() for name, _, value in lines}


def _samples_per_epoch(run: Path, parameters: dict[str, str]) -> float:
    """Return the samples of one epoch: as logged, since open_clip rounds them to whole batches, else as
    asked.
    """
    for line in _log_lines(run):
        found = _PROGRESS.search(line)
        if found:
            return float(found[1])
    asked = parameters.get("train_num_samples", "")
    if not asked.isdigit():
        raise RunsError(f"{run}: neither out.log nor params.txt says how many samples an epoch has")
    return float(asked)


def _evaluations(run: Path) -> Iterator[tuple[int, dict[str, float]]]:
    """Yield (epochs finished, metrics): from results.jsonl where it numbers them, as it has all digits."""
    file = run / "checkpoints" / "results.jsonl"
    if file.exists():
        rows = [_json_line(file, line) for line in file.read_text(encoding="utf-8").splitlines() if line]
        if rows and all("epoch" in row for row in rows):
            yield from ((int(row["epoch"]), row) for row in rows)
            return
    for line in _log_lines(run):
        found = _EVALUATION.search(line)
        if found:
            yield int(found[1]), {name: float(value) for name, value in _METRIC.findall(found[2])}


def _json_line(file: Path, line: str) -> dict[str, float]:
    try:
        row = json.loads(line)
    except ValueError:
        raise RunsError(f"{file}: a line is not JSON; the run may have been cut off while writing") from None
    return {name: value for name, value in row.items() if isinstance(value, int | float)}


def _log_lines(run: Path) -> Iterator[str]:
    file = run / "out.log"
    if file.exists():
        with file.open(encoding="utf-8", errors="replace") as lines:
            yield from lines

"""From measured proxies to a pool for a budget: by the law where it may answer, else by a stated rule."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipelines.errors import ConfigError
from pipelines.proxies.buckets import Buckets
from pipelines.proxies.run import JOIN
from scaling_laws import (
    Choice,
    FitWarning,
    OutsideRangeError,
    RunsError,
    Study,
    budget_levels,
    check_runs,
    choice_to_json,
    plan_next_run,
    ranking_errors,
    read_runs,
    study_runs,
    table_to_json,
)

LAW, RANKING = "law", "single-scale ranking"


@dataclass(frozen=True)
class Advice:
    """Which pool to train on at a budget, and what that rests on.

    Attributes
    ----------
    budget
        In samples seen.
    pool
        The chosen pool: a bucket, or a union of buckets.
    rule
        `law`, or `single-scale ranking` where the law does not answer.
    refusals
        Why the law does not answer; empty where it does.
    runs
        The runs behind it, those that diverged left out.
    study, choice
        The fit and the choice; None where there was no fit, or no answer.
    next_runs
        Which runs would narrow the first switch most, best first; None where there is nothing to narrow.
    notes
        What a reader must know beside.
    """

    budget: float
    pool: str
    rule: str
    refusals: tuple[str, ...]
    runs: pd.DataFrame
    study: Study | None
    choice: Choice | None
    next_runs: pd.DataFrame | None
    notes: tuple[str, ...]

    @property
    def members(self) -> list[str]:
        """The buckets that the chosen pool consists of."""
        return self.pool.split(JOIN)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "budget": self.budget,
            "pool": self.pool,
            "rule": self.rule,
            "law_refuses": list(self.refusals),
            "notes": list(self.notes),
            "choice": None if self.choice is None else choice_to_json(self.choice),
            "next_runs": [] if self.next_runs is None else table_to_json(self.next_runs.head(5)),
        }


def advise(table: str | Path, budget: float, *, force: bool = False, n_draws: int = 1000) -> Advice:
    """Fit the law to a table of runs and choose a pool for a budget.

    Every measured pool is a candidate by its own law, and so is every union of the best buckets that was not
    measured, by the law of mixtures.

    Parameters
    ----------
    table
        Runs as `curate proxy` writes them.
    budget
        Samples seen.
    force
        Let the law answer outside the measured range.
    n_draws
        Bootstrap draws.

    Raises
    ------
    ConfigError
        When there is no run to go by.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FitWarning)
        runs, refusal = _read(table)
    notes = tuple(dict.fromkeys(str(each.message) for each in caught))
    study, choice = None, None
    if refusal is None:
        try:
            study = study_runs(runs, n_draws=n_draws)
            choice = study.choose([budget], candidates(runs), force=force)
        except (RunsError, OutsideRangeError) as reason:
            refusal = reason
    if choice is not None and study is not None:
        best, rule = choice.budgets[0].best.name, LAW
        notes = (*notes, *study.warnings, *choice.warnings)
    else:
        best, rule = _ranked_first(runs), RANKING
    refusals = tuple(refusal.problems) if isinstance(refusal, OutsideRangeError) else (str(refusal),)
    next_runs = None if study is None or choice is None else _next_runs(study, choice)
    return Advice(budget, best, rule, refusals if refusal else (), runs, study, choice, next_runs, notes)


def _read(table: str | Path) -> tuple[pd.DataFrame, ValueError | None]:
    """Return the runs, and why no law should be fitted to them, if so."""
    try:
        return read_runs(table), None
    except RunsError as reason:
        try:
            return check_runs(pd.read_csv(table)), reason  # enough to rank by
        except (OSError, ValueError):
            raise ConfigError(f"{table}: {reason}") from None


def candidates(runs: pd.DataFrame) -> list[dict[str, float]]:
    """Return what there is to choose from: measured pools, and unions of the best buckets."""
    measured = list(dict.fromkeys(runs["pool"]))
    buckets = [name for name in measured if JOIN not in name]
    # `read_runs` sorts by name, and ranges of ranks sort by where they begin.
    ordered = sorted(buckets, key=_rank)
    prefixes = [ordered[:n] for n in range(2, len(ordered) + 1)]
    unmeasured = [members for members in prefixes if JOIN.join(members) not in measured]
    return [*({name: 1.0} for name in measured), *(dict.fromkeys(members, 1.0) for members in unmeasured)]


def _rank(name: str) -> tuple[float, str]:
    try:
        return float(name.partition("-")[0]), name
    except ValueError:
        return float("inf"), name


def _ranked_first(runs: pd.DataFrame) -> str:
    ranking = ranking_errors(runs)
    if ranking is not None:
        return str(ranking.index[0])
    raise ConfigError("no two pools were measured at one budget: there is nothing to choose by")


def ranked_at(runs: pd.DataFrame) -> float:
    """Return the budget at which a ranking compares: the largest that the most pools share."""
    level = pd.Series(budget_levels(runs["samples_seen"].to_numpy(float)), index=runs.index)
    pools = runs.groupby(level)["pool"].nunique()
    shared = pools[pools == runs["pool"].nunique()]
    at = (shared if len(shared) else pools[pools >= 2]).index[-1]
    return float(runs.loc[level == at, "samples_seen"].max())


def _next_runs(study: Study, choice: Choice) -> pd.DataFrame | None:
    try:
        at = np.log(choice.budgets[0].budget)
        nearest = min(choice.switches, key=lambda each: abs(np.log(each.budget.estimate) - at), default=None)
        return plan_next_run(choice, study.draws, study.noise_sd, switch=nearest)
    except ValueError:  # one candidate is best throughout, or no noise is known
        return None


def brief(pool: str) -> str:
    """Return a pool's name with neighbouring ranges of ranks as one: `0-50%` for `0-25% + 25-50%`."""
    ranges: list[list[str]] = []
    for name in pool.split(JOIN):
        low, dash, high = name.removesuffix("%").partition("-")
        if not dash:
            return pool
        if ranges and ranges[-1][1] == low:
            ranges[-1][1] = high
        else:
            ranges.append([low, high])
    return JOIN.join(f"{low}-{high}%" for low, high in ranges)


def materialising(buckets: Buckets, members: Sequence[str], output: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration of a run that keeps just some buckets.

    Parameters
    ----------
    buckets
        From `cut_buckets`; its record is the configuration to be extended.
    members
        The buckets to keep.
    output
        Where the run should write, as in a configuration.
    """
    bands = [list(bucket.band) for bucket in buckets.buckets if bucket.name in members]
    merged = [bands[0]]
    for low, high in bands[1:]:
        if low == merged[-1][1]:
            merged[-1] = [merged[-1][0], high]
        else:
            merged.append([low, high])
    parts = [_part(buckets.by, low, high) for low, high in merged]
    stage = {"keep": parts[0]} if len(parts) == 1 else {"select": {"any": parts}}
    return {**buckets.run, "stages": [*buckets.run["stages"], stage], "output": output}


def _part(by: str, low: float, high: float) -> dict[str, Any]:
    return {"by": by, "top": high} if low == 0 else {"by": by, "band": [low, high]}


def told(advice: Advice) -> list[str]:
    """Return the advice in words, a line each."""
    lines = []
    if advice.choice is not None and advice.study is not None:
        lines += _by_law(advice, advice.choice, advice.study)
    else:
        lines += [f"the law does not answer: {reason}" for reason in advice.refusals]
        at = ranked_at(advice.runs)
        lines.append(
            f"fallback, {RANKING}: {brief(advice.pool)} had the least mean error at {at:,.0f} samples, the "
            f"largest budget that all pools share; that says nothing about {advice.budget:,.0f}"
        )
    lines += [f"note: {note}" for note in advice.notes]
    return lines


def _by_law(advice: Advice, choice: Choice, study: Study) -> list[str]:
    found = choice.budgets[0]
    best, measured = found.best, study.pools.measured
    lines = [
        f"keep {brief(best.name)}: P(best) {best.p_best:.2f}, predicted error {best.error:.4f} "
        f"({best.low:.4f} to {best.high:.4f}), {best.epochs:.3g} epochs"
    ]
    if measured is not None:
        times = advice.budget / measured.most_samples
        where = (
            "inside what was measured"
            if times <= 1
            else f"extrapolated, to {times:.3g} times the most measured, {measured.most_samples:,.0f} samples"
        )
        lines.append(f"this budget is {where}")
    own = advice.runs[advice.runs["pool"] == best.name]
    most = float((own["samples_seen"] / own["pool_size"]).max()) if len(own) else 0.0
    if best.epochs > max(most, 1.0):
        lines.append(
            f"repetition beyond what was measured: this pool up to {most:.3g} epochs; models that learn "
            "their pairs by heart get worse, which the law does not know"
        )
    if found.runner_up is not None:
        beyond = {True: "more", False: "no more", None: "who knows whether more"}[found.beyond_noise]
        lines.append(
            f"runner-up {brief(found.runner_up)}: {found.margin:.4f} worse, {beyond} than two runs differ by "
            "chance"
        )
    if advice.next_runs is not None:
        row = advice.next_runs.iloc[0]
        lines.append(
            f"to know better: train {brief(row['pool'])} for {row['samples_seen']:,.0f} samples "
            f"({row['samples_seen'] / advice.budget:.1%} of the budget); it narrows the nearest switch's "
            f"interval by {row['narrowing']:.0%}"
        )
    else:
        lines.append(
            "to know better: no single run would tell; one pool is best throughout, or noise is unknown"
        )
    return lines

"""The best pool or mixture for each budget, with its probability and what it rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from scaling_laws.candidates import CandidateKind, Candidates, make_candidates
from scaling_laws.effective_data import Floats
from scaling_laws.error_surface import ErrorSurface, point_errors
from scaling_laws.fitted_pools import FittedPools
from scaling_laws.mixtures import Pool
from scaling_laws.range_check import DEFAULT_LIMITS, OutsideRangeError, RangeLimits, range_problems
from scaling_laws.switches import Switch, find_switches

CONTENDER_PROBABILITY = 0.05
NOISE_FACTOR = 1.96 * np.sqrt(2.0)
"""Two single runs differ by more than this many standard deviations in one case of twenty."""
MOST_CONTENDERS = 20


@dataclass(frozen=True)
class Contender:
    """A candidate that may be the best: predicted error, its interval, and P(best).

    The interval is that of the law's value over draws; the noise of a single run comes on top. Without draws
    it and P(best) are nan.
    """

    name: str
    error: float
    low: float
    high: float
    p_best: float
    epochs: float


@dataclass(frozen=True)
class BudgetChoice:
    """The answer for one budget.

    Attributes
    ----------
    budget
        In samples.
    best
        The candidate with the least predicted error.
    runner_up
        The next one, and ``margin`` is how much worse it is.
    beyond_noise
        Whether the margin exceeds 1.96 sqrt(2) times the run-to-run noise; None if the noise is unknown.
    contenders
        The indifference set, best first: every candidate with P(best) >= 0.05 or inside the noise.
    n_contenders
        Its full size; at most 20 are listed.
    """

    budget: float
    best: Contender
    runner_up: str | None
    margin: float
    beyond_noise: bool | None
    contenders: tuple[Contender, ...]
    n_contenders: int


@dataclass(frozen=True)
class Choice:
    """What `choose` returns: one `BudgetChoice` per budget, the switches, and every caveat in words."""

    budgets: tuple[BudgetChoice, ...]
    switches: tuple[Switch, ...]
    candidates: Candidates
    level: float
    n_draws: int
    warnings: tuple[str, ...] = ()
    baselines: pd.DataFrame = field(default_factory=pd.DataFrame)

    def table(self) -> pd.DataFrame:
        """Return one row per budget: budget, best, error, low, high, p_best, runner_up, margin,
        beyond_noise.
        """
        return pd.DataFrame(
            [
                {
                    "budget": c.budget,
                    "best": c.best.name,
                    "error": c.best.error,
                    "low": c.best.low,
                    "high": c.best.high,
                    "p_best": c.best.p_best,
                    "epochs": c.best.epochs,
                    "runner_up": c.runner_up,
                    "margin": c.margin,
                    "beyond_noise": c.beyond_noise,
                    "n_contenders": c.n_contenders,
                }
                for c in self.budgets
            ]
        )


def choose(
    budgets: Sequence[float] | Floats,
    pools: FittedPools | Sequence[Pool],
    candidates: CandidateKind | Sequence[Mapping[str, float]] | Candidates = "subsets",
    *,
    keep_ratios: Sequence[float] = (1.0,),
    draws: FittedPools | None = None,
    noise_sd: float | None = None,
    baselines: Mapping[str, FittedPools | str] | None = None,
    scan: tuple[float, float] | None = None,
    limits: RangeLimits = DEFAULT_LIMITS,
    force: bool = False,
    level: float = 0.95,
) -> Choice:
    """Choose the best pool or mixture for each budget.

    Parameters
    ----------
    budgets
        Samples seen, shape (n_budgets,); see `Compute` for FLOPs and GPU-hours.
    pools
        ``fit.pools_`` of a `RepetitionFit`, or pools with laws of one's own.
    candidates, keep_ratios
        What to choose from; see `make_candidates`.
    draws
        ``bootstrap(fit).pools``: gives P(best), intervals and the intervals of switches.
    noise_sd
        Run-to-run standard deviation of the error; a smaller margin is no difference.
    baselines
        Other rules by name, as from `fit_baselines`: what each would choose, and its error under this law.
    scan
        Budgets between which to look for switches; default: from the least measured to the most allowed.
    limits, force
        How far outside the measured range to answer; ``force`` turns a refusal into a warning.

    Raises
    ------
    OutsideRangeError
        If a budget lies outside what was measured and ``force`` is not set.
    ValueError
        If budgets are not positive, or the pools do not fit together.
    """
    at = _checked_budgets(budgets)
    fitted = pools if isinstance(pools, FittedPools) else FittedPools.from_pools(pools)
    options = _as_candidates(fitted, candidates, keep_ratios)
    errors = point_errors(fitted, options, at)
    problems = range_problems(fitted.measured, at, options.sizes[errors.argmin(axis=0)], limits)
    if problems and not force:
        raise OutsideRangeError(problems)
    spread = _Spread.of_draws(draws, options, at, errors, noise_sd, level)
    return Choice(
        tuple(_budget_choice(i, n, options, errors[:, i], spread, noise_sd) for i, n in enumerate(at)),
        tuple(find_switches(fitted, options, scan or limits.scan(fitted, at), draws, level)),
        options,
        level,
        draws.n_draws if draws is not None else 0,
        tuple(problems),
        _baseline_table(at, options, errors, baselines or {}),
    )


def _as_candidates(
    fitted: FittedPools,
    candidates: CandidateKind | Sequence[Mapping[str, float]] | Candidates,
    keep_ratios: Sequence[float],
) -> Candidates:
    if isinstance(candidates, Candidates):
        return candidates
    return make_candidates(fitted, candidates, keep_ratios)


def _checked_budgets(budgets: Sequence[float] | Floats) -> Floats:
    at = np.atleast_1d(np.asarray(budgets, float))
    if at.size == 0 or not (np.isfinite(at) & (at > 0)).all():
        raise ValueError("budgets must be positive numbers of samples")
    return at


@dataclass(frozen=True)
class _Spread:
    """P(best) (n_candidates, n_budgets) and intervals {(candidate, budget): (low, high)} over draws."""

    p_best: Floats
    intervals: dict[tuple[int, int], tuple[float, float]]

    @classmethod
    def of_draws(
        cls,
        draws: FittedPools | None,
        options: Candidates,
        budgets: Floats,
        errors: Floats,
        noise_sd: float | None,
        level: float,
    ) -> _Spread:
        if draws is None:
            return cls(np.full(errors.shape, np.nan), {})
        p_best = np.zeros(errors.shape)
        intervals = {}
        tails = (0.5 - level / 2, 0.5 + level / 2)
        for column, drawn in enumerate(ErrorSurface(draws, options, budgets)):
            winners = drawn.argmin(axis=0)
            p_best[:, column] = np.bincount(winners, minlength=len(options)) / draws.n_draws
            rows, _ = _contender_rows(errors[:, column], p_best[:, column], noise_sd)
            bounds = np.quantile(drawn[rows], tails, axis=1).T
            intervals.update(
                {(int(r), column): (float(b[0]), float(b[1])) for r, b in zip(rows, bounds, strict=True)}
            )
        return cls(p_best, intervals)


def _contender_rows(
    errors: Floats, p_best: Floats, noise_sd: float | None
) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.intp]], int]:
    """Return the listed candidates, best first by predicted error then by P(best), and how many there are."""
    best = int(errors.argmin())
    likely = np.nan_to_num(p_best) >= CONTENDER_PROBABILITY
    near = errors - errors[best] <= (NOISE_FACTOR * noise_sd if noise_sd else 0.0)
    rows = np.flatnonzero(likely | near)
    order = np.lexsort((errors[rows], -np.nan_to_num(p_best[rows]), rows != best))
    return rows[order][:MOST_CONTENDERS], len(rows)


def _budget_choice(
    column: int, budget: float, options: Candidates, errors: Floats, spread: _Spread, noise_sd: float | None
) -> BudgetChoice:
    rows, count = _contender_rows(errors, spread.p_best[:, column], noise_sd)
    contenders = tuple(
        Contender(
            options.names[row],
            float(errors[row]),
            *spread.intervals.get((int(row), column), (float("nan"), float("nan"))),
            float(spread.p_best[row, column]),
            float(budget / options.sizes[row]),
        )
        for row in rows
    )
    runner_up, margin = None, float("inf")
    if len(errors) > 1:
        second = int(np.argsort(errors, kind="stable")[1])
        runner_up, margin = options.names[second], float(errors[second] - errors.min())
    known = noise_sd is not None and np.isfinite(noise_sd)
    beyond = bool(margin > NOISE_FACTOR * noise_sd) if known and noise_sd is not None else None
    return BudgetChoice(float(budget), contenders[0], runner_up, margin, beyond, contenders, count)


def _baseline_table(
    budgets: Floats, options: Candidates, errors: Floats, baselines: Mapping[str, FittedPools | str]
) -> pd.DataFrame:
    """Return what simpler rules would choose, one row per budget and rule, with the error this law gives
    it.
    """
    largest, smallest = int(options.sizes.argmax()), int(options.sizes.argmin())
    picks = {}
    for name, rule in baselines.items():
        if isinstance(rule, FittedPools):
            picks[name] = point_errors(rule, options, budgets).argmin(axis=0)
        elif rule in options.names:
            picks[name] = np.full(len(budgets), options.names.index(rule))
    picks["largest pool"] = np.full(len(budgets), largest)
    picks["smallest pool"] = np.full(len(budgets), smallest)
    rows = []
    for column, budget in enumerate(budgets):
        least = errors[:, column].min()
        for name, pick in picks.items():
            error = errors[pick[column], column]
            rows.append((budget, name, options.names[pick[column]], error, error - least))
        rows.append((budget, "random", "any", errors[:, column].mean(), errors[:, column].mean() - least))
    return pd.DataFrame(rows, columns=["budget", "rule", "choice", "error", "regret"])

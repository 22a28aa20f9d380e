"""The rollout test: fit up to a budget, predict beyond it, and compare with doing without a law."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from scaling_laws.baselines import (
    LARGEST,
    RANDOM,
    RANKING,
    RULES,
    SMALLEST,
    budget_levels,
    default_laws,
    quiet_fit,
    ranking_errors,
)
from scaling_laws.bootstrap import bootstrap, seed_noise_sd
from scaling_laws.choice import NOISE_FACTOR
from scaling_laws.pool_fit import RepetitionFit
from scaling_laws.runs import Metric, RunsError, check_runs

SCORES = ("rmse", "max_error", "coverage", "decisions", "regret")


@dataclass(frozen=True)
class Rollout:
    """What the rollout found.

    Attributes
    ----------
    table
        One row per model, cutoff and method: ``n_train``, ``n_test`` runs; ``rmse`` and ``max_error`` of the
        predicted error; ``coverage`` of the 95 % prediction interval; ``decisions``, the share of pool pairs
        ordered rightly at later budgets out of ``n_pairs``, with ``n_ties`` pairs inside the noise left out;
        ``regret``, the error of the pool chosen minus the least; ``note`` says why a method gave nothing.
    verdict
        One sentence: whether a law beats ranking at the largest measured budget.
    """

    table: pd.DataFrame
    verdict: str

    def summary(self) -> pd.DataFrame:
        """Return the mean of every score per method over models and cutoffs, in the order of the table."""
        scores = self.table.groupby("method", sort=False)[list(SCORES)].mean()
        scores["n_cutoffs"] = self.table[self.table["note"] == ""].groupby("method").size()
        return scores.fillna({"n_cutoffs": 0}).astype({"n_cutoffs": int})


def rollout(
    runs: pd.DataFrame,
    laws: Mapping[str, RepetitionFit] | None = None,
    *,
    metric: Metric = "error",
    noise_sd: float | None = None,
    n_draws: int = 200,
    random_state: int = 0,
) -> Rollout:
    """Fit on all runs up to each budget and score the predictions for every later one.

    Parameters
    ----------
    runs
        Columns as in `check_runs`; with several values in ``model`` each model is rolled out alone.
    laws
        Unfitted laws by name; default: `default_laws`. The rules without a law are always added.
    noise_sd
        Run-to-run noise of the error; pairs closer than 1.96 sqrt(2) of it count as ties. Default: from
        seeds, else no pair is a tie.
    n_draws
        Bootstrap draws for the coverage; 0 leaves it out.

    Raises
    ------
    RunsError
        If the table fails a check or no model has two budgets.
    """
    laws = default_laws() if laws is None else dict(laws)
    models = sorted(set(runs["model"].astype(str))) if "model" in runs else [None]
    rows: list[dict[str, object]] = []
    for model in models:
        table = check_runs(runs, metric, model)
        levels = budget_levels(table["samples_seen"].to_numpy(float))
        noise = seed_noise_sd(table) or 0.0 if noise_sd is None else noise_sd
        for cutoff in range(int(levels.max())):
            shared = {"model": model, "cutoff": float(table["samples_seen"][levels <= cutoff].max())}
            split = _Split(table[levels <= cutoff], table[levels > cutoff], levels[levels > cutoff], noise)
            for name, law in laws.items():
                rows.append(shared | {"method": name} | split.score_law(law, n_draws, random_state))
            rows += [shared | {"method": name} | split.score_rule(name) for name in RULES]
    if not rows:
        raise RunsError("a rollout needs runs at two budgets or more; these have one")
    scored = pd.DataFrame(rows)
    return Rollout(scored, _verdict(scored, list(laws)))


@dataclass(frozen=True)
class _Split:
    train: pd.DataFrame
    test: pd.DataFrame
    test_levels: np.ndarray[tuple[int, ...], np.dtype[np.intp]]
    noise_sd: float

    def score_law(self, law: RepetitionFit, n_draws: int, random_state: int) -> dict[str, object]:
        fit = quiet_fit(law, self.train)
        if isinstance(fit, str):
            return self._nothing(fit)
        known = self.test["pool"].isin(fit.pools_.names).to_numpy()
        if not known.any():
            return self._nothing("no later run of a pool in the fit")
        test = self.test[known]
        predicted = np.array(
            [float(fit.predict(n, pool)) for n, pool in zip(test["samples_seen"], test["pool"], strict=True)]
        )
        missed = predicted - test["error"].to_numpy(float)
        scores: dict[str, object] = {
            "rmse": float(np.sqrt((missed**2).mean())),
            "max_error": float(np.abs(missed).max()),
            "coverage": _coverage(fit, test, n_draws, random_state),
        }
        return (
            self._counts() | scores | self._decisions(test.assign(score=predicted), self.test_levels[known])
        )

    def score_rule(self, rule: str) -> dict[str, object]:
        sizes = self.test["pool_size"]
        if rule == RANDOM:
            score = pd.Series(0.0, index=self.test.index)
        elif rule in (LARGEST, SMALLEST):
            if self.test["pool_size"].nunique() == 1:
                return self._nothing("the pools are equally large")
            score = -sizes if rule == LARGEST else sizes
        else:
            ranking = ranking_errors(self.train)
            if ranking is None:
                return self._nothing("no measured budget has two pools")
            score = self.test["pool"].map(ranking)
        known = score.notna().to_numpy()
        test = self.test.assign(score=score)[known]
        return self._counts() | self._decisions(test, self.test_levels[known])

    def _counts(self) -> dict[str, object]:
        empty = dict.fromkeys(SCORES, float("nan"))
        return {"n_train": len(self.train), "n_test": len(self.test), **empty, "note": ""}

    def _nothing(self, note: str) -> dict[str, object]:
        return self._counts() | {"n_pairs": 0, "n_ties": 0, "note": note}

    def _decisions(
        self, test: pd.DataFrame, levels: np.ndarray[tuple[int, ...], np.dtype[np.intp]]
    ) -> dict[str, object]:
        """Return how well ``score`` (less is better) orders the pools at each later budget."""
        right, ties, regrets, n_pairs = 0.0, 0, [], 0
        for level in np.unique(levels):
            means = test[levels == level].groupby("pool")[["error", "score"]].mean()
            if len(means) < 2:
                continue
            error, score = means["error"].to_numpy(), means["score"].to_numpy()
            for i, j in combinations(range(len(means)), 2):
                gap = error[i] - error[j]
                if gap == 0 or abs(gap) <= NOISE_FACTOR * self.noise_sd:
                    ties += 1
                    continue
                n_pairs += 1
                right += 0.5 if score[i] == score[j] else float((score[i] < score[j]) == (gap < 0))
            chosen = score == score.min()
            regrets.append(float(error[chosen].mean() - error.min()))
        return {
            "decisions": right / n_pairs if n_pairs else float("nan"),
            "regret": float(np.mean(regrets)) if regrets else float("nan"),
            "n_pairs": n_pairs,
            "n_ties": ties,
        }


def _coverage(fit: RepetitionFit, test: pd.DataFrame, n_draws: int, random_state: int) -> float:
    """Return the share of later errors inside the 95 % interval of the draws, run-to-run noise added."""
    if n_draws == 0 or not np.isfinite(fit.noise_sd_):
        return float("nan")
    drawn = bootstrap(fit, n_draws, random_state=random_state)
    rng = np.random.default_rng([random_state, 1])
    inside = []
    for pool, n, error in zip(test["pool"], test["samples_seen"], test["error"], strict=True):
        predicted = drawn.pools.predict_draws(str(pool), float(n)) + rng.normal(0, fit.noise_sd_, n_draws)
        low, high = np.quantile(predicted, [0.025, 0.975])
        inside.append(low <= error <= high)
    return float(np.mean(inside))


def _verdict(table: pd.DataFrame, laws: list[str]) -> str:
    """Compare the best law with every rule, on the cutoffs where both gave an answer."""
    scored = table.assign(model=table["model"].astype(str)).set_index(["model", "cutoff"])
    by_method = {name: part[["decisions", "regret"]].dropna() for name, part in scored.groupby("method")}
    means = {name: by_method[name].mean() for name in laws if name in by_method and len(by_method[name])}
    if not means:
        return "No law could be fitted before the last budget, so none can be compared with a rule."
    best = max(means, key=lambda name: (means[name]["decisions"], -means[name]["regret"]))
    rules = [name for name in RULES if name != RANDOM and name in by_method]
    joined = {rule: by_method[best].join(by_method[rule].add_suffix("_rule")).dropna() for rule in rules}
    compared = {rule: both.mean() for rule, both in joined.items() if len(both)}
    beaten = [rule for rule, both in compared.items() if _law_wins(both)]
    unbeaten = [rule for rule in compared if rule not in beaten]
    opening = f"The law '{best}' beats {' and '.join(beaten)}" if beaten else "No law beats any rule"
    if RANKING in unbeaten:
        opening = f"No law beats {RANKING}"
    elif beaten and unbeaten:
        opening += f", but adds nothing to {' and '.join(unbeaten)}"
    own = means[best]
    tail = [f"'{best}': decision accuracy {own['decisions']:.3f}, regret {own['regret']:.4f}"]
    tail += [
        f"{rule}: {both['decisions_rule']:.3f}, {both['regret_rule']:.4f}" for rule, both in compared.items()
    ]
    return f"{opening} ({'; '.join(tail)}; {len(by_method[best])} cutoffs)."


def _law_wins(both: pd.Series) -> bool:
    gain, saved = both["decisions"] - both["decisions_rule"], both["regret_rule"] - both["regret"]
    return bool(gain > 0 or (gain == 0 and saved > 0))

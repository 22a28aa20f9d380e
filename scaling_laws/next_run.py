"""Which training run to make next: the one that narrows a switch budget most."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from scaling_laws.choice import Choice
from scaling_laws.effective_data import Floats
from scaling_laws.fitted_pools import FittedPools
from scaling_laws.switches import Switch, crossings

N_SCAN = 240
COLUMNS = ["pool", "samples_seen", "epochs", "width_now", "expected_width", "narrowing"]


def plan_next_run(
    choice: Choice,
    draws: FittedPools,
    noise_sd: float,
    *,
    switch: Switch | None = None,
    budgets: Sequence[float] | None = None,
    n_outcomes: int = 64,
    level: float = 0.95,
    random_state: int = 0,
) -> pd.DataFrame:
    """Rank possible runs by how far each is expected to narrow the interval of a switch.

    For every candidate run, outcomes are simulated from the draws; each outcome reweights the draws by its
    Gaussian likelihood, and the weighted interval of log switch budget is averaged over outcomes.

    Parameters
    ----------
    choice, draws
        From `choose` and `bootstrap`.
    noise_sd
        Standard deviation of the error of one run.
    switch
        Which of ``choice.switches``; default: the first inside the measured range, else the first.
    budgets
        Samples seen to consider; default: seven from the least to twice the most measured.
    n_outcomes
        Simulated outcomes per run.

    Returns
    -------
    pandas.DataFrame
        ``pool``, ``samples_seen``, ``epochs``, ``width_now`` and ``expected_width`` (ratio of the interval's
        ends; 1 is a point), ``narrowing`` (share of the width in log removed), best first. Draws that do not
        cross count as crossing at the end of the scan.

    Raises
    ------
    ValueError
        If there is no switch to narrow, or the noise is not positive.
    """
    if not noise_sd > 0:
        raise ValueError("noise_sd must be positive: without noise every run tells all it can")
    target = switch or _default_switch(choice)
    scan = _scan(draws, choice)
    place = _log_crossings(choice, draws, target, scan)
    sizes = dict(zip(draws.names, draws.sizes, strict=True))
    at = _default_budgets(draws, scan) if budgets is None else np.asarray(budgets, float)
    tails = (1 - level) / 2, (1 + level) / 2
    now = float(np.diff(np.quantile(place, tails))[0])
    rows = []
    for pool in draws.names:
        for samples in at:
            predicted = draws.predict_draws(pool, float(samples))
            # The same random numbers for every run, so that chance does not rank them.
            rng = np.random.default_rng(random_state)
            after = _expected_width(place, predicted, noise_sd, n_outcomes, tails, rng)
            rows.append((pool, samples, samples / sizes[pool], np.exp(now), np.exp(after), 1 - after / now))
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.sort_values("expected_width", kind="stable").reset_index(drop=True)


def _default_switch(choice: Choice) -> Switch:
    if not choice.switches:
        raise ValueError("no switch in the scanned range to narrow: one candidate is best throughout")
    inside = [switch for switch in choice.switches if not switch.extrapolated]
    return (inside or list(choice.switches))[0]


def _scan(draws: FittedPools, choice: Choice) -> tuple[float, float]:
    if draws.measured is not None:
        return draws.measured.least_samples, 10.0 * draws.measured.most_samples
    places = [switch.budget.estimate for switch in choice.switches]
    return min(places) / 10.0, max(places) * 10.0


def _default_budgets(draws: FittedPools, scan: tuple[float, float]) -> Floats:
    most = draws.measured.most_samples if draws.measured is not None else scan[1] / 10.0
    return np.geomspace(scan[0], 2.0 * most, 7)


def _log_crossings(choice: Choice, draws: FittedPools, switch: Switch, scan: tuple[float, float]) -> Floats:
    rows = [choice.candidates.names.index(name) for name in (switch.before, switch.after)]
    pair = choice.candidates.pick(rows)
    place = crossings(draws, pair, np.geomspace(*scan, N_SCAN), switch.budget.estimate)
    return np.log(np.clip(place, *scan))


def _expected_width(
    place: Floats,
    predicted: Floats,
    noise_sd: float,
    n_outcomes: int,
    tails: tuple[float, float],
    rng: np.random.Generator,
) -> float:
    """Return the mean width in log of the reweighted interval over simulated outcomes."""
    outcomes = rng.choice(predicted, n_outcomes) + rng.normal(0.0, noise_sd, n_outcomes)
    weights = np.exp(-0.5 * ((predicted[None] - outcomes[:, None]) / noise_sd) ** 2)
    order = np.argsort(place)
    running = np.cumsum(weights[:, order], axis=1)
    running /= running[:, -1:]
    low, high = ((running < tail).sum(axis=1).clip(max=len(place) - 1) for tail in tails)
    ordered = place[order]
    return float((ordered[high] - ordered[low]).mean())

"""Speed of the scaling laws: the grid against a loop, the joint bootstrap, the choice over all subsets.

    python benchmarks/scaling_speed.py [--peer CHECKOUT] [--repeats N]

``--peer`` is a checkout of locuslab/scaling_laws_data_filtering; without it the peer is the same search
written here as a plain loop over grid points and runs, which is what the published code does.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import resource
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from scaling_laws import FittedPools, FitWarning, RepetitionFit, RepetitionLaw, bootstrap, choose, grid_search
from scaling_laws.grid_search import EXPONENTS, HALF_LIVES

SIZE, ANCHOR, FLOOR = 12.8e6, 4.0e6, 0.1
TRUTH = [(-0.16, 6.727), (-0.125, 8.545), (-0.10, 5.273), (-0.085, 2.273)]
Result = TypeVar("Result")
LIMIT_SECONDS, LEAST_RATIO, LIMIT_GIB = 10.0, 1000.0, 2.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", type=Path, help="checkout of the published code")
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    warnings.simplefilter("ignore", FitWarning)
    passed = [grid(options.peer, options.repeats), joint_bootstrap(), subsets()]
    return 0 if all(passed) else 1


def grid(peer: Path | None, repeats: int) -> bool:
    """Search the published 10,000-point grid on 5 points, by array, by loop and by continuous fit."""
    rng = np.random.default_rng(0)
    n = np.arange(2, 11, 2) * SIZE
    law = RepetitionLaw(-0.16, 6.727, ANCHOR, FLOOR, "code")
    errors = law.predict(n, SIZE) + rng.normal(0, 0.0024, len(n))
    loop = published_search(peer) if peer else plain_loop
    slow, (peer_rss, peer_best) = timed(lambda: loop(n, errors), 1)
    fast, found = timed(lambda: grid_search(n, errors, SIZE, ANCHOR, FLOOR, "code"), repeats)
    runs = pd.DataFrame({"pool": "p", "pool_size": SIZE, "samples_seen": n, "error": errors})
    fitting, fit = timed(
        lambda: RepetitionFit(form="code", anchor=ANCHOR, irreducible=FLOOR).fit(runs), repeats
    )
    same = np.allclose((found.exponent, found.half_life), peer_best) and found.rss <= peer_rss * (1 + 1e-9)
    name = "published code" if peer else "plain loop"
    print(
        f"grid, 10,000 points x 5 runs: {name} {slow:.3f} s, array {fast * 1e3:.3f} ms: {slow / fast:,.0f} x"
    )
    print(f"  same optimum {peer_best}: {same}; residual {peer_rss:.6e} against {found.rss:.6e}")
    print(f"  continuous fit {fitting * 1e3:.2f} ms: {slow / fitting:,.0f} x, residual {fit.rss_:.6e}")
    return bool(same and fit.rss_ <= peer_rss and slow / fast >= LEAST_RATIO)


def joint_bootstrap() -> bool:
    """Fit 4 pools jointly, anchor and irreducible error included, and bootstrap 1,000 times."""
    rng = np.random.default_rng(0)
    rows = []
    for index, (exponent, half_life) in enumerate(TRUTH):
        for n in np.arange(2, 11, 2) * SIZE:
            error = float(RepetitionLaw(exponent, half_life, ANCHOR, FLOOR).predict(n, SIZE))
            rows.append((f"p{index}", SIZE, n, error + rng.normal(0, 0.0024)))
    runs = pd.DataFrame(rows, columns=["pool", "pool_size", "samples_seen", "error"])
    seconds, draws = timed(lambda: bootstrap(RepetitionFit().fit(runs), 1000), 3)
    print(
        f"4-pool joint fit and {draws.pools.n_draws} bootstraps: {seconds:.2f} s (limit {LIMIT_SECONDS:g} s)"
    )
    return seconds <= LIMIT_SECONDS


def subsets() -> bool:
    """Choose among all 4,095 subsets of 12 unequal pools at 100 budgets over 1,000 draws."""
    rng = np.random.default_rng(1)
    count, n_draws = 12, 1000
    draws = FittedPools(
        tuple(f"p{i}" for i in range(count)),
        rng.uniform(5e6, 5e7, count),
        "paper",
        -np.linspace(0.2, 0.07, count) * rng.lognormal(0, 0.05, (n_draws, count)),
        rng.lognormal(np.log(5), 0.5, (n_draws, count)),
        ANCHOR * rng.lognormal(0, 0.2, n_draws),
        FLOOR * rng.lognormal(0, 0.2, n_draws),
    )
    budgets = np.geomspace(32e6, 3e9, 100)
    first = draws.take(0)
    before = time.process_time()
    seconds, choice = timed(lambda: choose(budgets, first, "subsets", draws=draws, noise_sd=0.0024), 1)
    busy = time.process_time() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"choice: {len(choice.candidates)} subsets x {len(budgets)} budgets x {n_draws} draws, "
        f"{len(choice.switches)} switches: {seconds:.2f} s, {busy:.2f} s of processor "
        f"(limit {LIMIT_SECONDS:g} s), peak {peak:.2f} GiB"
    )
    return seconds <= LIMIT_SECONDS and peak <= LIMIT_GIB


def plain_loop(n: np.ndarray, errors: np.ndarray) -> tuple[float, tuple[float, float]]:
    """Visit every grid point and run in Python, each epoch list in numpy, as the published search does."""
    best, place = np.inf, (0.0, 0.0)
    for exponent in EXPONENTS:
        for half_life in HALF_LIVES:
            loss = 0.0
            for seen, error in zip(n, errors, strict=True):
                epochs = np.arange(int(np.ceil(seen / SIZE)))
                decayed = exponent * 0.5 ** (epochs / half_life)
                reached = np.minimum(SIZE * (epochs + 1), seen)
                ratios = (reached[1:] / (SIZE * epochs[1:])) ** decayed[1:]
                value = ((reached[0] / ANCHOR) ** exponent + FLOOR) * ratios.prod()
                loss += (value - error) ** 2
            if loss < best:
                best, place = loss, (float(exponent), float(half_life))
    return best, place


def published_search(checkout: Path) -> Callable[[np.ndarray, np.ndarray], tuple[float, tuple[float, float]]]:
    """Return the published search itself, silenced."""
    sys.path.insert(0, str(checkout))
    import grid_search as published
    import objective

    def search(n: np.ndarray, errors: np.ndarray) -> tuple[float, tuple[float, float]]:
        with contextlib.redirect_stderr(io.StringIO()):
            rss, best = published.grid_search(
                n, [SIZE] * len(n), errors, objective.func_effective_utility, a=[1e5 / ANCHOR], d=[FLOOR]
            )
        return float(rss), (float(best[1]), float(best[2]))

    return search


def timed(work: Callable[[], Result], repeats: int) -> tuple[float, Result]:
    """Return the least seconds of some repeats, and the last result."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - start)
    return min(seconds), result


if __name__ == "__main__":
    sys.exit(main())

"""Runs of pools whose laws are known."""

import numpy as np
import pandas as pd

from scaling_laws import RepetitionLaw

TRUTH = {"a": (-0.16, 6.0), "b": (-0.125, 9.0), "c": (-0.1, 5.0), "d": (-0.085, 2.3)}
ANCHOR, IRREDUCIBLE, SIZE = 4e6, 0.1, 12.8e6


def simulate(noise_sd=0.0, seed=0, epochs=(2, 4, 6, 8, 10), n_seeds=1, truth=None):
    """Return runs of pools with known laws."""
    rng = np.random.default_rng(seed)
    rows = []
    for name, (exponent, half_life) in (truth or TRUTH).items():
        law = RepetitionLaw(exponent, half_life, ANCHOR, IRREDUCIBLE)
        for count in epochs:
            for run_seed in range(n_seeds):
                error = float(law.predict(count * SIZE, SIZE)) + rng.normal(0, noise_sd)
                rows.append((name, SIZE, count * SIZE, error, run_seed))
    return pd.DataFrame(rows, columns=["pool", "pool_size", "samples_seen", "error", "seed"])

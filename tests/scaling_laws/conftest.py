"""Runs with known laws, the published vectors, and the fetched tables."""

import json
from pathlib import Path

import pandas as pd
import pytest

from scaling_laws import Pool, make_pool_law
from tests.scaling_laws.simulated import simulate

HERE = Path(__file__).parent
TABLES = HERE.parents[2] / "shared" / "reference" / "data"


def vectors(name):
    return json.loads((HERE / "vectors" / name).read_text())


@pytest.fixture(scope="session")
def law_values():
    return vectors("law_values.json")


@pytest.fixture(scope="session")
def best_pool():
    return vectors("best_pool.json")


@pytest.fixture(scope="session")
def grid_runs():
    return vectors("grid_search_runs.json")["runs"]


@pytest.fixture(scope="session")
def recovered():
    """Build the published pools of a parameter set under a form, in the order of the sheet."""
    sets = vectors("recovered_parameters.json")

    def build(parameter_set, form, n_pools=None):
        found = sets[parameter_set]
        return [
            Pool(
                pool["name"],
                found["unique_samples_per_pool"],
                make_pool_law(form, pool["b"], pool["tau"], found["n0_samples"], found["d"]),
            )
            for pool in found["pools"][:n_pools]
        ]

    return build


@pytest.fixture(scope="session")
def table():
    """Read one of the fetched tables, or skip with the reason."""

    def read(name):
        file = TABLES / name
        if not file.exists():
            pytest.skip(f"the fetched table {name} is not beside this checkout")
        return pd.read_csv(file)

    return read


@pytest.fixture(scope="session")
def cherti(table):
    """Final checkpoints of the architectures with three pools and three budgets."""
    curves = table("cherti_learning_curves.csv")
    finals = curves[(curves["final"] == 1) & curves["arch"].isin(["ViT-B-32", "ViT-B-16", "ViT-L-14"])]
    return finals.assign(pool_size=finals["unique_samples"], error=1 - finals["top1"], model=finals["arch"])[
        ["pool", "pool_size", "samples_seen", "error", "model"]
    ]


@pytest.fixture(scope="session")
def noisy_runs():
    return simulate(noise_sd=0.0024, seed=0)

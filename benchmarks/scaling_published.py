"""Published figures of scaling laws, refitted by this package from the fetched tables.

    python benchmarks/scaling_published.py [--tables DIR] [--clip-results FILE]

``--clip-results`` is ``zeroshot_results.csv`` of LAION-AI/scaling-laws-openclip (default: the copy among the
tables, ``cherti_zeroshot_results.csv``, if there). It holds every task; the fetched learning curves hold
ImageNet alone, and their last checkpoints differ from the final models by up to .0012.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from scaling_laws import (
    ChinchillaFit,
    ChinchillaLaw,
    DataConstrainedFit,
    DataConstrainedLaw,
    FitWarning,
    FrontierFit,
    FrontierLaw,
    OvertrainingFit,
    RepetitionFit,
    chinchilla_objective,
    default_laws,
    r_squared,
    rollout,
)

TABLES = Path(__file__).resolve().parents[2] / "shared" / "reference" / "data"
GMACS = {"ViT-B-32": 7.4, "ViT-B-16": 20.57, "ViT-L-14": 87.73, "ViT-H-14": 190.97, "ViT-g-14": 290.74}
"""Multiply-adds per sample, as the authors' table of architectures states them."""
NOMINAL = {"3B": 80000415 * 32, "13B": 407332084 * 32, "34B": 407332084 * 84}
"""Samples at which the authors predict; runs differ from them by a few percent."""
PARAMETERS = ("A", "B", "E", "alpha", "beta")
TASKS = {
    "imagenet1k": "acc1",
    "imagenet_robustness": "acc1",
    "mscoco_captions": "image_retrieval_recall@5",
    "flickr30k": "image_retrieval_recall@5",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", type=Path, default=TABLES)
    parser.add_argument("--clip-results", type=Path)
    options = parser.parse_args()
    chinchilla(pd.read_csv(options.tables / "epoch_chinchilla_svg_extracted_data.csv"))
    data_constrained(pd.read_csv(options.tables / "datablations_c4_182.csv"))
    over_training(pd.read_csv(options.tables / "gadre_runs_104.csv"))
    curves = pd.read_csv(options.tables / "cherti_learning_curves.csv")
    frontier_of_curves(curves)
    results = options.clip_results or options.tables / "cherti_zeroshot_results.csv"
    if results.exists():
        frontier_of_results(pd.read_csv(results))
    else:
        print(f"  every task: skipped, {results.name} is not there")
    clip_rollout(curves)


def chinchilla(runs: pd.DataFrame) -> None:
    """Refit the extracted runs, the five largest losses left out."""
    runs = runs[runs["loss"] < runs["loss"].nlargest(5).min()]
    size, loss = runs["Model Size"].to_numpy(), runs["loss"].to_numpy()
    tokens = runs["Training FLOP"].to_numpy() / (6 * size)
    fit = ChinchillaFit().fit(size, tokens, loss)
    draws = fit.bootstrap(1000)
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    print(f"Chinchilla form, {len(runs)} runs: objective {fit.objective_:.14f} (published .00101827403)")
    rows = zip(PARAMETERS, fit.parameters_, draws.std(axis=0), low, high, strict=True)
    for name, value, sd, a, b in rows:
        print(f"  {name} {value:.7g}, se {sd:.4g}, 95 % [{a:.4g}, {b:.4g}]")
    print(f"  beta/(alpha + beta) {fit.law_.optimal_size_exponent:.4f} (published .513)")
    original = ChinchillaLaw(np.exp(6.0073404), np.exp(6.0179186), np.exp(0.5267228), 0.33917084, 0.2849083)
    objective = chinchilla_objective(original, size, tokens, loss)
    print(f"  originally published parameters: objective {objective:.8f} (published .00123116)")


def data_constrained(runs: pd.DataFrame) -> None:
    """Reproduce the published R2, the local optimum, and show the flat profile."""
    columns = [runs[name].to_numpy() for name in ("params", "tokens", "unique_tokens", "val_loss")]
    base = ChinchillaLaw(np.exp(6.255414), np.exp(7.3049974), np.exp(0.6254804), 0.3526596, 0.3526596)
    print(f"Data-constrained law, {len(runs)} runs")
    published = {
        "both": (15.387756, 5.309743),
        "no decay": (np.inf, np.inf),
        "data decay": (2.9157212, np.inf),
        "parameter decay": (np.inf, 713.0015),
    }
    for name, repeats in published.items():
        value = r_squared(columns[3], DataConstrainedLaw(base, *repeats).predict(*columns[:3]))
        print(f"  R2 {name}: {value:.16f}")
    local = DataConstrainedFit(base, starts=[(15, 5)]).fit(*columns).optima_[0]
    fit = DataConstrainedFit(base).fit(*columns)
    print(f"  local optimum from (15, 5): R_D* {local[0]:.4f}, R_N* {local[1]:.4f}, objective {local[2]:.9f}")
    best = fit.optima_[0]
    print(f"  least of all starts: R_D* {best[0]:.4f}, R_N* {best[1]:.4f}, objective {best[2]:.10f}")
    low, high = np.quantile(fit.bootstrap(1000)[:, 0], [0.025, 0.975], method="inverted_cdf")
    print(f"  bootstrap 95 % of R_D*: [{low:.3g}, {high:.3g}]")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FitWarning)
        profile = fit.profile_data_repeats([8, 12, 20, 30, 50, 95, 200, 500])
    points = [f"{v:g}: {c:.6f}" for v, c in zip(profile.values, profile.cost, strict=True)]
    print(f"  profile of R_D*: {', '.join(points)}")
    print(f"  {caught[0].message}")


def over_training(runs: pd.DataFrame) -> None:
    """Fit the small runs of each training set and predict the large ones."""
    print("Over-training law, relative errors of the large runs")
    for dataset, part in runs.groupby("dataset"):
        multiplier = part["token_multiplier"]
        small = part[
            ((multiplier == 20) & part["name"].str.contains("d="))
            | ((multiplier == 320) & part["name"].str.contains("d=96_l=8_h=4"))
        ]
        law = OvertrainingFit().fit(small["params"], small["token_multiplier"], small["loss:c4_val"]).law_
        print(
            f"  {dataset}: a {law.model_scale:.3f}, c {law.data_scale:.3f}, p {law.exponent:.6f}, "
            f"E {law.irreducible:.6f}"
        )
        for run in part[part["name"].str.contains("open_lm")].to_dict("records"):
            missed = law.predict(run["params"], run["token_multiplier"]) / run["loss:c4_val"] - 1
            name = f"{run['params']:.3g} parameters, M {run['token_multiplier']:g}"
            print(f"    {name}: {100 * abs(missed):.4f} %")


def frontier_of_curves(curves: pd.DataFrame) -> None:
    """Fit the compute frontier to the last checkpoints of the fetched learning curves."""
    finals = curves[curves["final"] == 1]
    error = 1 - finals["top1"]
    law = FrontierFit().fit(finals["samples_seen"] * finals["arch"].map(GMACS), error).law_
    missed = mean_absolute_error(law, error, finals["arch"], finals["budget_label"])
    print("CLIP compute frontier")
    print(
        f"  imagenet1k, last checkpoints of the curves: exponent {law.exponent:.6f}, "
        f"mean absolute error {missed:.10f}"
    )


def frontier_of_results(results: pd.DataFrame) -> None:
    """Fit the compute frontier to the authors' final results, next to the original CLIP models."""
    for task, metric in TASKS.items():
        part = results[results["downstream_dataset"] == task]
        original = part[part["upstream_dataset"] == "CLIP-WIT"]
        ours = part[(part["upstream_dataset"] != "CLIP-WIT") & part["arch"].isin(GMACS)]
        law = FrontierFit().fit(ours["gmacs_total"], 1 - ours[metric]).law_
        other = FrontierFit(n_bins=None).fit(original["gmacs_total"], 1 - original[metric]).law_
        missed = mean_absolute_error(law, 1 - ours[metric], ours["arch"], ours["samples_seen_pretty"])
        print(
            f"  {task}: exponent {law.exponent:.6f}, original CLIP {other.exponent:.6f}, "
            f"mean absolute error {missed:.10f}"
        )


def mean_absolute_error(law: FrontierLaw, error: pd.Series, arch: pd.Series, budget: pd.Series) -> float:
    """Return the mean miss in percentage points over architectures and budgets, best pool of each."""
    best = error.groupby([arch, budget]).min()
    predicted = [float(law.predict(NOMINAL[seen] * GMACS[name])) for name, seen in best.index]
    return 100 * float(np.abs(best - predicted).mean())


def clip_rollout(curves: pd.DataFrame) -> None:
    """Roll out the CLIP runs: 34 B from 3 B and 13 B."""
    finals = curves[(curves["final"] == 1) & curves["arch"].isin(list(GMACS)[:3])]
    runs = finals.assign(pool_size=finals["unique_samples"], error=1 - finals["top1"], model=finals["arch"])
    law = RepetitionFit(share_exponent=True, share_half_life=True)
    result = rollout(runs[["pool", "pool_size", "samples_seen", "error", "model"]], default_laws(law))
    print("CLIP runs, rollout")
    print(f"  {result.verdict}")
    last = result.table[result.table["cutoff"] > 1e10].dropna(subset="rmse")
    for method, part in last.groupby("method", sort=False):
        shown = ", ".join(f"{m} {e:.4f}" for m, e in zip(part["model"], part["rmse"], strict=True))
        print(f"  34 B from 3 B and 13 B, rmse of {method}: {shown}")


if __name__ == "__main__":
    main()

"""The closed loop on real photos: does a law, fitted to small budgets, name the pool that wins at large ones?

Of `products`, 1,000 clean pairs train the filter network; the other 7,000 are the pool, a third of whose
captions are shuffled (seed below). The pool is scored and cut into five buckets, and small CLIPs are trained
on every bucket and on the best 30, 50, 70 and 100 %, three seeds each, up to B/4. The law is fitted, and its
choices at B/2 and B among "keep the best x %" are written down. Then all of these pools are really trained at
B/2 and B and asked on `products-heldout`; the error is 1 - recall at 10 of 1,000.

    python -m benchmarks.closed_loop --work /tmp/closed_loop
    python -m benchmarks.closed_loop --work /tmp/quick --quick    # a few minutes; its figures mean nothing

Needs ../shared/data. Took 29 minutes on two busy cores; stopped and started again, it goes on. The result
and its reading stand in docs/closed_loop.md.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from benchmarks.products import DATA, Pairs, auc, load, shuffled, trained, write_shard
from curate.api import resolved
from curate.config import load as load_config
from pipelines.columns import ColumnStore
from pipelines.proxies.buckets import Buckets, cut_buckets
from pipelines.proxies.config import ProxyPlan
from pipelines.proxies.run import JOIN, run_proxies
from pipelines.storage import Folder
from scaling_laws import RepetitionFit, check_runs, fit_baselines, study_runs
from scaling_laws.candidates import make_candidates
from scaling_laws.error_surface import ErrorSurface, point_errors
from scaling_laws.fitted_pools import FittedPools

SEED = 0  # of the split, the shuffle and the filter network
SHUFFLED = 1 / 3
FILTER = {"model": "curate-tiny", "batch_size": 256, "learning_rate": 1e-3, "warmup_steps": 20, "seed": SEED}
VARIED = {"augment": {"smallest_crop": 0.6, "flip": True}}
PROXY = {"model": "curate-nano", "batch_size": 128, "learning_rate": 1e-3, "warmup_steps": 20}
PROXY |= {"checkpoint_every": 400}
CUTS = (0.15, 0.3, 0.5, 0.7)
PARTS = 32, 16, 8, 4  # the law sees budgets up to B / 4


@dataclass(frozen=True)
class Size:
    """How large the benchmark is: budget B in samples seen, and seeds."""

    budget: int
    seeds: tuple[int, ...]
    filter_samples: int

    @property
    def small(self) -> list[int]:
        """The budgets that the law sees."""
        return [self.budget // part for part in PARTS]

    @property
    def large(self) -> list[int]:
        """The budgets that it predicts."""
        return [self.budget // 2, self.budget]


FULL = Size(98_304, (0, 1, 2), 30_720)
QUICK = Size(32_768, (0,), 5_120)


def pool_data() -> tuple[Pairs, Pairs, NDArray[np.bool_]]:
    """Return the clean pairs, the noisy pool, and which of its pairs kept their own caption."""
    products = load("products")
    order = np.random.default_rng([SEED, 1]).permutation(len(products))
    clean, pool = products.take(np.sort(order[:1000])), products.take(np.sort(order[1000:]))
    source, own = shuffled(len(pool), SHUFFLED, SEED)
    return clean, pool.with_captions_of(source), own


def make_buckets(work: Path, size: Size) -> tuple[Buckets, dict[str, Any]]:
    """Score the noisy pool and cut it; return the buckets and how clean they are."""
    clean, pool, own = pool_data()
    network = trained(work, "filter", clean, **FILTER, **VARIED, samples_seen=size.filter_samples)
    for number, start in enumerate(range(0, len(pool), 1000)):
        path = work / f"pool/{number:05d}.tar"
        if not path.exists():
            write_shard(pool.take(range(start, min(start + 1000, len(pool)))), path)
    content = {
        "name": "closed-loop",
        "pool": {"shards": str(work / "pool")},
        "run": str(work / "run"),
        "engine": {"workers": 0},
        "encoder": {"model": f"local-dir:{network}"},
        "stages": [{"score": "dfn"}],
        "output": {"shards": str(work / "curated")},
    }
    config, base = load_config(content)
    record = yaml.safe_load(resolved(config, base))
    buckets = cut_buckets(config, "dfn", CUTS, str(work / "buckets"), base=base, record=record)
    return buckets, _cleanness(work, buckets, dict(zip(pool.uid, own.tolist(), strict=True)))


def _cleanness(work: Path, buckets: Buckets, own: dict[str, bool]) -> dict[str, Any]:
    store = ColumnStore(Folder(str(work / "run")))
    shards = [Path(url).stem for url in buckets.shards]
    uids = np.concatenate([store.read("ingest", shard, ["uid"])["uid"].to_numpy() for shard in shards])
    score = np.concatenate([store.read("score-dfn", shard, ["dfn"])["dfn"].to_numpy() for shard in shards])
    clean = np.array([own[uid] for uid in uids])
    ranked = clean[np.lexsort((uids, -score))]
    edges = [round(edge * len(ranked)) for edge in (0, *CUTS, 1)]
    shares = [float(ranked[a:b].mean()) for a, b in itertools.pairwise(edges)]
    return {"auc": auc(score, clean), "clean": dict(zip(buckets.names, shares, strict=True))}


def prefixes(names: list[str]) -> dict[str, list[str]]:
    """Return "keep the best x %", each as a union of buckets."""
    return {f"top {name.split('-')[1]}": names[: n + 1] for n, name in enumerate(names)}


def train_all(work: Path, size: Size, pools: list[list[str]], budgets: list[int], table: str) -> pd.DataFrame:
    """Train pools at budgets, and return what was measured; larger budgets go on from smaller ones."""
    plan = ProxyPlan.model_validate(
        {
            "buckets": str(work / "buckets"),
            "pools": pools,
            "output": str(work / "proxies"),
            "budgets": budgets,
            "seeds": list(size.seeds),
            "train": PROXY,
            "evaluations": [{"retrieval": {"shards": str(DATA / "products-heldout"), "k": [10]}}],
            "engine": {"workers": 2},
        }
    )
    started = time.monotonic()

    def say(event: dict[str, Any]) -> None:
        print(f"{time.monotonic() - started:7.0f} s  {json.dumps(event)}", flush=True)

    found = run_proxies(plan, emit=say)
    runs = pd.read_csv(found.path)
    runs.to_csv(work / table, index=False)
    return runs


@dataclass(frozen=True)
class Laws:
    """What was fitted to the small budgets: the law's pools, its draws, and its rivals."""

    pools: FittedPools
    draws: FittedPools
    noise_sd: float
    rivals: dict[str, FittedPools]
    warnings: tuple[str, ...]


def fit(runs: pd.DataFrame) -> Laws:
    """Fit the law and its rivals to what was measured up to B / 4."""
    law = RepetitionFit()
    study = study_runs(runs, law, n_draws=1000)
    found = fit_baselines(check_runs(runs), law)
    rivals = {name: rule for name, rule in found.items() if isinstance(rule, FittedPools)}
    buckets_only = runs[~runs["pool"].str.contains(JOIN, regex=False)]
    rivals["mixtures by theorem"] = RepetitionFit().fit(buckets_only).pools_
    return Laws(study.pools, study.draws, study.noise_sd, rivals, study.warnings)


def predictions(laws: Laws, names: list[str], budgets: list[int]) -> list[dict[str, Any]]:
    """Return for every candidate and budget the predicted error, its interval and P(best)."""
    unions = [JOIN.join(members) for members in prefixes(names).values()]
    own = make_candidates(laws.pools, [{union: 1.0} for union in unions])
    errors = point_errors(laws.pools, own, np.array(budgets, float))
    drawn = np.array(list(ErrorSurface(laws.draws, own, np.array(budgets, float))))
    winner = drawn.argmin(axis=1)
    rows = []
    for b, budget in enumerate(budgets):
        for c, label in enumerate(prefixes(names)):
            low, high = np.quantile(drawn[b, c], [0.025, 0.975])
            rows.append(
                {
                    "budget": budget,
                    "candidate": label,
                    "pool": unions[c],
                    "error": float(errors[c, b]),
                    "low": float(low),
                    "high": float(high),
                    "p_best": float((winner[b] == c).mean()),
                }
            )
    return rows


def rules(laws: Laws, runs: pd.DataFrame, names: list[str], budgets: list[int]) -> dict[str, list[str]]:
    """Return which candidate each rule takes at each budget."""
    labels = list(prefixes(names))
    unions = [JOIN.join(members) for members in prefixes(names).values()]
    last = runs[runs["samples_seen"] == runs["samples_seen"].max()].groupby("pool")["error"].mean()
    at = np.array(budgets, float)
    found = {}
    for name, pools in {"law": laws.pools, **laws.rivals}.items():
        mixed = name == "mixtures by theorem"
        rows = [dict.fromkeys(members, 1.0) for members in prefixes(names).values()]
        options = make_candidates(pools, rows if mixed else [{union: 1.0} for union in unions])
        found[name] = [labels[n] for n in point_errors(pools, options, at).argmin(axis=0)]
    found["single-scale ranking"] = [labels[int(last[unions].to_numpy().argmin())]] * len(budgets)
    found["always top 30 %"] = ["top 30%"] * len(budgets)
    found["everything"] = [labels[-1]] * len(budgets)
    return found


def outcome(
    predicted: list[dict[str, Any]], taken: dict[str, list[str]], truth: pd.DataFrame, budgets: list[int]
) -> dict[str, Any]:
    """Return predicted beside measured errors, and each rule's choice with what it costs."""
    groups = truth.groupby(["pool", "samples_seen"])["error"]
    mean, low, high = groups.mean(), groups.min(), groups.max()
    spare = (groups.size() - 1).sum()
    noise = float(np.sqrt((groups.var() * (groups.size() - 1)).sum() / spare)) if spare else float("nan")
    rows = []
    for row in predicted:
        key = row["pool"], row["budget"]
        rows.append(row | {"measured": mean[key], "least": low[key], "most": high[key]})
    table = pd.DataFrame(rows)
    choices = []
    for b, budget in enumerate(budgets):
        own = table[table["budget"] == budget].set_index("candidate")
        best = str(own["measured"].idxmin())
        for rule, picks in taken.items():
            regret = float(own.loc[picks[b], "measured"] - own["measured"].min())
            choices.append(
                {"budget": budget, "rule": rule, "choice": picks[b], "best": best, "regret": regret}
            )
    return {"noise_sd": noise, "predicted": rows, "choices": choices}


def report(found: dict[str, Any]) -> str:
    """Return the result as Markdown."""
    lines = [
        f"Noise between seeds: {found['outcome']['noise_sd']:.4f} (standard deviation of one run's error).",
        "",
        "| budget | keep | predicted error (95 %) | P(best) | measured, mean (least-most) | inside |",
        "|---|---|---|---|---|---|",
    ]
    for row in found["outcome"]["predicted"]:
        inside = "yes" if row["low"] <= row["measured"] <= row["high"] else "no"
        lines.append(
            f"| {row['budget']:,} | {row['candidate']} "
            f"| {row['error']:.3f} ({row['low']:.3f}-{row['high']:.3f}) | {row['p_best']:.2f} "
            f"| {row['measured']:.3f} ({row['least']:.3f}-{row['most']:.3f}) | {inside} |"
        )
    lines += ["", "| budget | rule | takes | best | decision | regret |", "|---|---|---|---|---|---|"]
    for row in found["outcome"]["choices"]:
        verdict = "right" if row["choice"] == row["best"] else "wrong"
        lines.append(
            f"| {row['budget']:,} | {row['rule']} | {row['choice']} | {row['best']} | {verdict} "
            f"| {row['regret']:.4f} |"
        )
    return "\n".join(lines)


def draw(laws: Laws, runs: pd.DataFrame, truth: pd.DataFrame, names: list[str], path: Path) -> None:
    """Draw what was measured, what the law says, and where it was fitted."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.6), layout="constrained")
    axes = figure.add_subplot()
    colours = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000")
    least, edge, most = runs["samples_seen"].min(), runs["samples_seen"].max(), truth["samples_seen"].max()
    grid = np.geomspace(least, most, 120)
    for colour, (label, members) in zip(colours, prefixes(names).items(), strict=True):
        pool = JOIN.join(members)
        errors = np.array([laws.draws.predict_draws(pool, float(n)) for n in grid])
        band = np.quantile(errors, [0.025, 0.975], axis=1)
        axes.fill_between(grid, band[0], band[1], color=colour, alpha=0.12, lw=0)
        axes.plot(grid, laws.pools.pool(pool).predict(grid), color=colour, lw=1.3, label=label)
        own = truth[truth["pool"] == pool].groupby("samples_seen")["error"]
        mean, low, high = own.mean(), own.min(), own.max()
        axes.errorbar(
            mean.index, mean, [mean - low, high - mean], fmt="o", ms=4, color=colour, capsize=2, lw=1
        )
    axes.axvline(edge, color="grey", lw=0.8, ls=":")
    axes.text(edge * 1.03, axes.get_ylim()[1], "not seen by the law", va="top", fontsize=8, color="grey")
    axes.set(xscale="log", xlabel="samples seen", ylabel="1 - recall at 10 of 1,000")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, title="keep")
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="where everything is kept")
    parser.add_argument("--quick", action="store_true", help="small enough to try the script")
    args = parser.parse_args()
    logging.getLogger().addHandler(logging.NullHandler())  # or open_clip's first remark shows all of Dask's
    size, work, started = QUICK if args.quick else FULL, args.work.absolute(), time.monotonic()
    buckets, clean = make_buckets(work, size)
    names = buckets.names
    singles, unions = [[name] for name in names], list(prefixes(names).values())
    print(json.dumps(clean), f"buckets after {time.monotonic() - started:.0f} s", flush=True)

    runs = train_all(work, size, [*singles, *unions[1:]], size.small, "runs.csv")
    laws = fit(runs)
    predicted, taken = predictions(laws, names, size.large), rules(laws, runs, names, size.large)
    before = {
        "predicted": predicted,
        "rules": taken,
        "warnings": laws.warnings,
        "fit_noise_sd": laws.noise_sd,
    }
    (work / "predictions.json").write_text(json.dumps(before, indent=1))
    print(f"predictions written down after {time.monotonic() - started:.0f} s", flush=True)

    truth = train_all(work, size, unions, [*size.small, *size.large], "truth.csv")
    found = {**clean, **before, "outcome": outcome(predicted, taken, truth, size.large)}
    found["seconds"] = round(time.monotonic() - started)
    (work / "results.json").write_text(json.dumps(found, indent=1))
    draw(laws, runs, truth, names, work / "closed_loop.png")
    print(report(found))


if __name__ == "__main__":
    main()

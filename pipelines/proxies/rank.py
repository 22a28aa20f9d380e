"""Choose between filter networks by the models that they induce, for their own accuracy tells nothing.

Fang et al. 2023, arXiv 2309.17425, section 3: how well a network classifies and how well it filters go
different ways. So every one filters the same pool, the same small CLIP is trained on each result for the same
number of samples seen, and what comes out is measured.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from pipelines.config import OutputConfig, RunConfig
from pipelines.engine import Engine, refuse_unlisted
from pipelines.errors import ConfigError
from pipelines.lock import own
from pipelines.output.publish import put_if_changed
from pipelines.output.subset import read_subset, subset_file
from pipelines.pool.config import PoolConfig
from pipelines.proxies.config import ProxyRun
from pipelines.proxies.evaluate import check_evaluations, evaluate_model, shards_that_decide
from pipelines.proxies.rank_config import RankPlan
from pipelines.proxies.rank_table import Standing, runs_csv, standings, standings_csv
from pipelines.run import execute
from pipelines.runner import Emit
from pipelines.storage import Folder
from pipelines.training.data import content_sha256
from scoring.encoder_spec import EncoderSpec, identity

RANKING, RUNS = "ranking.csv", "runs.csv"
_OWN = "own.json"
_SUBSET = "subset.npy"


@dataclass(frozen=True)
class Ranking:
    """The filters from best to worst, by which measure, and the folder with the tables."""

    measure: str
    standings: list[Standing]
    output: str


def rank_filters(
    plan: RankPlan,
    *,
    allow: Sequence[str] = (),
    allow_class: Collection[str] = (),
    emit: Emit = lambda event: None,
) -> Ranking:
    """Do what is missing of a comparison, and write `ranking.csv` and `runs.csv`.

    Finished filterings, trainings and measurements stay, by what decides them; killed at any point and called
    again, the result is the same.

    Parameters
    ----------
    plan
        What to compare; its paths are absolute.
    allow
        Calls of evaluations that may be made.
    allow_class
        Dask cluster classes that `engine.cluster` may name.
    emit
        Called with events: those of the runs that filter, `filtered`, `rank`, `proxy`, `own`.

    Raises
    ------
    ConfigError
        When the plan makes no sense.
    StoppedError
        When work is left; a later call goes on from there.
    """
    check_evaluations(plan.evaluations, allow)
    refuse_unlisted(plan.engine, allow_class)
    folder = Folder(plan.output)
    with own(folder):
        subsets = _filtered(plan, folder, emit, allow_class)
        hashes = _hashes(plan)
        runs = list(_runs(plan, folder, subsets, hashes))
        emit({"event": "rank", "filters": len(subsets), "trainings": len(runs)})
        rows = _trained(plan, runs, emit, allow_class)
        owns = {name: _own_measures(plan, folder, name, hashes, emit) for name in plan.filters}
        found = standings(rows, owns, plan.measure)
        put_if_changed(folder, RUNS, runs_csv(rows))
        put_if_changed(folder, RANKING, standings_csv(found, plan.measure))
    return Ranking(plan.measure, found, plan.output)


def _filtered(
    plan: RankPlan, folder: Folder, emit: Emit, allow_class: Collection[str]
) -> dict[str, dict[int, str]]:
    """Write the subset that each filter keeps, for each seed, and return the files' paths."""
    subset_by = partial(_subset_by, plan, folder, emit=emit, allow_class=allow_class)
    every = subset_by("none", [])
    n_all = len(read_subset(every))
    n_kept = round(plan.keep_ratio * n_all)
    batch_size = plan.recipe(shards="-", output="-").batch_size
    if n_kept < batch_size:
        raise ConfigError(
            f"keep_ratio: {plan.keep_ratio} of {n_all} samples are {n_kept}, fewer than train.batch_size: "
            f"{batch_size}; raise the one or lower the other"
        )
    subsets: dict[str, dict[int, str]] = {}
    for name in plan.filters:
        stages: list[dict[str, Any]] = [
            {"score": {"name": "dfn", "encoder": name, "as": "score"}},
            {"keep": {"by": "score", "top": n_kept}},
        ]
        subsets[name] = dict.fromkeys(plan.seeds, subset_by(name, stages))
    if "none" in plan.baselines:
        subsets["none"] = dict.fromkeys(plan.seeds, every)
    if "random" in plan.baselines:
        subsets["random"] = {seed: _drawn(folder, every, n_kept, seed) for seed in plan.seeds}
    for name, of_seed in subsets.items():
        n = len(read_subset(of_seed[plan.seeds[0]]))
        emit({"event": "filtered", "filter": name, "kept": n, "of": n_all})
    return subsets


def _subset_by(
    plan: RankPlan,
    folder: Folder,
    name: str,
    stages: list[dict[str, Any]],
    *,
    emit: Emit,
    allow_class: Collection[str],
) -> str:
    """Filter the pool and return the path of the subset; all filters share the columns in one run folder."""
    subset = folder.path(f"filters/{name}/{_SUBSET}")
    config = RunConfig(
        name=name,
        pool=PoolConfig(shards=plan.shards),
        run=folder.path("run"),
        engine=plan.engine,
        encoders=dict(plan.filters),
        stages=stages,
        output=OutputConfig(subset=subset),
    )
    execute(config, emit=lambda event: emit({**event, "filter": name}), allow_class=allow_class)
    return subset


def _drawn(folder: Folder, every: str, n: int, seed: int) -> str:
    """Write n samples drawn at random as a subset, and return its path."""
    pool = read_subset(every)
    chosen = pool[np.random.default_rng([seed, n]).permutation(len(pool))[:n]]
    name = f"filters/random/seed-{seed}/{_SUBSET}"
    put_if_changed(folder, name, b"".join(subset_file(n, lambda: [chosen])))
    return folder.path(name)


def _hashes(plan: RankPlan) -> dict[str, str]:
    """Return the sha256 of every shard of the pool and of what is held out."""
    shards = shards_that_decide(plan.shards, plan.evaluations)
    return {name: content_sha256(shard) for name, shard in shards.items()}


def _runs(
    plan: RankPlan, folder: Folder, subsets: Mapping[str, Mapping[int, str]], hashes: Mapping[str, str]
) -> Iterator[ProxyRun]:
    for name, of_seed in subsets.items():
        for seed, subset in of_seed.items():
            kept = read_subset(subset)
            train = plan.recipe(
                shards=plan.shards,
                subset=subset,
                output=folder.path(f"proxies/{name}/seed-{seed}"),
                seed=seed,
            )
            data = {**hashes, "(subset)": hashlib.sha256(kept.tobytes()).hexdigest()}
            steps = train.steps(len(kept))
            yield ProxyRun(name, train, (steps,), None, tuple(plan.evaluations), data)


def _trained(
    plan: RankPlan, runs: Sequence[ProxyRun], emit: Emit, allow_class: Collection[str]
) -> list[dict[str, Any]]:
    """Train and measure what is missing; return a row for each filter and seed, in their order."""
    found: dict[int, dict[str, Any]] = {}
    with Engine(plan.engine, ["pipelines.proxies.proxy"], emit, allow_class=allow_class) as engine:
        for number, row in engine.map(_train_one, list(enumerate(runs)), gpu=bool(plan.engine.gpus)):
            found[number] = row
            run = runs[number]
            emit({"event": "proxy", "filter": run.pool, "seed": run.train.seed, "status": row["status"]})
    rows = []
    for number, run in enumerate(runs):
        row = found[number]
        if row["measures"] and plan.measure not in row["measures"]:
            known = ", ".join(row["measures"])
            raise ConfigError(f"metric: no evaluation gives {plan.measure!r}; they give {known}")
        facts = {key: row[key] for key in ("pool_size", "samples_seen", "status", "loss")}
        rows.append({"filter": run.pool, "seed": run.train.seed, **facts, **row["measures"]})
    return rows


def _train_one(item: tuple[int, ProxyRun]) -> tuple[int, dict[str, Any]]:
    """Train one proxy: what a worker runs."""
    from pipelines.proxies.proxy import run_proxy

    return item[0], run_proxy(item[1])[0]


def _own_measures(
    plan: RankPlan, folder: Folder, name: str, hashes: Mapping[str, str], emit: Emit
) -> dict[str, float]:
    """Return what a filter can do itself, measured as the models it induces are."""
    spec: EncoderSpec = plan.filters[name]
    evaluations = [evaluation.model_dump(mode="json") for evaluation in plan.evaluations]
    content = {"filter": identity(spec), "evaluations": evaluations, "data": list(hashes.values())}
    fingerprint = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    path = f"filters/{name}/{_OWN}"
    try:
        known = json.loads(folder.read(path))
    except (FileNotFoundError, ValueError):
        known = {}
    if known.get("fingerprint") != fingerprint:
        calls = [evaluation.call for evaluation in plan.evaluations if evaluation.call]
        measures = evaluate_model(spec, plan.evaluations, allow=calls)
        known = {"fingerprint": fingerprint, "measures": measures}
        folder.write(path, json.dumps(known, indent=1).encode())
    emit({"event": "own", "filter": name, **known["measures"]})
    return dict(known["measures"])

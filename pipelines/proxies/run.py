"""All proxies of a plan, spread over workers, and the table of what they measured."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.engine import Engine
from pipelines.errors import ConfigError
from pipelines.lock import own
from pipelines.output.publish import put_if_changed
from pipelines.output.subset import SUBSET_DTYPE, read_subset, subset_file
from pipelines.pool.shards import Shard
from pipelines.proxies.buckets import Buckets
from pipelines.proxies.config import ProxyPlan, ProxyRun, slug
from pipelines.proxies.evaluate import check_evaluations, shards_that_decide
from pipelines.runner import Emit
from pipelines.storage import Folder

RUNS = "runs.csv"
JOIN = " + "  # between the buckets of a union, as the scaling laws name one
_FIXED = (
    "pool",
    "pool_size",
    "samples_seen",
    "error",
    "seed",
    "status",
    "metric",
    "model",
    "schedule",
    "loss",
)


@dataclass(frozen=True)
class Proxies:
    """What a plan measured: the table's path, its rows, and how many of them diverged."""

    path: str
    rows: list[dict[str, Any]]

    @property
    def diverged(self) -> list[dict[str, Any]]:
        """The rows of proxies whose loss was no longer a number."""
        return [row for row in self.rows if row["status"] != "done"]


def run_proxies(
    plan: ProxyPlan,
    *,
    allow: Sequence[str] = (),
    allow_class: Collection[str] = (),
    emit: Emit = lambda event: None,
) -> Proxies:
    """Train and measure what is missing of a plan, and write `runs.csv`; killed and called again, the same.

    Parameters
    ----------
    plan
        What to train; its paths are absolute.
    allow
        Calls of evaluations that may be made.
    allow_class
        Dask cluster classes that `engine.cluster` may name.
    emit
        Called with every event: `proxies`, `engine`, `proxy`.

    Raises
    ------
    ConfigError
        When the plan makes no sense.
    """
    check_evaluations(plan.evaluations, allow)
    buckets = Buckets.read(Folder(plan.buckets))
    pools = plan.pools or default_pools(buckets.names)
    folder = Folder(plan.output)
    preload = ["pipelines.proxies.proxy"]
    with own(folder), Engine(plan.engine, preload, emit, allow_class=allow_class) as engine:
        shards = shards_that_decide(list(buckets.shards), plan.evaluations)
        hashes = dict(engine.map(_hashed, list(shards.items())))
        runs = list(_runs(plan, buckets, pools, folder, hashes))
        emit({"event": "proxies", "proxies": len(runs), "budgets": len(plan.budgets)})
        found: dict[int, list[dict[str, Any]]] = {}
        for number, rows in engine.map(_run, list(enumerate(runs)), gpu=bool(plan.engine.gpus)):
            found[number] = rows
            emit(_event(runs[number], rows))
        table = [_row(plan, runs[n], row) for n in range(len(runs)) for row in found[n]]
        put_if_changed(folder, RUNS, _csv(table))
    return Proxies(folder.path(RUNS), table)


def default_pools(names: Sequence[str]) -> list[list[str]]:
    """Return every bucket alone, and the best two, three … of them."""
    return [*([name] for name in names), *(list(names[:n]) for n in range(2, len(names) + 1))]


def _runs(
    plan: ProxyPlan,
    buckets: Buckets,
    pools: Sequence[Sequence[str]],
    folder: Folder,
    hashes: Mapping[str, str],
) -> Iterator[ProxyRun]:
    sizes = sorted({plan.samples(budget) for budget in plan.budgets})
    for members in pools:
        subset, digest = _union(plan, buckets, members, folder)
        for seed in plan.seeds:
            name = JOIN.join(members)
            train = plan.recipe(
                shards=list(buckets.shards),
                subset=subset,
                output=folder.path(f"{slug(name)}/seed-{seed}"),
                seed=seed,
            )
            yield ProxyRun(
                pool=name,
                train=train,
                budgets=tuple(size // train.batch_size for size in sizes),
                cooldown=plan.cooldown if plan.schedule == "cooldown" else None,
                evaluations=tuple(plan.evaluations),
                data=dict(sorted(hashes.items())) | {"(subset)": digest},
            )


def _union(plan: ProxyPlan, buckets: Buckets, members: Sequence[str], folder: Folder) -> tuple[str, str]:
    """Write the subset file of a union of buckets; return its path and its hash."""
    paths = {bucket.name: f"{plan.buckets}/{bucket.subset}" for bucket in buckets.buckets}
    if unknown := [name for name in members if name not in paths]:
        raise ConfigError(f"pools: there is no bucket {unknown[0]!r}; there are {', '.join(paths)}")
    if not members or len(set(members)) < len(members):
        raise ConfigError(f"pools: {members} should name buckets, each once")
    parts = [read_subset(paths[name]) for name in members]
    uids: NDArray[np.void] = np.concatenate([np.empty(0, SUBSET_DTYPE), *parts])
    data = b"".join(subset_file(len(uids), lambda: [uids]))
    name = f"{slug(JOIN.join(members))}/subset.npy"
    put_if_changed(folder, name, data)
    return folder.path(name), hashlib.sha256(data).hexdigest()


def _hashed(item: tuple[str, Shard]) -> tuple[str, str]:
    from pipelines.training.data import content_sha256  # on a worker: it brings torch

    return item[0], content_sha256(item[1])


def _run(item: tuple[int, ProxyRun]) -> tuple[int, list[dict[str, Any]]]:
    """Train one proxy: what a worker runs."""
    from pipelines.proxies.proxy import run_proxy

    return item[0], run_proxy(item[1])


def _event(run: ProxyRun, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    statuses = [row["status"] for row in rows]
    diverged = len(statuses) - statuses.count("done")
    return {"event": "proxy", "pool": run.pool, "seed": run.train.seed, "diverged": diverged}


def _row(plan: ProxyPlan, run: ProxyRun, row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of the table that `curate scaling fit` reads."""
    measures = row["measures"]
    if row["status"] == "done" and plan.measure not in measures:
        raise ConfigError(f"metric: no evaluation gives {plan.measure!r}; they give {', '.join(measures)}")
    return {
        "pool": run.pool,
        "pool_size": row["pool_size"],
        "samples_seen": row["samples_seen"],
        "error": 1 - measures[plan.measure] if measures else None,
        "seed": run.train.seed,
        "status": row["status"],
        "metric": plan.measure,
        "model": run.train.model,
        "schedule": plan.schedule,
        "loss": row["loss"],
        **measures,
    }


def _csv(table: Sequence[dict[str, Any]]) -> bytes:
    names = dict.fromkeys([*_FIXED, *(name for row in table for name in row)])
    text = io.StringIO()
    writer = csv.DictWriter(text, list(names), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue().encode()

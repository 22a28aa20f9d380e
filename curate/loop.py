"""The closed loop: from a run and a budget to the pool to train on, by way of buckets and proxies."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from curate import api
from curate.advice import Advice, advise, materialising
from curate.api import resolved
from curate.budget_page import budget_page
from curate.config import load, load_as
from filters.keep import Keep
from pipelines.config import RunConfig
from pipelines.errors import ConfigError
from pipelines.output.publish import put_if_changed
from pipelines.planning import plan as stages_of
from pipelines.proxies.buckets import Buckets, cut_buckets
from pipelines.proxies.config import ProxyPlan
from pipelines.proxies.run import Proxies, default_pools, run_proxies
from pipelines.run import FINISHED, Result
from pipelines.storage import Folder, is_local, resolve

Emit = Callable[[dict[str, Any]], None]

STEPS = 8, 4, 2, 1  # the proxies' budgets are the largest one divided by these
LEAST_STEPS = 16  # of the shortest proxy
_RECIPE = {"model": "curate-nano", "learning_rate": 1e-3, "warmup_steps": 20}
_LARGEST_BATCH = 128
ADVICE, LAW, CONFIG, PAGE = "advice.json", "law.json", "choice.yaml", "budget.html"


def buckets_of(
    source: str,
    by: str,
    cuts: Sequence[float],
    output: str | None = None,
    *,
    overrides: Sequence[str] = (),
    allow_class: Collection[str] = (),
    allow_plugin: Collection[str] = (),
    emit: Emit = lambda event: None,
) -> tuple[Buckets, str]:
    """Cut what a run keeps into buckets, and return them and their folder.

    Parameters
    ----------
    source
        A configuration, or the folder of a run.
    by, cuts
        The score, and the shares at which to cut, counted from the best.
    output
        Where the subsets go; default: `buckets/` in the run folder.
    overrides, allow_class, allow_plugin, emit
        Changes of the configuration, cluster classes and files of plugins that it may name, and who is told
        of events.
    """
    path = Path(source) / "run.yaml" if is_local(source) and Path(source).is_dir() else Path(source)
    if not path.is_file():
        raise ConfigError(f"{source} is neither a configuration nor the folder of a run")
    config, base = load(path, overrides, allow_plugin=allow_plugin)
    folder = resolve(output, ".") if output else f"{resolve(config.run, base)}/buckets"
    return _cut(config, base, by, cuts, folder, allow_class, emit), folder


def _cut(
    config: RunConfig,
    base: Path,
    by: str,
    cuts: Sequence[float],
    folder: str,
    allow_class: Collection[str],
    emit: Emit,
) -> Buckets:
    record = yaml.safe_load(resolved(config, base))
    return cut_buckets(config, by, cuts, folder, base=base, record=record, emit=emit, allow_class=allow_class)


def deciding_score(config: RunConfig, base: Path) -> tuple[RunConfig, str]:
    """Return a run without the `keep` that ends it, and the score that the cut goes by: that keep's, or the
    last one made.
    """
    if config.stages:
        last = next(iter(config.stages[-1].values()))
        if isinstance(last, Keep):
            return config.model_copy(update={"stages": config.stages[:-1]}), last.by
    scores = stages_of(config, base).scores
    if not scores:
        raise ConfigError("stages: no score is made, so there is nothing to cut by; add `- score: clip`")
    return config, scores[-1]


def load_plan(source: Path, overrides: Sequence[str] = ()) -> ProxyPlan:
    """Return a checked plan of proxies, its relative paths starting at the folder of its file."""
    found, base = load_as(ProxyPlan, source, overrides)
    return found.at(base)


def write_advice(
    folder: Folder, name: str, advice: Advice, buckets: Buckets | None, output: Mapping[str, Any] | None
) -> list[str]:
    """Write what was found into a folder, and return the files' names.

    Parameters
    ----------
    folder
        Where to.
    name
        What the run is called.
    advice
        What was found.
    buckets
        The buckets, if they are known; without them there is no configuration to write.
    output
        Where the chosen pool should be written; default: `chosen/` in the folder.
    """
    files = {ADVICE: json.dumps(advice.to_json(), indent=1, allow_nan=False).encode()}
    if advice.study is not None:
        files[LAW] = json.dumps(advice.study.to_json(), indent=1, allow_nan=False).encode()
    if buckets is not None:
        target = dict(output or {"shards": folder.path("chosen"), "subset": folder.path("chosen/subset.npy")})
        content = materialising(buckets, advice.members, target)
        files[CONFIG] = yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode()
    files[PAGE] = budget_page(name, advice, buckets).encode()
    for file, data in files.items():
        put_if_changed(folder, file, data)
    return list(files)


@dataclass(frozen=True)
class Autopilot:
    """What an autopilot did."""

    advice: Advice
    buckets: Buckets
    proxies: Proxies
    result: Result
    page: str


def autopilot(
    source: Path,
    budget: int,
    *,
    share: float = 0.02,
    held_out: str | None = None,
    plan: Path | None = None,
    n_buckets: int = 4,
    overrides: Sequence[str] = (),
    allow: Sequence[str] = (),
    allow_class: Collection[str] = (),
    allow_plugin: Collection[str] = (),
    emit: Emit = lambda event: None,
) -> Autopilot:
    """Score, cut, train proxies within a share of the budget, fit, choose, and write the chosen pool.

    Parameters
    ----------
    source
        A run's configuration; a `keep` that ends it gives way to the choice.
    budget
        Samples seen that the chosen pool is meant for.
    share
        What all proxies together may see, as a share of the budget.
    held_out
        Shards on which retrieval is measured; or give `plan` with evaluations of its own.
    plan
        A YAML file with any keys of a proxy plan but `buckets`, `output` and `budgets`.
    n_buckets
        Into how many buckets of one size the pool is cut.
    overrides, emit
        Changes of the configuration, `a.b=c`, and who is told of every event.
    allow, allow_class, allow_plugin
        Code of the user's that may run: calls of evaluations, Dask cluster classes, files of plugins.

    Raises
    ------
    ConfigError
        When the request makes no sense or the share buys no proxies.
    """
    given, base = load(source, overrides, allow_plugin=allow_plugin)
    config, by = deciding_score(given, base)
    run = Folder(resolve(config.run, base))
    work = run / "autopilot"
    draft = _draft(plan, held_out, run, config)
    run.remove(FINISHED)  # until the chosen pool is written, the decisions there are those of all buckets
    cuts = [n / n_buckets for n in range(1, n_buckets)]
    buckets = _cut(config, base, by, cuts, work.path("buckets"), allow_class, emit)
    proxy_plan = _within(draft, buckets, budget, share)
    emit({"event": "warning", "message": _cost(proxy_plan, buckets, budget)})
    proxies = run_proxies(proxy_plan, allow=allow, allow_class=allow_class, emit=emit)
    advice = advise(proxies.path, budget)
    output = yaml.safe_load(resolved(given, base))["output"]
    write_advice(work, config.name, advice, buckets, output)
    page = budget_page(config.name, advice, buckets)
    put_if_changed(run, PAGE, page.encode())
    chosen = yaml.safe_load(work.read(CONFIG))
    result = api.run(chosen, on_event=emit, allow_class=allow_class, allow_plugin=allow_plugin)
    return Autopilot(advice, buckets, proxies, result, run.path(PAGE))


def _draft(plan: Path | None, held_out: str | None, run: Folder, config: RunConfig) -> dict[str, Any]:
    """Return the parts of the proxies' plan that don't depend on the buckets, checked as far as can be."""
    content: dict[str, Any] = {}
    if plan is not None:
        try:
            content = yaml.safe_load(plan.read_text(encoding="utf-8")) or {}
        except (OSError, yaml.YAMLError) as error:
            raise ConfigError(f"{plan} can't be read: {error}") from None
        if taken := [name for name in ("buckets", "output", "budgets") if name in content]:
            raise ConfigError(f"{plan}: {taken[0]} is the autopilot's to say; remove it")
    if held_out is not None:
        content.setdefault("evaluations", [{"retrieval": {"shards": resolve(held_out, ".")}}])
    if "evaluations" not in content:
        raise ConfigError(
            "nothing says what the trained model should be good at: give --held-out SHARDS, which are never "
            "trained on, or evaluations in a --plan"
        )
    content.setdefault("engine", config.engine.model_dump(mode="json", exclude_none=True))
    content["train"] = _RECIPE | content.get("train", {})
    content |= {"buckets": f"{run.url}/autopilot/buckets", "output": f"{run.url}/autopilot/proxies"}
    base = Path.cwd() if plan is None else plan.absolute().parent
    return load_as(ProxyPlan, {**content, "budgets": [1 << 40]})[0].at(base).model_dump(mode="json")


def _within(draft: dict[str, Any], buckets: Buckets, budget: int, share: float) -> ProxyPlan:
    """Return the plan whose proxies together see no more than a share of the budget."""
    train = dict(draft["train"])
    smallest = min(bucket.samples for bucket in buckets.buckets)
    train.setdefault("batch_size", min(_LARGEST_BATCH, 1 << max(1, smallest.bit_length() - 1)))
    pools = draft["pools"] or default_pools(buckets.names)
    n_proxies = len(pools) * len(draft["seeds"])
    affordable = share * budget / (n_proxies * _samples_per_budget(draft))
    unit = train["batch_size"] * STEPS[0]
    largest = int(min(affordable, budget) // unit) * unit
    least = unit * LEAST_STEPS
    if largest < least:
        needed = least * n_proxies * _samples_per_budget(draft) / budget
        raise ConfigError(
            f"a share of {share:g} of {budget:,} samples buys {n_proxies} proxies of {affordable:,.0f} "
            f"samples each; the least that tells something is {least:,}: give --share {needed:.2g} or more, "
            "or fewer pools or seeds in a --plan"
        )
    budgets = [largest // step for step in STEPS]
    return ProxyPlan.model_validate({**draft, "train": train, "pools": pools, "budgets": budgets})


def _samples_per_budget(draft: Mapping[str, Any]) -> float:
    """Return what a proxy sees in all, as a multiple of its largest budget."""
    every = sum(1 / step for step in STEPS)
    if draft["schedule"] == "cosine":
        return every
    return 1 - float(draft["cooldown"]) + float(draft["cooldown"]) * every


def _cost(plan: ProxyPlan, buckets: Buckets, budget: int) -> str:
    pools = plan.pools or default_pools(buckets.names)
    n = len(pools) * len(plan.seeds)
    seen = n * max(plan.budgets) * _samples_per_budget({"schedule": plan.schedule, "cooldown": plan.cooldown})
    return (
        f"{n} proxies ({len(pools)} pools, {len(plan.seeds)} seeds) of up to {max(plan.budgets):,} samples: "
        f"{seen:,.0f} samples in all, {seen / budget:.2%} of the budget"
    )

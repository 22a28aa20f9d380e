"""Take stages through a pool, doing just what is missing."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pipelines.columns import ColumnStore, Stamp, fingerprint
from pipelines.engine import Engine
from pipelines.errors import StoppedError
from pipelines.fits import Fits
from pipelines.pool.shards import Shard
from pipelines.stage import Pool, ShardColumns, Stage
from pipelines.storage import Folder
from pipelines.summaries import clear_workspaces, read_summary, workspace, write_summary

Emit = Callable[[dict[str, Any]], None]


@dataclass
class Runner:
    """One run of stages over a pool; `stamps` holds what every finished stage wrote, by shard."""

    shards: Sequence[Shard]
    run: Folder
    engine: Engine
    emit: Emit
    max_set_aside: float
    stamps: dict[str, dict[str, Stamp]] = field(default_factory=dict)
    fits: Fits = field(default_factory=Fits)

    def in_order(self) -> list[Shard]:
        """Return the pool as it came: by generation, then by name."""
        return sorted(self.shards, key=lambda shard: self.fits.of(shard.name))

    def go(self, stages: Sequence[Stage]) -> None:
        """Run the stages in order.

        Raises
        ------
        StoppedError
            When too many samples can't be read, a stage keeps nothing, or a worker can't go on.
        """
        for stage in stages:
            self._run(stage)
            self._check(stage)

    def totals(self, stage: str) -> dict[str, Any]:
        """Return a stage's tally over all shards."""
        return add_tallies([stamp.tally for stamp in self.stamps[stage].values()])

    def _run(self, stage: Stage) -> None:
        cost = _Cost(self.engine)
        store = ColumnStore(self.run)
        there = store.stamps(stage.name, (shard.name for shard in self.shards))
        summary = self._summary(stage)
        decides = self._what_decides(stage, summary)
        wanted = {shard.name: self._made_from(stage, shard, decides[shard.name]) for shard in self.shards}
        done = {name: stamp for name, stamp in there.items() if stamp.fingerprint == wanted[name]}
        missing = [
            (shard, wanted[shard.name], self._digests(stage, shard))
            for shard in self.shards
            if shard.name not in done
        ]
        self.emit({"event": "stage", "stage": stage.name, "shards": len(self.shards), "done": len(done)})
        if note := stage.note(summary):
            self.emit({"event": "note", "stage": stage.name, "message": note})
        task = partial(_compute, stage=stage, summary=summary, run=self.run)
        for name, stamp in self.engine.map(task, missing, gpu=stage.runs_model):
            done[name] = stamp
            self.emit({"event": "shard", "stage": stage.name, "shard": name, **_counts(stamp.tally)})
        self.stamps[stage.name] = done
        spent, totals = cost.so_far(stage.runs_model), _counts(self.totals(stage.name))
        self.emit({"event": "stage_done", "stage": stage.name, **spent, "new": len(missing), **totals})

    def _what_decides(self, stage: Stage, summary: Any) -> dict[str, Any]:
        """Return for each shard what of the pool its columns depend on: the summary.

        Where fits are held, a summary that is made anew each time depends, as far as a shard is concerned, on
        the shards of its generation and of those before.
        """
        if not (stage.anew and self.fits.fitted_on):
            return dict.fromkeys((shard.name for shard in self.shards), summary)
        found: dict[str, Any] = {}
        so_far = ""
        for _, shards in itertools.groupby(self.in_order(), key=lambda shard: self.fits.of(shard.name)):
            own = [(shard.name, self._inputs(stage, shard)) for shard in shards]
            so_far = fingerprint(so_far, own)
            found |= dict.fromkeys((name for name, _ in own), so_far)
        return found

    def _digests(self, stage: Stage, shard: Shard) -> dict[str, str]:
        """Return what a stage reads of a shard: the digests of its columns, by the stage that made them."""
        return {name: self.stamps[name][shard.name].digest for name in stage.reads}

    def _inputs(self, stage: Stage, shard: Shard) -> list[str]:
        return list(self._digests(stage, shard).values())

    def _made_from(self, stage: Stage, shard: Shard, summary: Any) -> str:
        inputs = [*self._inputs(stage, shard), *stage.files(shard)]
        return fingerprint(*_identity(stage), summary, inputs)

    def _summary(self, stage: Stage) -> Any:
        """Return a stage's summary of the pool, from the run folder if it is of the same columns."""
        if type(stage).summarize is Stage.summarize:
            return None
        kept_from, kept = read_summary(self.run, stage.name)
        if self.fits.held and not stage.anew:
            return kept
        inputs = [[shard.name, *self._inputs(stage, shard)] for shard in self.shards]
        later = self.fits.later if stage.anew else {}
        made_from = fingerprint(*_identity(stage), inputs, *([later] if later else []))
        if kept_from == made_from:
            return kept
        self.emit({"event": "summary", "stage": stage.name})
        place = workspace(self.run, stage.name, made_from)
        survivors = {name: int(self.totals(name)["kept"]) for name in stage.reads}
        digests = {shard.name: self._digests(stage, shard) for shard in self.shards}
        pool = Pool(tuple(self.shards), self.run, place, survivors, self.engine.map, later, digests)
        summary = stage.summarize(pool)
        write_summary(self.run, stage.name, made_from, summary)
        clear_workspaces(self.run, stage.name, but=made_from)
        return summary

    def _check(self, stage: Stage) -> None:
        here = self.totals(stage.name)
        if not self.totals("ingest")["samples"]:
            raise StoppedError(f"the pool holds no samples: there is none in its {len(self.shards):,} shards")
        if not here["kept"]:
            raise StoppedError(
                f"the stage {stage.name} keeps none of {here['samples']:,} samples "
                f"({_reasons(here)}); nothing would be left to train on"
            )
        samples = self.totals("ingest")["samples"]
        aside = sum(sum(self.totals(name)["set_aside"].values()) for name in self.stamps)
        if aside > self.max_set_aside * samples:
            raise StoppedError(
                f"{aside:,} of {samples:,} samples can't be used ({_reasons(here)}), more than "
                f"pool.max_set_aside: {self.max_set_aside:g} allows; look at "
                f"{self.run.path('columns')}, or raise it and run again to go on"
            )


class _Cost:
    """What a stage costs from now on: by the clock, of all processors here and in workers, and of GPUs."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._started = time.monotonic()
        self._before = time.process_time() + engine.cpu_seconds

    def so_far(self, on_gpus: bool) -> dict[str, float]:
        """Return `seconds`, `cpu_seconds` and `gpu_seconds`; a GPU counts while its worker waits too."""
        seconds = time.monotonic() - self._started
        cpu = time.process_time() + self._engine.cpu_seconds - self._before
        spent = {"seconds": seconds, "cpu_seconds": cpu}
        spent["gpu_seconds"] = seconds * self._engine.gpus if on_gpus else 0.0
        return {name: round(value, 3) for name, value in spent.items()}


def _identity(stage: Stage) -> tuple[Any, ...]:
    return type(stage).__name__, stage.version, dict(stage.settings())


def _compute(
    item: tuple[Shard, str, dict[str, str]], *, stage: Stage, summary: Any, run: Folder
) -> tuple[str, Stamp]:
    """Do one shard of a stage: what a worker runs."""
    shard, made_from, digests = item
    table = stage.compute(ShardColumns(shard, run, digests), summary)
    return shard.name, ColumnStore(run).write(stage.name, shard.name, table, made_from)


def add_tallies(tallies: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the sum of stage tallies, reason by reason."""
    total: dict[str, Any] = {"samples": 0, "kept": 0, "dropped": {}, "set_aside": {}}
    for tally in tallies:
        total["samples"] += tally["samples"]
        total["kept"] += tally["kept"]
        for part in ("dropped", "set_aside"):
            for reason, n in tally[part].items():
                total[part][reason] = total[part].get(reason, 0) + n
    return total


def _counts(tally: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tally[name] for name in ("samples", "kept", "dropped", "set_aside")}


def _reasons(tally: Mapping[str, Any]) -> str:
    counts = {**tally["dropped"], **tally["set_aside"]}
    return (
        ", ".join(f"{reason} {n:,}" for reason, n in sorted(counts.items(), key=lambda item: -item[1])) or "-"
    )

"""A whole run: from a configuration to the new shards, with every sample accounted for."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from pipelines.columns import DECISIONS, ColumnStore, fingerprint
from pipelines.config import RunConfig
from pipelines.engine import Engine, refuse_unlisted
from pipelines.failures import stop_when_files_fail
from pipelines.finished import FINISHED as FINISHED
from pipelines.finished import note_finished, seen
from pipelines.lock import own
from pipelines.output import publish
from pipelines.output.versions import publish as publish_version
from pipelines.output.write import COPIED, Writer
from pipelines.plan import Plan
from pipelines.planning import plan
from pipelines.plugins.use import PluginUse
from pipelines.pool.listing import list_pool
from pipelines.pool.placeholders import Placeholder, counted_by, placeholders, told
from pipelines.pool.shards import Shard, numbering_gaps
from pipelines.pool.tables import shards_of
from pipelines.refit import fits_of, note_fits
from pipelines.runner import Emit, Runner
from pipelines.score_config import FileScores
from pipelines.stages.embed import Embed, encoder_identity
from pipelines.stages.file_scores import FileScoresStage
from pipelines.stages.plugin import require_code
from pipelines.storage import Folder, resolve
from pipelines.user_files import with_file_digests


@dataclass(frozen=True)
class Result:
    """What became of every sample: samples = kept + dropped + set aside.

    `placeholders` are pictures that stand under many captions: each its hash, how many samples have it at
    least, and some of their captions.
    """

    samples: int
    kept: int
    dropped: Mapping[str, int]
    set_aside: Mapping[str, int]
    output: str
    seconds: float
    placeholders: tuple[Mapping[str, Any], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {**asdict(self), "placeholders": [dict(each) for each in self.placeholders]}


@stop_when_files_fail()
def execute(
    config: RunConfig,
    *,
    base: str | Path = ".",
    emit: Emit = lambda event: None,
    allow_class: Collection[str] = (),
) -> Result:
    """Do what is missing of a run, and return the account of all of it.

    Parameters
    ----------
    config
        What to do.
    base
        Where the configuration's relative paths start.
    emit
        Called with every event, a JSON object with the name `event`.
    allow_class
        Dask cluster classes that `engine.cluster` may name.

    Raises
    ------
    ConfigError
        When the request makes no sense; nothing was done.
    StoppedError
        When work is left; a later call goes on from there.
    """
    started = time.monotonic()
    refuse_unlisted(config.engine, allow_class)
    stages = plan(config, base)
    require_code(stages.stages)
    pool = list_pool(config, base)  # once: what changes from here on is there for the next run to see
    found = seen(config, pool)
    shards = shards_of(config, pool, stages.stored_vectors)
    run, output = (Folder(resolve(place, base)) for place in (config.run, config.output.folder))
    ours = [run]
    if config.output.shards is not None:
        publish.refuse_foreign(output, run)
        ours.append(output)
    with own(*ours) as refuse_lost:

        def tell(event: dict[str, Any]) -> None:
            refuse_lost()
            emit(event)

        with _swept(ours):
            run.remove(FINISHED)
            _announce(shards, tell)
            preload = _preload(stages, run, shards)
            with Engine(config.engine, preload, tell, allow_class=allow_class, shared=run) as engine:
                runner = Runner(shards, run, engine, tell, config.pool.max_set_aside)
                stand_ins = _decide(runner, stages, config)
                counts = account(runner, stages)
                _publish(runner, stages, config, output, counts, base)
        note_finished(run, output, found)
    seconds = round(time.monotonic() - started, 2)
    result = Result(**counts, output=output.url, seconds=seconds, placeholders=stand_ins)
    emit({"event": "done", **result.as_dict()})
    return result


@contextlib.contextmanager
def _swept(folders: Sequence[Folder]) -> Iterator[None]:
    """Take away what workers left that died, in an earlier run and in this one."""
    for folder in folders:
        folder.sweep()
    yield
    for folder in folders:
        folder.sweep()


def _decide(runner: Runner, stages: Plan, config: RunConfig) -> tuple[dict[str, Any], ...]:
    """Take the pool through all stages, and tell what stood out on the way; return the placeholders."""
    runner.go(stages.stages[:1])
    _tell_of_empty(runner)
    noted = [runner.stamps["ingest"][shard.name].tally for shard in runner.shards]
    early = placeholders(noted)
    _tell_of_placeholders(runner, early)
    runner.fits = fits_of(config.refit, runner, stages.stages)
    if runner.fits.message:
        runner.emit({"event": "note", "stage": "refit", "message": runner.fits.message})
    runner.go(stages.stages[1:])
    found = placeholders(noted, counted_by(runner.run, [stage.name for stage in stages.stages]))
    known = {each.image for each in early}
    _tell_of_placeholders(runner, [each for each in found if each.image not in known])
    return tuple(each._asdict() for each in found)


def _tell_of_placeholders(runner: Runner, found: list[Placeholder]) -> None:
    for each in found:
        runner.emit({"event": "placeholder", **each._asdict(), "message": told(each)})


def _announce(shards: list[Shard], emit: Emit) -> None:
    n_bytes = sum({shard.url: shard.size for shard in shards}.values())
    emit(
        {
            "event": "pool",
            "shards": len(shards),
            "bytes": n_bytes,
            "first": shards[0].name,
            "last": shards[-1].name,
        }
    )
    if gaps := numbering_gaps(shards):
        text = f"the shards' numbers have gaps: {', '.join(gaps[:5])}{', …' if len(gaps) > 5 else ''} missing"
        emit({"event": "warning", "message": text})


def _tell_of_empty(runner: Runner) -> None:
    """Say which shards hold not one sample: most often a download that failed without a word."""
    tallies = runner.stamps["ingest"]
    if empty := [shard.name for shard in runner.shards if not tallies[shard.name].tally["samples"]]:
        some = ", ".join(empty[:5]) + (", …" if len(empty) > 5 else "")
        of_all = f"{len(empty):,} of {len(runner.shards):,} shards"
        runner.emit({"event": "warning", "message": f"{of_all} hold no sample: {some}"})


def _preload(stages: Plan, run: Folder, shards: list[Shard]) -> list[str]:
    """Return what workers should import once and share; torch only where a model is still to run."""
    to_embed = [stage.name for stage in stages.stages if isinstance(stage, Embed)]
    names = [shard.name for shard in shards]
    missing = any(len(ColumnStore(run).stamps(name, names)) < len(names) for name in to_embed)
    return ["pipelines.planning", *(["scoring.encoder"] if missing else [])]


def account(runner: Runner, stages: Plan) -> dict[str, Any]:
    """Return the counts of the result, proven to add up."""
    dropped: dict[str, int] = {}
    set_aside: dict[str, int] = {}
    for stage in stages.stages[:-1]:
        totals = runner.totals(stage.name)
        dropped |= {f"{stage.name}.{reason}": n for reason, n in sorted(totals["dropped"].items())}
        for reason, n in sorted(totals["set_aside"].items()):
            set_aside[reason] = set_aside.get(reason, 0) + n
    last = runner.totals(DECISIONS)
    lost = last["samples"] - last["kept"] - sum(dropped.values()) - sum(set_aside.values())
    if lost or last["samples"] != runner.totals("ingest")["samples"]:
        raise AssertionError(
            f"{lost} samples are not accounted for: this is a defect of curate, please report it"
        )
    return {"samples": last["samples"], "kept": last["kept"], "dropped": dropped, "set_aside": set_aside}


def _publish(
    runner: Runner, stages: Plan, config: RunConfig, output: Folder, counts: dict[str, Any], base: str | Path
) -> None:
    """Write the new shards and what stands beside them; the manifest comes last."""
    fits = note_fits(runner, stages.stages)
    publish.write_set_aside(runner, [stage.name for stage in stages.stages[:-1]])
    files: dict[str, Any] = {}
    if config.output.shards is not None:
        files |= _write_shards(runner, stages, config, output)
    if config.output.subset is not None:
        path = resolve(config.output.subset, base)
        folder, name = Folder(path.rpartition("/")[0]), path.rpartition("/")[2]
        facts = publish.write_subset(runner, folder, name)
        if folder.url == output.url:
            files[name] = facts
    pool = {"shards": len(runner.shards), "digest": _digest(runner, "ingest")}
    pool |= {"fits": fits} if fits else {}
    counts = {**counts, "pool": pool}
    decides = _what_decides(config, runner, stages)
    manifest = publish.manifest(config.name, decides, counts, files)
    digests = {name: stamp.digest for name, stamp in runner.stamps[DECISIONS].items()}
    publish_version(output, runner.run, manifest, digests, config.output.versions)


def _write_shards(runner: Runner, stages: Plan, config: RunConfig, output: Folder) -> dict[str, Any]:
    """Write the new shards and their sizes; return what a manifest says of every file."""
    sources = {name: stages.sources[name] for name in (*COPIED, *stages.scores)}
    records = Writer(runner.run, output, config.output.samples_per_shard, sources).write(runner)
    files = {name: facts for record in records for name, facts in record["files"].items()}
    sizes = {f"{record['name']}.tar": record["samples"] for record in records}
    sized = publish.put_if_changed(output, "sizes.json", json.dumps(sizes, indent=1).encode())
    return {**files, "sizes.json": sized}


def _digest(runner: Runner, stage: str) -> str:
    """Return a hash of what a stage wrote, over the whole pool."""
    return fingerprint([[shard.name, runner.stamps[stage][shard.name].digest] for shard in runner.shards])


def _what_decides(config: RunConfig, runner: Runner, plan: Plan) -> dict[str, Any]:
    """Return the part of a configuration that decides the output; the rest is places and machines."""

    def contents(own: BaseModel) -> BaseModel:
        if isinstance(own, PluginUse):
            return own.by_contents()
        if not isinstance(own, FileScores):
            return with_file_digests(own)
        stage = next(s for s in plan.stages if isinstance(s, FileScoresStage) and s.config is own)
        return own.model_copy(update={"source": (_digest(runner, stage.name),)})

    stages = [{kind: contents(own) for kind, own in entry.items()} for entry in config.stages]
    content = config.model_copy(update={"stages": stages}).model_dump(
        mode="json",
        serialize_as_any=True,
        exclude={
            "name": True,
            "run": True,
            "engine": True,
            "plugins": True,
            "pool": {"shards", "metadata"},
            "output": {"shards", "subset", "versions"},
        },
    )
    used = [stage.spec for stage in plan.stages if isinstance(stage, Embed)]
    specs = {**config.encoders, "": config.encoder}
    for name, encoder in {**content["encoders"], "": content["encoder"] or {}}.items():
        if (spec := specs[name]) in used:
            encoder |= encoder_identity(spec)  # what is in a model's files, not where they lie
        for place in ("decoders", "device"):
            encoder.pop(place, None)
    if content["refit"] == "always":
        del content["refit"]
    return content

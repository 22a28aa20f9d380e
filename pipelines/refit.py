"""What a run does with what is fitted over the whole pool when the pool has grown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pipelines.columns import fingerprint
from pipelines.errors import ConfigError
from pipelines.fits import Fits
from pipelines.stage import Stage
from pipelines.storage import Folder
from pipelines.summaries import read_json, read_summary

if TYPE_CHECKING:
    from pipelines.runner import Runner

FITS = "state/fits.json"
_GROWN: Literal["when_grown_by"] = "when_grown_by"

Refit = Literal["always", "never"] | dict[Literal["when_grown_by"], float]


def checked(given: Any) -> Any:
    """Return a refit as a configuration may give it; `ValueError` when it is none."""
    if isinstance(given, str) and given in ("always", "never"):
        return given
    if isinstance(given, dict) and [*given] == [_GROWN]:
        share = given[_GROWN]
        if isinstance(share, int | float) and not isinstance(share, bool) and 0 < share < float("inf"):
            return given
    raise ValueError("should be always, never, or {when_grown_by: 0.1}: by a share of what was fitted")


def refuse_unheld(refit: Refit, stages: Sequence[Stage]) -> None:
    """Raise `ConfigError` when a stage can't hold what it has fitted, and is asked to."""
    if refit == "always":
        return
    for stage in stages:
        if why := stage.cannot_hold():
            raise ConfigError(f"refit: the stage {stage.name} can't be held, since {why}; use refit: always")


def fits_of(refit: Refit, runner: Runner, stages: Sequence[Stage]) -> Fits:
    """Return what holds in a run whose first stage, which reads the shards, is done."""
    if refit == "always":
        runner.run.remove(FITS)  # decisions no longer depend on what came when
        return Fits()
    ingested = runner.stamps[stages[0].name]
    digests = {shard: stamp.digest for shard, stamp in ingested.items()}
    samples = {shard: int(stamp.tally["samples"]) for shard, stamp in ingested.items()}
    n = sum(samples.values())
    last = read_fits(runner.run)
    reason = _why_not_held(runner.run, last, stages)
    generations = {} if reason else _generations(last, digests)
    if not reason:
        new = sum(samples[shard] for shard, number in generations.items() if number)
        words = f"{last['fitted_on']['samples']:,} samples of {last['fitted_on']['shards']:,} shards"
        if isinstance(refit, str) or new <= refit[_GROWN] * last["fitted_on"]["samples"]:
            message = f"held what was fitted on {words}; {new:,} samples have come since"
            return Fits(True, generations, last["fitted_on"], message)
        reason = f"{new:,} samples have come since the last fit, which was on {words}"
    fitted_on = {"shards": len(digests), "samples": n, "digest": fingerprint(sorted(digests.items()))}
    return Fits(False, {}, fitted_on, f"fitted on all {n:,} samples: {reason}")


def note_fits(runner: Runner, stages: Sequence[Stage]) -> dict[str, Any] | None:
    """Note in the run folder what holds from now on; return what a manifest says of it.

    Together with configuration and pool it decides the output: which fit, and which shard came when.
    """
    run, fits = runner.run, runner.fits
    if not fits.fitted_on:
        return None
    ingested = runner.stamps[stages[0].name]
    shards = {shard: [fits.of(shard), ingested[shard].digest] for shard in sorted(ingested)}
    content = {
        "stages": _identity(stages),
        "summaries": {stage.name: read_summary(run, stage.name)[0] for stage in _fitted(stages)},
        "fitted_on": fits.fitted_on,
        "shards": shards,
    }
    if content != read_fits(run):
        run.write(FITS, json.dumps(content).encode())
    return {
        "fitted_on": fits.fitted_on,
        "fits": fingerprint(content["summaries"]),
        "generations": len({number for number, _ in shards.values()}),
        "came": fingerprint(shards),
    }


def read_fits(run: Folder) -> dict[str, Any]:
    """Return what a run folder knows of its last fit; empty when there is none."""
    return read_json(run, FITS)


def _why_not_held(run: Folder, last: Mapping[str, Any], stages: Sequence[Stage]) -> str | None:
    if not last:
        return "the first fit"
    if last["stages"] != _identity(stages):
        return "the stages have changed since the last fit"
    if any(last["summaries"][stage.name] != read_summary(run, stage.name)[0] for stage in _fitted(stages)):
        return "the last fit was replaced, by a run that was cut off or one with other settings"
    return None


def _generations(last: Mapping[str, Any], digests: Mapping[str, str]) -> dict[str, int]:
    known = {
        shard: number for shard, (number, digest) in last["shards"].items() if digests.get(shard) == digest
    }
    latest = max((number for number, _ in last["shards"].values()), default=0)
    return {shard: known.get(shard, latest + 1) for shard in digests}


def _fitted(stages: Sequence[Stage]) -> list[Stage]:
    return [stage for stage in stages if not stage.anew and type(stage).summarize is not Stage.summarize]


def _identity(stages: Sequence[Stage]) -> str:
    return fingerprint(
        [
            [stage.name, type(stage).__name__, stage.version, dict(stage.lasting_settings())]
            for stage in stages
        ]
    )

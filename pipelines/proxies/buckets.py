"""Cut what a run keeps into quality buckets: subsets by ranges of ranks, no image copied."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from filters.keep import Keep
from pipelines.columns import DECISIONS
from pipelines.config import RunConfig
from pipelines.engine import Engine
from pipelines.errors import ConfigError, StoppedError
from pipelines.lock import own
from pipelines.output.publish import put_if_changed, put_stream
from pipelines.output.subset import halves, subset_file
from pipelines.planning import plan
from pipelines.pool.shards import expand
from pipelines.runner import Emit, Runner
from pipelines.stage import Pool, ShardColumns
from pipelines.stages.filter import passes
from pipelines.stages.plugin import require_code
from pipelines.storage import Folder, resolve

BUCKETS = "buckets.json"
MOST_BUCKETS = 20
_FACTS = ("caption", "width", "height")
_SUMS = ("score", "words", "chars", "width", "height")


@dataclass(frozen=True)
class Bucket:
    """A range of ranks of a pool, and what is in it.

    Attributes
    ----------
    name
        From which to which percent of the ranks, the best first: `0-25%`.
    band
        The same as shares; `keep: {by: …, band: …}` keeps just these samples.
    subset
        The name of its subset file.
    samples, draws
        How many samples, and with repeats.
    score_low, score_high, score_mean
        Of its samples.
    caption_words, caption_chars, width, height
        Means over its samples; pixels of the stored images.
    """

    name: str
    band: tuple[float, float]
    subset: str
    samples: int
    draws: int
    score_low: float
    score_high: float
    score_mean: float
    caption_words: float
    caption_chars: float
    width: float
    height: float


@dataclass(frozen=True)
class Buckets:
    """All buckets of a pool, the best first.

    Attributes
    ----------
    by
        The score.
    shards
        The pool's shards.
    run
        The configuration of the run that was cut, as JSON values.
    unscored
        Samples that the run keeps but that have no score: in no bucket.
    """

    by: str
    shards: tuple[str, ...]
    run: Mapping[str, Any]
    unscored: int
    buckets: tuple[Bucket, ...]

    @property
    def names(self) -> list[str]:
        """The buckets' names, the best first."""
        return [bucket.name for bucket in self.buckets]

    @classmethod
    def read(cls, folder: Folder) -> Buckets:
        """Return what `cut_buckets` wrote into a folder; `ConfigError` where nothing of it lies."""
        try:
            content = json.loads(folder.read(BUCKETS))
            rows = [Bucket(**{**row, "band": tuple(row["band"])}) for row in content.pop("buckets")]
            return cls(**{**content, "shards": tuple(content["shards"])}, buckets=tuple(rows))
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ConfigError(
                f"{folder.path(BUCKETS)} can't be read ({error}); `curate buckets` writes it"
            ) from None


def cut_buckets(
    config: RunConfig,
    by: str,
    cuts: Sequence[float],
    output: str,
    *,
    base: str | Path = ".",
    record: Mapping[str, Any],
    emit: Emit = lambda event: None,
    allow_class: Collection[str] = (),
) -> Buckets:
    """Do what is missing of a run but the writing of shards, and cut what it keeps into buckets.

    Ranks go by score, ties by the lower uid, so a bucket is exact to one sample and the same for any cut
    of the pool.

    Parameters
    ----------
    config
        A run that makes the score.
    by, cuts
        The score, and the shares between 0 and 1 at which to cut, counted from the best.
    output
        A folder for the subset files and `buckets.json`.
    base
        Where the configuration's relative paths start.
    record
        The configuration as JSON values with absolute paths, to be kept with the buckets.
    emit, allow_class
        Called with every event, and Dask cluster classes that `engine.cluster` may name.

    Raises
    ------
    ConfigError
        When the run makes no such score, or the cuts make no sense.
    """
    edges = _checked([0.0, *cuts, 1.0])
    if config.pool.shards is None:
        raise ConfigError("buckets: proxies train on images, so the pool should be shards, not metadata")
    shards, stages = expand(config.pool.shards, base), plan(config, base)
    require_code(stages.stages)
    stages.require_scores([by], "buckets")
    run, target = Folder(resolve(config.run, base)), Folder(output)
    engine = Engine(config.engine, ["pipelines.planning"], emit, allow_class=allow_class, shared=run)
    with own(run), engine:
        runner = Runner(shards, run, engine, emit, config.pool.max_set_aside)
        runner.go(stages.stages)
        pool = Pool(tuple(shards), run, run / "state/buckets", {}, engine.map)
        measure = partial(_measure, by=by, source=stages.sources[by])
        keeps = [Keep(by=by, band=band) for band in itertools.pairwise(edges)]
        states = [passes(keep, pool, partial(measure, keep=keep)) for keep in keeps]
        cut = _Cut(by, stages.sources[by], tuple(keeps), tuple(states))
        buckets, unscored = _described(cut, pool)
        found = Buckets(by, tuple(shard.url for shard in shards), record, unscored, tuple(buckets))
        for number, bucket in enumerate(buckets):
            uids = partial(_uids, cut=cut, number=number)
            put_stream(target, bucket.subset, subset_file(bucket.draws, partial(pool.map_shards, uids)))
    put_if_changed(target, BUCKETS, json.dumps(asdict(found), indent=1).encode())
    return found


def _checked(edges: list[float]) -> list[float]:
    if any(low >= high for low, high in itertools.pairwise(edges)):
        raise ConfigError("buckets: cuts should rise between 0 and 1, such as 0.25 0.5 0.75")
    if not 2 <= len(edges) - 1 <= MOST_BUCKETS:
        raise ConfigError(f"buckets: {len(edges) - 1} buckets; between 2 and {MOST_BUCKETS} make sense")
    return edges


@dataclass(frozen=True)
class _Cut:
    """Which bucket each survivor falls into: a band of ranks each, with where it begins and ends."""

    by: str
    source: str
    keeps: tuple[Keep, ...]
    states: tuple[Any, ...]

    def buckets(self, table: pa.Table) -> NDArray[np.int64]:
        """Return each sample's bucket from 0; -1 for those without a score."""
        bucket = np.full(len(table), -1)
        for number, (keep, state) in enumerate(zip(self.keeps, self.states, strict=True)):
            bucket[np.asarray(keep.decide(table, state).weight) > 0] = number
        return bucket


def _survivors(columns: ShardColumns, by: str, source: str, more: Sequence[str] = ()) -> pa.Table:
    """Return score, uid, the run's weight and more facts of the samples that a run keeps of a shard."""
    weight = columns.read(DECISIONS, ("weight",))["weight"].to_numpy()
    rows = np.flatnonzero(weight > 0)
    table = columns.rows(rows, {by: source, **dict.fromkeys(["uid", *more], "ingest")})
    return table.append_column("weight", pa.array(weight[rows]))


def _measure(columns: ShardColumns, state: Any, *, keep: Keep, by: str, source: str) -> NDArray[np.int64]:
    return keep.measure(_survivors(columns, by, source), state)


def _uids(columns: ShardColumns, *, cut: _Cut, number: int) -> NDArray[np.void]:
    table = _survivors(columns, cut.by, cut.source)
    table = table.filter(pa.array(cut.buckets(table) == number))
    return np.repeat(halves(table["uid"]), table["weight"].to_numpy())


def _tallies(columns: ShardColumns, *, cut: _Cut) -> tuple[str, int, list[dict[str, Any]]]:
    """Return what a shard adds to each bucket's description."""
    table = _survivors(columns, cut.by, cut.source, _FACTS)
    bucket = cut.buckets(table)
    parts = [_tally(table.filter(pa.array(bucket == n)), cut.by) for n in range(len(cut.keeps))]
    return columns.shard.name, int((bucket < 0).sum()), parts


def _tally(table: pa.Table, by: str) -> dict[str, Any]:
    score, captions = table[by].to_numpy().astype(float), table["caption"].to_pylist()
    return {
        "samples": len(table),
        "draws": int(table["weight"].to_numpy().sum()),
        "low": float(score.min()) if len(score) else math.inf,
        "high": float(score.max()) if len(score) else -math.inf,
        "score": math.fsum(score),
        "words": sum(len(caption.split()) for caption in captions),
        "chars": sum(map(len, captions)),
        "width": pc.sum(table["width"]).as_py() or 0,
        "height": pc.sum(table["height"]).as_py() or 0,
    }


def _described(cut: _Cut, pool: Pool) -> tuple[list[Bucket], int]:
    shards = sorted(pool.map_shards(partial(_tallies, cut=cut)))  # the order of the sums is the shards'
    buckets = []
    for number, keep in enumerate(cut.keeps):
        parts = [parts[number] for _, _, parts in shards]
        low, high = keep.band or (0, 1)
        buckets.append(_bucket(f"{100 * low:.3g}-{100 * high:.3g}%", number, keep, parts))
    if empty := [bucket.name for bucket in buckets if not bucket.samples]:
        raise StoppedError(f"buckets: no sample falls into {empty[0]}; make fewer buckets")
    return buckets, sum(unscored for _, unscored, _ in shards)


def _bucket(name: str, number: int, keep: Keep, parts: Sequence[Mapping[str, Any]]) -> Bucket:
    n = max(1, sum(part["samples"] for part in parts))
    mean = {key: math.fsum(part[key] for part in parts) / n for key in _SUMS}
    return Bucket(
        name=name,
        band=keep.band or (0.0, 1.0),
        subset=f"bucket-{number + 1}.npy",
        samples=sum(part["samples"] for part in parts),
        draws=sum(part["draws"] for part in parts),
        score_low=min(part["low"] for part in parts),
        score_high=max(part["high"] for part in parts),
        score_mean=mean["score"],
        caption_words=mean["words"],
        caption_chars=mean["chars"],
        width=mean["width"],
        height=mean["height"],
    )

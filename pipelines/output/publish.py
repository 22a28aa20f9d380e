"""What stands beside the new shards: their sizes, the subset file, the samples set aside, the manifest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.columns import DECISIONS, fingerprint
from pipelines.errors import ConfigError
from pipelines.output.subset import subset_of_run
from pipelines.output.versions import MANIFEST, keep
from pipelines.runner import Runner
from pipelines.stage import ShardColumns
from pipelines.storage import Folder
from pipelines.summaries import read_json

SET_ASIDE = "set_aside.parquet"
_SET_ASIDE = pa.schema([(name, pa.string()) for name in ("uid", "shard", "key", "stage", "reason", "detail")])
_LIBRARIES = ("curate-pools", "numpy", "pyarrow", "pillow", "simplejpeg", "torch", "open_clip_torch")


def refuse_foreign(output: Folder, run: Folder) -> None:
    """Raise `ConfigError` when the output folder holds shards that no run of ours put there."""
    names = [name for name in output.files() if name.endswith(".tar") and "/" not in name]
    if not names or output.exists(MANIFEST):
        return
    ours = {name.removesuffix(".json") + ".tar" for name in (run / "state/write").files()}
    if not ours.issuperset(names):
        raise ConfigError(
            f"the output folder {output.url} holds shards that this run did not write "
            f"({names[0]}, …): choose another folder or empty it"
        )


def put_if_changed(folder: Folder, name: str, data: bytes) -> dict[str, Any]:
    """Write a file unless it holds these bytes already; return what a manifest says of it."""
    if folder.size(name) != len(data) or folder.read(name) != data:
        keep(folder, [name])
        folder.write(name, data)
    return {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}


def put_stream(folder: Folder, name: str, pieces: Iterable[bytes]) -> dict[str, Any]:
    """Write a file piece by piece; return what a manifest says of it."""
    digest, size = hashlib.sha256(), 0
    with folder.create(name) as stream:
        for piece in pieces:
            digest.update(piece)
            size += len(piece)
            stream.write(piece)
    return {"sha256": digest.hexdigest(), "size": size}


def write_set_aside(runner: Runner, stages: Sequence[str]) -> None:
    """Write `set_aside.parquet`: every sample that could not be used, with the stage and the reason."""

    def write() -> dict[str, Any]:
        with runner.run.create(SET_ASIDE) as stream, pq.ParquetWriter(stream, _SET_ASIDE) as writer:
            for shard in runner.shards:
                for stage in stages:
                    if runner.stamps[stage][shard.name].tally["set_aside"]:
                        writer.write_table(_set_aside(ShardColumns(shard, runner.run), stage))
        return {"size": runner.run.size(SET_ASIDE)}

    _unless_there(runner, stages, runner.run, SET_ASIDE, write)


def write_subset(runner: Runner, folder: Folder, name: str) -> dict[str, Any]:
    """Write the kept uids as DataComp's subset file; return what a manifest says of it."""
    stamps = runner.stamps[DECISIONS].values()
    n = sum(weight * count for stamp in stamps for weight, count in stamp.tally["weights"])
    pieces = subset_of_run(runner.run, runner.shards, n)
    return _unless_there(runner, [DECISIONS], folder, name, lambda: put_stream(folder, name, pieces))


def _unless_there(
    runner: Runner, stages: Sequence[str], folder: Folder, name: str, write: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Write a file unless it was made of the same columns and is still there; return what is known of it."""
    digests = [[runner.stamps[stage][shard.name].digest for stage in stages] for shard in runner.shards]
    made_from = fingerprint(folder.url, name, [shard.name for shard in runner.shards], list(stages), digests)
    record = f"state/published/{name}.json"
    kept = read_json(runner.run, record)
    if kept.get("made_from") == made_from and folder.size(name) == kept["facts"]["size"]:
        facts: dict[str, Any] = kept["facts"]
        return facts
    keep(folder, [name])
    runner.run.remove(record)  # first: a run cut off behind the writing must not find it true of the new file
    facts = write()
    runner.run.write(record, json.dumps({"made_from": made_from, "facts": facts}).encode())
    return facts


def _set_aside(columns: ShardColumns, stage: str) -> pa.Table:
    outcome = columns.outcome(stage)
    outcome = outcome.filter(pc.is_valid(outcome["problem"]))
    names = columns.rows(outcome["row"].to_numpy(), {"uid": "ingest", "key": "ingest"})
    n = len(outcome)
    detail = outcome["detail"] if "detail" in outcome.column_names else pa.nulls(n, pa.string())
    return pa.table(
        {
            "uid": names["uid"],
            "shard": pa.repeat(columns.shard.name, n),
            "key": names["key"],
            "stage": pa.repeat(stage, n),
            "reason": outcome["problem"],
            "detail": detail,
        }
    ).cast(_SET_ASIDE)


def manifest(name: str, config: dict[str, Any], counts: dict[str, Any], files: dict[str, Any]) -> bytes:
    """Return the manifest: what the output is, what it was made by, and every file with its hash.

    It holds nothing that two undisturbed runs of the same configuration on the same pool could differ in.
    """
    versions = {library: metadata.version(library) for library in _LIBRARIES}
    content = {"name": name, "counts": counts, "config": config, "versions": versions, "files": files}
    return json.dumps(content, indent=2, sort_keys=True).encode() + b"\n"

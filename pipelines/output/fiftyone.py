"""A run's samples as a folder that FiftyOne imports: images, and what became of each as fields."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pyarrow.compute as pc

from pipelines.errors import ConfigError
from pipelines.output.export import FinishedRun, decisions
from pipelines.pool.samples import byte_ranges
from pipelines.pool.shards import unchanged
from pipelines.stage import ShardColumns
from pipelines.storage import Folder, RangeReader

SAMPLES = "samples.json"
_FIELDS = {
    "filepath": "StringField",
    "tags": "ListField",
    "uid": "StringField",
    "key": "StringField",
    "shard": "StringField",
    "caption": "StringField",
    "url": "StringField",
    "weight": "IntField",
}
_LABEL = "EmbeddedDocumentField(fiftyone.core.labels.Classification)"
_OWN = {"id", "filepath", "tags", "metadata", "created_at", "last_modified_at", "decision", *_FIELDS}


def export_fiftyone(run: FinishedRun, output: str) -> int:
    """Write a folder of FiftyOne's type `FiftyOneDataset`; return how many samples it holds.

    Every sample whose image could be read. The tag is `kept`, `dropped` or `set aside`, the label `decision`
    says `kept`, or by which stage and why not; all scores are fields. `samples.json` comes last.

    Raises
    ------
    ConfigError
        When there are no images, or the folder holds something else.
    """
    if run.stages.config.pool.shards is None:
        raise ConfigError("a pool of metadata has no images for FiftyOne to show")
    folder = Folder(output)
    if not folder.exists(SAMPLES) and folder.files():
        raise ConfigError(f"{output} is not empty, and no export: choose another folder")
    folder.remove(SAMPLES)
    schema = {name: f"fiftyone.core.fields.{kind}" for name, kind in _FIELDS.items()}
    schema["decision"] = f"fiftyone.core.fields.{_LABEL}"
    schema |= {_called(score): "fiftyone.core.fields.FloatField" for score in run.stages.scores}
    info = {"name": run.stages.config.name, "made_by": "curate"}
    content = {"media_type": "image", "info": info, "sample_fields": schema}
    folder.write("metadata.json", json.dumps(content, indent=1).encode())
    n = 0
    with folder.create(SAMPLES) as stream:
        stream.write(b'{"samples": [')
        for number, columns in enumerate(run.columns):
            for sample in _samples(columns, number, run, folder):
                stream.write(b",\n" if n else b"\n")
                stream.write(json.dumps(sample).encode())
                n += 1
        stream.write(b"\n]}\n")
    return n


def _samples(
    columns: ShardColumns, number: int, run: FinishedRun, folder: Folder
) -> Iterator[dict[str, Any]]:
    """Write the images of a shard and yield its samples; names in the folder are ours, not the tar's."""
    table = decisions(columns, run.stages)
    unread = pc.and_(table["set_aside"], pc.equal(table["stage"], "ingest"))
    rows = pc.invert(unread.fill_null(False)).to_numpy().nonzero()[0]
    beside = columns.rows(rows, {"caption": "ingest", "url": "ingest", "members": "ingest"})
    members = byte_ranges(beside["members"])
    texts = zip(beside["caption"].to_pylist(), beside["url"].to_pylist(), strict=True)
    with unchanged(columns.shard), RangeReader(columns.shard.url) as source:
        for row, (caption, url) in zip(rows.tolist(), texts, strict=True):
            suffix, offset, size = next(members)[0]
            path = f"data/{number:05d}/{row:07d}.{suffix}"
            folder.write(path, source.read(offset, size))
            decided = table.slice(row, 1).to_pylist()[0]
            yield _sample(path, decided, run.stages.scores) | {"caption": caption, "url": url}


def _sample(path: str, decided: dict[str, Any], scores: list[str]) -> dict[str, Any]:
    label = "kept" if decided["kept"] else f"{decided['stage']}.{decided['reason']}"
    fate = "kept" if decided["kept"] else "set aside" if decided["set_aside"] else "dropped"
    own = {name: decided[name] for name in ("uid", "key", "shard", "weight")}
    numbers = {_called(score): decided[score] for score in scores if decided[score] is not None}
    return {
        "filepath": path,
        "tags": [fate],
        "_media_type": "image",
        "decision": {"_cls": "Classification", "label": label},
        **own,
        **numbers,
    }


def _called(score: str) -> str:
    """Return a score's name as a field: FiftyOne reads dots as levels, and has fields of its own."""
    name = score.replace(".", "_").replace("-", "_")
    return f"score_{name}" if name in _OWN else name

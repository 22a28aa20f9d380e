"""What a run did with each sample of the demo's pool, beside what the sample really is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.columns import DECISIONS, ColumnStore
from pipelines.storage import Folder

KEPT = "kept"
UP_TO_DUPLICATES = ("ingest", "rules", "duplicates")


@dataclass(frozen=True)
class Outcome:
    """One sample's fate and truth.

    Attributes
    ----------
    key, shard, uid
        The sample.
    caption
        None where the shard ended before it.
    kind
        What the sample is, as the truth has it.
    stage, reason
        The stage that took it out and why; `kept` and None for what stayed.
    score
        CLIP score, None where the sample did not come so far.
    original
        What a copy repeats, as the truth has it (uid).
    survivor
        What the run took it for a copy of (uid).

    """

    key: str
    shard: str
    uid: str
    caption: str | None
    kind: str
    stage: str
    reason: str | None
    score: float | None
    original: str | None
    survivor: str | None


def read_outcomes(run: Path, truth: Path) -> list[Outcome]:
    """Return the outcome of every sample, in the order of shards and rows.

    Parameters
    ----------
    run
        The run folder, finished.
    truth
        The Parquet file that `write_truth` wrote.

    """
    known = {row["key"]: row for row in pq.read_table(truth).to_pylist()}
    store = ColumnStore(Folder(str(run)))
    outcomes = []
    for path in sorted((run / DECISIONS).glob("*.parquet")):
        decisions = store.read(DECISIONS, path.stem).to_pylist()
        captions = _by_row(store.read("ingest", path.stem, ["row", "caption"]))
        scores = _by_row(store.read("score-clip", path.stem, ["row", "clip"]))
        survivors = _by_row(store.read("duplicates", path.stem, ["row", "duplicate_of"]))
        for row, decision in enumerate(decisions):
            sample = known[decision["key"]]
            outcomes.append(
                Outcome(
                    key=decision["key"],
                    shard=decision["shard"],
                    # The truth's: of a sample that lost its JSON the run can't know the uid.
                    uid=sample["uid"],
                    caption=captions.get(row),
                    kind=sample["kind"],
                    stage=KEPT if decision["kept"] else decision["stage"],
                    reason=decision["reason"],
                    score=scores.get(row),
                    original=sample["duplicate_of"],
                    survivor=survivors.get(row),
                )
            )
    return name_copies(outcomes)


def name_copies(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return the outcomes with `clean` and its copy exchanged where the copy is the one that survived.

    Of equal pictures any may stay, so which one is the copy is not the truth's to say but the run's.
    """
    by_uid = {each.uid: each for each in outcomes}
    renamed = dict(by_uid)
    for copy in outcomes:
        original = by_uid.get(copy.original) if copy.original else None
        if original and original.stage in UP_TO_DUPLICATES and copy.stage not in UP_TO_DUPLICATES:
            renamed[copy.uid] = replace(copy, kind=original.kind, original=None)
            renamed[original.uid] = replace(original, kind=copy.kind, original=copy.uid)
    return [renamed[each.uid] for each in outcomes]


def threshold(outcomes: Sequence[Outcome]) -> float:
    """Return the lowest CLIP score that was kept."""
    return min(each.score for each in outcomes if each.stage == KEPT and each.score is not None)


def _by_row(table: pa.Table) -> dict[int, Any]:
    row, column = table.column_names
    return dict(zip(table[row].to_pylist(), table[column].to_pylist(), strict=True))

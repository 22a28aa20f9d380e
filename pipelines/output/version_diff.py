"""What entered between two versions of an output, what left, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pandas as pd
import pyarrow.parquet as pq

from pipelines.output.versions import Version, decisions_of
from pipelines.storage import Folder

_SAMPLE = ["uid", "key"]
Place = tuple[Folder, Version]


def changes(a: Place, b: Place) -> Iterator[pd.DataFrame]:
    """Yield, shard by shard of the pool, the samples whose weight differs between two versions.

    A sample is known by its shard, uid and key.

    Parameters
    ----------
    a, b
        Two outputs, or twice the same, each with a version.

    Yields
    ------
    pandas.DataFrame
        `shard`, `uid`, `key`, `weight_a`, `weight_b`, `change` (entered, left, repeats) and `why`: for what
        entered, the stage and reason that kept it out of `a`; for what left, those that took it out of `b`.
    """
    before, after = decisions_of(*a), decisions_of(*b)
    for shard in sorted(before.keys() | after.keys()):
        digests = [name and name.rpartition("/")[2] for name in (before.get(shard), after.get(shard))]
        if digests[0] != digests[1]:
            found = _compare(_read(a[0], before.get(shard)), _read(b[0], after.get(shard)))
            if len(found):
                yield found.assign(shard=shard)


def count(tables: Iterator[pd.DataFrame]) -> tuple[Counter[str], Counter[str], int]:
    """Return how many samples entered and left, by why, and how many are merely repeated otherwise."""
    entered: Counter[str] = Counter()
    left: Counter[str] = Counter()
    repeats = 0
    for table in tables:
        entered.update(table.loc[table.change == "entered", "why"])
        left.update(table.loc[table.change == "left", "why"])
        repeats += int((table.change == "repeats").sum())
    return entered, left, repeats


def _read(output: Folder, name: str | None) -> pd.DataFrame:
    if name is None:
        return pd.DataFrame({column: [] for column in (*_SAMPLE, "weight", "why", "number")})
    with output.open(name) as stream:
        table = pq.read_table(stream, columns=[*_SAMPLE, "weight", "stage", "reason"]).to_pandas()
    table["why"] = table.stage + "." + table.reason
    table["number"] = table.groupby(_SAMPLE).cumcount()  # of samples that share key and uid
    return pd.DataFrame(table.drop(columns=["stage", "reason"]))


def _compare(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    both = a.merge(b, how="outer", on=[*_SAMPLE, "number"], suffixes=("_a", "_b"), indicator="where")
    weights = both[["weight_a", "weight_b"]].fillna(0).astype("int64")
    both[["weight_a", "weight_b"]] = weights
    both = both[weights.weight_a != weights.weight_b].copy()
    both["change"] = "repeats"
    entered, left = both.weight_a == 0, both.weight_b == 0
    both.loc[entered, "change"], both.loc[left, "change"] = "entered", "left"
    both["why"] = ""
    both.loc[entered, "why"] = both.why_a.where(both["where"] == "both", "new in the pool")
    both.loc[left, "why"] = both.why_b.where(both["where"] == "both", "gone from the pool")
    changed: pd.DataFrame = both[[*_SAMPLE, "weight_a", "weight_b", "change", "why"]]
    return changed

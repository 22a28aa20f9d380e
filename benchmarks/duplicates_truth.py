"""How many near-duplicates each method finds among photos whose truth is known, and how many clean ones it
costs.

    python -m benchmarks.duplicates_truth --network shop=/tmp/networks/dfn-0-… --plot
    docs/images/duplicates.png

Needs ../shared/data/photos. A near-duplicate counts as found when it or its original is dropped for the
other; a clean photo is wrongly dropped when what stays in its place is another photo.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.products import DATA
from curate import run

RADII = (4, 8, 10, 12, 14, 16)
THRESHOLDS = (0.8, 0.85, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995)


def truth() -> pd.DataFrame:
    """Return kind and family of every photo: a duplicate is of its original's family."""
    found = pd.read_parquet(DATA / "photos" / "truth.parquet").set_index("uid")
    family = found.duplicate_of.where(found.duplicate_of.astype(bool) & found.duplicate_of.notna())
    return found.assign(family=family.fillna(found.index.to_series()))


def outcome(home: Path, stage: str) -> pd.DataFrame:
    """Return uid and `duplicate_of` (null: stays) of the photos that reached a stage."""
    parts = []
    for path in sorted((home / f"run/columns/{stage}").glob("*.parquet")):
        samples = pd.read_parquet(home / "run/columns/ingest" / path.name, columns=["row", "uid"])
        parts.append(pd.read_parquet(path).merge(samples, on="row"))
    return pd.concat(parts, ignore_index=True)


def measured(found: pd.DataFrame, known: pd.DataFrame) -> dict[str, float]:
    """Return recall of near-duplicates and the share of clean photos wrongly dropped."""
    family, kind = known.family, known.kind.reindex(found.uid).to_numpy()
    dropped = found.duplicate_of.notna().to_numpy()
    right = dropped & (
        family.reindex(found.uid).to_numpy() == family.reindex(found.duplicate_of.fillna("")).to_numpy()
    )
    caught = set(found.uid[right]) | set(found.duplicate_of[right])
    near = list(found.uid[kind == "near_duplicate"])
    return {
        "recall": float(np.mean([uid in caught for uid in near])),
        "clean wrongly dropped": float(
            (dropped & ~right & (kind == "clean")).sum() / (kind == "clean").sum()
        ),
        "dropped": int(dropped.sum()),
    }


def result(home: Path, stage: dict[str, Any], **changes: Any) -> None:
    """Run one stage over the photos."""
    run(
        {
            "name": "photos",
            "pool": {"shards": str(DATA / "photos")},
            "run": str(home / "run"),
            "engine": {"workers": 0},
            "stages": [stage],
            "output": {"shards": str(home / "out")},
            **changes,
        }
    )


def every_method(networks: dict[str, str], home: Path) -> pd.DataFrame:
    """Return a row for each method and setting."""
    known, rows = truth(), []
    result(home / "exact", {"duplicates": {"exact": True}})
    rows.append(
        {"method": "exact", "setting": "pixels", **measured(outcome(home / "exact", "duplicates"), known)}
    )
    for radius in RADII:
        for similarity in (0.0, 0.85):
            name = "hash alone" if similarity == 0 else "hash and waves"
            asked = {"radius": radius, "similarity": similarity}
            result(home / "perceptual", {"duplicates": {"perceptual": asked}})
            found = outcome(home / "perceptual", "duplicates")
            rows.append({"method": name, "setting": f"radius {radius}", **measured(found, known)})
    for name, folder in networks.items():
        where = home / name
        encoder = {"model": f"local-dir:{folder}"}
        asked = {"keep": "first", "across": 3, "clusters": "auto"}
        result(where, {"duplicates": {"semantic": asked}}, encoder=encoder)
        found = outcome(where, "similar")
        for threshold in THRESHOLDS:
            cut = found.assign(duplicate_of=found.duplicate_of.where(found.max_similarity > threshold))
            rows.append(
                {"method": f"vectors, {name}", "setting": f"cosine {threshold}", **measured(cut, known)}
            )
    return pd.DataFrame(rows)


def plot(found: pd.DataFrame, path: Path) -> None:
    """Draw recall against what it costs."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    for method, rows in found.groupby("method", sort=False):
        axes.plot(100 * rows["clean wrongly dropped"].clip(lower=1e-4), 100 * rows.recall, "o-", label=method)
    axes.axvline(1, color="grey", lw=0.8, ls=":")
    axes.axhline(95, color="grey", lw=0.8, ls=":")
    axes.set(
        xscale="log",
        xlabel="clean photos wrongly dropped, % (0.01: none)",
        ylabel="near-duplicates found, %",
        title="Rescaled, cropped, brightened and recompressed photos",
    )
    axes.legend(frameon=False)
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--network", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    networks = dict(each.split("=", 1) for each in args.network)
    with tempfile.TemporaryDirectory() as folder:
        found = every_method(networks, Path(folder))
    print(found.to_string(index=False, float_format=lambda value: f"{value:.4f}"))
    if args.plot:
        plot(found, args.plot)


if __name__ == "__main__":
    main()

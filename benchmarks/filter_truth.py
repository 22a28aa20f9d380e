"""Do filters find the faults that are known to be in `photos`? Its truth measures them, and none sees it.

`photos` has pairs whose caption is another photo's, captions that are junk, and images that are broken. Clean
are all the others: the kinds `clean`, `exact_duplicate` and `near_duplicate`, whose captions fit (duplicates
are another filter's task). A broken image has no vectors and comes last in every ranking.

The filter networks are curate-tiny, trained from scratch: on the noisy pool itself, on `photos-heldout`, on
`products`, on both (first the products, then the photos), and on the noisy pool and then `photos-heldout`
(tuned). Their recipes are those of `benchmarks.filter_networks`, chosen there on products; none was chosen on
this truth.

    python -m benchmarks.filter_truth --work /tmp/truth

Needs ../shared/data. Takes about 15 minutes on 2 idle cores; stopped and started again, it goes on.
"""

from __future__ import annotations

import argparse
import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.filter_networks import INDUCED, SCRATCH, TUNED, in_parallel, interval
from benchmarks.products import DATA, Pairs, load, trained, vectors
from filters import fuse
from scoring import clip_score, equal_batches, norm_sim, s_clip_loss

FITTING = ("clean", "exact_duplicate", "near_duplicate")
FUSED = ("noisy pool", "photos-heldout", "both", "tuned")  # those that have seen photos
MEASURES = ("average precision", "recall")


def networks(work: Path, seed: int) -> dict[str, str]:
    """Return the folders of the trained networks by what they were trained on."""
    photos, good, products = load("photos"), load("photos-heldout"), load("products")
    noisy = trained(work, f"noisy-{seed}", photos, **INDUCED, seed=seed)
    shop = trained(work, f"products-{seed}", products, **INDUCED, seed=seed)
    return {
        "noisy pool": noisy,
        "photos-heldout": trained(work, f"heldout-{seed}", good, **SCRATCH, seed=seed),
        "products": shop,
        "both": trained(work, f"both-{seed}", good, **(TUNED | {"model": f"local-dir:{shop}"}), seed=seed),
        "tuned": trained(work, f"tuned-{seed}", good, **(TUNED | {"model": f"local-dir:{noisy}"}), seed=seed),
    }


def scores(work: Path, seed: int, photos: Pairs) -> dict[tuple[str, str], NDArray[np.float32]]:
    """Return scores of the photos by (score, training data of the network); NaN where an image is broken."""
    found: dict[tuple[str, str], NDArray[np.float32]] = {}
    good = load("photos-heldout")
    for name, network in networks(work, seed).items():
        image, text = vectors(work, network, photos)
        target, _ = vectors(work, network, good)
        whole = np.isfinite(image).all(1) & image.any(1)
        v, t = image[whole], text[whole]
        cuts = [equal_batches(len(v), -(-len(v) // 2), seed=n) for n in range(2)]
        made = {
            "CLIP score": clip_score(v, t),
            "s-CLIPLoss": s_clip_loss(v, t, temperature=0.07, partitions=cuts),
            "NormSim (infinity)": norm_sim(v, target, p=math.inf),
        }
        for score, values in made.items():
            found[score, name] = np.full(len(photos), np.nan, np.float32)
            found[score, name][whole] = values
    losses = {name: found["s-CLIPLoss", name] for name in FUSED}
    found["fused s-CLIPLoss", "all but products"] = fuse(losses, dict.fromkeys(losses, 1.0))
    return found


def truth(photos: Pairs) -> NDArray[np.bool_]:
    """Return which photos have a caption that fits."""
    kinds = pq.read_table(DATA / "photos" / "truth.parquet", columns=["uid", "kind"]).to_pydict()
    kind = dict(zip(kinds["uid"], kinds["kind"], strict=True))
    return np.array([kind[uid] in FITTING for uid in photos.uid])


def measured(score: NDArray[Any], fits: NDArray[np.bool_]) -> dict[str, float]:
    """Return average precision, and recall where as many are kept as fit (there it is the precision, too)."""
    order = np.argsort(-np.nan_to_num(score, nan=-np.inf), kind="stable")
    found = fits[order]
    precision = np.cumsum(found) / np.arange(1, len(found) + 1)
    n = int(fits.sum())
    return {"average precision": float(precision[found].mean()), "recall": float(found[:n].mean())}


def one_seed(work: Path, seed: int) -> dict[tuple[str, str], dict[str, float]]:
    """Return the measures of every score with the networks of one seed."""
    photos = load("photos")
    fits = truth(photos)
    found = {name: measured(score, fits) for name, score in scores(work, seed, photos).items()}
    chance = np.random.default_rng([seed, 2]).random(len(photos)).astype(np.float32)
    return found | {("random", "-"): measured(chance, fits)}


def table(results: list[dict[tuple[str, str], dict[str, float]]]) -> str:
    """Return the measures over seeds as Markdown."""
    lines = [
        "| score | network trained on | average precision | recall at the clean share |",
        "|---|---|---|---|",
    ]
    for score, name in results[0]:
        cells = [interval([found[score, name][measure] for found in results]) for measure in MEASURES]
        lines.append(f"| {score} | {name} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="where trained networks are kept")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()

    results = in_parallel([partial(one_seed, args.work, seed) for seed in range(args.seeds)])
    flat = [{" | ".join(name): values for name, values in found.items()} for found in results]
    (args.work / "truth.json").write_text(json.dumps(flat, indent=1))
    print(table(results))


if __name__ == "__main__":
    main()

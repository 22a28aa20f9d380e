"""What DataComp published on which share to keep (2304.14108, tables 25 to 28), and what we propose."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from curate.templates import SCORE
from filters.keep import Keep

SWEEPS = pd.read_csv(Path(__file__).parent / "vectors/datacomp_sweeps.csv")
BY_CLIP = SWEEPS[SWEEPS["filter"].str.startswith("clip_")]
SIZES = BY_CLIP[["scale", "kept_fraction", "size"]].values.tolist()
RAW = {"small": 12.8e6, "medium": 128e6, "large": 1.28e9}
UNITS = {"K": 1e3, "M": 1e6, "B": 1e9}


def test_the_share_that_is_proposed_is_among_the_best_in_every_sweep() -> None:
    assert "top: 0.3}" in SCORE
    sweeps = BY_CLIP.groupby(["scale", "filter"])
    assert len(sweeps) == 5
    for _, sweep in sweeps:
        assert 0.3 in set(sweep.loc[sweep["avg38"] == sweep["avg38"].max(), "kept_fraction"])


@pytest.mark.parametrize(("scale", "share", "size"), SIZES)
def test_a_share_is_as_many_samples_as_were_kept(scale: str, share: float, size: str) -> None:
    published = float(size[:-1]) * UNITS[size[-1]]
    found = Keep(by="clip", top=share, compat="datacomp").ranks(int(RAW[scale]))
    # They printed two or three digits, and what ties with the threshold stays.
    assert found == [pytest.approx(published, rel=0.02)]

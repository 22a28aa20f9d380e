"""How right each stage was, measured against the truth that the demo knows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from curate.demo.outcomes import KEPT, Outcome

COPIES = frozenset({"exact_duplicate", "same_pixels"})
FIT = COPIES | {"clean"}
"""Kinds whose caption fits their picture."""

SEEKS: dict[str, frozenset[str]] = {  # in the order of the run
    "ingest": frozenset({"broken_image", "truncated_tar"}),
    "rules": frozenset({"junk_caption"}),
    "duplicates": COPIES,
    "keep": frozenset({"mismatched", "junk_caption"}),
}
"""What each stage is there to find; `keep` gets what junk the rules let through."""


@dataclass(frozen=True)
class Verdict:
    """How one stage did on the samples that reached it.

    Attributes
    ----------
    stage
        Its name in the run.
    sought
        How many there were for it to find.
    removed
        How many it took out.
    right
        How many of these were to be found.

    """

    stage: str
    sought: int
    removed: int
    right: int

    @property
    def precision(self) -> float:
        """Share of what was removed that was to be found; 1 when nothing was removed."""
        return self.right / self.removed if self.removed else 1.0

    @property
    def recall(self) -> float:
        """Share of what was to be found that was removed; 1 when there was nothing to find."""
        return self.right / self.sought if self.sought else 1.0


def judge(outcomes: Sequence[Outcome]) -> list[Verdict]:
    """Return a verdict for each stage, in the order of the run."""
    verdicts = []
    reached = list(outcomes)
    for stage, kinds in SEEKS.items():
        verdicts.append(_judge(stage, kinds, reached))
        reached = [each for each in reached if each.stage != stage]
    return verdicts


def _judge(stage: str, kinds: Collection[str], reached: Sequence[Outcome]) -> Verdict:
    sought = [each for each in reached if each.kind in kinds]
    removed = [each for each in reached if each.stage == stage]
    return Verdict(stage, len(sought), len(removed), sum(each.kind in kinds for each in removed))


def tally(outcomes: Sequence[Outcome]) -> dict[str, Counter[str]]:
    """Return, for each kind of sample, how many each stage took out and how many were kept."""
    table: dict[str, Counter[str]] = {}
    for each in outcomes:
        table.setdefault(each.kind, Counter())[each.stage] += 1
    return table


def fit_share(outcomes: Sequence[Outcome]) -> float:
    """Return the share of these samples that have a fitting caption and are no copies."""
    return sum(each.kind == "clean" for each in outcomes) / len(outcomes) if outcomes else 1.0


def separation(outcomes: Sequence[Outcome]) -> float:
    """Return the chance that a sample whose caption fits outscores one whose caption is another's (AUC)."""
    fitting = [each.score for each in outcomes if each.score is not None and each.kind in FIT]
    strange = [each.score for each in outcomes if each.score is not None and each.kind == "mismatched"]
    if not fitting or not strange:
        return float("nan")
    low, high = np.sort(np.array(fitting)), np.array(strange)
    above = len(low) - np.searchsorted(low, high, side="right")
    level = np.searchsorted(low, high, side="right") - np.searchsorted(low, high, side="left")
    return float((above + 0.5 * level).mean() / len(low))


def kept(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return the samples that came through."""
    return [each for each in outcomes if each.stage == KEPT]

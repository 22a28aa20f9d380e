"""Drops captions that shout, and scores how much is going on in a picture."""

import numpy as np

from filters import Rule
from scoring import Scorer


class Shouting(Rule):
    kind = "shouting"
    needs = ("caption",)
    reason = "upper_case"

    most: float = 0.7  # share of upper-case letters

    def keep(self, table):
        captions = table["caption"].to_pylist()
        return np.array([sum(map(str.isupper, text)) <= self.most * len(text) for text in captions], bool)


class Contrast(Scorer):
    kind = "contrast"
    needs = ("images",)

    def score(self, samples):
        return [image.std() for image in samples["images"]]

"""What density-based pruning is asked to do."""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, StrictInt, model_validator

from filters.density import Fill

_PRESETS: dict[str, dict[str, Any]] = {
    "paper": {"temperature": 0.1, "inter_neighbours": 20, "floor": 1},
    "published_script": {"temperature": 0.5, "inter_neighbours": 20, "floor": 0.5},
}


class Prune(BaseModel):
    """Keep a share of the pool, the less of a concept cluster the denser it is (arXiv 2401.04578)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal["density"] = Field("density", description="by the complexity of concept clusters")
    clusters: Literal["auto"] | int | None = Field(
        None, description="how many, in a clustering of its own; else the one before is used, or made: auto"
    )
    encoder: str | None = Field(None, description="whose image vectors, for a clustering of its own")
    keep: StrictInt | float = Field(
        gt=0, description="a share of the samples that get here (0.3), or a whole number of them (1000)"
    )
    preset: Literal["paper", "published_script"] = Field(
        "paper", description="the defaults of temperature, inter_neighbours and floor"
    )
    temperature: float | None = Field(None, gt=0, description="of the softmax; higher: more even; paper: 0.1")
    inter_neighbours: int | None = Field(
        None, ge=1, description="nearest other clusters that count for a cluster's distance; paper: 20"
    )
    floor: StrictInt | float | None = Field(
        None, ge=0, description="least number a cluster keeps, or that share of the mean quota; paper: 1"
    )
    fill: Fill = Field("additive", description="what full clusters leave goes to all, or in proportion")
    order: Literal["hard", "easy", "random"] = Field(
        "hard", description="of a cluster stay those farthest from its centroid, the nearest, or any"
    )

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, value: Any) -> Any:
        if not isinstance(value, dict) or value.get("preset", "paper") not in _PRESETS:
            return value
        given = {name: each for name, each in value.items() if each is not None}
        return {**_PRESETS[value.get("preset", "paper")], **given}

    @model_validator(mode="after")
    def _share(self) -> Self:
        if isinstance(self.keep, float) and self.keep > 1:
            raise ValueError("keep is a share of at most 1.0, or a whole number of samples")
        if self.encoder is not None and self.clusters is None:
            raise ValueError("encoder is for a clustering of its own: give clusters too, a number or auto")
        return self

    def n_kept(self, n_samples: int) -> int:
        """Return how many of `n_samples` are to be kept; a number that was asked for may be more."""
        return int(np.floor(self.keep * n_samples + 0.5)) if isinstance(self.keep, float) else self.keep

    def least(self, n_kept: int, n_clusters: int) -> int:
        """Return the floor in samples, given how many are kept of how many clusters that are not empty."""
        if isinstance(self.floor, float):
            return int(self.floor * n_kept / max(1, n_clusters))
        return int(self.floor or 0)

    def rank(self, similarity: NDArray[Any], random: NDArray[Any] | None) -> NDArray[np.float32]:
        """Return the number by which samples of a cluster are ranked, the highest first, shape (n,)."""
        if self.order == "random":
            assert random is not None
            return random
        return -similarity if self.order == "hard" else similarity

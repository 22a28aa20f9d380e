"""What holds in a run: whether what was fitted over the whole pool does, and when each shard came."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Fits:
    """Whether summaries hold, and the generations of shards.

    A fit is made of all shards there are: generation 0. What is new or has changed when a later run holds
    that fit is of the next generation, and so on until the next fit. Where samples compete, as copies do, an
    earlier generation comes first; so nothing that was decided changes for shards that came earlier.

    Attributes
    ----------
    held
        Whether the summaries of the last fit are used.
    generations
        By the shard's name; 0 where there is none.
    fitted_on
        The shards and samples of the fit, and a hash of them.
    message
        What a person should know; None where every run fits.
    """

    held: bool = False
    generations: Mapping[str, int] = field(default_factory=dict)
    fitted_on: Mapping[str, Any] = field(default_factory=dict)
    message: str | None = None

    def of(self, shard: str) -> int:
        """Return a shard's generation."""
        return self.generations.get(shard, 0)

    @property
    def later(self) -> dict[str, int]:
        """The shards that came after the fit."""
        return {shard: number for shard, number in self.generations.items() if number}

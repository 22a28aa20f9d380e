"""Which kept sample goes into which new shard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.pool.shards import Shard


@dataclass(frozen=True)
class Slice:
    """Kept samples `first` to `last` (exclusive) of a shard, counting those with a weight above `copy`."""

    shard: Shard
    copy: int
    first: int
    last: int


@dataclass(frozen=True)
class NewShard:
    """A shard to be written: its number, its name without a suffix, and what goes into it, in order."""

    number: int
    name: str
    slices: tuple[Slice, ...]

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return sum(part.last - part.first for part in self.slices)


def layout(
    shards: Sequence[Shard], weights: Mapping[str, Mapping[int, int]], samples_per_shard: int
) -> list[NewShard]:
    """Cut the kept samples into new shards of equal size, numbered without gaps.

    Samples come in the order of the pool: shard by shard, then row. Repeats come in rounds, all second copies
    behind all first ones, so that copies never share a batch in a small pool.

    Parameters
    ----------
    shards
        The pool, sorted by name; where fits are held, what came later behind what was there.
    weights
        For each shard's name, how many samples have which weight.
    samples_per_shard
        Samples in every new shard but the last.
    """
    rounds = max((weight for counts in weights.values() for weight in counts), default=0)
    new: list[list[Slice]] = [[]]
    room = samples_per_shard
    for copy in range(rounds):
        for shard in shards:
            left = sum(n for weight, n in weights[shard.name].items() if weight > copy)
            first = 0
            while left:
                if not room:
                    new.append([])
                    room = samples_per_shard
                take = min(left, room)
                new[-1].append(Slice(shard, copy, first, first + take))
                first, left, room = first + take, left - take, room - take
    width = max(5, len(str(len(new) - 1)))
    return [NewShard(n, f"{n:0{width}d}", tuple(slices)) for n, slices in enumerate(new)]

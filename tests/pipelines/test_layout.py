"""Every kept copy goes to exactly one place in new shards of one size."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from pipelines.output.layout import NewShard, layout
from pipelines.pool.shards import Shard

Weights = list[list[int]]  # of every sample, shard by shard

weights = st.lists(st.lists(st.integers(0, 4), max_size=12), max_size=6)
sizes = st.integers(1, 9)


def lay_out(pool: Weights, samples_per_shard: int) -> list[NewShard]:
    shards = [Shard(f"{n:05d}", f"{n:05d}.tar", 0, "") for n in range(len(pool))]
    counts = {s.name: {w: each.count(w) for w in set(each)} for s, each in zip(shards, pool, strict=True)}
    return layout(shards, counts, samples_per_shard)


def copies(pool: Weights, new: list[NewShard]) -> list[tuple[int, int, int]]:
    """Return (copy, shard, row) of all that the new shards hold, in order."""
    found = []
    for part in itertools.chain.from_iterable(shard.slices for shard in new):
        shard = int(part.shard.name)
        rows = [row for row, weight in enumerate(pool[shard]) if weight > part.copy]
        found += [(part.copy, shard, row) for row in rows[part.first : part.last]]
    return found


@given(weights, sizes)
def test_every_copy_is_there_once_in_rounds_and_in_the_order_of_the_pool(pool: Weights, size: int) -> None:
    wanted = [
        (copy, shard, row)
        for copy in range(4)
        for shard, each in enumerate(pool)
        for row, weight in enumerate(each)
        if weight > copy
    ]
    assert copies(pool, lay_out(pool, size)) == wanted


@given(weights, sizes)
def test_all_shards_but_the_last_are_full(pool: Weights, size: int) -> None:
    filled = [shard.n_samples for shard in lay_out(pool, size)]
    assert all(n == size for n in filled[:-1])
    assert sum(filled) == sum(map(sum, pool))
    assert filled[-1] > 0 or filled == [0]


@given(weights, sizes)
def test_numbers_have_no_gaps_and_names_sort_as_they_do(pool: Weights, size: int) -> None:
    new = lay_out(pool, size)
    assert [shard.number for shard in new] == list(range(len(new)))
    assert [int(shard.name) for shard in new] == list(range(len(new)))
    assert sorted(shard.name for shard in new) == [shard.name for shard in new]


def test_names_have_five_digits_and_more_where_they_must() -> None:
    few, many = lay_out([[1] * 3], 1), lay_out([[1] * 100_001], 1)
    assert few[0].name == "00000"
    assert (many[0].name, many[-1].name) == ("000000", "100000")


def test_an_example() -> None:
    new = lay_out([[1, 3, 0], [0, 2]], samples_per_shard=2)
    assert [shard.n_samples for shard in new] == [2, 2, 2]
    assert copies([[1, 3, 0], [0, 2]], new) == [
        (0, 0, 0),
        (0, 0, 1),
        (0, 1, 1),
        (1, 0, 1),
        (1, 1, 1),
        (2, 0, 1),
    ]

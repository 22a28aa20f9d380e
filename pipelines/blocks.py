"""What was found of samples elsewhere, brought back to their shards.

Where samples of the whole pool meet, in parts, each part finds something of samples of many shards. Blocks
are files of some shards each, in which a shard finds all of its own: it opens one, however many parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from pipelines.columns import digest
from pipelines.regroup import read_group, write_groups
from pipelines.storage import Folder

SAMPLES_PER_BLOCK = 1_000_000

RunTasks = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]


@dataclass(frozen=True)
class Blocks:
    """`n` blocks in a folder. A shard's block is told by its name, so all can be written side by side."""

    folder: Folder
    n: int

    @classmethod
    def of(cls, folder: Folder, n_samples: int, samples_per_block: int = SAMPLES_PER_BLOCK) -> Blocks:
        """Return as many blocks as so many samples ask for."""
        return cls(folder, max(1, -(-n_samples // samples_per_block)))

    def write(self, name: str, found: pa.Table) -> None:
        """Write what a part found, with the columns `shard` and `row`, to be gathered when all parts have."""
        shard = found["shard"].combine_chunks().dictionary_encode()
        of_shard = np.array([self._block_of(each) for each in shard.dictionary.to_pylist()], np.int64)
        block = of_shard[shard.indices.to_numpy()] if len(found) else np.zeros(0, np.int64)
        write_groups(self.folder, name, found, block, self.n)

    def gather(self, names: Sequence[str], run_tasks: RunTasks) -> list[str]:
        """Gather what all parts wrote, unless that is done, and remove it; return a hash of each block."""
        if not self.complete():
            for _ in run_tasks(partial(self._gather, names=names), range(self.n)):
                pass
        for name in names:
            self.folder.remove(name)
        return [text for _, text in sorted(run_tasks(self._digest, range(self.n)))]

    def complete(self) -> bool:
        """Tell whether all blocks are there."""
        return {_file(number) for number in range(self.n)} <= set(self.folder.files())

    def read(self, shard: str) -> pa.Table:
        """Return what was found of a shard's samples, by row; of one row in the order of the parts."""
        with self.folder.open(_file(self._block_of(shard))) as stream:
            return pq.read_table(stream, filters=[("shard", "==", shard)])

    def _gather(self, number: int, *, names: Sequence[str]) -> None:
        whole = pa.concat_tables(rows for _, rows in read_group(self.folder, names, [number]))
        order = pc.sort_indices(whole, [("shard", "ascending"), ("row", "ascending")])
        with self.folder.create(_file(number)) as stream:
            pq.write_table(whole.take(order), stream, row_group_size=20_000)

    def _digest(self, number: int) -> tuple[int, str]:
        with self.folder.open(_file(number)) as stream:
            return number, digest(pq.read_table(stream))

    def _block_of(self, shard: str) -> int:
        return xxhash.xxh3_64_intdigest(shard.encode()) % self.n


def _file(number: int) -> str:
    return f"{number:06d}.parquet"

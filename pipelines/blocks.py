"""What was found of samples elsewhere, brought back to their shards.

Where samples of the whole pool meet, in parts, each part finds something of samples of many shards. Blocks
are files of some shards each, in which a shard finds all of its own: it opens one, however many parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from pipelines.columns import digest
from pipelines.damage import is_damage
from pipelines.errors import StoppedError
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
        """Bring together what all parts wrote under these names, and remove it; return each block's hash."""
        for _ in run_tasks(partial(self._gather, names=names), range(self.n)):
            pass
        for name in names:
            self.folder.remove(name)
        found = self.hashes(run_tasks)
        assert found is not None
        return found

    def hashes(self, run_tasks: RunTasks) -> list[str] | None:
        """Return a hash of what is in each block; None unless all are there and whole."""
        found = [text for _, text in sorted(run_tasks(self._hash, range(self.n)), key=itemgetter(0))]
        return None if None in found else found

    def read(self, shard: str) -> pa.Table:
        """Return what was found of a shard's samples, by row; of one row in the order of the parts.

        Raises
        ------
        StoppedError
            When the block is not there or not whole.
        """
        name = _file(self._block_of(shard))
        try:
            return self._read(name, filters=[("shard", "==", shard)])
        except Exception as error:
            if not _is_lost(error):
                raise
            raise StoppedError(
                f"{self.folder.path(name)} is damaged ({error}); remove its folder, and the .json that is "
                "called as the stage beside it, and run again"
            ) from error

    def _read(self, name: str, **options: Any) -> pa.Table:
        with self.folder.open(name) as stream:
            return pq.read_table(stream, page_checksum_verification=True, **options)

    def _gather(self, number: int, *, names: Sequence[str]) -> None:
        whole = pa.concat_tables(rows for _, rows in read_group(self.folder, names, [number]))
        order = pc.sort_indices(whole, [("shard", "ascending"), ("row", "ascending")])
        with self.folder.create(_file(number)) as stream:
            pq.write_table(whole.take(order), stream, row_group_size=20_000, write_page_checksum=True)

    def _hash(self, number: int) -> tuple[int, str | None]:
        try:
            return number, digest(self._read(_file(number)))
        except Exception as error:
            if not _is_lost(error):
                raise
            return number, None

    def _block_of(self, shard: str) -> int:
        return xxhash.xxh3_64_intdigest(shard.encode()) % self.n


def _is_lost(error: Exception) -> bool:
    return isinstance(error, FileNotFoundError) or is_damage(error)


def _file(number: int) -> str:
    return f"{number:06d}.parquet"

"""s-CLIPLoss over a whole pool: each pair against strangers from everywhere in it, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.blocks import Blocks
from pipelines.permutation import Permutation
from pipelines.plan import Plan
from pipelines.regroup import read_group, write_groups
from pipelines.score_config import SClipLoss
from pipelines.stage import Pool, ShardColumns
from pipelines.stages.score import ScoreStage, add_score, matrix, score_table
from pipelines.storage import Folder

_BUNDLE_BYTES = 400 << 20  # of vectors that a worker holds at once


class _Cut(NamedTuple):
    """A partition: which of n samples, counted over the pool, is in which of its batches and bundles."""

    order: Permutation
    n_batches: int
    batches_per_bundle: int

    @property
    def n_bundles(self) -> int:
        """Batches are worked on in bundles that fit into memory."""
        return -(-self.n_batches // self.batches_per_bundle)

    def batch(self, first: int, n: int) -> NDArray[np.int64]:
        """Return the batch of n samples from `first` on: dealt like cards, so sizes differ by one at most."""
        return self.order(np.arange(first, first + n)) % self.n_batches


@dataclass(frozen=True)
class SClipLossStage(ScoreStage):
    """Each partition shuffles the pool's vectors into batches, scores those, and deals the scores back.

    The batches are a function of the seed and of a sample's place in the pool, shards sorted by name.
    """

    config: SClipLoss
    seed: int = 0

    @property
    def version(self) -> int:
        """2: scores lie in blocks."""
        return 2

    def settings(self) -> dict[str, Any]:
        """Return the parameters and the seed."""
        return {**super().settings(), "seed": self.seed}

    def cannot_hold(self) -> str:
        """Return why: a score hangs on the other pairs of its batch."""
        return "each pair is scored against others from everywhere in the pool"

    def summarize(self, pool: Pool) -> Any:
        """Score all partitions; return where the scores lie, with hashes of each."""
        found = dict(pool.map_shards(self._count))
        sizes = {shard.name: found[shard.name][0] for shard in pool.shards}
        n, width = sum(sizes.values()), max((width for _, width in found.values()), default=1)
        n_batches = max(1, -(-n // self.config.batch_size))
        per_bundle = max(1, _BUNDLE_BYTES // (12 * max(1, width) * -(-n // n_batches) or 1))
        parts: list[list[str]] = []
        for number in range(self.config.partitions):
            order = Permutation(n, self.seed * 1000 + number)
            cut = _Cut(order, n_batches, per_bundle)
            parts.append(self._score_partition(pool, pool.workspace / f"{number:03d}", cut, sizes))
        return {"parts": pool.place, "digests": parts}

    def _score_partition(self, pool: Pool, folder: Folder, cut: _Cut, sizes: dict[str, int]) -> list[str]:
        """Return a hash of each block of scores, made where they don't lie there yet."""
        blocks = Blocks.of(folder, sum(sizes.values()))
        if (there := blocks.hashes(pool.run_tasks)) is not None:
            return there
        missing = [n for n in range(cut.n_bundles) if not folder.exists(_bundle(n))]
        if missing:
            starts = dict(zip(sizes, np.cumsum([0, *sizes.values()]).tolist(), strict=False))
            shuffle = folder / "vectors"
            list(pool.map_shards(partial(self._deal_out, cut=cut, starts=starts, folder=shuffle)))
            names = [_file(shard.name) for shard in pool.shards]
            score = partial(self._score_bundle, cut=cut, names=names, shuffle=shuffle, blocks=blocks)
            list(pool.run_tasks(score, missing))
            for name in names:
                shuffle.remove(name)
        return blocks.gather([_bundle(n) for n in range(cut.n_bundles)], pool.run_tasks)

    def _vectors(self, columns: ShardColumns) -> pa.Table:
        """Return the vectors of a shard's samples that are numbers."""
        table = columns.survivors(self.gate, dict.fromkeys(["image", "text"], self.vectors))
        whole = np.isfinite(matrix(table["image"])).all(1) & np.isfinite(matrix(table["text"])).all(1)
        return table if whole.all() else table.filter(pa.array(whole))

    def _count(self, columns: ShardColumns) -> tuple[str, tuple[int, int]]:
        table = self._vectors(columns)
        return columns.shard.name, (len(table), matrix(table["image"]).shape[1])

    def _deal_out(self, columns: ShardColumns, *, cut: _Cut, starts: dict[str, int], folder: Folder) -> None:
        table = self._vectors(columns)
        batch = cut.batch(starts[columns.shard.name], len(table))
        table = table.append_column("batch", pa.array(batch))
        table = table.append_column("shard", pa.repeat(columns.shard.name, len(table)))
        bundle = batch // cut.batches_per_bundle
        write_groups(folder, _file(columns.shard.name), table, bundle, cut.n_bundles)

    def _score_bundle(
        self, bundle: int, *, cut: _Cut, names: Sequence[str], shuffle: Folder, blocks: Blocks
    ) -> None:
        import torch

        from scoring.blocks import as_matrix
        from scoring.contrast import batch_s_clip_loss

        table = pa.concat_tables(part for _, part in read_group(shuffle, names, [bundle]))
        image, text, batch = matrix(table["image"]), matrix(table["text"]), table["batch"].to_numpy()
        score = np.empty(len(table), np.float64)
        for number in np.unique(batch):
            rows = np.flatnonzero(batch == number)
            v, t = as_matrix(image[rows], "image"), as_matrix(text[rows], "text")
            with torch.inference_mode():
                score[rows] = batch_s_clip_loss(v, t, self.config.temperature)
        columns = {"shard": table["shard"], "row": table["row"], "score": pa.array(score)}
        blocks.write(_bundle(bundle), pa.table(columns))

    def compute(self, columns: ShardColumns, summary: Any) -> pa.Table:
        """Return the mean over the partitions, and the problem of samples whose vectors are no numbers."""
        outcome = columns.survivors(self.gate, {})
        rows = outcome["row"].to_numpy()
        total = np.zeros(len(rows), np.float64)
        seen = np.zeros(len(rows), np.int64)
        parts = columns.run / summary["parts"]
        for number, digests in enumerate(summary["digests"]):
            own = Blocks(parts / f"{number:03d}", len(digests)).read(columns.shard.name)
            places = np.searchsorted(rows, own["row"].to_numpy())
            total[places] += own["score"].to_numpy()
            seen[places] += 1
        with np.errstate(invalid="ignore"):
            score = (total / np.where(seen == len(summary["digests"]), seen, np.nan)).astype(np.float32)
        return score_table(outcome["row"], self.config.called, score, "vector_not_finite")


def _file(shard: str) -> str:
    return f"{shard}.arrow"


def _bundle(number: int) -> str:
    return f"found/{number:06d}.arrow"


def plan_s_clip_loss(plan: Plan, parameters: SClipLoss, where: str) -> None:
    """Add s-CLIPLoss, and the vectors that it is made from, to a plan."""
    add_score(plan, partial(SClipLossStage, seed=plan.config.seed), parameters, where)

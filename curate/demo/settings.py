"""The configurations that the demo writes, for people to read, change and run again by hand."""

from __future__ import annotations

from pathlib import Path

RUN = """\
# The demo's run. Change something and run it again: only what the change touches is done anew.
#
#   curate run {path}
#
# Relative paths start at this file's folder.
name: demo
pool:
  shards: "pool/{{00000..{last_shard}}}.tar"
run: run                    # columns, decisions and state
seed: {seed}
engine:
  workers: 2                # processes, best one per core
  threads_per_worker: 1
encoder:
  model: "local-dir:filter-network"   # trained by the demo on the pairs in clean/
  batch_size: 256
stages:                     # in order, each on the survivors of the one before
  - rules:
      caption_words: [2, 77]
      caption_chars: [5, 2000]
      min_side: 32          # pixels
      max_aspect: 3.0
      languages: [en]
  - duplicates:
      exact: true           # same bytes, or same pixels in another file
  - score: clip             # how well caption and picture agree, says the encoder
  - keep:
      by: clip
      top: 0.7              # the share of what has come so far
output:
  shards: curated
  samples_per_shard: 1000
  subset: curated/subset.npy
"""


NETWORK = """\
# The demo's filter network: a small CLIP, trained on good samples only, that scores all others.
#
#   curate dfn train {path}
#
# Relative paths start at this file's folder.
model: curate-tiny          # 48 x 48 pixels in, 128 numbers out
shards: "clean/*.tar"
output: filter-network
seed: {seed}
samples_seen: 12800         # each of the 2,400 pairs about five times
batch_size: 64
learning_rate: 0.0015
warmup_steps: 20
threads: 1                  # so small a model gains little from more, and none from cores that others use
"""


def write_run_config(path: Path, *, seed: int, last_shard: str) -> None:
    """Write the configuration of the demo's run, also over one that the user has changed."""
    path.write_text(RUN.format(path=path, seed=seed, last_shard=last_shard), encoding="utf-8")


def write_network_config(path: Path, *, seed: int) -> None:
    """Write the configuration of the training, also over one that the user has changed."""
    path.write_text(NETWORK.format(path=path, seed=seed), encoding="utf-8")

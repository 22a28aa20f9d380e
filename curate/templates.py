"""The configuration that `curate init` writes: every key with what it means."""

CONFIG = """\
# A curation run. Check it with `curate check {file}`, run it with `curate run {file}`.
# Relative paths start at this file. Run it again after any edit or crash: just what is missing is done.
name: {name}

pool:
  shards: {shards}     # brace range, glob, folder, list or URL ({n_shards} here, {size})
  verify: decode       # decode: prove that every image decodes; header: read its size only
  max_set_aside: 0.1   # stop when more than this share of the samples can't be read

run: {run}             # columns, decisions and state; keep it to rerun and to ask why
seed: 0

engine: {{workers: {workers}, threads_per_worker: 1}}
# or a Dask scheduler:        engine: {{scheduler: "tcp://host:8786"}}
# or any Dask cluster class:  engine: {{cluster: dask_jobqueue.SLURMCluster, options: {{cores: 8}}}}
#                             which runs with: --allow-class dask_jobqueue.SLURMCluster

{encoder}
stages:                # in order, each on the survivors of the one before
  - rules:             # a rule that is left out is off
      caption_words: [2, 77]
      caption_chars: [5, 2000]
      min_side: {min_side}       # pixels, shorter side of the stored image
      max_aspect: 3.0
      languages: [en]
  - duplicates: {{exact: true}}        # same bytes or same pixels; `exact: bytes` decodes nothing
{score}
output:
  shards: {output}
  samples_per_shard: 10000
  subset: {subset}    # the kept uids in DataComp's format
"""

ENCODER = """\
encoder: {{model: "{model}", pretrained: {pretrained}, batch_size: 256}}
"""

NO_ENCODER = """\
# A score needs an encoder: any open_clip model and tag, a weights file, hf-hub:..., or local-dir:... such as
# a filter network of your own from `curate dfn train`.
# encoder: {model: ViT-B-32, pretrained: datacomp_xl_s13b_b90k, batch_size: 256}
"""

SCORE = """\
  - score: clip
  - keep: {by: clip, top: 0.3}       # or {by: clip, at_least: 0.28}
"""

NO_SCORE = """\
# - score: clip
# - keep: {by: clip, top: 0.3}       # or {by: clip, at_least: 0.28}
"""

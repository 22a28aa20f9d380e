"""The model card of a trained filter network: its data, its recipe, its hashes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import open_clip
import torch
import yaml

from pipelines.train_config import TrainConfig
from scoring.model_loading import LoadedModel

_CARD = """\
# Filter network {model}

A small CLIP whose similarity between image and caption tells good samples from bad ones
([Data Filtering Networks](https://arxiv.org/abs/2309.17425)). It is made to filter a pool like the data it
was trained on; its similarities are not comparable with another network's.

With PATH the folder of this file: use it as `encoder: {{model: "local-dir:PATH"}}`, or load it with
`open_clip.create_model_from_pretrained("local-dir:PATH")`.

## Data

{n_samples:,} samples{skipped}, of:

| shard | sha256 |
|---|---|
{shards}

## Recipe

{steps:,} steps of {batch_size:,} samples, from {start}.

```yaml
{recipe}```

## Hashes and versions

| | |
|---|---|
| weights, sha256 | {{weights_sha256}} |
| fingerprint of recipe and data | {fingerprint} |
| torch | {torch} |
| open_clip | {open_clip} |
"""


def card(
    config: TrainConfig,
    loaded: LoadedModel,
    hashes: Mapping[str, str],
    n_samples: int,
    skipped: Mapping[str, int],
    steps: int,
    fingerprint: str,
) -> str:
    """Return the card as Markdown; `{weights_sha256}` is left to be filled in when they are written."""
    recipe: dict[str, Any] = config.model_dump(
        mode="json", exclude={"output", "shards", "subset"}, exclude_none=True
    )
    left_out = ", ".join(f"{n:,} {reason}" for reason, n in sorted(skipped.items()))
    start = f"weights with sha256 {loaded.weights_sha256}" if loaded.weights_sha256 else "random weights"
    return _CARD.format(
        model=config.model,
        n_samples=n_samples,
        skipped=f"; left out: {left_out}" if left_out else "",
        shards="\n".join(f"| {name} | {digest} |" for name, digest in hashes.items()),
        steps=steps,
        batch_size=config.batch_size,
        start=start,
        recipe=yaml.safe_dump(recipe, sort_keys=False),
        fingerprint=fingerprint,
        torch=torch.__version__,
        open_clip=open_clip.__version__,
    )

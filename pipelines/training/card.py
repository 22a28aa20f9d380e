"""The model card of a trained filter network: its data, its recipe, its hashes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import open_clip
import torch
import yaml

from pipelines.training.config import TrainConfig
from pipelines.training.data import TrainingSet
from scoring.encoder_spec import LOCAL_DIR
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

{steps:,} steps of {batch_size:,} samples, from {start}{processes}.

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


_MIXTURE = """\
# Filter network between two

The weights are (1 - a) first + a second with a = {weight:g}
([WiSE-FT](https://arxiv.org/abs/2109.01903)), where

| network | weights, sha256 |
|---|---|
| first | {first} |
| second | {second} |

Use it as `encoder: {{model: "local-dir:PATH"}}`, with PATH the folder of this file.

| | |
|---|---|
| weights, sha256 | {{weights_sha256}} |
| fingerprint of recipe and data | {fingerprint} |
"""


def card(
    config: TrainConfig,
    start: LoadedModel,
    data: TrainingSet,
    hashes: Mapping[str, str],
    *,
    steps: int,
    processes: int,
    fingerprint: str,
) -> str:
    """Return the card as Markdown; `{weights_sha256}` is left to be filled in when they are written.

    Parameters
    ----------
    config, start, data
        The recipe, the model that the training began with, and what it was trained on.
    hashes
        The sha256 of each source of data, by name.
    steps, processes
        How many steps it took, and how many processes together.
    fingerprint
        Of recipe and data.
    """
    recipe: dict[str, Any] = config.model_dump(
        mode="json", exclude={"output", "shards", "subset"}, exclude_none=True
    )
    if config.model.startswith(LOCAL_DIR):
        recipe["model"] = LOCAL_DIR + "…"  # where it lay says nothing; its hash stands above
    left_out = ", ".join(f"{n:,} {reason}" for reason, n in sorted(data.skipped.items()))
    weights = f"weights with sha256 {start.weights_sha256}" if start.weights_sha256 else "random weights"
    return _CARD.format(
        model=recipe["model"],
        n_samples=len(data),
        skipped=f"; left out: {left_out}" if left_out else "",
        shards="\n".join(f"| {name} | {digest} |" for name, digest in hashes.items()),
        steps=steps,
        batch_size=config.batch_size,
        start=weights,
        processes=f", by {processes} processes" if processes > 1 else "",
        recipe=yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True),
        fingerprint=fingerprint,
        torch=torch.__version__,
        open_clip=open_clip.__version__,
    )


def mixed_card(weight: float, digests: Sequence[str], cards: Sequence[str], fingerprint: str) -> str:
    """Return the card of two networks' mixture, with their own cards below."""
    text = _MIXTURE.format(weight=weight, first=digests[0], second=digests[1], fingerprint=fingerprint)
    for name, own in zip(("first", "second"), cards, strict=True):
        lines = own.splitlines() or ["It has no card."]
        nested = "\n".join(f"##{line}" if line.startswith("#") else line for line in lines)
        text += f"\n## The {name} network\n\n{nested}\n"
    return text

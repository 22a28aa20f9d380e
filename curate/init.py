"""Write a first configuration for the shards that a person points at."""

from __future__ import annotations

import os
from pathlib import Path

from curate.first_look import refuse_no_shards
from curate.show import counted, size
from curate.templates import CONFIG, ENCODER, NO_ENCODER, NO_SCORE, SCORE
from pipelines.errors import ConfigError
from pipelines.limits import available_cores
from pipelines.pool.shards import expand
from pipelines.storage import is_local, resolve


def write_config(shards: str, file: Path, model: str | None, pretrained: str | None) -> int:
    """Write a commented configuration for a pool; return how many shards it has.

    Raises
    ------
    ConfigError
        When the file is there already, or no shards are where it was pointed at.
    """
    if "::" not in shards and is_local(shards):
        refuse_no_shards(shards)
    found = expand(shards)
    if file.exists():
        raise ConfigError(f"{file} exists already; name another file with --output")
    base = file.absolute().parent
    spelled = "::".join(_from(base, part) for part in shards.split("::"))
    name = Path(found[0].url).parent.name or "pool"
    with_encoder = model is not None
    text = CONFIG.format(
        file=file.name,
        name=_quoted(name),
        shards=_quoted(spelled),
        n_shards=counted(len(found), "shard"),
        size=size(sum(shard.size for shard in found)),
        run=_quoted(f"runs/{name}"),
        workers=available_cores(),
        min_side=32,
        output=_quoted(f"curated/{name}"),
        subset=_quoted(f"curated/{name}/subset.npy"),
        encoder=ENCODER.format(model=model, pretrained=pretrained or "null") if with_encoder else NO_ENCODER,
        score=SCORE if with_encoder else NO_SCORE,
    )
    file.write_text(text, encoding="utf-8")
    return len(found)


def _from(base: Path, path: str) -> str:
    return os.path.relpath(resolve(path, "."), base) if is_local(path) else path


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'

"""Image and text vectors of the survivors, by one encoder."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.errors import ConfigError
from pipelines.pool.samples import byte_ranges
from pipelines.pool.shards import unchanged
from pipelines.stage import NamedStage, ShardColumns
from pipelines.storage import read_ranges
from scoring.encoder_spec import EncoderError, EncoderSpec, identity


@dataclass(frozen=True)
class Embed(NamedStage):
    """Reads the images of the survivors from the tars and writes their vectors as float16, length 1."""

    runs_model = True

    spec: EncoderSpec
    gate: str
    source: str
    max_pixels: int

    @property
    def reads(self) -> tuple[str, ...]:
        """The gate, and the stage with captions and byte ranges."""
        return tuple(dict.fromkeys([self.gate, self.source]))

    def settings(self) -> Mapping[str, Any]:
        """Return what decides the vectors: the model, its weights and its transform, not its batch size."""
        return {"encoder": encoder_identity(self.spec), "max_pixels": self.max_pixels}

    def compute(self, columns: ShardColumns, summary: Any) -> pa.Table:
        """Return `image` and `text` vectors of every sample, and the problem of images that don't decode.

        An encoder that reads no text leaves `text` out.
        """
        samples = columns.survivors(self.gate, dict.fromkeys(["members", "caption"], self.source))
        encoder = _encoder(self.spec, json.dumps(encoder_identity(self.spec)))
        read = partial(read_ranges, columns.shard.url)
        with unchanged(columns.shard):
            encoded = encoder.encode(_places(samples), max_pixels=self.max_pixels, read=read)
        table = pa.table(
            {
                "row": samples["row"],
                "image": _vectors(encoded.image),
                **({"text": _vectors(encoded.text)} if self.spec.reads_text else {}),
                "problem": pa.array(encoded.problems, pa.string()),
            }
        )
        # By content, not by path: the same weights elsewhere make the same file.
        made_by = {**encoder.provenance, **encoder_identity(self.spec)}
        del made_by["name"]
        return table.replace_schema_metadata({"encoder": json.dumps(made_by, sort_keys=True)})


def _places(samples: pa.Table) -> Iterator[tuple[tuple[int, int], str]]:
    """Yield ((offset, size) of the image, caption) of every sample."""
    for members, caption in zip(byte_ranges(samples["members"]), samples["caption"].to_pylist(), strict=True):
        _, offset, size = members[0]
        yield (offset, size), caption


def _vectors(matrix: np.ndarray[Any, np.dtype[np.float16]]) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), matrix.shape[1])


def encoder_identity(spec: EncoderSpec) -> dict[str, Any]:
    """Return what decides an encoder's vectors; `ConfigError` when its files are not there."""
    try:
        return identity(spec)
    except EncoderError as error:
        raise ConfigError(f"encoder.{error}") from None


_LOADING = threading.Lock()  # two shards at once on one GPU share its model


def _encoder(spec: EncoderSpec, identity: str) -> Any:
    with _LOADING:
        return _loaded(spec, identity)


@lru_cache(maxsize=1)
def _loaded(spec: EncoderSpec, identity: str) -> Any:
    """Load an encoder once per worker process; `identity` sees to it that new weights are loaded anew."""
    # torch is imported here and nowhere earlier.
    from scoring.encoder import Encoder

    try:
        return Encoder.load(spec)
    except EncoderError as error:
        raise ConfigError(f"encoder: {error}") from None

"""Image and text vectors of the survivors, by one encoder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.stage import ShardColumns, Stage
from pipelines.storage import RangeReader
from scoring.encoder_spec import EncoderSpec, identity


@dataclass(frozen=True)
class Embed(Stage):
    """Reads the images of the survivors from the tars and writes their vectors as float16, length 1."""

    spec: EncoderSpec
    gate: str
    source: str
    max_pixels: int

    @property
    def name(self) -> str:
        """Always the same."""
        return "embed"

    @property
    def reads(self) -> tuple[str, ...]:
        """The gate, and the stage with captions and byte ranges."""
        return tuple(dict.fromkeys([self.gate, self.source]))

    def settings(self) -> Mapping[str, Any]:
        """Return what decides the vectors: the model, its weights and its transform, not its batch size."""
        return {"encoder": identity(self.spec), "max_pixels": self.max_pixels}

    def compute(self, columns: ShardColumns, summary: Any) -> pa.Table:
        """Return `image` and `text` vectors of every sample, and the problem of images that don't decode."""
        samples = columns.survivors(self.gate, dict.fromkeys(["members", "caption"], self.source))
        encoder = _encoder(self.spec)
        with RangeReader(columns.shard.url) as tar:
            encoded = encoder.encode(_pairs(samples, tar), max_pixels=self.max_pixels)
        return pa.table(
            {
                "row": samples["row"],
                "image": _vectors(encoded.image),
                "text": _vectors(encoded.text),
                "problem": pa.array(encoded.problems, pa.string()),
            }
        )


def _pairs(samples: pa.Table, tar: RangeReader) -> Iterator[tuple[bytes, str]]:
    for members, caption in zip(samples["members"], samples["caption"], strict=True):
        image = members[0]
        yield tar.read(image["offset"].as_py(), image["size"].as_py()), caption.as_py()


def _vectors(matrix: np.ndarray[Any, np.dtype[np.float16]]) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), matrix.shape[1])


@cache
def _encoder(spec: EncoderSpec) -> Any:
    # Once per worker process; torch is imported here and nowhere earlier.
    from scoring.encoder import Encoder

    return Encoder.load(spec)

"""Which encoder, and what decides its vectors. Nothing here loads torch."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

LOCAL_DIR = "local-dir:"
_READ_BYTES = 1 << 20


class EncoderSpec(BaseModel):
    """An image–text encoder, by the names that open_clip knows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(
        description="open_clip architecture, hf-hub:org/repo, local-dir:folder, or curate-tiny"
    )
    pretrained: str | None = Field(None, description="open_clip's tag for the weights, or a weights file")
    batch_size: int = Field(256, gt=0, description="pairs per step of the model; never changes the result")
    precision: Literal["float32", "bfloat16"] = Field("float32", description="of the model's arithmetic")
    resize: Literal["fast", "exact"] = Field(
        "fast", description="fast: decode JPEGs at reduced size; exact: the model's own transform to the bit"
    )
    device: str = Field("auto", description="auto, cpu, cuda or cuda:1")


def identity(spec: EncoderSpec) -> dict[str, Any]:
    """Return what decides an encoder's vectors, as JSON values.

    Files are named by their hash, so weights trained again at the same path are another encoder, and the same
    weights at another path are not.
    """
    content = spec.model_dump(exclude={"batch_size", "device"})
    if spec.model.startswith(LOCAL_DIR):
        folder = Path(spec.model.removeprefix(LOCAL_DIR))
        files = sorted(
            path for path in folder.glob("*") if path.suffix in {".json", ".safetensors", ".bin", ".pt"}
        )
        content["model"] = LOCAL_DIR + _combined([(path.name, file_sha256(path)) for path in files])
    if spec.pretrained and Path(spec.pretrained).is_file():
        content["pretrained"] = file_sha256(Path(spec.pretrained))
    return content


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _combined(names: list[tuple[str, str]]) -> str:
    return hashlib.sha256(repr(names).encode()).hexdigest()

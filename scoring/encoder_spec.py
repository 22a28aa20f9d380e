"""Which encoder: what a configuration says about it, and what in that decides the vectors. Without torch."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

LOCAL_DIR = "local-dir:"
HUB = "hf-hub:"
TIMM = "timm:"
SHIPPED = Path(__file__).parent / "models"

WEIGHTS = {".safetensors", ".pt", ".pth", ".bin"}
_FAST = 2  # raise it when a change of the fast transform changes pixels
# These change the time it takes, or what is refused, not the vectors.
_RUNS_ALIKE = {"batch_size", "decoders", "device", "activation"}


class EncoderError(ValueError):
    """An encoder that can't be right; the message names the file or key and the remedy."""


class EncoderSpec(BaseModel):
    """An image-text encoder and how to run it."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    model: str = Field(
        min_length=1,
        description="an open_clip architecture, hf-hub:org/repo, local-dir:/path, one shipped here, or "
        "timm:NAME, which sees images only; timm:NAME@224 lets it see them at that size",
    )
    pretrained: str | None = Field(
        None, description="a tag of open_clip or timm, or a weights file (.safetensors, .pt, .bin)"
    )
    activation: Literal["gelu", "quickgelu"] | None = Field(
        None, description="with which a weights file was trained, where nothing in or beside it says so"
    )
    batch_size: int = Field(256, gt=0, description="samples that go through the model at once")
    precision: Literal["float32", "bfloat16"] = Field("float32", description="of the model's arithmetic")
    resize: Literal["fast", "exact"] = Field(
        "fast", description="fast: decode large JPEGs at a reduced size; exact: open_clip's own transform"
    )
    decoders: int | None = Field(
        None, gt=0, description="processes that decode for a GPU; default: all cores, shared by the GPUs"
    )
    device: str = Field("auto", description="auto (cuda where there is one), cpu, cuda, cuda:1 …")

    @property
    def reads_text(self) -> bool:
        """Whether it makes vectors of captions too."""
        return not self.model.startswith(TIMM)


def identity(spec: EncoderSpec, *, base: Path | None = None) -> dict[str, Any]:
    """Return what decides the vectors, as JSON values: equal identities give equal vectors.

    The specification without batch size and device; paths are replaced by the sha256 of their files, so
    that retrained weights under an old name are noticed, and moved ones are not.

    Parameters
    ----------
    spec
        The encoder.
    base
        Where relative paths start; without it, in the working folder.

    Raises
    ------
    EncoderError
        When a file or folder that the specification names is not there.
    """
    content: dict[str, Any] = spec.model_dump(mode="json", exclude=_RUNS_ALIKE)
    if spec.resize == "fast":
        content["fast"] = _FAST
    if (folder := local_folder(spec, base)) is not None:
        content |= {"model": LOCAL_DIR, "files": {path.name: file_sha256(path) for path in _files(folder)}}
    elif (config := shipped_config(spec.model)) is not None:
        content["config"] = file_sha256(config)
    if (weights := weights_file(spec, base)) is not None:
        content |= {"pretrained": "", "weights": file_sha256(weights)}
    return content


def local_folder(spec: EncoderSpec, base: Path | None = None) -> Path | None:
    """Return the folder of a `local-dir:` encoder; None for others.

    Raises
    ------
    EncoderError
        When it holds no model.
    """
    if not spec.model.startswith(LOCAL_DIR):
        return None
    folder = _absolute(spec.model.removeprefix(LOCAL_DIR), base)
    if not (folder / "open_clip_config.json").is_file():
        raise EncoderError(
            f"model: the folder {folder} holds no open_clip_config.json; name a folder that "
            "`curate dfn train` or open_clip wrote"
        )
    if not any(path.suffix in WEIGHTS for path in _files(folder)):
        raise EncoderError(
            f"model: the folder {folder} holds no weights (open_clip_model.safetensors); was its training "
            "stopped before the end?"
        )
    return folder


def weights_file(spec: EncoderSpec, base: Path | None = None) -> Path | None:
    """Return the weights file that `pretrained` names; None where it is a tag or absent.

    Raises
    ------
    EncoderError
        When it looks like a file and there is none.
    """
    if spec.pretrained is None:
        return None
    path = _absolute(spec.pretrained, base)
    if path.is_file():
        return path
    if path.suffix in WEIGHTS or "/" in spec.pretrained:
        raise EncoderError(f"pretrained: the weights file {path} does not exist; correct the path")
    return None


def shipped_config(model: str) -> Path | None:
    """Return the configuration file of a model that is shipped here; None for other names."""
    path = SHIPPED / f"{model}.json"
    return path if "/" not in model and path.is_file() else None


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file in hex; read again only when its size or modification time changed."""
    facts = path.stat()
    return _sha256(path, facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256(path: Path, size: int, modified: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _files(folder: Path) -> list[Path]:
    """Return what open_clip may read of a model folder: settings, tokenizer and weights."""
    kinds = WEIGHTS | {".json", ".txt", ".model"}
    return sorted(path for path in folder.iterdir() if path.suffix in kinds and path.is_file())


def _absolute(path: str, base: Path | None) -> Path:
    return Path(base or "", Path(path).expanduser()).absolute()

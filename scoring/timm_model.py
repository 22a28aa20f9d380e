"""timm models, such as DINOv2, as encoders of images alone."""

from __future__ import annotations

import difflib
import hashlib
from pathlib import Path
from typing import Any

import torch

from scoring.encoder_spec import TIMM, WEIGHTS, EncoderError, EncoderSpec, file_sha256, weights_file


class ImageOnly(torch.nn.Module):
    """A timm model behind the interface of an open_clip model; its text vectors are all zero.

    Parameters
    ----------
    tower
        Images, float32 of shape (n, 3, height, width), to vectors (n, dim).
    preprocess_cfg
        How it wants its images, in open_clip's words.
    dim
        Width of its vectors.
    """

    def __init__(self, tower: Any, preprocess_cfg: dict[str, Any], dim: int) -> None:
        super().__init__()
        tower.preprocess_cfg = preprocess_cfg
        self.visual = tower
        self._dim = dim

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        """Return one vector for each image, (n, dim)."""
        vectors: torch.Tensor = self.visual(images)
        return vectors

    def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return zeros, (n, dim)."""
        return torch.zeros(len(tokens), self._dim, device=tokens.device)


def no_tokens(captions: list[str]) -> torch.Tensor:
    """Return what stands for the tokens of captions where nobody reads them, int64 of shape (n, 1)."""
    return torch.zeros(len(captions), 1, dtype=torch.int64)


def load_timm(spec: EncoderSpec, base: Path | None) -> tuple[ImageOnly, int, str]:
    """Return the model that a specification `timm:NAME` or `timm:NAME@PIXELS` names, its width, and a hash
    of its weights.

    Raises
    ------
    EncoderError
        When it is not there, or could only run with wrong weights.
    """
    name, pixels = _parsed(spec.model)
    path = _weights(name, spec, base)
    try:
        tower = _created(name, spec.pretrained, path, pixels)
        preprocess = _preprocess(tower, pixels)
        with torch.inference_mode():
            shape = tower.eval()(torch.zeros(1, 3, *preprocess["size"])).shape
    except Exception as error:  # timm and torch raise many kinds; all mean that it can't be loaded
        short = (str(error).strip() or type(error).__name__).splitlines()
        detail = " ".join(line.strip() for line in short[:2])[:200]
        raise EncoderError(
            f"{spec.model} can't be loaded with the weights {spec.pretrained}: {detail}"
        ) from error
    if len(shape) != 2:
        raise EncoderError(
            f"model: {spec.model} makes {tuple(shape[1:])} numbers of an image, not one vector"
        )
    return ImageOnly(tower, preprocess, shape[1]), shape[1], file_sha256(path) if path else _hash(tower)


def _parsed(model: str) -> tuple[str, int | None]:
    import timm

    name, at, pixels = model.removeprefix(TIMM).partition("@")
    if at and not (pixels.isdigit() and int(pixels)):
        raise EncoderError(
            f"model: {model}: what follows @ is the side of its images in pixels, such as @224"
        )
    if name not in timm.list_models():
        near = difflib.get_close_matches(name.partition(".")[0], timm.list_models(), n=3, cutoff=0.4)
        hint = f"did you mean {', '.join(near)}?" if near else "see timm.list_models()"
        raise EncoderError(f"model: timm has no {name!r}; {hint}")
    return name, int(pixels) if at else None


def _weights(name: str, spec: EncoderSpec, base: Path | None) -> Path | None:
    """Return the weights file, None for a tag that timm knows."""
    import timm

    tags = [each.partition(".")[2] for each in timm.list_pretrained(f"{name}.*")]
    choice = f"one of {', '.join(tags)}, or a weights file" if tags else "a weights file"
    if spec.pretrained is None:
        raise EncoderError(
            f"pretrained: is missing, so {spec.model} would have random weights; name {choice}"
        )
    path = weights_file(spec, base)
    if path is None and spec.pretrained not in tags:
        raise EncoderError(f"pretrained: {spec.pretrained!r} is no file and no tag of {name}; name {choice}")
    if path is not None and path.suffix not in WEIGHTS:
        raise EncoderError(f"pretrained: {path} should be one of {', '.join(sorted(WEIGHTS))}")
    return path


def _created(name: str, tag: str | None, path: Path | None, pixels: int | None) -> Any:
    import timm

    settings: dict[str, Any] = {"num_classes": 0} | ({"img_size": pixels} if pixels else {})
    if path is None:
        return timm.create_model(f"{name}.{tag}", pretrained=True, **settings)
    state = timm.models.load_state_dict(str(path), weights_only=True)
    known = timm.get_pretrained_cfg(name)
    heads = known.classifier if known else None
    for head in [heads] if isinstance(heads, str) else heads or ():
        state.pop(f"{head}.weight", None)
        state.pop(f"{head}.bias", None)
    # Without a head on either side timm loads to the letter: nothing stays random, nothing is left over.
    exactly = {"state_dict": state, "num_classes": 0, "classifier": None}
    return timm.create_model(name, pretrained=True, pretrained_cfg_overlay=exactly, **settings)


def _preprocess(tower: Any, pixels: int | None) -> dict[str, Any]:
    from timm.data.config import resolve_data_config

    wanted = resolve_data_config({}, model=tower)  # type: ignore[no-untyped-call]
    return {
        "size": (pixels, pixels) if pixels else tuple(wanted["input_size"][1:]),
        "mean": wanted["mean"],
        "std": wanted["std"],
        "interpolation": "bilinear" if wanted["interpolation"] == "bilinear" else "bicubic",
        "resize_mode": "shortest",
    }


def _hash(tower: torch.nn.Module) -> str:
    found = hashlib.sha256()
    for name, value in tower.state_dict().items():
        found.update(name.encode())
        found.update(value.contiguous().numpy().tobytes())
    return found.hexdigest()

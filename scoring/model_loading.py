"""Load an open_clip model, or say why the result would be wrong. Never a pickle, never random weights."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip import pretrained as tags
from safetensors import safe_open

from scoring.activation import Evidence, check_activation, evidence_of
from scoring.encoder_spec import (
    HUB,
    LOCAL_DIR,
    SHIPPED,
    WEIGHTS,
    EncoderError,
    EncoderSpec,
    file_sha256,
    local_folder,
    weights_file,
)
from scoring.fetching import fetching, quiet
from scoring.tokenizing import Tokenizer


@dataclass(frozen=True)
class LoadedModel:
    """A model, its tokenizer, its vectors' width and its weights' sha256 (None: it has random weights)."""

    model: Any
    tokenizer: Tokenizer
    dim: int
    weights_sha256: str | None


def register_shipped_models() -> None:
    """Make the models of `scoring/models` known to open_clip under their names."""
    if not {path.stem for path in SHIPPED.glob("*.json")} <= set(open_clip.list_models()):
        open_clip.add_model_config(SHIPPED)


def load_model(spec: EncoderSpec, device: torch.device, *, base: Path | None = None) -> LoadedModel:
    """Load the model that a specification names.

    Raises
    ------
    EncoderError
        When it is not there, or could only run with wrong weights.
    """
    if not spec.reads_text:
        return _image_only(spec, device, base)
    register_shipped_models()
    name, pretrained, weights = _locate(spec, base)
    precision = "bf16" if spec.precision == "bfloat16" else "fp32"
    try:
        with quiet():
            model = open_clip.create_model(
                name, pretrained, precision=precision, device=device, require_pretrained=True
            )
            config = open_clip.get_model_config(name)
            tokenizer = _tokenizer(name, config)
    except Exception as error:  # torch and open_clip raise many kinds; all mean that it can't be loaded
        raise EncoderError(_explain(spec.model, weights, error)) from error
    _refuse_resized(model, weights, spec.model)
    _refuse_broken(model, weights)
    dim = int(config["embed_dim"])
    return LoadedModel(model.eval().requires_grad_(False), tokenizer, dim, file_sha256(weights))


def _tokenizer(name: str, config: dict[str, Any]) -> Tokenizer:
    # A model's folder may ask for code that lies in it to be run; whatever it says, the answer is no.
    named = config.get("text_cfg", {}).get("hf_tokenizer_name")
    return Tokenizer(open_clip.get_tokenizer(name, **({"trust_remote_code": False} if named else {})))


def _image_only(spec: EncoderSpec, device: torch.device, base: Path | None) -> LoadedModel:
    from scoring.timm_model import load_timm, no_tokens

    with quiet():
        model, dim, sha256 = load_timm(spec, base)
    _refuse_broken(model, spec.pretrained)
    placed = model.to(device, torch.bfloat16 if spec.precision == "bfloat16" else torch.float32)
    return LoadedModel(placed.eval().requires_grad_(False), Tokenizer(no_tokens), dim, sha256)


def _refuse_broken(model: Any, weights: object) -> None:
    if not all(bool(torch.isfinite(value).all()) for value in model.parameters()):
        raise EncoderError(f"the weights in {weights} are not finite; its training failed, take another file")


def new_model(name: str, seed: int, device: torch.device) -> LoadedModel:
    """Return a model with random weights, drawn from the seed, to be trained.

    Raises
    ------
    EncoderError
        When there is no architecture of this name.
    """
    register_shipped_models()
    config = _architecture(name)
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = open_clip.create_model(name, pretrained_text=False).to(device)
        tokenizer = _tokenizer(name, config)
    return LoadedModel(model, tokenizer, int(config["embed_dim"]), None)


def _locate(spec: EncoderSpec, base: Path | None) -> tuple[str, str | None, Path]:
    """Return open_clip's name, its `pretrained` argument, and the weights file behind them."""
    if spec.model.startswith((LOCAL_DIR, HUB)) and spec.pretrained is not None:
        raise EncoderError(f"pretrained: {spec.model} brings its own weights; remove the key `pretrained`")
    if (folder := local_folder(spec, base)) is not None:
        chosen = open_clip.factory._find_checkpoint_in_dir(folder)
        if chosen is None:
            raise EncoderError(f"model: the folder {folder} holds no weights that open_clip knows")
        return f"{LOCAL_DIR}{folder}", None, Path(chosen)
    if spec.model.startswith(HUB):
        return spec.model, None, _download(spec.model, {"hf_hub": spec.model.removeprefix(HUB) + "/"})
    return _named(spec, base)


def _named(spec: EncoderSpec, base: Path | None) -> tuple[str, str, Path]:
    config = _architecture(spec.model)
    known = tags.list_pretrained_tags_by_model(spec.model)
    if spec.pretrained is None:
        choice = f"one of {', '.join(known)}, or a weights file" if known else "a weights file"
        raise EncoderError(
            f"pretrained: is missing, so {spec.model} would score with random weights; name {choice}"
        )
    if (path := weights_file(spec, base)) is not None:
        check_activation(spec.model, str(path), evidence_of(path), spec.activation, config)
        return spec.model, str(path), path
    tag = tags.get_pretrained_cfg(spec.model, spec.pretrained)
    if not tag:
        raise EncoderError(
            f"pretrained: {spec.pretrained!r} is neither a file nor a tag of {spec.model}; its tags are: "
            f"{', '.join(known) or 'none'}"
        )
    quick = bool(tag.get("quick_gelu", config.get("quick_gelu")))  # a tag without the mark fits
    evidence = Evidence(quick, "its tag")
    check_activation(spec.model, spec.pretrained, evidence, spec.activation, config)
    return spec.model, spec.pretrained, _download(spec.model, tag)


def _architecture(name: str) -> dict[str, Any]:
    if name not in open_clip.list_models():
        near = difflib.get_close_matches(name, open_clip.list_models(), n=3, cutoff=0.4)
        hint = f"did you mean {', '.join(near)}?" if near else "see open_clip.list_models()"
        raise EncoderError(f"model: there is no architecture {name!r}; {hint}")
    config: dict[str, Any] = open_clip.get_model_config(name)
    return config


def _download(model: str, tag: dict[str, Any]) -> Path:
    try:
        with fetching():
            return Path(tags.download_pretrained(tag))
    except Exception as error:
        raise EncoderError(
            f"the weights of {model} can't be fetched ({_short(error)}); check the name and the network, or "
            "name a local weights file"
        ) from error


def _refuse_resized(model: Any, weights: Path, name: str) -> None:
    """Raise where open_clip has stretched positional embeddings in silence to make weights fit."""
    shapes = _position_shapes(weights)
    for key, value in model.state_dict().items():
        if key in shapes and shapes[key] != tuple(value.shape):
            raise EncoderError(
                f"the weights in {weights} have {shapes[key][0]} positions in {key}, {name} has "
                f"{value.shape[0]}: they belong to another image size or context length; name the "
                "architecture they were trained as"
            )


def _position_shapes(weights: Path) -> dict[str, tuple[int, ...]]:
    if weights.suffix == ".safetensors":
        with safe_open(weights, framework="np") as file:
            found = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    else:
        content = torch.load(weights, map_location="meta", weights_only=True)
        state = content.get("state_dict", content)
        found = {key.removeprefix("module."): tuple(value.shape) for key, value in state.items()}
    return {key: shape for key, shape in found.items() if key.endswith("positional_embedding")}


def _explain(name: str, weights: Path, error: Exception) -> str:
    if "loading state_dict" in str(error) or isinstance(error, KeyError):
        lines = [line.strip() for line in str(error).splitlines()[1:] if line.strip()]
        remedy = "name the architecture they were trained as"
        return (
            f"the weights in {weights} do not fit {name} ({_short(lines[0] if lines else error)}); {remedy}"
        )
    if weights.suffix not in WEIGHTS or "weights_only" in str(error).lower() or "Unpickl" in str(error):
        return (
            f"{weights} does not hold plain weights ({_short(error)}); convert it to .safetensors, "
            "for other forms can run code when they are read"
        )
    return f"{name} can't be loaded with the weights in {weights}: {_short(error)}"


def _short(error: object) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]

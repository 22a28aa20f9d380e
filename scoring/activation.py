"""With which GELU weights were trained, as far as anything but the weights tells: they fit both kinds alike.

A model that computes the other one runs, without a word, and its scores are worth less. OpenAI's CLIPs and
many others were trained with QuickGELU, x sigmoid(1.702 x); open_clip's plain architectures compute GELU.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import open_clip
import torch
from open_clip import pretrained as tags

from scoring.encoder_spec import EncoderError, file_sha256

_QUICK = "-quickgelu"
_HASH = re.compile(r"(?<![0-9a-f])([0-9a-f]{64}|[0-9a-f]{8})(?![0-9a-f])")


class Evidence(NamedTuple):
    """Whether weights were trained with QuickGELU, and what says so."""

    quick: bool
    source: str


def check_activation(
    model: str, weights: str, evidence: Evidence | None, said: str | None, config: dict[str, Any]
) -> None:
    """Raise `EncoderError` where weights would run with the other activation, or nobody knows.

    Parameters
    ----------
    model, config
        The architecture's name and its configuration.
    weights
        What the user calls the weights.
    evidence
        What is known about them.
    said
        `gelu` or `quickgelu`, where the user says it.
    """
    computes = bool(config.get("quick_gelu", False))
    if evidence is None and said is not None:
        evidence = Evidence(said == "quickgelu", f"activation: {said}")
    if evidence is None and not computes and f"{model}{_QUICK}" in open_clip.list_models():
        raise EncoderError(
            f"pretrained: nothing says with which activation {weights} was trained, and weights alone "
            f"can't tell. {model} computes GELU: if that is right, say activation: gelu; if they come from "
            f"OpenAI's CLIP, MetaCLIP or DFN, it is model: {model}{_QUICK}"
        )
    if evidence is None or evidence.quick == computes:
        return
    right = f"{model}{_QUICK}" if evidence.quick else model.removesuffix(_QUICK)
    trained, named = ("QuickGELU", "GELU") if evidence.quick else ("GELU", "QuickGELU")
    raise EncoderError(
        f"pretrained: {weights} was trained with {trained} ({evidence.source}), but {model} computes "
        f"{named}; use model: {right}"
    )


def evidence_of(path: Path) -> Evidence | None:
    """Return what a weights file says about its activation; None where nothing does.

    In this order: the file is a published one, under whatever name; a configuration lies beside it; the
    trainer wrote into it which architecture it trained; its own name.
    """
    return (
        _published_content(path)
        or _configuration_beside(path)
        or _written_by_the_trainer(path)
        or _file_name(path)
    )


def _published_content(path: Path) -> Evidence | None:
    """Recognise what OpenAI and open_clip publish by its bytes, whose hash stands in its address."""
    digest = file_sha256(path)
    for known, quick in _published()[0].items():
        if digest.startswith(known):
            return Evidence(quick, "its content is that of published weights")
    return None


def _configuration_beside(path: Path) -> Evidence | None:
    beside = path.with_name("open_clip_config.json")
    if not beside.is_file():
        return None
    content = json.loads(beside.read_text(encoding="utf-8"))
    return Evidence(
        bool(content.get("model_cfg", content).get("quick_gelu", False)), f"{beside.name} beside it"
    )


def _written_by_the_trainer(path: Path) -> Evidence | None:
    """Read the name of the run in a checkpoint of open_clip's trainer: it says which model it trains."""
    if path.suffix == ".safetensors":
        return None
    try:
        content = torch.load(path, map_location="meta", weights_only=True)
    except Exception:  # whoever loads it says what is wrong with it
        return None
    name = content.get("name") if isinstance(content, dict) else None
    found = re.search(r"model_(.+?)-lr_", name) if isinstance(name, str) else None
    return Evidence(_QUICK in found[1].lower(), f"the run {name!r} that wrote it") if found else None


def _file_name(path: Path) -> Evidence | None:
    published = _published()[1]
    if path.name in published:
        return Evidence(published[path.name], "its name is that of published weights")
    return Evidence(True, "its name") if "quickgelu" in path.name.lower() else None


@lru_cache(maxsize=1)
def _published() -> tuple[dict[str, bool], dict[str, bool]]:
    """Return whether published weights need QuickGELU, by hash (or its first digits) and by file name."""
    hashes: dict[str, bool] = {}
    names: dict[str, bool] = {}
    for model, tag in tags.list_pretrained():
        facts = tags.get_pretrained_cfg(model, tag)
        if url := facts.get("url"):
            quick = bool(facts.get("quick_gelu"))
            names[Path(url).name] = quick
            hashes |= dict.fromkeys(_HASH.findall(url), quick)
    return hashes, names

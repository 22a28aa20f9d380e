"""Mix the weights of two networks, one of which was fine-tuned from the other."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from pipelines.errors import ConfigError
from pipelines.training.card import mixed_card
from pipelines.training.output import CONFIG, WEIGHTS, OutputFolder
from scoring.encoder_spec import file_sha256
from scoring.interpolation import interpolated

_NAMES = ("first", "finetuned")


def interpolate(
    first: Path, second: Path, weight: float, output: Path, *, fingerprint: str | None = None
) -> str:
    """Write the network whose weights are (1 - weight) first + weight second, and return their sha256.

    Configuration and tokenizer are the second's; the card holds both cards, the log both logs.

    Parameters
    ----------
    first, second
        Folders of finished networks of one architecture.
    weight
        From 0 to 1, where the ends give one network as it is.
    output
        The folder of the new network; a network of curate's in it is replaced.
    fingerprint
        What the new network is known by; by default, by weights and weight.

    Raises
    ------
    ConfigError
        When they can't be mixed, and why.
    """
    if output.absolute() in (first.absolute(), second.absolute()):
        raise ConfigError(f"output: {output} is one of the two networks; name another folder")
    before, after = (_weights(folder) for folder in (first, second))
    _refuse_unlike(first, second)
    try:
        state = interpolated(before, after, weight)
    except ValueError as error:
        raise ConfigError(f"{first} and {second} can't be mixed: {error}") from None
    digests = [file_sha256(folder / WEIGHTS) for folder in (first, second)]
    if fingerprint is None:
        content = json.dumps({"mixture": digests, "weight": weight})
        fingerprint = hashlib.sha256(content.encode()).hexdigest()
    folder, sources = OutputFolder(output), [OutputFolder(first), OutputFolder(second)]
    folder.finished_as()  # refuses to replace the weights of others
    folder.clear()
    folder.copy_from(sources[1])
    lines = [
        {**line, "phase": line.get("phase", name)}
        for name, source in zip(_NAMES, sources, strict=True)
        for line in source.log()
    ]
    folder.write_log(lines)
    cards = [source.card() for source in sources]
    return folder.finish_with(state, fingerprint, mixed_card(weight, digests, cards, fingerprint))


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    path = folder / WEIGHTS
    if not path.is_file():
        raise ConfigError(f"{folder} holds no {WEIGHTS}; name the folder of a finished network")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"{path} can't be read: {error}") from None


def _refuse_unlike(first: Path, second: Path) -> None:
    """Raise where two networks see or compute differently: a mixture would be neither."""
    one, two = (_settings(folder) for folder in (first, second))
    for part in ("model_cfg", "preprocess_cfg"):
        if one.get(part) != two.get(part):
            raise ConfigError(
                f"{first} and {second} can't be mixed: their {CONFIG} differ in {part}; only a network and "
                "what was fine-tuned from it can"
            )


def _settings(folder: Path) -> dict[str, object]:
    path = folder / CONFIG
    try:
        content: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} can't be read: {error}") from None
    return content

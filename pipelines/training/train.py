"""Train a filter network: a small CLIP on good samples, the same weights however often it is interrupted.

Fang et al. 2023, arXiv 2309.17425: a network trained on little, very good data filters better than a good
classifier trained on much.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils import deterministic

from pipelines.errors import ConfigError
from pipelines.lock import own
from pipelines.output.subset import read_subset
from pipelines.pool.shards import expand
from pipelines.storage import Folder, is_local
from pipelines.training.config import TrainConfig
from pipelines.training.data import content_sha256
from pipelines.training.interpolate import interpolate
from pipelines.training.output import OutputFolder
from pipelines.training.phase import Emit, Phase
from pipelines.training.team import Team, join
from scoring.encoder import usable_device
from scoring.encoder_spec import EncoderError, EncoderSpec, identity

SUBSET = "(subset)"  # its place among the shards' hashes
_MEMORY: Any = deterministic  # mypy does not see its property
RECIPE = 2  # raise it when a change of the code changes the weights

_PLACES_AND_PACE = {
    "output",
    "shards",
    "subset",
    "finetune",
    "activation",
    "micro_batch_size",
    "threads",
    "device",
    "cache_megabytes",
    "checkpoint_every",
    "log_every",
}


def train_filter(config: TrainConfig, *, on_event: Emit = lambda event: None) -> Path:
    """Train a network, or finish an interrupted training, and return its folder.

    Killed at any point and called again with the same number of threads and processes, it ends in the same
    bytes of weights as an undisturbed training. A finished network of the same configuration and data is
    left as it is; one of another configuration is replaced. With a fine-tuning phase, the networks before
    and after it stay in the folders `first` and `finetuned` of the output, which is their mixture.

    Started by torchrun, all processes train one network together; the first one alone writes and speaks.

    Parameters
    ----------
    config
        What to train, on what; relative paths start in the working folder.
    on_event
        Called with every event, a JSON object with the name `event`: `data`, `note`, `step`, `trained`;
        within one of two phases it has the name of the phase as `phase`.

    Raises
    ------
    ConfigError
        When the request makes no sense.
    """
    config = config.at(".")
    if not is_local(config.output):
        raise ConfigError("output: a network is trained into a local folder; copy it where it should go")
    processes = join()
    with as_configured(config, processes), _explained():
        emit = on_event if processes.leads else _silently
        if config.finetune is None:
            _train(config, processes, emit)
        else:
            _train_in_phases(config, processes, emit)
    return Path(config.output)


def _train(config: TrainConfig, processes: Team, emit: Emit, hashes: dict[str, str] | None = None) -> None:
    shards = expand(config.shards)
    folder = OutputFolder(Path(config.output))
    with _owned(config.output, processes):
        hashes = processes.told(hashes or _hashes(config) if processes.leads else None)
        fingerprint = fingerprint_of(config, hashes)
        done = processes.told(folder.finished_as() if processes.leads else None)
        if done == fingerprint:
            emit({"event": "trained", "output": config.output, "new": False})
            return
        phase = Phase(config, shards, hashes, folder, fingerprint, processes, emit)
        phase.run(replaces=done is not None)


def _train_in_phases(config: TrainConfig, processes: Team, emit: Emit) -> None:
    """Train, fine-tune what came out, and mix the two; each is a training of its own, so each resumes."""
    assert config.finetune is not None
    phases = config.phases()
    folder = OutputFolder(Path(config.output))
    with _owned(config.output, processes):
        hashes: dict[str, dict[str, str]] = {}
        if processes.leads:
            hashes = {name: _hashes(phase) for name, phase in phases.items()}
            first = fingerprint_of(phases["first"], hashes["first"])
            recipe = config.finetune.model_dump(mode="json", exclude={"shards"})
            fingerprint = _sha256({"first": first, "finetune": recipe, "data": hashes["finetuned"]})
            done = folder.finished_as()
            if folder.holds(first):
                folder.move_to(OutputFolder(Path(phases["first"].output)))
        if processes.told(processes.leads and done == fingerprint):
            emit({"event": "trained", "output": config.output, "new": False})
            return
        for name, phase in phases.items():
            _train(phase, processes, partial(_emit_of, name, emit), hashes.get(name))
        if processes.leads:
            first_folder, finetuned = (Path(phase.output) for phase in phases.values())
            digest = interpolate(
                first_folder, finetuned, config.finetune.mixing_weight, folder.path, fingerprint=fingerprint
            )
            emit({"event": "trained", "output": config.output, "new": True, "weights_sha256": digest})
        processes.told(None)


def _hashes(config: TrainConfig) -> dict[str, str]:
    """Return the sha256 of everything that is learned from, by name."""
    hashes = {shard.name: content_sha256(shard) for shard in expand(config.shards)}
    if config.subset is not None:
        hashes[SUBSET] = hashlib.sha256(read_subset(config.subset).tobytes()).hexdigest()
    return hashes


def fingerprint_of(config: TrainConfig, hashes: dict[str, str]) -> str:
    """Return what decides the weights: the recipe, the start and the data."""
    recipe = config.model_dump(mode="json", exclude=_PLACES_AND_PACE | {"model", "pretrained"})
    if config.precision == "float32":
        del recipe["precision"]  # networks from before there was a choice keep their fingerprints
    start = identity(EncoderSpec(model=config.model, pretrained=config.pretrained))
    return _sha256({"recipe": recipe, "start": start, "data": hashes, "version": RECIPE})


def _sha256(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _emit_of(phase: str, emit: Emit, event: dict[str, Any]) -> None:
    emit({**event, "phase": phase})


def _silently(event: dict[str, Any]) -> None:
    """Say nothing: the first process does."""


def _owned(output: str, processes: Team) -> contextlib.AbstractContextManager[object]:
    return own(Folder(output)) if processes.leads else contextlib.nullcontext()


@contextlib.contextmanager
def as_configured(config: TrainConfig, processes: Team | None = None) -> Iterator[None]:
    """Set torch's threads and chance for the length of a training."""
    before, repeatable = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    filled = _MEMORY.fill_uninitialized_memory
    torch.set_num_threads(config.threads or before)
    if usable_device((processes or Team()).device(config.device)).type != "cpu":  # a CPU is
        torch.use_deterministic_algorithms(True, warn_only=True)
        _MEMORY.fill_uninitialized_memory = False  # nothing here reads what it has not written
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(before)
        torch.use_deterministic_algorithms(repeatable)
        _MEMORY.fill_uninitialized_memory = filled


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except EncoderError as error:
        raise ConfigError(str(error)) from error

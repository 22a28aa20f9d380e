"""Train a filter network: a small CLIP on good samples, the same weights however often it is interrupted.

Fang et al. 2023, arXiv 2309.17425: a network trained on little, very good data filters better than a good
classifier trained on much.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch

from pipelines.errors import ConfigError
from pipelines.lock import own
from pipelines.shards import Shard, expand
from pipelines.storage import Folder, is_local
from pipelines.subset import read_subset
from pipelines.train_card import card
from pipelines.train_config import TrainConfig
from pipelines.train_data import Batch, Preparing, TrainingSet, content_sha256
from pipelines.train_output import OutputFolder
from pipelines.train_step import Outcome, augmented, learning_rate, make_optimizer, take_step
from scoring.encoder import usable_device
from scoring.encoder_spec import HUB, LOCAL_DIR, EncoderError, EncoderSpec, identity
from scoring.images import decode_rgb
from scoring.model_loading import LoadedModel, load_model, new_model
from scoring.transform import Fast, Preprocessing

SUBSET = "(subset)"  # its place among the shards' hashes
RECIPE = 1  # raise it when a change of the code changes the weights

_PLACES_AND_PACE = {
    "output",
    "shards",
    "subset",
    "threads",
    "device",
    "cache_megabytes",
    "checkpoint_every",
    "log_every",
}

Emit = Callable[[dict[str, Any]], None]


def train_filter(config: TrainConfig, *, on_event: Emit = lambda event: None) -> Path:
    """Train a network, or finish an interrupted training, and return its folder.

    Killed at any point and called again with the same number of threads, it ends in the same bytes of
    weights as an undisturbed training. A finished network of the same configuration and data is left as it
    is; one of another configuration is replaced.

    Parameters
    ----------
    config
        What to train, on what; relative paths start in the working folder.
    on_event
        Called with every event, a JSON object with the name `event`: `data`, `note`, `step`, `trained`.

    Raises
    ------
    ConfigError
        When the request makes no sense.
    """
    config = config.at(".")
    if not is_local(config.output):
        raise ConfigError("output: a network is trained into a local folder; copy it where it should go")
    shards = expand(config.shards)
    hashes = {shard.name: content_sha256(shard) for shard in shards}
    if config.subset is not None:
        hashes[SUBSET] = hashlib.sha256(read_subset(config.subset).tobytes()).hexdigest()
    folder = OutputFolder(Path(config.output))
    with own(Folder(config.output)), _as_configured(config), _explained():
        fingerprint = _fingerprint(config, hashes)
        done = folder.finished_as()
        if done == fingerprint:
            on_event({"event": "trained", "output": config.output, "new": False})
            return folder.path
        _Training(config, shards, hashes, folder, fingerprint, on_event).run(replaces=done is not None)
    return folder.path


@dataclass
class _Training:
    """One training from wherever it stands to its end."""

    config: TrainConfig
    shards: list[Shard]
    hashes: dict[str, str]
    folder: OutputFolder
    fingerprint: str
    emit: Emit

    def run(self, *, replaces: bool) -> None:
        config = self.config
        device = usable_device(config.device)
        loaded = _model(config, device)
        loaded.model.train()
        transform = Fast(Preprocessing.of(loaded.model))
        data = self._data(loaded, transform)
        steps = config.steps(len(data))
        optimizer = make_optimizer(loaded.model, config)
        first = self._resume(loaded.model, optimizer, replaces=replaces)
        progress = _Progress(self, first, steps)
        for step, batch in enumerate(
            data.batches(config.seed, config.batch_size, range(first, steps)), first
        ):
            images, tokens = _on_device(batch, transform, config, step, device)
            rate = learning_rate(step, steps, config)
            outcome = take_step(
                loaded.model, optimizer, images, tokens, rate=rate, gradient_clip=config.gradient_clip
            )
            if step + 1 < steps and (step + 1) % config.checkpoint_every == 0:
                self._save(loaded.model, optimizer, step + 1)
            progress.report(step + 1, outcome, rate)
        self._finish(loaded, data, steps)

    def _data(self, loaded: LoadedModel, transform: Fast) -> TrainingSet:
        def image(content: bytes) -> torch.Tensor:
            return torch.from_numpy(transform.resize(decode_rgb(content)))

        preparing = Preparing(image, loaded.tokenizer)
        subset = None if self.config.subset is None else read_subset(self.config.subset)
        data = TrainingSet.read(self.shards, preparing, self.config.cache_megabytes << 20, subset)
        self.emit({"event": "data", "samples": len(data), "skipped": dict(data.skipped)})
        if len(data) < self.config.batch_size:
            raise ConfigError(
                f"batch_size: is {self.config.batch_size}, but the shards hold only {len(data)} whole "
                "samples; lower it or add samples"
            )
        return data

    def _resume(self, model: Any, optimizer: torch.optim.Optimizer, *, replaces: bool) -> int:
        """Bring the model to where the training stands, and return the number of steps done."""
        checkpoint, of_another = self.folder.checkpoint(self.fingerprint)
        if checkpoint is None:
            if replaces or of_another:
                message = (
                    "the configuration or the data changed since this network was trained: starting anew"
                )
                self.emit({"event": "note", "message": message})
            self.folder.clear()
            return 0
        model.load_state_dict(checkpoint["model"])
        optimizer.load_state_dict(checkpoint["optimizer"])
        step = int(checkpoint["step"])
        self.folder.keep_log(step)
        self.emit({"event": "note", "message": f"going on after step {step}"})
        return step

    def _save(self, model: Any, optimizer: torch.optim.Optimizer, step: int) -> None:
        content = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        self.folder.save_checkpoint({**content, "step": step, "fingerprint": self.fingerprint})

    def _finish(self, loaded: LoadedModel, data: TrainingSet, steps: int) -> None:
        text = card(self.config, loaded, self.hashes, len(data), dict(data.skipped), steps, self.fingerprint)
        model_config = open_clip.get_model_config(self.config.model)
        digest = self.folder.finish(
            loaded.model, loaded.tokenizer.wrapped, model_config, self.fingerprint, text
        )
        self.emit({"event": "trained", "output": self.config.output, "new": True, "weights_sha256": digest})


class _Progress:
    """Says every so many steps how it goes."""

    def __init__(self, training: _Training, first: int, steps: int) -> None:
        self._training, self._first, self._steps = training, first, steps
        self._started = time.monotonic()

    def report(self, step: int, outcome: Outcome, rate: float) -> None:
        if not outcome.loss < float("inf"):
            raise ConfigError(f"the loss is no longer a number at step {step}; lower learning_rate")
        if step % self._training.config.log_every and step != self._steps:
            return
        facts = {
            "step": step,
            "loss": outcome.loss,
            "accuracy": outcome.accuracy,
            "learning_rate": rate,
            "samples_per_second": round(self._rate(step), 1),
        }
        self._training.folder.add_to_log(facts)
        left = (self._steps - step) * self._training.config.batch_size / self._rate(step)
        self._training.emit({"event": "step", **facts, "steps": self._steps, "seconds_left": round(left, 1)})

    def _rate(self, step: int) -> float:
        seconds = max(1e-9, time.monotonic() - self._started)
        return (step - self._first) * self._training.config.batch_size / seconds


def _on_device(
    batch: Batch, transform: Fast, config: TrainConfig, step: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a step's input; every random number in it, and in the model, comes from seed and step."""
    chance = torch.Generator().manual_seed(_mixed(config.seed, step))
    torch.manual_seed(_mixed(config.seed, step))  # for architectures that drop patches
    images = transform.finish(batch.images.to(device))
    return augmented(images, config.augment, chance), batch.tokens.to(device)


def _mixed(seed: int, step: int) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed} {step}".encode(), digest_size=7).digest())


def _model(config: TrainConfig, device: torch.device) -> LoadedModel:
    if config.pretrained is None and not config.model.startswith((LOCAL_DIR, HUB)):
        loaded = new_model(config.model, config.seed, device)
    else:
        loaded = load_model(EncoderSpec(model=config.model, pretrained=config.pretrained), device)
        loaded.model.requires_grad_(True)
    loaded.model.visual.preprocess_cfg["resize_mode"] = config.resize_mode
    return loaded


def _fingerprint(config: TrainConfig, hashes: dict[str, str]) -> str:
    """Return what decides the weights, as sha256: the recipe, the start and the data."""
    recipe = config.model_dump(mode="json", exclude=_PLACES_AND_PACE | {"model", "pretrained"})
    start = identity(EncoderSpec(model=config.model, pretrained=config.pretrained))
    content = {"recipe": recipe, "start": start, "data": hashes, "version": RECIPE}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@contextlib.contextmanager
def _as_configured(config: TrainConfig) -> Iterator[None]:
    """Set torch's threads and chance for the length of a training."""
    before, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(config.threads or before)
    if usable_device(config.device).type != "cpu":  # a CPU with a fixed number of threads is anyway
        torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(before)
        torch.use_deterministic_algorithms(deterministic)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except EncoderError as error:
        raise ConfigError(str(error)) from error

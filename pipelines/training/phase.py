"""One phase of a training, from wherever it stands to its end: the same weights however often it stops."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import open_clip
import torch

from pipelines.errors import ConfigError
from pipelines.output.subset import read_subset
from pipelines.pool.shards import Shard
from pipelines.training.card import card
from pipelines.training.config import TrainConfig
from pipelines.training.data import Batch, Preparing, TrainingSet
from pipelines.training.gradient import Outcome, Part, Stepper
from pipelines.training.output import OutputFolder
from pipelines.training.step import augmented, learning_rate, make_optimizer, views
from pipelines.training.team import Team
from scoring.encoder import usable_device
from scoring.encoder_spec import HUB, LOCAL_DIR, EncoderSpec
from scoring.images import decode_rgb
from scoring.model_loading import LoadedModel, load_model, new_model
from scoring.transform import Fast, Preprocessing

Emit = Callable[[dict[str, Any]], None]


@dataclass
class Phase:
    """A phase: what to do, on which data, where the result goes, and who does it together.

    Attributes
    ----------
    hashes
        The sha256 of each source of data, by name.
    fingerprint
        What decides the weights.
    emit
        Called with events; does nothing in any process but the first.
    """

    config: TrainConfig
    shards: list[Shard]
    hashes: dict[str, str]
    folder: OutputFolder
    fingerprint: str
    team: Team
    emit: Emit

    def run(self, *, replaces: bool) -> None:
        """Do what is missing; `replaces`: another network lies in the folder."""
        config = self.config
        device = usable_device(self.team.device(config.device))
        loaded = starting_model(config, device)
        self._check(loaded.model)
        loaded.model.train()
        transform = Fast(Preprocessing.of(loaded.model))
        data = training_set(config, self.shards, loaded, transform)
        self.emit({"event": "data", "samples": len(data), "skipped": dict(data.skipped)})
        steps = config.steps(len(data))
        stepper = Stepper(
            loaded.model,
            make_optimizer(loaded.model, config),
            device,
            config.gradient_clip,
            config.precision,
            config.micro_batch_size,
            self.team,
        )
        first = self._resume(stepper, replaces=replaces)
        progress = _Progress(self, first, steps)
        rows = self.team.rows(config.batch_size)
        batches = data.batches(config.seed, config.batch_size, range(first, steps), rows)
        for step, batch in enumerate(batches, first):
            rate = learning_rate(step, steps, config)
            outcome = stepper.take(parts_of(batch, rows.start, transform, config, step, device), rows, rate)
            progress.report(step + 1, outcome, rate)
            if step + 1 < steps and (step + 1) % config.checkpoint_every == 0:
                self._save(stepper, step + 1)
        self._finish(loaded, data, steps)

    def _check(self, model: torch.nn.Module) -> None:
        """Refuse a cut of the batch that can't be made without changing what is learned."""
        size, team = self.config.batch_size, self.team.size
        if size % team:
            raise ConfigError(f"batch_size: {size} pairs can't be shared evenly by {team} processes")
        whole = team == 1 and (self.config.micro_batch_size or size) >= size
        batch_norm = torch.nn.modules.batchnorm._BatchNorm
        if not whole and any(isinstance(part, batch_norm) for part in model.modules()):
            raise ConfigError(
                f"micro_batch_size: {self.config.model} normalises over the batch, so it has to see all of "
                "it at once, in one process; choose an architecture without batch norm, such as a ViT"
            )

    def _resume(self, stepper: Stepper, *, replaces: bool) -> int:
        """Bring the model to where the training stands, and return the number of steps done."""
        step = self.team.told(self._steps_done(replaces=replaces) if self.team.leads else None)
        if step == 0:
            return 0
        checkpoint, _ = self.folder.checkpoint(self.fingerprint)
        if checkpoint is None or checkpoint["step"] != step:
            raise ConfigError(
                f"output: process {self.team.rank} does not see the first one's checkpoint in "
                f"{self.folder.path}; name a folder that all processes share"
            )
        stepper.load_state_dict(checkpoint)
        return int(step)

    def _steps_done(self, *, replaces: bool) -> int:
        """Return the step of the checkpoint, and cut the log to it; without one, clear the folder."""
        checkpoint, of_another = self.folder.checkpoint(self.fingerprint)
        if checkpoint is None:
            if replaces or of_another:
                message = (
                    "the configuration or the data changed since this network was trained: starting anew"
                )
                self.emit({"event": "note", "message": message})
            self.folder.clear()
            return 0
        step = int(checkpoint["step"])
        self.folder.keep_log(step)
        self.emit({"event": "note", "message": f"going on after step {step}"})
        return step

    def _save(self, stepper: Stepper, step: int) -> None:
        if self.team.leads:
            content = {**stepper.state_dict(), "step": step, "fingerprint": self.fingerprint}
            self.folder.save_checkpoint(content)

    def _finish(self, loaded: LoadedModel, data: TrainingSet, steps: int) -> None:
        if self.team.leads:
            together = {"steps": steps, "processes": self.team.size}
            text = card(self.config, loaded, data, self.hashes, **together, fingerprint=self.fingerprint)
            model_config = open_clip.get_model_config(self.config.model)
            digest = self.folder.finish(
                loaded.model, loaded.tokenizer.wrapped, model_config, self.fingerprint, text
            )
            self.emit(
                {"event": "trained", "output": self.config.output, "new": True, "weights_sha256": digest}
            )
        self.team.told(None)  # whoever comes here first waits for the files


class _Progress:
    """Says every so many steps how it goes."""

    def __init__(self, phase: Phase, first: int, steps: int) -> None:
        self._phase, self._first, self._steps = phase, first, steps
        self._started = time.monotonic()

    def report(self, step: int, outcome: Outcome, rate: float) -> None:
        if not outcome.loss < float("inf"):
            raise ConfigError(f"the loss is no longer a number at step {step}; lower learning_rate")
        skipped = step % self._phase.config.log_every and step != self._steps
        if skipped or not self._phase.team.leads:
            return
        facts = {
            "step": step,
            "loss": outcome.loss,
            "accuracy": outcome.accuracy,
            "learning_rate": rate,
            "samples_per_second": round(self._rate(step), 1),
        }
        self._phase.folder.add_to_log(facts)
        left = (self._steps - step) * self._phase.config.batch_size / self._rate(step)
        self._phase.emit({"event": "step", **facts, "steps": self._steps, "seconds_left": round(left, 1)})

    def _rate(self, step: int) -> float:
        seconds = max(1e-9, time.monotonic() - self._started)
        return (step - self._first) * self._phase.config.batch_size / seconds


def training_set(
    config: TrainConfig, shards: Sequence[Shard], loaded: LoadedModel, transform: Fast
) -> TrainingSet:
    """Return what a training learns from, prepared for its model.

    Raises
    ------
    ConfigError
        When it is less than a batch.
    """

    def image(content: bytes) -> torch.Tensor:
        return torch.from_numpy(transform.resize(decode_rgb(content)))

    preparing = Preparing(image, loaded.tokenizer)
    subset = None if config.subset is None else read_subset(config.subset)
    on_gpu = next(loaded.model.parameters()).is_cuda
    data = TrainingSet.read(shards, preparing, config.cache_megabytes << 20, subset, pinned=on_gpu)
    if len(data) < config.batch_size:
        raise ConfigError(
            f"batch_size: is {config.batch_size}, but the shards hold only {len(data)} whole "
            "samples; lower it or add samples"
        )
    return data


def parts_of(
    batch: Batch, start: int, transform: Fast, config: TrainConfig, step: int, device: torch.device
) -> Part:
    """Return what gives rows of a step's batch to the model; every random number comes from seed and step.

    `start` is the row of the batch with which `batch` begins: a process has only its own rows.
    """
    chance = torch.Generator().manual_seed(_mixed(config.seed, step))
    theta = views(config.batch_size, config.augment, chance)

    def part(rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
        # For architectures that drop patches: the same ones when the rows go through the model again.
        torch.manual_seed(_mixed(config.seed, step, *([rows.start] if rows.start else [])))
        own = slice(rows.start - start, rows.stop - start)
        images = transform.finish(batch.images[own].to(device, non_blocking=True))
        return augmented(images, None if theta is None else theta[rows]), batch.tokens[own].to(device)

    return part


def _mixed(*numbers: int) -> int:
    text = " ".join(str(number) for number in numbers)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest())


def starting_model(config: TrainConfig, device: torch.device) -> LoadedModel:
    """Return what a training starts from: given weights, or random ones from the seed."""
    if config.pretrained is None and not config.model.startswith((LOCAL_DIR, HUB)):
        loaded = new_model(config.model, config.seed, device)
    else:
        spec = EncoderSpec(model=config.model, pretrained=config.pretrained, activation=config.activation)
        loaded = load_model(spec, device)
        loaded.model.requires_grad_(True)
    loaded.model.visual.preprocess_cfg["resize_mode"] = config.resize_mode
    return loaded

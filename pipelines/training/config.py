"""What a filter network is trained on and how. Without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipelines.storage import resolve
from scoring.encoder_spec import LOCAL_DIR


class AugmentConfig(BaseModel):
    """How pictures are varied each time they are seen; by default not at all."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    smallest_crop: float = Field(
        1.0, gt=0, le=1, description="random crops of at least this share of the picture's sides"
    )
    flip: bool = Field(False, description="mirror every other picture; spoils captions with left and right")


class FinetuneConfig(BaseModel):
    """A second phase on better samples, and how much of it stays; keys left out are as in the first."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    shards: str | list[str] = Field(description="the best shards: brace range, glob, folder, URL, or a list")
    samples_seen: int | None = Field(None, gt=0, description="length of the phase; or give epochs")
    epochs: float | None = Field(None, gt=0, description="length of the phase; or give samples_seen")
    learning_rate: float | None = Field(
        None, gt=0, description="at its peak; default: a tenth of the first phase's"
    )
    batch_size: int | None = Field(None, ge=2, description="pairs in a step")
    warmup_steps: int | None = Field(None, ge=0, description="steps over which the learning rate rises")
    weight_decay: float | None = Field(None, ge=0, description="of matrices")
    augment: AugmentConfig | None = Field(None, description="how pictures are varied")
    mixing_weight: float = Field(
        0.5, ge=0, le=1, description="a in (1 - a) before + a after; 1: the fine-tuned weights as they are"
    )

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        _check_length(self.samples_seen, self.epochs)
        return self


class TrainConfig(BaseModel):
    """One filter network: a small CLIP and the good samples that it learns from."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    model: str = Field(
        "curate-tiny",
        min_length=1,
        description="architecture: curate-tiny, any of open_clip's, or local-dir: and hf-hub: with weights",
    )
    pretrained: str | None = Field(
        None, description="weights to start from, a tag or file; else from scratch"
    )
    activation: Literal["gelu", "quickgelu"] | None = Field(
        None, description="with which given weights were trained, where nothing in or beside them says so"
    )
    shards: str | list[str] = Field(description="good shards: brace range, glob, folder, URL, or a list")
    subset: str | None = Field(
        None, description="DataComp subset, .npy: only these samples, each as often as its uid stands there"
    )
    output: str = Field(description="folder for the trained network, to be used as local-dir:")
    seed: int = Field(0, ge=0, description="of the first weights, the order and the augmentation")
    samples_seen: int | None = Field(None, gt=0, description="length of the training; or give epochs")
    epochs: float | None = Field(None, gt=0, description="length of the training; or give samples_seen")
    batch_size: int = Field(256, ge=2, description="pairs that are told apart from each other in a step")
    learning_rate: float = Field(1e-3, gt=0, description="at its peak; it falls to 0 along a cosine")
    weight_decay: float = Field(0.1, ge=0, description="of matrices, not of biases, gains and positions")
    beta2: float = Field(0.98, gt=0, lt=1, description="AdamW's memory of squared gradients")
    warmup_steps: int = Field(50, ge=0, description="steps over which the learning rate rises")
    gradient_clip: float = Field(1.0, gt=0, description="largest norm of a gradient")
    resize_mode: Literal["squash", "shortest", "longest"] = Field(
        "squash", description="squash: the whole picture counts; shortest: its middle; longest: with borders"
    )
    augment: AugmentConfig = Field(default_factory=AugmentConfig, description="how pictures are varied")
    finetune: FinetuneConfig | None = Field(None, description="a second phase on better samples")
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="of the model's arithmetic; its weights and the loss are float32 in any case"
    )
    micro_batch_size: int | None = Field(
        None,
        gt=0,
        description="pairs that go through the model at once, to save memory; the loss is the same",
    )
    threads: int | None = Field(None, gt=0, description="of the model's arithmetic; default: all cores")
    device: str = Field("auto", description="auto (cuda where there is one), cpu, cuda, cuda:1 …")
    cache_megabytes: int = Field(
        2048, ge=0, description="memory for decoded pictures; the rest is decoded each time it is seen"
    )
    checkpoint_every: int = Field(100, gt=0, description="steps between checkpoints")
    log_every: int = Field(10, gt=0, description="steps between lines of the log")

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        _check_length(self.samples_seen, self.epochs)
        return self

    def at(self, base: str | Path) -> TrainConfig:
        """Return the configuration with relative paths starting at `base`."""
        places: dict[str, Any] = {
            "shards": _resolved(self.shards, base),
            "output": resolve(self.output, base),
        }
        if self.subset is not None:
            places["subset"] = resolve(self.subset, base)
        if self.model.startswith(LOCAL_DIR):
            places["model"] = LOCAL_DIR + resolve(self.model.removeprefix(LOCAL_DIR), base)
        if self.pretrained and (Path(base) / self.pretrained).is_file():
            places["pretrained"] = resolve(self.pretrained, base)
        if self.finetune is not None:
            better = {"shards": _resolved(self.finetune.shards, base)}
            places["finetune"] = self.finetune.model_copy(update=better)
        return self.model_copy(update=places)

    def phases(self) -> dict[str, TrainConfig]:
        """Return the two trainings that one with `finetune` consists of, by name of their folders."""
        if self.finetune is None:
            raise ValueError("without `finetune` there is one phase")
        first = self.model_copy(update={"finetune": None, "output": f"{self.output}/first"})
        own = {key: value for key, value in self.finetune if key != "mixing_weight" and value is not None}
        changes = {
            "model": LOCAL_DIR + first.output,
            "pretrained": None,
            "activation": None,
            "subset": None,
            "output": f"{self.output}/finetuned",
            "learning_rate": self.learning_rate / 10,
            "samples_seen": None,
            "epochs": None,
        }
        return {"first": first, "finetuned": first.model_copy(update=changes | own)}

    def steps(self, n_samples: int) -> int:
        """Return the number of steps over `n_samples` samples, at least one."""
        seen = self.samples_seen if self.samples_seen is not None else (self.epochs or 0) * n_samples
        return max(1, round(seen / self.batch_size))


def _check_length(samples_seen: int | None, epochs: float | None) -> None:
    if (samples_seen is None) == (epochs is None):
        raise ValueError("give either samples_seen or epochs, to say how long to train")


def _resolved(shards: str | list[str], base: str | Path) -> list[str]:
    entries = [shards] if isinstance(shards, str) else shards
    return [resolve(part, base) for entry in entries for part in entry.split("::") if part]

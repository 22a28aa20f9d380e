"""What a filter network is trained on and how. Without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

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
    threads: int | None = Field(None, gt=0, description="of the model's arithmetic; default: all cores")
    device: str = Field("auto", description="auto (cuda where there is one), cpu, cuda, cuda:1 …")
    cache_megabytes: int = Field(
        2048, ge=0, description="memory for decoded pictures; the rest is decoded each time it is seen"
    )
    checkpoint_every: int = Field(100, gt=0, description="steps between checkpoints")
    log_every: int = Field(10, gt=0, description="steps between lines of the log")

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.samples_seen is None) == (self.epochs is None):
            raise ValueError("give either samples_seen or epochs, to say how long to train")
        return self

    def at(self, base: str | Path) -> TrainConfig:
        """Return the configuration with relative paths starting at `base`."""
        entries = [self.shards] if isinstance(self.shards, str) else self.shards
        parts = [part for entry in entries for part in entry.split("::") if part]
        places = {"shards": [resolve(part, base) for part in parts], "output": resolve(self.output, base)}
        if self.subset is not None:
            places["subset"] = resolve(self.subset, base)
        if self.model.startswith(LOCAL_DIR):
            places["model"] = LOCAL_DIR + resolve(self.model.removeprefix(LOCAL_DIR), base)
        if self.pretrained and (Path(base) / self.pretrained).is_file():
            places["pretrained"] = resolve(self.pretrained, base)
        return self.model_copy(update=places)

    def steps(self, n_samples: int) -> int:
        """Return the number of steps over `n_samples` samples, at least one."""
        seen = self.samples_seen if self.samples_seen is not None else (self.epochs or 0) * n_samples
        return max(1, round(seen / self.batch_size))

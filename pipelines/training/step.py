"""What CLIP training varies, what it minimises, and how its learning rate goes."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn import functional

from pipelines.training.config import AugmentConfig, TrainConfig

LARGEST_LOGIT_SCALE = math.log(100)  # Radford et al. 2021, section 2.5


def make_optimizer(model: torch.nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """Return AdamW, which decays matrices only."""
    named = [(name, value) for name, value in model.named_parameters() if value.requires_grad]
    plain = [value for name, value in named if value.ndim < 2 or "positional_embedding" in name]
    matrices = [value for name, value in named if value.ndim >= 2 and "positional_embedding" not in name]
    return torch.optim.AdamW(
        [{"params": matrices, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=config.learning_rate,
        betas=(0.9, config.beta2),
        eps=1e-6,
        fused=True,
    )


def learning_rate(step: int, steps: int, config: TrainConfig) -> float:
    """Return the rate of a step (from 0): a straight rise, then half a cosine down to 0."""
    warmup = min(config.warmup_steps, steps // 2)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


def views(n: int, config: AugmentConfig, generator: torch.Generator) -> torch.Tensor | None:
    """Return a random crop and mirroring for each of n images, affine (n, 2, 3); None to leave them alone."""
    if config.smallest_crop == 1.0 and not config.flip:
        return None
    scale = config.smallest_crop + (1 - config.smallest_crop) * torch.rand(n, generator=generator)
    shift = (1 - scale)[:, None] * (2 * torch.rand(n, 2, generator=generator) - 1)
    mirror = 1 - 2 * torch.randint(0, 2, (n,), generator=generator) if config.flip else torch.ones(n)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = scale * mirror, scale, shift
    return theta


def augmented(images: torch.Tensor, theta: torch.Tensor | None) -> torch.Tensor:
    """Return images, float32 (n, 3, height, width), each through its own one of `views`."""
    if theta is None:
        return images
    grid = functional.affine_grid(theta.to(images.device), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def contrastive_loss(
    image: torch.Tensor, text: torch.Tensor, scale: torch.Tensor, rows: slice | None = None
) -> tuple[Any, Any]:
    """Return CLIP's loss (Radford et al. 2021, figure 3), in nats, and the accuracy over captions.

    Parameters
    ----------
    image, text
        Vectors of length 1, of shape (n, d); row i of both belong together.
    scale
        What similarities are multiplied with, the inverse of the temperature.
    rows
        Only what these rows contribute: summed over slices that cover the batch, it is the whole.
    """
    target = torch.arange(len(image), device=image.device)
    if rows is None:
        logits = scale * image @ text.T
        loss = (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2
        return loss, (logits.argmax(0) == target).float().mean()
    captions, pictures, own = scale * image[rows] @ text.T, scale * text[rows] @ image.T, target[rows]
    both = [functional.cross_entropy(logits, own, reduction="sum") for logits in (captions, pictures)]
    right = (pictures.argmax(1) == own).float().sum()
    return (both[0] + both[1]) / (2 * len(image)), right / len(image)

"""One step of CLIP training: what is varied, what is minimised, how the learning rate goes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch.nn import functional

from pipelines.train_config import AugmentConfig, TrainConfig

_LARGEST_LOGIT_SCALE = math.log(100)  # Radford et al. 2021, section 2.5


class Outcome(NamedTuple):
    """What a step measured: the loss in nats, and the share of captions whose own image won."""

    loss: float
    accuracy: float


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


def augmented(images: torch.Tensor, config: AugmentConfig, generator: torch.Generator) -> torch.Tensor:
    """Return images, float32 (n, 3, height, width), each cropped, resized and mirrored by its own chance."""
    if config.smallest_crop == 1.0 and not config.flip:
        return images
    n = len(images)
    scale = config.smallest_crop + (1 - config.smallest_crop) * torch.rand(n, generator=generator)
    shift = (1 - scale)[:, None] * (2 * torch.rand(n, 2, generator=generator) - 1)
    mirror = 1 - 2 * torch.randint(0, 2, (n,), generator=generator) if config.flip else torch.ones(n)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = scale * mirror, scale, shift
    grid = functional.affine_grid(theta.to(images.device), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def contrastive_loss(image: torch.Tensor, text: torch.Tensor, scale: torch.Tensor) -> tuple[Any, Any]:
    """Return CLIP's loss (Radford et al. 2021, figure 3), in nats, and the accuracy over captions.

    Parameters
    ----------
    image, text
        Vectors of length 1, of shape (n, d); row i of both belong together.
    scale
        What similarities are multiplied with, the inverse of the temperature.
    """
    logits = scale * image @ text.T
    target = torch.arange(len(image), device=image.device)
    loss = (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2
    accuracy = (logits.argmax(0) == target).float().mean()
    return loss, accuracy


def take_step(
    model: Any,
    optimizer: torch.optim.Optimizer,
    images: torch.Tensor,
    tokens: torch.Tensor,
    *,
    rate: float,
    gradient_clip: float,
) -> Outcome:
    """Move the model's weights by one batch: images float32 (n, 3, height, width), tokens (n, length)."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    image = model.encode_image(images, normalize=True)
    text = model.encode_text(tokens, normalize=True)
    loss, accuracy = contrastive_loss(image, text, model.logit_scale.exp())
    loss.backward()
    parameters: Iterable[torch.Tensor] = model.parameters()
    torch.nn.utils.clip_grad_norm_(parameters, gradient_clip)
    optimizer.step()
    with torch.no_grad():
        model.logit_scale.clamp_(0, _LARGEST_LOGIT_SCALE)
    return Outcome(loss.item(), accuracy.item())

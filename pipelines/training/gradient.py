"""One step of training by the loss of the whole batch, however little of it fits into a model at once.

The contrastive loss compares every pair with every other, so the parts of a batch can't be summed as usual.
But it needs the pairs' vectors only: these are computed part by part and forgotten how, the loss gives the
gradient with respect to each vector, and a second pass takes it into the weights (Gao et al. 2021,
arXiv 2101.06983). The same cut serves several processes, each of which has its own rows of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch.nn import functional

from pipelines.training.precision import computing_in, make_scaler
from pipelines.training.step import LARGEST_LOGIT_SCALE, contrastive_loss
from pipelines.training.team import Team

Part = Callable[[slice], tuple[torch.Tensor, torch.Tensor]]
"""Gives some rows' images, float32 (n, 3, height, width), and tokens (n, length), each time the same."""


class Outcome(NamedTuple):
    """What a step measured: the loss in nats, and the share of captions whose own image won."""

    loss: float
    accuracy: float


@dataclass
class Stepper:
    """Moves a model's weights, batch by batch.

    Attributes
    ----------
    micro_batch_size
        Pairs that go through the model at once; fewer than a process has cost a second pass. None: all.
    """

    model: Any
    optimizer: torch.optim.Optimizer
    device: torch.device
    gradient_clip: float
    precision: str = "float32"
    micro_batch_size: int | None = None
    team: Team = field(default_factory=Team)

    def __post_init__(self) -> None:
        self.scaler = make_scaler(self.precision, self.device)

    def take(self, part: Part, rows: slice, rate: float) -> Outcome:
        """Move the weights by one batch, of which `rows` are this process's."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        outcome = self._gradient(part, rows)
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.gradient_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        with torch.no_grad():
            self.model.logit_scale.clamp_(0, LARGEST_LOGIT_SCALE)
        return outcome

    def state_dict(self) -> dict[str, Any]:
        """Return what a training that is to go on needs."""
        parts = {"model": self.model, "optimizer": self.optimizer, "scaler": self.scaler}
        return {name: part.state_dict() for name, part in parts.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Bring model, optimizer and scaler to a state."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if scale := state.get("scaler"):
            self.scaler.load_state_dict(scale)

    def _gradient(self, part: Part, rows: slice) -> Outcome:
        """Leave the gradient of the whole batch's loss in the parameters."""
        pieces = _cut(rows, self.micro_batch_size)
        in_one_pass = len(pieces) == 1
        with torch.set_grad_enabled(in_one_pass):
            vectors = [self._vectors(part, piece) for piece in pieces]
        image, text = (
            self.team.gathered(torch.cat(own)).requires_grad_() for own in zip(*vectors, strict=True)
        )
        loss, accuracy = contrastive_loss(
            image, text, self.model.logit_scale.exp(), rows if self.team.size > 1 else None
        )
        self.scaler.scale(loss).backward()
        assert image.grad is not None and text.grad is not None  # noqa: PT018 - one thought, for mypy
        self.team.add_up([image.grad, text.grad])
        for number, piece in enumerate(pieces):
            again = vectors[number] if in_one_pass else self._vectors(part, piece)
            torch.autograd.backward(list(again), [image.grad[piece], text.grad[piece]])
        self.team.add_up([value.grad for value in self.model.parameters() if value.grad is not None])
        measured = torch.stack([loss.detach(), accuracy])
        self.team.add_up([measured])
        return Outcome(*measured.tolist())

    def _vectors(self, part: Part, piece: slice) -> tuple[torch.Tensor, torch.Tensor]:
        images, tokens = part(piece)
        with computing_in(self.precision, self.device):
            image = self.model.encode_image(images, normalize=False)
            text = self.model.encode_text(tokens, normalize=False)
        return functional.normalize(image.float(), dim=-1), functional.normalize(text.float(), dim=-1)


def _cut(rows: slice, micro_batch_size: int | None) -> list[slice]:
    size = micro_batch_size or rows.stop - rows.start
    return [slice(start, min(start + size, rows.stop)) for start in range(rows.start, rows.stop, size)]

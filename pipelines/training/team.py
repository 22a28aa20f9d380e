"""The processes that train one network together: whose rows are whose, and what they tell each other."""

from __future__ import annotations

import atexit
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import distributed

from pipelines.errors import ConfigError

# Who waits for the first process's files must not give up; if one dies, torchrun ends the others.
_PATIENCE = timedelta(days=1)


@dataclass(frozen=True)
class Team:
    """One process's view of all of them; alone, every method gives back what it gets."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes files and says how it goes."""
        return self.rank == 0

    def rows(self, n: int) -> slice:
        """Return which of a batch's n rows are this process's; n is a multiple of the team's size."""
        own = n // self.size
        return slice(self.rank * own, (self.rank + 1) * own)

    def gathered(self, own: torch.Tensor) -> torch.Tensor:
        """Return the rows of all processes, in the order of the batch; without a gradient."""
        own = own.detach().contiguous()
        if self.size == 1:
            return own
        every = [torch.empty_like(own) for _ in range(self.size)]
        distributed.all_gather(every, own)
        return torch.cat(every)

    def add_up(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace tensors of one kind by their sum over all processes."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        distributed.all_reduce(flat)
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def told(self, content: Any) -> Any:
        """Return what the first process says, which waits for nobody."""
        if self.size == 1:
            return content
        box = [content]
        distributed.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]

    def device(self, name: str) -> str:
        """Return the name of this process's device: on a machine with GPUs, each takes its own.

        Raises
        ------
        ConfigError
            When all would take the same.
        """
        if self.size == 1 or name == "cpu" or not torch.cuda.is_available():
            return name
        if name not in ("auto", "cuda"):
            raise ConfigError(f"device: {name} can't serve {self.size} processes; leave it at auto")
        return f"cuda:{_local_rank()}"


def launched_together() -> bool:
    """Tell whether torchrun, or a launcher that sets what it sets, started this process among others."""
    named = all(name in os.environ for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR"))
    return named and int(os.environ["WORLD_SIZE"]) > 1


def join() -> Team:
    """Join the processes that torchrun started, once for the life of this one; alone without torchrun."""
    if not launched_together():
        return Team()
    if not distributed.is_initialized():
        backend = "gloo"
        if torch.cuda.is_available():
            backend = "cpu:gloo,cuda:nccl"
            torch.cuda.set_device(_local_rank())
        distributed.init_process_group(backend, timeout=_PATIENCE)
        atexit.register(distributed.destroy_process_group)
    return Team(distributed.get_rank(), distributed.get_world_size())


def _local_rank() -> int:
    return int(os.environ.get("LOCAL_RANK", "0"))

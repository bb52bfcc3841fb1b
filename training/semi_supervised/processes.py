"""Several processes on one fit, as ``torchrun`` starts them: nccl with CUDA, gloo without."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Processes:
    """This one is ``rank`` of ``count``; the batch is shared out, so the count must not exceed it."""

    rank: int = 0
    count: int = 1

    @classmethod
    def join(cls, device: torch.device) -> Processes:
        """Those of the environment (WORLD_SIZE, RANK, as ``torchrun`` sets them); one alone without it."""
        count = int(os.environ.get("WORLD_SIZE", "1"))
        if count == 1:
            return cls()
        if not dist.is_initialized():
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        return cls(dist.get_rank(), count)

    def averaged(self, value: Tensor) -> Tensor:
        """Mean over the processes."""
        if self.count == 1:
            return value
        value = value.clone()
        dist.all_reduce(value)
        return value / self.count

    def agreed(self, value: int, device: torch.device) -> bool:
        """Do all processes have the same number?"""
        if self.count == 1:
            return True
        both = torch.tensor([value, -value], device=device)
        dist.all_reduce(both, dist.ReduceOp.MAX)
        return bool(both[0] == -both[1])

    def any(self, value: bool, device: torch.device) -> bool:
        """Does one of the processes say so?"""
        if self.count == 1:
            return value
        found = torch.tensor(int(value), device=device)
        dist.all_reduce(found, dist.ReduceOp.MAX)
        return bool(found)

    def share(self, module: torch.nn.Module) -> None:
        """Give the first process's batch statistics to all, so that teachers stay equal."""
        if self.count > 1:
            for buffer in module.buffers():
                dist.broadcast(buffer, 0)

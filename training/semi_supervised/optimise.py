"""AdamW as methods B2 has it: no decay on norms and biases, warm-up, cosine; fused where torch can."""

from __future__ import annotations

import math

import torch
from torch import nn

from training.semi_supervised.settings import LoopSettings


class Optimiser:
    """One AdamW state over the parameters of a module."""

    def __init__(self, module: nn.Module, settings: LoopSettings) -> None:
        self._settings = settings
        self._parameters = [p for p in module.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in self._parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
            {"params": [p for p in self._parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self._adam = torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)

    def step(self, loss: torch.Tensor, number: int) -> None:
        """Backward, clip, and one step at the rate of supervised step ``number``."""
        self._adam.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self._parameters, self._settings.largest_gradient)
        for group in self._adam.param_groups:
            group["lr"] = self._settings.learning_rate * rate(number, self._settings)
        self._adam.step()

    def state(self) -> dict[str, torch.Tensor]:
        """Moments and step counts by number of the parameter."""
        state = self._adam.state_dict()["state"]
        return {f"{index}.{key}": value for index, one in state.items() for key, value in one.items()}

    def restore(self, saved: dict[str, torch.Tensor]) -> None:
        """Put a state back."""
        ordered = [p for group in self._adam.param_groups for p in group["params"]]
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in saved.items():
            index, key = name.split(".", 1)
            if value.ndim:  # laid out as its parameter is: the fused step goes through both in the order of memory
                value = torch.empty_like(ordered[int(index)]).copy_(value)
            state.setdefault(int(index), {})[key] = value
        self._adam.load_state_dict({**self._adam.state_dict(), "state": state})


def rate(number: int, settings: LoopSettings) -> float:
    """Share of the learning rate at a step."""
    if number < settings.warm_up:
        return (number + 1) / settings.warm_up
    return 0.5 + 0.5 * math.cos(math.pi * (number - settings.warm_up) / max(settings.steps - settings.warm_up, 1))

"""Follow the weights with a moving average, whole or sharded."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.fit.shards import gather, scatter

__all__ = ["MovingAverage"]


class MovingAverage:
    """Hold the average of a module's parameters and buffers.

    Parameters
    ----------
    decay
        Share that stays at every step; less while the run is young.

    References
    ----------
    B. Polyak, A. Juditsky, Acceleration of stochastic approximation by averaging, 1992.
    """

    def __init__(self, module: nn.Module, *, decay: float) -> None:
        self.decay = decay
        self._values = {
            name: value.detach().clone() for name, value in _tensors(module).items()
        }

    @torch.no_grad()
    def follow(self, module: nn.Module, *, step: int) -> None:
        """Move towards the weights of `module` after step `step`."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in _tensors(module).items():
            mean = self._values[name]
            if mean.is_floating_point():
                mean.lerp_(value.detach(), 1 - decay)
            else:
                mean.copy_(value)

    @torch.no_grad()
    def give_to(self, module: nn.Module) -> None:
        """Set the weights of `module` to their average."""
        for name, value in _tensors(module).items():
            value.copy_(self._values[name])

    @torch.no_grad()
    def take(self, module: nn.Module) -> None:
        """Start anew from the weights of `module`."""
        for name, value in _tensors(module).items():
            self._values[name].copy_(value)

    def state_dict(self) -> dict[str, Tensor]:
        """Return whole tensors on the CPU; every process has to call it."""
        return {name: gather(value) for name, value in self._values.items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take what :meth:`state_dict` returned."""
        for name, value in self._values.items():
            value.copy_(scatter(state[name], value))


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}

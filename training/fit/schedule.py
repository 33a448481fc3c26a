"""Say how fast a step learns: warm-up, cosine, cooldown."""

from __future__ import annotations

import math

from training.config import StageConfig

__all__ = ["rate_factor"]

_FLOOR = 0.01
"""Share of the rate that is left at the end of the cosine."""


def rate_factor(stage: StageConfig, done: int) -> float:
    """Return the share of a stage's learning rate that its step `done` uses.

    The rate rises over ``warmup`` steps, follows half a cosine over
    ``schedule_steps`` (the stage itself when 0) and falls to nothing over the last
    ``cooldown`` steps.

    References
    ----------
    I. Loshchilov, F. Hutter, SGDR, ICLR 2017.
    """
    length = stage.schedule_steps or stage.steps
    share = min(1.0, done / max(1, length))
    factor = 0.5 * (1 + math.cos(math.pi * share)) * (1 - _FLOOR) + _FLOOR
    if stage.warmup:
        factor *= min(1.0, (done + 1) / stage.warmup)
    if stage.cooldown:
        factor *= min(1.0, (stage.steps - done) / stage.cooldown)
    return factor

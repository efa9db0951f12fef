"""The training schedule: number of steps, learning rate and EMA decay of each step.

The learning rate warms up linearly and then follows a cosine to zero. The decay of the exponential
moving average (EMA) of the weights starts small, so that the initial weights are forgotten.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """Options of a training run; its amount of work is steps x batch_size images."""

    steps: int
    batch_size: int
    learning_rate: float = 1.0e-3
    warmup_steps: int = 100
    weight_decay: float = 0.0
    ema: float = 0.999

    def __post_init__(self) -> None:
        """Validate the options."""
        if min(self.steps, self.batch_size) < 1:
            raise ValueError(
                f"training wants steps and batch_size >= 1, got {self.steps} and "
                f"{self.batch_size}; raise them"
            )
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(
                f"training wants learning_rate > 0, got {self.learning_rate}; raise it"
            )
        if not 0 <= self.ema < 1:
            raise ValueError(f"training wants ema in [0, 1), got {self.ema}; change it")

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of step `step`, counted from 0."""
        warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
        return self.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * step / self.steps))

    def ema_decay_at(self, step: int) -> float:
        """Return the EMA decay after step `step`, counted from 0."""
        return min(self.ema, (step + 1) / (step + 10))

"""The training loop of experts, learned routers and extractors.

AdamW with a linear warm-up and a cosine decay to zero, an exponential moving average of the
weights, and a curve of the loss. Step n draws its batch, times and noise from the stream
(root, batches, *identity, n) alone, and the state is saved as the run goes and at its end: kill
it at any moment, run the same command again, and the weights equal those of an unbroken run bit
for bit. Whoever stores the weights removes the state afterwards.
"""

import hashlib
import io
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from routing import seeds, store
from routing.progress import Progress

SAVE_EVERY_S = 20.0


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train; work is steps x batch_size images."""

    steps: int
    batch_size: int
    learning_rate: float = 1.0e-3
    warmup_steps: int = 100
    weight_decay: float = 0.0
    ema: float = 0.999

    def __post_init__(self) -> None:
        """Refuse schedules that cannot run."""
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

    def rate(self, step: int) -> float:
        """Learning rate of step `step` (from 0)."""
        warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
        return self.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * step / self.steps))

    def decay(self, step: int) -> float:
        """EMA decay after step `step`: short memory first, so that the start is forgotten."""
        return min(self.ema, (step + 1) / (step + 10))


@dataclass(frozen=True)
class Identity:
    """Who is trained: a label for people and the numbers of its random streams."""

    label: str
    root: int
    index: tuple[int, ...]


Loss = Callable[[torch.nn.Module, np.random.Generator], torch.Tensor]


def train(
    net: torch.nn.Module,
    loss: Loss,
    schedule: Schedule,
    who: Identity,
    state_path: Path,
    key: dict,
) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
    """Train `net` in place; returns its EMA weights and the curve (step, images, loss).

    `loss(net, rng)` draws one batch from `rng` and returns its mean loss. `key` is everything
    that determines the result: a state saved under another key is not resumed. Raises ValueError
    naming `who` and the step when the loss is not finite, and on a damaged state.
    """
    optimiser = torch.optim.AdamW(
        net.parameters(), weight_decay=schedule.weight_decay, betas=(0.9, 0.99)
    )
    average = {name: p.detach().clone() for name, p in net.named_parameters()}
    run = _Run(net, optimiser, average, [], 0)
    state = _State(state_path, key)
    state.load(run)
    progress = Progress(who.label, schedule.steps, run.step)
    saved = time.monotonic()
    while run.step < schedule.steps:
        value = _step(run, loss, schedule, who)
        run.losses.append(value)
        run.step += 1
        progress.advance(note=f"loss {value:.4f}")
        if time.monotonic() - saved > SAVE_EVERY_S:
            state.save(run)
            saved = time.monotonic()
    state.save(run)
    steps = np.arange(1, schedule.steps + 1)
    images = steps * schedule.batch_size
    curve = pd.DataFrame({"step": steps, "images": images, "loss": run.losses})
    return {name: p.numpy() for name, p in run.average.items()}, curve


def noise_batch(
    data: torch.Tensor, batch_size: int, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rows of `data` (drawn with replacement), noise of their shape, and times ~ U(0, 1)."""
    rows = torch.from_numpy(rng.integers(len(data), size=batch_size))
    t = torch.from_numpy(rng.random(batch_size, np.float32))
    eps = torch.from_numpy(rng.standard_normal((batch_size, *data.shape[1:]), np.float32))
    return rows, eps, t


@dataclass
class _Run:
    net: torch.nn.Module
    optimiser: torch.optim.Optimizer
    average: dict[str, torch.Tensor]
    losses: list[float]
    step: int


def _step(run: _Run, loss: Loss, schedule: Schedule, who: Identity) -> float:
    rng = seeds.stream(who.root, "batches", *who.index, run.step)
    for group in run.optimiser.param_groups:
        group["lr"] = schedule.rate(run.step)
    value = loss(run.net, rng)
    number = value.item()
    if not math.isfinite(number):
        raise ValueError(
            f"{who.label}: loss is {number} at step {run.step + 1}; lower learning_rate (now "
            f"{schedule.learning_rate}) or look at the data"
        )
    run.optimiser.zero_grad(set_to_none=True)
    value.backward()
    run.optimiser.step()
    with torch.no_grad():
        torch._foreach_lerp_(
            list(run.average.values()), list(run.net.parameters()), 1 - schedule.decay(run.step)
        )
    return number


class _State:
    """The run on disk: weights, moments, average and losses behind the sha256 of them all."""

    def __init__(self, path: Path, key: dict):
        self.path = path
        self.key = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()

    def save(self, run: _Run) -> None:
        buffer = io.BytesIO()
        torch.save(
            {
                "key": self.key,
                "net": run.net.state_dict(),
                "optimiser": run.optimiser.state_dict(),
                "average": run.average,
                "losses": run.losses,
            },
            buffer,
        )
        data = buffer.getvalue()
        store.write_atomically(self.path, hashlib.sha256(data).digest() + data)

    def load(self, run: _Run) -> None:
        if not self.path.is_file():
            return
        content = self.path.read_bytes()
        digest, data = content[:32], content[32:]
        if hashlib.sha256(data).digest() != digest:
            raise store.damaged(self.path, "its sha256 is not the one it begins with")
        state = torch.load(io.BytesIO(data), weights_only=True)
        if state["key"] != self.key:
            return
        run.net.load_state_dict(state["net"])
        run.optimiser.load_state_dict(state["optimiser"])
        run.average = state["average"]
        run.losses = state["losses"]
        run.step = len(run.losses)

"""The training loop of experts, learned routers and classifiers.

AdamW with a linear warm-up and a cosine decay to zero, an exponential moving average of the
weights, and a curve of the loss. Step n draws its batch, times and noise from the stream
(root, batches, *identity, n) alone, and the state is saved as the run goes and at its end: kill
it at any moment, run the same command again, and the weights equal those of an unbroken run bit
for bit. Whoever stores the weights removes the state afterwards.

The network is trained where it is. A GPU is not made to wait for its losses: they are read
READ_EVERY steps at a time, and before a state is saved, which a loss that is not finite forbids.
"""

import hashlib
import io
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from routing.workflow import artifacts, devices, seeds
from routing.workflow.progress import progress_bar

SAVE_EVERY_S = 20.0
READ_EVERY = 50  # steps, on a GPU


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
    device = next(net.parameters()).device.type
    optimiser = torch.optim.AdamW(
        net.parameters(),
        weight_decay=schedule.weight_decay,
        betas=(0.9, 0.99),
        fused=device == "cuda" or None,  # one kernel for all weights
    )
    average = {name: p.detach().clone() for name, p in net.named_parameters()}
    run = _Run(net, optimiser, average)
    state = _State(state_path, key)
    state.load(run)
    progress = progress_bar(who.label, schedule.steps, initial=run.step)
    saved = time.monotonic()
    while run.step < schedule.steps:
        _step(run, loss, schedule, who)
        is_due = time.monotonic() - saved > SAVE_EVERY_S
        if device == "cpu" or is_due or len(run.unread) == READ_EVERY:
            _read_losses(run, schedule, who)
        if run.losses:
            progress.set_postfix_str(f"loss {run.losses[-1]:.4f}", refresh=False)
        progress.update()
        if is_due:
            state.save(run)
            saved = time.monotonic()
    _read_losses(run, schedule, who)
    state.save(run)
    steps = np.arange(1, schedule.steps + 1)
    images = steps * schedule.batch_size
    curve = pd.DataFrame({"step": steps, "images": images, "loss": run.losses})
    return {name: p.numpy() for name, p in devices.moved(run.average, devices.CPU).items()}, curve


def noise_batch(
    num: int, shape: tuple[int, ...], batch_size: int, rng: np.random.Generator
) -> tuple[np.ndarray, torch.Tensor, torch.Tensor]:
    """Rows of `num` (drawn with replacement), noise of `shape` each, and times ~ U(0, 1)."""
    rows = rng.integers(num, size=batch_size)
    t = torch.from_numpy(rng.random(batch_size, np.float32))
    eps = torch.from_numpy(rng.standard_normal((batch_size, *shape), np.float32))
    return rows, eps, t


@dataclass
class _Run:
    net: torch.nn.Module
    optimiser: torch.optim.Optimizer
    average: dict[str, torch.Tensor]
    losses: list[float] = field(default_factory=list)
    unread: list[torch.Tensor] = field(default_factory=list)  # losses of the steps after those

    @property
    def step(self) -> int:
        """How many have been made."""
        return len(self.losses) + len(self.unread)


def _step(run: _Run, loss: Loss, schedule: Schedule, who: Identity) -> None:
    rng = seeds.stream(who.root, "batches", *who.index, run.step)
    for group in run.optimiser.param_groups:
        group["lr"] = schedule.rate(run.step)
    value = loss(run.net, rng)
    run.optimiser.zero_grad(set_to_none=True)
    value.backward()
    run.optimiser.step()
    with torch.no_grad():
        torch._foreach_lerp_(
            list(run.average.values()), list(run.net.parameters()), 1 - schedule.decay(run.step)
        )
    run.unread.append(value.detach())


def _read_losses(run: _Run, schedule: Schedule, who: Identity) -> None:
    """Read what is unread, in one transfer; refuse what is not finite."""
    for number in torch.stack(run.unread).tolist() if run.unread else []:
        if not math.isfinite(number):
            raise ValueError(
                f"{who.label}: loss is {number} at step {len(run.losses) + 1}; lower "
                f"learning_rate (now {schedule.learning_rate}) or look at the data"
            )
        run.losses.append(number)
    run.unread.clear()


class _State:
    """The run on disk: weights, moments, average and losses behind the sha256 of them all."""

    def __init__(self, path: Path, key: dict):
        self.path = path
        self.key = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()

    def save(self, run: _Run) -> None:
        assert not run.unread, "what has not been read may have spoilt the weights"
        content = {
            "key": self.key,
            "net": run.net.state_dict(),
            "optimiser": run.optimiser.state_dict(),
            "average": run.average,
            "losses": run.losses,
        }
        buffer = io.BytesIO()  # of no device: the run may go on elsewhere
        torch.save(devices.moved(content, devices.CPU), buffer)
        data = buffer.getvalue()
        artifacts.write_atomically(self.path, hashlib.sha256(data).digest() + data)

    def load(self, run: _Run) -> None:
        if not self.path.is_file():
            return
        content = self.path.read_bytes()
        digest, data = content[:32], content[32:]
        if hashlib.sha256(data).digest() != digest:
            raise artifacts.damaged(self.path, "its sha256 is not the one it begins with")
        state = torch.load(io.BytesIO(data), weights_only=True)
        if state["key"] != self.key:
            return
        run.net.load_state_dict(state["net"])
        run.optimiser.load_state_dict(state["optimiser"])
        run.average = devices.moved(state["average"], next(run.net.parameters()).device)
        run.losses = state["losses"]

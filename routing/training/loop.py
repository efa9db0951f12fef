"""The training loop of experts, learned routers and classifiers.

It runs AdamW with the learning rates and EMA decays of a `Schedule`, and records the loss of each
step. Step n draws its batch, times and noise from the random stream (root, batches, *index, n)
alone, and the training state is saved at intervals and at the end. A run that is killed at any
moment and started again with the same command ends with the same weights, bit for bit, as an
uninterrupted one. The caller removes the state file after it has stored the weights.

The network is trained on the device it is on. On a GPU, losses are read READ_EVERY steps at a
time, because each read makes the GPU wait. They are also read before the state is saved, so that
no state with a loss that is not finite is saved.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from routing.training.schedule import Schedule
from routing.training.state import StateFile, TrainingState
from routing.workflow import devices, seeds
from routing.workflow.progress import progress_bar

SAVE_EVERY_S = 20.0
READ_EVERY = 50  # steps, on a GPU


@dataclass(frozen=True)
class TrainingId:
    """Identifies a training run: a label for messages, and the index of its random streams."""

    label: str
    root: int
    index: tuple[int, ...]


Loss = Callable[[torch.nn.Module, np.random.Generator], torch.Tensor]


def train(
    net: torch.nn.Module,
    loss: Loss,
    schedule: Schedule,
    training_id: TrainingId,
    state_path: Path,
    key: dict,
) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
    """Train `net` in place; return its EMA weights and the loss curve (step, images, loss).

    `loss(net, rng)` draws one batch from `rng` and returns its mean loss. `key` is everything
    that determines the result; a state that was saved under another key is not resumed. Raises
    ValueError if a loss is not finite, or if the state file is damaged.
    """
    device = next(net.parameters()).device.type
    optimiser = torch.optim.AdamW(
        net.parameters(),
        weight_decay=schedule.weight_decay,
        betas=(0.9, 0.99),
        fused=device == "cuda" or None,  # one kernel for all weights
    )
    ema_weights = {name: p.detach().clone() for name, p in net.named_parameters()}
    state = TrainingState(net, optimiser, ema_weights)
    state_file = StateFile(state_path, key)
    state_file.load(state)
    progress = progress_bar(training_id.label, schedule.steps, initial=state.step)
    saved = time.monotonic()
    while state.step < schedule.steps:
        _step(state, loss, schedule, training_id)
        is_due = time.monotonic() - saved > SAVE_EVERY_S
        if device == "cpu" or is_due or len(state.unread) == READ_EVERY:
            _read_losses(state, schedule, training_id)
        if state.losses:
            progress.set_postfix_str(f"loss {state.losses[-1]:.4f}", refresh=False)
        progress.update()
        if is_due:
            state_file.save(state)
            saved = time.monotonic()
    _read_losses(state, schedule, training_id)
    state_file.save(state)
    steps = np.arange(1, schedule.steps + 1)
    images = steps * schedule.batch_size
    curve = pd.DataFrame({"step": steps, "images": images, "loss": state.losses})
    weights = devices.to_device(state.ema_weights, devices.CPU)
    return {name: p.numpy() for name, p in weights.items()}, curve


def _step(state: TrainingState, loss: Loss, schedule: Schedule, training_id: TrainingId) -> None:
    rng = seeds.stream(training_id.root, "batches", *training_id.index, state.step)
    for group in state.optimiser.param_groups:
        group["lr"] = schedule.learning_rate_at(state.step)
    value = loss(state.net, rng)
    state.optimiser.zero_grad(set_to_none=True)
    value.backward()
    state.optimiser.step()
    with torch.no_grad():
        torch._foreach_lerp_(
            list(state.ema_weights.values()),
            list(state.net.parameters()),
            1 - schedule.ema_decay_at(state.step),
        )
    state.unread.append(value.detach())


def _read_losses(state: TrainingState, schedule: Schedule, training_id: TrainingId) -> None:
    """Move unread losses to `losses` in one transfer. Raises ValueError if one is not finite."""
    for number in torch.stack(state.unread).tolist() if state.unread else []:
        if not math.isfinite(number):
            raise ValueError(
                f"{training_id.label}: loss is {number} at step {len(state.losses) + 1}; lower "
                f"learning_rate (now {schedule.learning_rate}) or look at the data"
            )
        state.losses.append(number)
    state.unread.clear()

"""The state of a training run, in memory and in its state file (a resumable checkpoint)."""

import hashlib
import io
import json
from dataclasses import dataclass, field
from pathlib import Path

import torch

from routing.workflow import artifacts, devices


@dataclass
class TrainingState:
    """Everything that training changes: weights, optimiser moments, EMA weights and losses."""

    net: torch.nn.Module
    optimiser: torch.optim.Optimizer
    ema_weights: dict[str, torch.Tensor]
    losses: list[float] = field(default_factory=list)
    unread: list[torch.Tensor] = field(default_factory=list)  # later losses, still on the device

    @property
    def step(self) -> int:
        """Number of completed steps."""
        return len(self.losses) + len(self.unread)


class StateFile:
    """A training state on disk, with a SHA-256 checksum at the beginning of the file.

    `key` is everything that determines the result of the training run. A state that was saved
    under another key is not loaded.
    """

    def __init__(self, path: Path, key: dict):
        self.path = path
        self.key = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()

    def save(self, state: TrainingState) -> None:
        """Write the state atomically."""
        assert not state.unread, "unread losses may be nan, which must not be saved"
        content = {
            "key": self.key,
            "net": state.net.state_dict(),
            "optimiser": state.optimiser.state_dict(),
            "average": state.ema_weights,
            "losses": state.losses,
        }
        buffer = io.BytesIO()  # on the CPU, because the run may be resumed on another device
        torch.save(devices.to_device(content, devices.CPU), buffer)
        data = buffer.getvalue()
        artifacts.write_atomically(self.path, hashlib.sha256(data).digest() + data)

    def load(self, state: TrainingState) -> None:
        """Restore `state` from the file, if there is one with the same key.

        Raises ValueError if the checksum does not match.
        """
        if not self.path.is_file():
            return
        content = self.path.read_bytes()
        digest, data = content[:32], content[32:]
        if hashlib.sha256(data).digest() != digest:
            raise artifacts.damaged(self.path, "its sha256 is not the one it begins with")
        saved = torch.load(io.BytesIO(data), weights_only=True)
        if saved["key"] != self.key:
            return
        state.net.load_state_dict(saved["net"])
        state.optimiser.load_state_dict(saved["optimiser"])
        state.ema_weights = devices.to_device(
            saved["average"], next(state.net.parameters()).device
        )
        state.losses = saved["losses"]

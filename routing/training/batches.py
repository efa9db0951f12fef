"""Random batches for training: rows of the data, noise and times."""

import numpy as np
import torch


def noise_batch(
    num: int, shape: tuple[int, ...], batch_size: int, rng: np.random.Generator
) -> tuple[np.ndarray, torch.Tensor, torch.Tensor]:
    """Return rows out of `num` (drawn with replacement), noise of `shape`, and times ~ U(0, 1)."""
    rows = rng.integers(num, size=batch_size)
    t = torch.from_numpy(rng.random(batch_size, np.float32))
    eps = torch.from_numpy(rng.standard_normal((batch_size, *shape), np.float32))
    return rows, eps, t

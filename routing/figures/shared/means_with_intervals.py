"""Means over samples and training seeds, with the interval of `routing.statistics.jackknife`.

Every sample is one block of the jackknife, which gives the usual standard error of a mean. The
samples of one sampling seed are first averaged over training seeds, because they start from the
same noise.
"""

import numpy as np

from routing.figures.shared.figure_inputs import FigureInputs


def mean_with_interval(values: np.ndarray) -> tuple[float, float, float]:
    """Return the mean of `values` [training seeds, samples] and the ends of its 95 % interval."""
    import torch

    from routing.statistics.jackknife import jackknife_interval

    x = torch.tensor(values, dtype=torch.float64)
    total = x.sum(1, keepdim=True)
    left_out = (total - x) / (x.shape[1] - 1)
    found = jackknife_interval(torch.cat([total / x.shape[1], left_out], 1))
    return found.value, found.lo, found.hi


def split_by_training_seed(inputs: FigureInputs, values: np.ndarray) -> np.ndarray:
    """Reshape `values` [training seeds * samples, ...] to [training seeds, samples, ...]."""
    return values.reshape(inputs.num_training_seeds, -1, *values.shape[1:])


def mean_by_time(times: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct `times`, falling, and the mean of `values` [..., calls] at each.

    The Heun solver evaluates the velocity twice at every time between the first and the last.
    """
    falling, at = np.unique(-times, return_inverse=True)
    means = [values[..., at == i].mean(-1) for i in range(len(falling))]
    return -falling, np.stack(means, -1)

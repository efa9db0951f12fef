"""Means over samples and trainings, with the interval of `routing.statistics.intervals`.

With every sample a block of its own the jackknife of a mean is the usual standard error: the
samples of a seed are averaged over the trainings first, since all start from the same noise.
"""

import numpy as np

from routing.figures.shared.figure_inputs import FigureInputs


def mean_with_interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean of `values` [trainings, samples] and the ends of its 95 % interval."""
    import torch

    from routing.statistics.intervals import jackknife_interval

    x = torch.tensor(values, dtype=torch.float64)
    total = x.sum(1, keepdim=True)
    left_out = (total - x) / (x.shape[1] - 1)
    found = jackknife_interval(torch.cat([total / x.shape[1], left_out], 1))
    return found.value, found.lo, found.hi


def split_by_training_seed(inputs: FigureInputs, values: np.ndarray) -> np.ndarray:
    """[trainings, samples, ...] of `values` [samples of all trainings, ...]."""
    return values.reshape(inputs.num_training_seeds, -1, *values.shape[1:])


def mean_by_time(times: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct `times` from noise to data, and the means of `values` [..., calls] of each.

    A Heun step has two calls at one time, but for the first.
    """
    falling, at = np.unique(-times, return_inverse=True)
    means = [values[..., at == i].mean(-1) for i in range(len(falling))]
    return -falling, np.stack(means, -1)

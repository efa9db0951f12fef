"""Curves along t: the mean over training seeds, and the band from the smallest to the largest."""

from typing import Any

import numpy as np
import pandas as pd

from routing.figures.shared import means_with_intervals, page_layout

BINS = ["t_low", "t_high"]


def band_by_bin(values: pd.Series) -> pd.DataFrame:
    """Return t_low, t_high, value, low and high of `values`, which have t_low and t_high as index.

    `value` is the mean over the rows of a bin, `low` and `high` are the extremes.
    """
    return values.groupby(BINS).agg(value="mean", low="min", high="max").reset_index()


def band_by_time(times: np.ndarray, values: np.ndarray) -> pd.DataFrame:
    """Return t_low, t_high, value, low and high of `values` [training seeds, calls].

    A value holds from the time of its call to the next one.
    """
    t, mean = means_with_intervals.mean_by_time(times, values)
    bins = {"t_low": np.append(t[1:], 0.0), "t_high": t}
    return pd.DataFrame(bins | {"value": mean.mean(0), "low": mean.min(0), "high": mean.max(0)})


def draw_band(axes: Any, rows: pd.DataFrame, alpha: float, **line: Any) -> Any:
    """Draw the mean as a step curve over its band, which has opacity `alpha`; return the line."""
    t, value, low, high = page_layout.step_curve(rows)
    axes.fill_between(t, low, high, color=line["color"], alpha=alpha, linewidth=0)
    return axes.plot(t, value, **line)[0]

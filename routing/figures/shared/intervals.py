"""Points with their 95 % intervals."""

from typing import Any

import numpy as np


def draw_intervals(axes: Any, rows: Any, *, x: Any = None, y: Any = None, **line: Any) -> Any:
    """Draw `value` with the bar from `lo` to `hi` of `rows`, one row or a table.

    With `x` the bars are vertical, with `y` horizontal. Returns matplotlib's ErrorbarContainer.
    """
    ends = np.reshape([rows.value - rows.lo, rows.hi - rows.value], (2, -1))
    if y is None:
        return axes.errorbar(x, rows.value, yerr=ends, **line)
    return axes.errorbar(rows.value, y, xerr=ends, **line)

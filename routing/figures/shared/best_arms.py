"""Which arm of a table is better than all others, as far as the samples tell."""

import pandas as pd

from routing.figures.shared import metric_labels, value_cells
from routing.figures.shared.figure_inputs import FigureInputs


def is_best(inputs: FigureInputs, metric: str, rows: pd.DataFrame) -> pd.Series:
    """Return which of `rows` (arm, metric, value, lo, hi) is the best arm; at most one.

    An arm is the best if it has the best value and its paired 95 % interval against each other
    arm of `rows` excludes zero (needs `comparisons`), or if it is the only arm. Arms whose value
    is not measurable do not count. No arm is the best of a metric without a direction.
    """
    sign = metric_labels.direction(metric)
    none = pd.Series(False, rows.index)
    measurable = rows[~rows.apply(value_cells.is_unmeasurable, axis=1)]
    if not sign or measurable.empty:
        return none
    first = (sign * measurable["value"]).idxmax()
    best, others = rows.loc[first, "arm"], set(measurable["arm"].drop(first))
    pairs = inputs.comparisons[inputs.comparisons["metric"] == metric]
    mine = pairs[(pairs["arm"] == best) & pairs["other"].isin(others)]
    theirs = pairs[(pairs["other"] == best) & pairs["arm"].isin(others)]
    low = [*(sign * mine[["lo", "hi"]]).min(axis=1), *(-sign * theirs[["lo", "hi"]]).min(axis=1)]
    if len(low) == len(others) and all(end > 0 for end in low):
        none.loc[first] = True
    return none

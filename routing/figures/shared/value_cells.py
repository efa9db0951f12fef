"""Values with half of their 95 % interval as cells of a table."""

import math
from collections.abc import Hashable

import pandas as pd

from routing.figures.shared import metric_labels, text_tables

NOT_MEASURABLE = "not measurable at this size"


def is_unmeasurable(row: pd.Series) -> bool:
    """Return whether a metric with a direction and a bounded range is 0 with an interval of 0.

    Recall, for example, is exactly 0 for every block of seeds if there are too few samples.
    """
    is_bounded = all(map(math.isfinite, metric_labels.value_range(row["metric"])))
    is_zero = bool(row["value"] == row["lo"] == row["hi"] == 0)
    return is_bounded and is_zero and metric_labels.direction(row["metric"]) != 0


def value_text(row: pd.Series) -> str:
    """Return the value and half of the interval of a row of the metric table: '17.7 ± 3.0'.

    If the value is not measurable, the text is NOT_MEASURABLE.
    """
    if is_unmeasurable(row):
        return NOT_MEASURABLE
    return metric_labels.format_value(row["value"], (row["hi"] - row["lo"]) / 2)


def value_cell(rows: pd.DataFrame, key: Hashable) -> str:
    """Return the text of the row `key`, a dash if there is no such row.

    The text is bold if the row has `is_best`.
    """
    if key not in rows.index:
        return text_tables.DASH
    row = rows.loc[key]
    text = value_text(row)
    return text_tables.Bold(text) if row["is_best"] else text

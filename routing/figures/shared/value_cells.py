"""Values with half of their 95 % interval as cells of a table."""

from collections.abc import Hashable

import pandas as pd

from routing.figures.shared import metric_labels, text_tables


def value_text(row: pd.Series) -> str:
    """Return the value and half of the interval of a row with value, lo and hi: '17.7 ± 3.0'."""
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

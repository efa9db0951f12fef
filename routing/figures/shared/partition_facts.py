"""Cluster sizes and quality of a partition, from its report, as cells of a table."""

import numpy as np
import pandas as pd

from routing.figures.shared import metric_labels, partition_arms
from routing.figures.shared.figure_inputs import FigureInputs

QUANTITIES = {  # of the report, for the whole partition: column heading
    "size_ratio_train": "largest / smallest",
    "evenness_train": "entropy / log K",
    "silhouette": "silhouette",
    "within": "within",
    "between_mean": "between",
    "nmi": "NMI with labels",
    "purity": "purity",
}


def has_several_clusters(inputs: FigureInputs, partition: str) -> bool:
    """Return whether the partition has more than one cluster."""
    return inputs.num_experts[partition] > 1


def partition_facts(report: pd.DataFrame) -> dict[str, float]:
    """Return the smallest, median and largest size, and the QUANTITIES that the report has."""
    sizes = report.loc[report["quantity"] == "size_train", "value"]  # of each cluster
    whole = partition_arms.partition_quantities(report)
    found = {"smallest": sizes.min(), "median": sizes.median(), "largest": sizes.max()}
    return found | {key: whole[key] for key in QUANTITIES if key in whole}


def quantity_text(value: float, dash: str) -> str:
    """Three significant digits; `dash` for NaN."""
    return dash if np.isnan(value) else metric_labels.format_value(value)

"""All pairs of the arms shown, which stand in the order of their values: who can be told apart.

Holm's correction (routing.statistics.comparisons.holm) is made anew among the pairs that are
shown. Where
all arms are, that is the table's own; where a figure names some, it asks only about them, and
correcting for pairs that nobody sees would hide differences. That holds for arms which were named
before anyone saw how they come out: who looks first and names the arms that seem to differ has
asked about all of them.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from routing.figures.shared import arm_selection, metric_labels
from routing.figures.shared.figure_inputs import FigureInputs


@dataclass(frozen=True)
class ArmPairs:
    """Arms from the best to the worst (the highest first, if neither is better), and each pair.

    `arms` has the rows of the metrics with `place`, from 0; `pairs` those of the comparisons with
    `place` and `other_place`. p_holm and is_distinguishable are those among these pairs.
    """

    arms: pd.DataFrame
    pairs: pd.DataFrame

    def is_distinguishable(self) -> Bool[np.ndarray, "arms arms"]:
        """Symmetric, by place."""
        is_apart = self._square("is_distinguishable").astype(bool)
        return is_apart | is_apart.T

    def differences(self) -> Float[np.ndarray, "arms arms"]:
        """The value of the row's arm minus that of the column's, by place; 0 on the diagonal."""
        value = self._square("value")
        return value - value.T

    def _square(self, column: str) -> Float[np.ndarray, "arms arms"]:
        found = np.zeros((len(self.arms), len(self.arms)))
        found[self.pairs["place"], self.pairs["other_place"]] = self.pairs[column]
        return found


def all_pairs(inputs: FigureInputs, metric: str, names: tuple[str, ...]) -> ArmPairs:
    """The arms `names` (all, if none) and their pairs; ValueError unless two were measured."""
    found = inputs.metric_rows(metric, inputs.metrics)
    kept = arm_selection.require_measured(
        metric, found, list(dict.fromkeys(inputs.selected_arms(names)))
    )
    if len(kept) < 2:
        raise ValueError(
            f"arms: wanted at least two of which {metric} was measured, got {kept[0]!r} alone; "
            "name others"
        )
    sign = metric_labels.direction(metric) or 1
    kept.sort(key=lambda arm: -sign * found.loc[arm, "value"])
    table = found.loc[kept].reset_index(drop=True)
    table.insert(2, "place", range(len(kept)))
    return ArmPairs(table, _corrected(inputs.comparisons, metric, kept))


def differences_from_reference(
    inputs: FigureInputs, metric: str, names: list[str]
) -> pd.DataFrame:
    """By arm: each of `names` minus the reference arm, which is `other`.

    p_holm_reference is that among these. Empty where the reference arm was not measured.
    """
    from routing.statistics.comparisons import holm

    found = inputs.comparisons
    is_kept = found["p_holm_reference"].notna() & found["arm"].isin(names)
    rows = found[(found["metric"] == metric) & is_kept].set_index("arm", drop=False)
    return rows.assign(p_holm_reference=holm(rows["p"].to_numpy()))


def correction_text(num_arms: int) -> str:
    """What was corrected for, in words."""
    num = num_arms * (num_arms - 1) // 2
    return f"Holm, 5 %, {num:,} {'pair' if num == 1 else 'pairs'}"


def _corrected(found: pd.DataFrame, metric: str, names: list[str]) -> pd.DataFrame:
    from routing.statistics.comparisons import ALPHA, holm

    is_kept = found["arm"].isin(names) & found["other"].isin(names)
    rows = found[(found["metric"] == metric) & is_kept].reset_index(drop=True)
    num = len(names)
    assert 2 * len(rows) == num * (num - 1), f"comparisons: not one row per pair of {names}"
    rows.insert(4, "place", rows["arm"].map(names.index))
    rows.insert(5, "other_place", rows["other"].map(names.index))
    rows["p_holm"] = holm(rows["p"].to_numpy())
    rows["is_distinguishable"] = rows["p_holm"] <= ALPHA
    return rows

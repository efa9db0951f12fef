"""All pairs of the arms in a figure, and which of them differ significantly.

Holm's correction (`routing.statistics.multiple_testing`) is applied to the pairs shown. If these
are all arms, its p values are those of the comparison table. If a figure names some arms, it tests
fewer hypotheses, and a correction for all pairs would be too strict. This is valid only if the
arms were named before their results were seen.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from routing.figures.shared import arm_selection, metric_labels
from routing.figures.shared.figure_inputs import FigureInputs


@dataclass(frozen=True)
class ArmPairs:
    """The arms of a figure from best to worst, and their pairs.

    `arms` has the rows of the metric table with `rank`, from 0. If the metric has no direction,
    the highest value is first. `pairs` has the rows of the comparison table with `rank` and
    `other_rank`; its p_holm and is_distinguishable are corrected for these pairs.
    """

    arms: pd.DataFrame
    pairs: pd.DataFrame

    def is_distinguishable(self) -> Bool[np.ndarray, "arms arms"]:
        """Return whether two arms differ significantly; symmetric, by rank."""
        is_apart = self._square("is_distinguishable").astype(bool)
        return is_apart | is_apart.T

    def differences(self) -> Float[np.ndarray, "arms arms"]:
        """Return value(arm of the row) - value(arm of the column), by rank."""
        value = self._square("value")
        return value - value.T

    def _square(self, column: str) -> Float[np.ndarray, "arms arms"]:
        found = np.zeros((len(self.arms), len(self.arms)))
        found[self.pairs["rank"], self.pairs["other_rank"]] = self.pairs[column]
        return found


def all_pairs(inputs: FigureInputs, metric: str, names: tuple[str, ...]) -> ArmPairs:
    """Return the pairs of `names` (empty: of all arms); ValueError unless two were measured."""
    found = inputs.metric_rows(metric, inputs.metrics)
    chosen = list(dict.fromkeys(inputs.selected_arms(names)))
    kept = arm_selection.require_measured(metric, found, chosen)
    if len(kept) < 2:
        raise ValueError(
            f"arms: wanted at least two on which {metric} was measured, got only {kept[0]!r}; "
            "name others"
        )
    sign = metric_labels.direction(metric) or 1
    kept.sort(key=lambda arm: -sign * found.loc[arm, "value"])
    table = found.loc[kept].reset_index(drop=True)
    table.insert(2, "rank", range(len(kept)))
    return ArmPairs(table, _corrected(inputs.comparisons, metric, kept))


def differences_from_reference(
    inputs: FigureInputs, metric: str, names: list[str]
) -> pd.DataFrame:
    """Return the comparisons of `names` with the reference arm (`other`), indexed by arm.

    p_holm_reference is corrected for these comparisons. The table is empty if the metric was not
    measured on the reference arm.
    """
    from routing.statistics.multiple_testing import holm

    found = inputs.comparisons
    is_kept = found["p_holm_reference"].notna() & found["arm"].isin(names)
    rows = found[(found["metric"] == metric) & is_kept].set_index("arm", drop=False)
    return rows.assign(p_holm_reference=holm(rows["p"].to_numpy()))


def correction_text(num_arms: int) -> str:
    """Return the correction, level and number of pairs, as text."""
    num = num_arms * (num_arms - 1) // 2
    return f"Holm, 5 %, {num:,} {'pair' if num == 1 else 'pairs'}"


def _corrected(found: pd.DataFrame, metric: str, names: list[str]) -> pd.DataFrame:
    from routing.statistics.multiple_testing import ALPHA, holm

    is_kept = found["arm"].isin(names) & found["other"].isin(names)
    rows = found[(found["metric"] == metric) & is_kept].reset_index(drop=True)
    num = len(names)
    assert 2 * len(rows) == num * (num - 1), f"comparisons: not one row per pair of {names}"
    rows.insert(4, "rank", rows["arm"].map(names.index))
    rows.insert(5, "other_rank", rows["other"].map(names.index))
    rows["p_holm"] = holm(rows["p"].to_numpy())
    rows["is_distinguishable"] = rows["p_holm"] <= ALPHA
    return rows

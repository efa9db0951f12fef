"""One metric of every arm in a table: against the reference arm, and letters for all pairs.

Arms that share a letter cannot be told apart (routing.statistics.letters).
"""

from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from routing.figures.shared import arm_pairs, metric_labels, style, text_tables
from routing.figures.shared.config_view import display_name
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.style import Drawing

LEAST_P = 0.001  # that is written out
OF_REFERENCE = {  # column of the comparisons: what it is called beside the arm's own columns
    "other": "reference",
    "value": "difference",
    "lo": "difference_lo",
    "hi": "difference_hi",
    "p": "p",
    "p_holm_reference": "p_holm_reference",
    "test": "test",
}


@dataclass(frozen=True)
class Comparison:
    """One metric of every arm, its difference from the reference arm with p, and its letters.

    Two arms share a letter if they cannot be told apart among the pairs of the arms shown, after
    Holm's correction for their number, at 5 %. `p (Holm)` is corrected for the differences from
    the reference arm alone.
    """

    metric: str
    arms: tuple[str, ...] = ()

    needs: ClassVar[tuple[str, ...]] = ("metrics", "comparisons")
    formats: ClassVar[tuple[str, ...]] = style.TEXT_FORMATS

    def draw(self, inputs: FigureInputs) -> Drawing:
        """A row per arm from the best to the worst; the best is bold."""
        from routing.statistics.letters import letters

        found = arm_pairs.all_pairs(inputs, self.metric, self.arms)
        table = found.arms.assign(letters=letters(found.is_distinguishable()))
        table["is_best"] = (table["place"] == 0) & (metric_labels.direction(self.metric) != 0)
        base = arm_pairs.differences_from_reference(
            inputs, self.metric, list(table["arm"])
        ).rename(columns=OF_REFERENCE)
        table = table.join(base[list(OF_REFERENCE.values())], on="arm")
        return Drawing(table, texts={kind: self._text(table, kind) for kind in self.formats})

    def _text(self, table: pd.DataFrame, kind: str) -> str:
        references = table["reference"].dropna()
        heads = ["arm", "letters", display_name(self.metric)]
        if len(references):
            heads += [f"minus {display_name(references.iloc[0])}", "p", "p (Holm)"]
        lines = [_line(row, kind)[: len(heads)] for _, row in table.iterrows()]
        if kind == "tex":
            return text_tables.latex_table(heads, lines, 2, 0)
        return text_tables.markdown_table(heads, lines, 2) + self._note(len(table), references)

    def _note(self, num_arms: int, references: pd.Series) -> str:
        best = ", the best is bold" if metric_labels.direction(self.metric) else ""
        note = (
            f"\n{metric_labels.axis_label(self.metric)}; ± is half of a 95 % interval{best}. Arms that "
            f"share a letter cannot be told apart ({arm_pairs.correction_text(num_arms)})"
        )
        if len(references):
            num = len(references)
            one = "difference" if num == 1 else "differences"
            reference = display_name(references.iloc[0])
            note += (
                f"; p (Holm) is corrected for {num:,} {one} from {reference} alone, fewer "
                "questions than the letters answer"
            )
        return note + ".\n"


def p_value(p: float) -> str:
    """`p` to three digits after the point."""
    return f"< {LEAST_P}" if p < LEAST_P else f"{p:.3f}"


def _line(row: pd.Series, kind: str) -> list[str]:
    value = metric_labels.format_value(row["value"], (row["hi"] - row["lo"]) / 2)
    value = text_tables.BOLD[kind].format(value) if row["is_best"] else value
    line = [display_name(row["arm"]), row["letters"], value]
    if pd.isna(row["reference"]):
        return line + [text_tables.DASH[kind]] * 3
    half = (row["difference_hi"] - row["difference_lo"]) / 2
    line.append(metric_labels.format_value(row["difference"], half))
    return line + [p_value(row["p"]), p_value(row["p_holm_reference"])]

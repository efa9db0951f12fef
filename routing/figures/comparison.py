"""Table of one metric: value, difference from the reference arm, and letters for all pairs.

Arms that share a letter do not differ significantly (`routing.statistics.compact_letter_display`).
"""

from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from routing.figures.shared import arm_pairs, best_arms, metric_labels, style, text_tables
from routing.figures.shared.config_view import display_name
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.style import Drawing
from routing.figures.shared.value_cells import value_text

MIN_P = 0.001  # smallest p value that is written as a number
COLUMNS = {  # column of the comparison table: column of the table of this figure
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
    """One metric of every arm, its difference from the reference arm with p value, and letters.

    Two arms share a letter if they do not differ significantly at 5 %, with Holm's correction for
    all pairs of the arms shown. `p (Holm)` is corrected for the differences from the reference arm
    only.
    """

    metric: str
    arms: tuple[str, ...] = ()

    needs: ClassVar[tuple[str, ...]] = ("metrics", "comparisons")
    formats: ClassVar[tuple[str, ...]] = style.TEXT_FORMATS

    def draw(self, inputs: FigureInputs) -> Drawing:
        """Write one row per arm from best to worst; bold: better than each other arm."""
        from routing.statistics.compact_letter_display import compact_letter_display

        found = arm_pairs.all_pairs(inputs, self.metric, self.arms)
        table = found.arms.assign(letters=compact_letter_display(found.is_distinguishable()))
        table["is_best"] = best_arms.is_best(inputs, self.metric, table)
        names = list(table["arm"])
        base = arm_pairs.differences_from_reference(inputs, self.metric, names)
        table = table.join(base.rename(columns=COLUMNS)[list(COLUMNS.values())], on="arm")
        return Drawing(table, texts={kind: self._text(table, kind) for kind in self.formats})

    def _text(self, table: pd.DataFrame, kind: str) -> str:
        references = table["reference"].dropna()
        heads = ["arm", "letters", display_name(self.metric)]
        if len(references):
            heads += [f"minus {display_name(references.iloc[0])}", "p", "p (Holm)"]
        lines = [_line(row)[: len(heads)] for _, row in table.iterrows()]
        if kind == "tex":
            return text_tables.latex_table(heads, lines, 2, 0)
        return text_tables.markdown_table(heads, lines, 2) + self._note(len(table), references)

    def _note(self, num_arms: int, references: pd.Series) -> str:
        best = "; bold: better than each other arm (its paired interval excludes zero)"
        best = best if metric_labels.direction(self.metric) else ""
        correction = arm_pairs.correction_text(num_arms)
        note = (
            f"{metric_labels.label_with_direction(self.metric)}; ± is half of a 95 % "
            f"interval{best}. Arms that share a letter do not differ significantly ({correction})"
        )
        if len(references):
            num = len(references)
            one = "difference" if num == 1 else "differences"
            reference = display_name(references.iloc[0])
            note += (
                f"; p (Holm) is corrected for {num:,} {one} from {reference} only, the letters "
                "for all pairs"
            )
        return f"\n{text_tables.escape_markdown(note)}.\n"


def p_value(p: float) -> str:
    """Return `p` with three decimals."""
    return f"< {MIN_P}" if p < MIN_P else f"{p:.3f}"


def _line(row: pd.Series) -> list[str]:
    value = value_text(row)
    value = text_tables.Bold(value) if row["is_best"] else value
    line = [display_name(row["arm"]), row["letters"], value]
    if pd.isna(row["reference"]):
        return line + [text_tables.DASH] * 3
    half = (row["difference_hi"] - row["difference_lo"]) / 2
    line.append(metric_labels.format_value(row["difference"], half))
    return line + [p_value(row["p"]), p_value(row["p_holm_reference"])]

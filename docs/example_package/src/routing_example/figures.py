"""A figure: what a sample of every arm costs."""

from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from routing.figures.shared import page_layout, style
from routing.figures.shared.figure_inputs import FigureInputs


@dataclass(frozen=True)
class CostBars:
    """A bar per arm: expert evaluations per sample."""

    arms: tuple[str, ...] = ()

    needs: ClassVar[tuple[str, ...]] = ("costs",)
    formats: ClassVar[tuple[str, ...]] = style.IMAGE_FORMATS

    @style.styled
    def draw(self, inputs: FigureInputs) -> style.Drawing:
        """Return the picture and its numbers."""
        names = inputs.selected_arms(self.arms)
        costs = [inputs.cost(arm).set_index("component") for arm in names]
        table = pd.DataFrame(
            {"arm": names, "evaluations": [float(c.loc["total", "evaluations"]) for c in costs]}
        )
        figure = page_layout.new_figure(style.COLUMN, 0.6 + style.ROW * len(names))
        axes = figure.subplots()
        axes.barh(table["arm"], table["evaluations"], color=style.GREY)
        axes.invert_yaxis()
        axes.set_xlabel("expert evaluations per sample")
        return style.Drawing(table, figure)

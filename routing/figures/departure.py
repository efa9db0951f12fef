"""Distance of guided samples from those of the guided monolith, over the guidance scale.

    departure = sqrt( mean over seeds and dimensions of (x_arm - x_monolith)^2 )

Both samples have the same sampler, seed, prompt and guidance scale. In an exact world (data from a
Gaussian mixture, with experts in closed form) the monolith is the true model. There `separate`
guidance, which weights each branch by its own posterior, reproduces it up to rounding, and
`shared` guidance, which uses one posterior for both branches, does not: the departure is the error
of sharing. With trained experts it also contains the differences of the networks.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from routing.figures.shared import arm_selection, guidance_curves, page_layout, style
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.style import Drawing

FLOOR = 1e-16  # smallest value on the logarithmic axis; below it there is only rounding


@dataclass(frozen=True)
class Departure:
    """Distance from the samples of the guided monolith, a curve per kind of weights."""

    arms: tuple[str, ...] = ()

    needs: ClassVar[tuple[str, ...]] = ("samples",)
    formats: ClassVar[tuple[str, ...]] = style.IMAGE_FORMATS

    @style.styled
    def draw(self, inputs: FigureInputs) -> Drawing:
        """Draw one panel with a logarithmic axis."""
        table = self._table(inputs)
        figure = page_layout.new_figure(style.COLUMN, 2.2)
        axes = figure.subplots()
        is_single = table["family"].nunique() == 1
        for (family, kind), rows in table.groupby(["family", "kind"], sort=False):
            value = rows["departure"].clip(lower=FLOOR)
            drawn = rows.assign(value=value, lo=value, hi=value)
            name = kind if is_single else f"{kind}, {family}"
            guidance_curves.draw_curve(axes, drawn, name, kind, "o")
        axes.set_yscale("log")
        axes.set_xticks(sorted(table["scale"].unique()))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("guidance scale")
        axes.set_ylabel("rms distance from the\nguided monolith, same seeds", linespacing=1.1)
        axes.grid(zorder=0)
        page_layout.legend_above(figure, axes.get_legend_handles_labels()[0], 2)
        return Drawing(table, figure)

    def asked_arms(self, inputs: FigureInputs) -> list[str]:
        """Return the arms that have a guidance."""
        return [arm for arm, of in inputs.arms.items() if of.get("guidance")]

    def _table(self, inputs: FigureInputs) -> pd.DataFrame:
        """Return arm, monolith, family, kind, scale and departure."""
        chosen = inputs.selected_arms(self.arms)
        monoliths = {}
        for arm in chosen:
            if arm_selection.is_monolith(inputs, arm):
                for _, _, _, scale in guidance_curves.curve_points(inputs, arm):
                    monoliths[(inputs.arms[arm]["sampler"], scale)] = arm
        rows = []
        for arm in chosen:
            if arm_selection.is_monolith(inputs, arm) or inputs.arms[arm]["guidance"] is None:
                continue
            for _, family, kind, scale in guidance_curves.curve_points(inputs, arm):
                monolith = monoliths.get((inputs.arms[arm]["sampler"], scale))
                if monolith:
                    value = departure(inputs, arm, monolith)
                    rows.append([arm, monolith, family, kind, scale, value])
        if not rows:
            raise ValueError(
                "departure: wanted guided arms and a monolith with the same sampler and "
                "scale, got none; add the monolith"
            )
        columns = ["arm", "monolith", "family", "kind", "scale", "departure"]
        table = pd.DataFrame(rows, columns=columns)
        return table.sort_values(["family", "kind", "scale"], ignore_index=True)


def departure(inputs: FigureInputs, arm: str, monolith: str) -> float:
    """Return the root mean square of the difference between the samples of the two arms."""
    total, num = 0.0, 0
    for x, y in zip(inputs.sample_shards(arm), inputs.sample_shards(monolith), strict=True):
        total += np.square(x - y, dtype=np.float64).sum()
        num += x.size
    return float(np.sqrt(total / num))

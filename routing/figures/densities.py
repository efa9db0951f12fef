"""Samples of every arm, and of the data, over the density of an exact world in the plane."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from routing.figures.shared import arm_styles, exact_world, style
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.figure_text import figure_label
from routing.figures.shared.style import Drawing


@dataclass(frozen=True)
class Densities:
    """The first samples of every arm, and of the data, over the true density."""

    num_samples: int = 1000
    arms: tuple[str, ...] = ()

    needs: ClassVar[tuple[str, ...]] = ("samples", "data")
    formats: ClassVar[tuple[str, ...]] = style.IMAGE_FORMATS

    def __post_init__(self):
        """Validate the options."""
        if self.num_samples < 1:
            raise ValueError(
                f"densities: wanted num_samples >= 1, got {self.num_samples}; raise it"
            )

    @style.styled
    def draw(self, inputs: FigureInputs) -> Drawing:
        """Draw a panel for the data and for each arm; all arms have the same sampling seeds."""
        world = exact_world.exact_world(inputs, "densities")
        names = inputs.selected_arms(self.arms)
        drawn = {arm: inputs.samples(arm, self.num_samples) for arm in names}
        spread = np.linspace(0, len(inputs.index) - 1, self.num_samples).astype(int)
        drawn = {"data": inputs.images(np.unique(spread))} | drawn
        figure, axes = exact_world.density_panels(len(drawn), world)
        parts = []
        for ax, (name, x) in zip(axes, drawn.items(), strict=True):
            colour = "black" if name == "data" else arm_styles.arm_style(inputs, name).colour
            ax.plot(*x.T, ".", color=colour, markersize=1.5, markeredgewidth=0)
            ax.set_title(figure_label(name))
            numbers = np.arange(len(x))
            table = {"arm": name, "number": numbers, "x": x[:, 0], "y": x[:, 1]}
            parts.append(pd.DataFrame(table))
        return Drawing(pd.concat(parts, ignore_index=True), figure)

"""How often trajectories change experts, and how many speak: a panel per number, a row per arm.

Of each trajectory, with weights w at its calls:

    switches of the set        calls at which {k : w_k > 0} is not that of the call before
    switches of the loudest    the same of the expert with the largest weight (ties: lower index)
    dwell time                 1 / (1 + switches of the set): mean length, in t, of a run
    entropy                    H(w) = -sum_k w_k log w_k (nats), mean over calls
    effective experts          exp H(w), mean over calls
    experts asked              size of {k : w_k > 0}, mean over calls
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from routing.figures.shared import (
    arm_selection,
    arm_styles,
    dot_plot_rows,
    means_with_intervals,
    page_layout,
    style,
)
from routing.figures.shared.distributions import entropy
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.style import Drawing

PANELS = {  # quantities of a panel: the first a ring around the second
    "switches per\ntrajectory": ("switches_loudest", "switches_set"),
    "dwell time\n(in $t$)": ("dwell_time",),
    "entropy of\nweights (nats)": ("entropy",),
    "effective\nexperts": ("effective_experts",),
    "experts asked\nper call": ("experts_asked",),
}

RING = {"markerfacecolor": "white", "fillstyle": "full", "markersize": 5.4}


@dataclass(frozen=True)
class Switching:
    """Switches, dwell time, entropy and numbers of experts with 95 % intervals of their means."""

    arms: tuple[str, ...] = ()

    needs: ClassVar[tuple[str, ...]] = ("traces",)
    formats: ClassVar[tuple[str, ...]] = style.IMAGE_FORMATS

    @style.styled
    def draw(self, inputs: FigureInputs) -> Drawing:
        """Rows in the order of the config; without `arms`, all but the monoliths."""
        names = inputs.selected_arms(self.arms)
        if not self.arms:
            names = [a for a in names if not arm_selection.is_monolith(inputs, a)] or names
        table = pd.concat([measures(inputs, arm) for arm in names], ignore_index=True)
        layout = dot_plot_rows.grouped_rows(inputs, names, dict.fromkeys(names, 0.0), 0)
        height = layout.height + 0.7
        figure, axes = page_layout.panel_grid(len(PANELS), len(PANELS), style.PAGE, height)
        for i, (ax, (title, quantities)) in enumerate(zip(axes, PANELS.items(), strict=True)):
            for place, quantity in enumerate(quantities):
                for row in table[table["quantity"] == quantity].itertuples():
                    look = arm_styles.arm_style(inputs, row.arm).points() | {"markersize": 3.2}
                    if place < len(quantities) - 1:
                        look |= RING
                    error = [[row.value - row.lo], [row.hi - row.value]]
                    y = layout.of_arm[row.arm]
                    ax.errorbar(row.value, y, xerr=error, elinewidth=0.9, **look)
            layout.draw_frame(ax, labelled=i == 0)
            ax.set_xlabel(title, linespacing=1.0)
            ax.set_xlim(left=min(0, ax.get_xlim()[0]))
            ax.grid(axis="x", zorder=0)
        page_layout.legend_above(figure, _handles(), 2)
        return Drawing(table, figure)


def measures(inputs: FigureInputs, arm: str) -> pd.DataFrame:
    """arm, quantity, value, lo, hi of one arm."""
    found = per_trajectory(inputs.trace(arm)["weights"].astype(np.float64))
    parts = [
        (
            arm,
            name,
            *means_with_intervals.mean_with_interval(
                means_with_intervals.split_by_training_seed(inputs, values)
            ),
        )
        for name, values in found.items()
    ]
    return pd.DataFrame(parts, columns=["arm", "quantity", "value", "lo", "hi"])


def per_trajectory(w: np.ndarray) -> dict[str, np.ndarray]:
    """The quantities [samples] of weights [samples, calls, experts]."""
    support, loudest, spread = w > 0, w.argmax(-1), entropy(w)
    switches = (support[:, 1:] != support[:, :-1]).any(-1).sum(1)
    return {
        "switches_set": switches,
        "switches_loudest": (loudest[:, 1:] != loudest[:, :-1]).sum(1),
        "dwell_time": 1 / (1 + switches),
        "entropy": spread.mean(1),
        "effective_experts": np.exp(spread).mean(1),
        "experts_asked": support.sum(-1).mean(1),
    }


def _handles() -> list[Any]:
    from matplotlib.lines import Line2D

    look = {"color": style.GREY, "marker": "o", "linestyle": "none", "markersize": 3.2}
    return [
        Line2D([], [], label="switches of the set of experts", **look),
        Line2D([], [], label="switches of the loudest (ring)", **look | RING),
    ]

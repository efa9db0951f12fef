"""Expert switches of trajectories, and entropy and support of their weights, per arm.

Of a trajectory with weights w at its calls:

    switches_set        calls whose support {k : w_k > 0} differs from that of the call before
    switches_argmax     the same for argmax_k w_k (of equal weights the lower index)
    dwell_time          1 / (1 + switches_set): mean duration, in t, of a constant support
    entropy             H(w) = -sum_k w_k log w_k  (nats), mean over calls
    effective_experts   exp H(w), mean over calls
    evaluated_experts   size of {k : w_k > 0}, mean over calls
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
from routing.figures.shared.intervals import draw_intervals
from routing.figures.shared.style import Drawing

PANELS = {  # axis label: quantities; of two the first has the large open marker
    "switches per\ntrajectory": ("switches_argmax", "switches_set"),
    "dwell time\n(in $t$)": ("dwell_time",),
    "entropy of\nweights (nats)": ("entropy",),
    "effective\nexperts": ("effective_experts",),
    "evaluated experts\nper call": ("evaluated_experts",),
}
OPEN_MARKER = {"markerfacecolor": "white", "fillstyle": "full", "markersize": 5.4}


@dataclass(frozen=True)
class Switching:
    """Switches, dwell time, entropy and numbers of experts: means with 95 % intervals."""

    arms: tuple[str, ...] = ()

    needs: ClassVar[tuple[str, ...]] = ("traces",)
    formats: ClassVar[tuple[str, ...]] = style.IMAGE_FORMATS

    @style.styled
    def draw(self, inputs: FigureInputs) -> Drawing:
        """A row per arm, in the order of the config; by default without the monoliths."""
        names = inputs.selected_arms(self.arms)
        if not self.arms:
            names = [a for a in names if not arm_selection.is_monolith(inputs, a)] or names
        table = pd.concat([mean_rows(inputs, arm) for arm in names], ignore_index=True)
        layout = dot_plot_rows.grouped_rows(inputs, names, dict.fromkeys(names, 0.0), 0)
        height = layout.height + 0.7
        figure, axes = page_layout.panel_grid(len(PANELS), len(PANELS), style.PAGE, height)
        for i, (ax, (title, quantities)) in enumerate(zip(axes, PANELS.items(), strict=True)):
            for quantity in quantities:
                for row in table[table["quantity"] == quantity].itertuples():
                    points = arm_styles.arm_style(inputs, row.arm).marker_kwargs()
                    points |= {"markersize": 3.2}
                    if quantity != quantities[-1]:
                        points |= OPEN_MARKER
                    draw_intervals(ax, row, y=layout.of_arm[row.arm], elinewidth=0.9, **points)
            layout.draw_frame(ax, labelled=i == 0)
            ax.set_xlabel(title, linespacing=1.0)
            ax.set_xlim(left=min(0, ax.get_xlim()[0]))
            ax.grid(axis="x", zorder=0)
        page_layout.legend_above(figure, _handles(), 2)
        return Drawing(table, figure)

    def asked_arms(self, inputs: FigureInputs) -> list[str]:
        """Return no arm: by default the figure selects its arms."""
        return []


def mean_rows(inputs: FigureInputs, arm: str) -> pd.DataFrame:
    """arm, quantity, value, lo, hi of one arm: means over samples and training seeds."""
    found = per_trajectory(inputs.trace(arm)["weights"].astype(np.float64))
    rows = []
    for name, values in found.items():
        by_seed = means_with_intervals.split_by_training_seed(inputs, values)
        rows.append((arm, name, *means_with_intervals.mean_with_interval(by_seed)))
    return pd.DataFrame(rows, columns=["arm", "quantity", "value", "lo", "hi"])


def per_trajectory(w: np.ndarray) -> dict[str, np.ndarray]:
    """Return the quantities [samples] of weights [samples, calls, experts]."""
    support, argmax, entropies = w > 0, w.argmax(-1), entropy(w)
    switches = (support[:, 1:] != support[:, :-1]).any(-1).sum(1)
    return {
        "switches_set": switches,
        "switches_argmax": (argmax[:, 1:] != argmax[:, :-1]).sum(1),
        "dwell_time": 1 / (1 + switches),
        "entropy": entropies.mean(1),
        "effective_experts": np.exp(entropies).mean(1),
        "evaluated_experts": support.sum(-1).mean(1),
    }


def _handles() -> list[Any]:
    from matplotlib.lines import Line2D

    points = {"color": style.GREY, "marker": "o", "linestyle": "none", "markersize": 3.2}
    return [
        Line2D([], [], label="changes of the set of evaluated experts", **points),
        Line2D(
            [], [], label="changes of the expert with the largest weight", **points | OPEN_MARKER
        ),
    ]

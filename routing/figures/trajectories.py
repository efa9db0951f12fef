"""Sampling trajectories of every arm over the density of an exact world in the plane."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from routing.figures.shared import arm_styles, exact_world, page_layout, style
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.figure_text import figure_label
from routing.figures.shared.style import Drawing

NONE = -1  # no expert


@dataclass(frozen=True)
class Trajectories:
    """Stored trajectories of every arm, coloured by the expert with the largest weight."""

    num_trajectories: int = 32
    arms: tuple[str, ...] = ()

    needs: ClassVar[tuple[str, ...]] = ("trajectories", "traces", "data")
    formats: ClassVar[tuple[str, ...]] = style.IMAGE_FORMATS

    def __post_init__(self):
        """Validate the options."""
        if self.num_trajectories < 1:
            raise ValueError(
                f"trajectories: wanted num_trajectories >= 1, got {self.num_trajectories}; "
                f"raise it"
            )

    @style.styled
    def draw(self, inputs: FigureInputs) -> Drawing:
        """Draw a panel per arm; an open circle is noise, a filled one is data."""
        world = exact_world.exact_world(inputs, "trajectories")
        names = inputs.selected_arms(self.arms)
        tables = [self._table(inputs, arm) for arm in names]
        figure, axes = exact_world.density_panels(len(names), world)
        for ax, arm, table in zip(axes, names, tables, strict=True):
            _paths(ax, table)
            ax.set_title(figure_label(arm))
        num = max(inputs.num_experts[inputs.arms[arm]["partition"]] for arm in names)
        table = pd.concat(tables, ignore_index=True)
        is_shared = bool(((table["expert"] == NONE) & (table["t"] > 0)).any())
        page_layout.legend_above(figure, _handles(num, is_shared), 7)
        return Drawing(table, figure)

    def _table(self, inputs: FigureInputs, arm: str) -> pd.DataFrame:
        """Return arm, seed, call, t, x, y and the expert with the largest weight from t on.

        The expert is -1 if several have the largest weight, and at t = 0.
        """
        states = inputs.trajectories(arm)[: self.num_trajectories]
        if not len(states):
            raise ValueError(
                "trajectories: wanted stored ones, got none; raise samples.num_trajectories"
            )
        trace = inputs.trace(arm)
        num, calls = states.shape[:2]
        return pd.DataFrame(
            {
                "arm": arm,
                "seed": np.repeat(trace["seeds"][:num], calls),
                "call": np.tile(np.arange(calls), num),
                "t": np.tile(np.append(trace["times"], 0), num),
                "x": states[..., 0].ravel(),
                "y": states[..., 1].ravel(),
                "expert": largest_weight(trace["weights"][:num]).ravel(),
            }
        )


def largest_weight(weights: np.ndarray) -> np.ndarray:
    """Return the expert with the largest weight per sample and call, [samples, calls + 1].

    `weights` is [samples, calls, experts]. The expert is NONE in a tie, and after the last call.
    """
    is_shared = (weights == weights.max(-1, keepdims=True)).sum(-1) > 1
    expert = np.where(is_shared, NONE, weights.argmax(-1))
    return np.pad(expert, [(0, 0), (0, 1)], constant_values=NONE)


def segments(states: np.ndarray, expert: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
    """Yield the pieces of trajectories with one expert, and that expert.

    A piece ends at the state where the next one begins. `states` is [samples, calls + 1, 2],
    `expert` [samples, calls + 1] the result of `largest_weight`.
    """
    for path, experts in zip(states, expert, strict=True):
        cuts = np.flatnonzero(np.diff(experts[:-1])) + 1
        for start, end in pairwise([0, *cuts, len(path) - 1]):
            yield path[start : end + 1], int(experts[start])


def _paths(axes: Any, table: pd.DataFrame) -> None:
    from matplotlib.collections import LineCollection

    calls = table["call"].max() + 1
    states = table[["x", "y"]].to_numpy().reshape(-1, calls, 2)
    expert = table["expert"].to_numpy().reshape(-1, calls)
    pieces, experts = zip(*segments(states, expert), strict=True)
    colours = [_colour(k) for k in experts]
    axes.add_collection(LineCollection(pieces, linewidths=0.7, colors=colours))
    start, end = states[:, 0], states[:, -1]
    mark = {"linestyle": "none", "marker": "o", "color": "black", "zorder": 3}
    axes.plot(*start.T, markersize=1.8, mfc="white", mew=0.4, **mark)
    axes.plot(*end.T, markersize=1.8, mew=0, **mark)


def _colour(k: int) -> str:
    return style.GREY if k == NONE else arm_styles.expert_line(k)["color"]


def _handles(num_experts: int, is_shared: bool) -> list:
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], color=_colour(k), label=f"expert {k}") for k in range(num_experts)]
    if is_shared:
        lines.append(Line2D([], [], color=_colour(NONE), label="several experts"))
    mark = {"linestyle": "none", "marker": "o", "color": "black", "markersize": 3}
    return [
        *lines,
        Line2D([], [], label="start ($t = 1$)", mfc="white", mew=0.5, **mark),
        Line2D([], [], label="end ($t = 0$)", **mark),
    ]

"""The closed-form world in the plane: samples and trajectories of every arm over the truth.

The truth is the density  q(x) = sum_c pi_c N(x; m_c, s_c^2 I) . Its areas are the smallest that
hold 50 %, 90 % and 99 % of the mass.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from routing.figures.shared import arm_styles, page_layout, style
from routing.figures.shared.config_view import display_name
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.style import Drawing

MASSES = (0.99, 0.9, 0.5)
TONES = ("#F4F4F4", "#E6E6E6", "#D3D3D3")
COLUMNS = 6
NONE = -1  # no expert


@dataclass(frozen=True)
class Densities:
    """The first samples of every arm, and of the data, over the true density."""

    num_samples: int = 1000
    arms: tuple[str, ...] = ()

    needs: ClassVar[tuple[str, ...]] = ("samples", "data")
    formats: ClassVar[tuple[str, ...]] = style.IMAGE_FORMATS

    def __post_init__(self):
        """Refuse empty panels."""
        if self.num_samples < 1:
            raise ValueError(f"densities: wanted num_samples >= 1, got {self.num_samples}")

    @style.styled
    def draw(self, inputs: FigureInputs) -> Drawing:
        """A panel for the data and for each arm; one seed is one point in all arms."""
        world = world_of(inputs, "densities")
        names = inputs.selected_arms(self.arms)
        drawn = {arm: inputs.samples(arm, self.num_samples) for arm in names}
        spread = np.linspace(0, len(inputs.index) - 1, self.num_samples).astype(int)
        drawn = {"data": inputs.images(np.unique(spread))} | drawn
        figure, axes = _panels(len(drawn), world)
        parts = []
        for ax, (name, x) in zip(axes, drawn.items(), strict=True):
            colour = "black" if name == "data" else arm_styles.arm_style(inputs, name).colour
            ax.plot(*x.T, ".", color=colour, markersize=1.5, markeredgewidth=0)
            ax.set_title(display_name(name))
            numbers = np.arange(len(x))
            table = {"arm": name, "number": numbers, "x": x[:, 0], "y": x[:, 1]}
            parts.append(pd.DataFrame(table))
        return Drawing(pd.concat(parts, ignore_index=True), figure)


@dataclass(frozen=True)
class Trajectories:
    """Stored trajectories of every arm over the true density, coloured by the loudest expert."""

    num_trajectories: int = 32
    arms: tuple[str, ...] = ()

    needs: ClassVar[tuple[str, ...]] = ("trajectories", "traces", "data")
    formats: ClassVar[tuple[str, ...]] = style.IMAGE_FORMATS

    def __post_init__(self):
        """Refuse empty panels."""
        if self.num_trajectories < 1:
            raise ValueError(
                f"trajectories: wanted num_trajectories >= 1, got {self.num_trajectories}"
            )

    @style.styled
    def draw(self, inputs: FigureInputs) -> Drawing:
        """A panel per arm: from an open circle (noise) to a full one (data)."""
        world = world_of(inputs, "trajectories")
        names = inputs.selected_arms(self.arms)
        tables = [self._table(inputs, arm) for arm in names]
        figure, axes = _panels(len(names), world)
        for ax, arm, table in zip(axes, names, tables, strict=True):
            _paths(ax, table)
            ax.set_title(display_name(arm))
        num = max(inputs.num_experts[inputs.arms[arm]["partition"]] for arm in names)
        table = pd.concat(tables, ignore_index=True)
        is_shared = bool(((table["expert"] == NONE) & (table["t"] > 0)).any())
        page_layout.legend_above(figure, _handles(num, is_shared), 7)
        return Drawing(table, figure)

    def _table(self, inputs: FigureInputs, arm: str) -> pd.DataFrame:
        """arm, seed, call, t, x, y, expert: who is loudest from here on.

        No expert (-1) where several are equally loud, and at the end.
        """
        states = inputs.trajectories(arm)[: self.num_trajectories]
        if not len(states):
            raise ValueError(
                "trajectories: none is stored; raise samples.num_trajectories in the config"
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
                "expert": loudest(trace["weights"][:num]).ravel(),
            }
        )


def loudest(weights: np.ndarray) -> np.ndarray:
    """Expert of the largest weight per sample and call, NONE where it is shared; NONE at the end.

    `weights` is [samples, calls, experts]; returns [samples, calls + 1].
    """
    is_shared = (weights == weights.max(-1, keepdims=True)).sum(-1) > 1
    expert = np.where(is_shared, NONE, weights.argmax(-1))
    return np.pad(expert, [(0, 0), (0, 1)], constant_values=NONE)


def world_of(inputs: FigureInputs, figure: str) -> dict[str, np.ndarray]:
    """weights, means, stds of the closed-form world; ValueError for `figure` without one."""
    if inputs.world is None:
        raise ValueError(
            f"{figure} wants a closed-form world (data.source 'mixture'), got data without one; "
            f"leave the figure out"
        )
    found = {key: np.asarray(inputs.world[key], float) for key in ("weights", "means", "stds")}
    return found | {"weights": found["weights"] / found["weights"].sum()}


def density(world: dict[str, np.ndarray], points: np.ndarray) -> np.ndarray:
    """q at `points` [..., 2]."""
    square = ((points[..., None, :] - world["means"]) ** 2).sum(-1)
    variance = world["stds"] ** 2
    return (world["weights"] * np.exp(-square / (2 * variance)) / (2 * np.pi * variance)).sum(-1)


def levels(q: np.ndarray, cell: float) -> list[float]:
    """Heights above which `q`, on a grid of cells of this area, holds MASSES; rising."""
    heights = np.sort(q.ravel())[::-1]
    mass = np.cumsum(heights) * cell
    return [float(heights[np.searchsorted(mass, share)]) for share in MASSES]


def _panels(num: int, world: dict[str, np.ndarray]) -> tuple[Any, np.ndarray]:
    """Square panels of one frame with the areas of the truth in grey."""
    from matplotlib.ticker import MaxNLocator

    low = (world["means"] - 4 * world["stds"][:, None]).min()
    high = (world["means"] + 4 * world["stds"][:, None]).max()
    line = np.linspace(low, high, 241)
    points = np.stack(np.meshgrid(line, line), -1)
    q = density(world, points)
    edges = [*levels(q, (line[1] - line[0]) ** 2), q.max()]
    ticks = MaxNLocator(4, integer=True).tick_values(low, high)[1:-1]
    columns = page_layout.balanced_columns(num, COLUMNS)
    width = style.PAGE * min(1, max(columns, 2) / 4)
    figure, axes = page_layout.panel_grid(
        num, columns, width, width / columns + 0.1, sharex=True, sharey=True
    )
    for i, ax in enumerate(axes):
        ax.contourf(line, line, q, edges, colors=TONES)
        ax.set(xlim=(low, high), ylim=(low, high), aspect="equal")
        ax.set(xticks=ticks, yticks=ticks)
        ax.tick_params(labelbottom=i >= num - columns, labelleft=i % columns == 0)
    figure.supxlabel("$x_1$")
    figure.supylabel("$x_2$")
    return figure, axes


def runs(states: np.ndarray, expert: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
    """Pieces of trajectories under one expert, each up to the state where the next one begins.

    `states` is [samples, calls + 1, 2], `expert` [samples, calls + 1] as of `loudest`.
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
    pieces, experts = zip(*runs(states, expert), strict=True)
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
        lines.append(Line2D([], [], color=_colour(NONE), label="several alike"))
    mark = {"linestyle": "none", "marker": "o", "color": "black", "markersize": 3}
    return [
        *lines,
        Line2D([], [], label="start ($t = 1$)", mfc="white", mew=0.5, **mark),
        Line2D([], [], label="end ($t = 0$)", **mark),
    ]

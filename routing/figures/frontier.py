"""Quality against its price: a metric over expert evaluations per sample, with the Pareto front.

An arm is on the front if no other is at least as cheap and at least as good, and better in one.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from routing.figures import arms, labels, style, words
from routing.figures.inputs import Inputs
from routing.figures.style import Drawing


@dataclass(frozen=True)
class Frontier:
    """One metric of every arm against its expert evaluations per sample; the front is drawn."""

    metric: str
    arms: tuple[str, ...] = ()

    needs: ClassVar[tuple[str, ...]] = ("metrics", "bills")
    formats: ClassVar[tuple[str, ...]] = style.PICTURES

    def __post_init__(self):
        """Refuse a metric without a good direction."""
        if not words.direction(self.metric):
            raise ValueError(
                f"frontier: wanted a metric of which more or less is better, got {self.metric!r}; "
                f"the figure 'shares' shows shares"
            )

    @style.styled
    def draw(self, inputs: Inputs) -> Drawing:
        """A labelled point with its interval per arm."""
        table = self._table(inputs)
        figure = style.canvas(style.PAGE, 3.4)
        axes = figure.subplots()
        x, y = table["expert_evaluations"].to_numpy(), table["value"].to_numpy()
        half = ((table["hi"] - table["lo"]) / 2).to_numpy()
        style.fit_scale(axes, "y", y, half)
        _cost_axis(axes, x)
        for row in table.itertuples():
            error = [[row.value - row.lo], [row.hi - row.value]]
            look = arms.look(inputs, row.arm).points()
            axes.errorbar(row.expert_evaluations, row.value, yerr=error, elinewidth=0.9, **look)
        front = table[table["is_on_front"]].sort_values("expert_evaluations")
        line = {"color": style.GREY, "linewidth": 0.8, "dashes": (3, 1.5), "zorder": 0}
        steps = front[["expert_evaluations", "value"]].to_numpy()
        corners = staircase(steps, axes.get_xlim()[1])
        axes.plot(*corners.T, **line)
        axes.set_xlabel("expert evaluations per sample")
        axes.set_ylabel(words.axis_label(self.metric))
        axes.grid(zorder=0)
        style.legend(figure, _handles(inputs, list(table["arm"])), 6)
        intervals = np.stack([table[["expert_evaluations", end]] for end in ("lo", "hi")], axis=1)
        stairs = np.stack([corners[:-1], corners[1:]], 1)
        names = [*map(arms.label, table["arm"])]
        labels.write(axes, np.stack([x, y], 1), names, np.concatenate([intervals, stairs]))
        return Drawing(table, figure)

    def _table(self, inputs: Inputs) -> pd.DataFrame:
        """The metric's rows with the bill of each arm and whether it is on the front."""
        names = inputs.chosen(self.arms)
        found = inputs.rows_of(self.metric, inputs.metrics).loc[names].reset_index(drop=True)
        bills = [inputs.bill(arm).set_index("part") for arm in names]
        found["expert_evaluations"] = [b.loc["total", "evaluations"] for b in bills]
        sign = words.direction(self.metric)
        found["is_on_front"] = on_front(found["expert_evaluations"], sign * found["value"])
        return found


def on_front(cost: pd.Series, gain: pd.Series) -> np.ndarray:
    """Which rows no other row beats: cheaper or equal, better or equal, and one of them truly."""
    c, g = cost.to_numpy(), gain.to_numpy()
    no_worse = (c[None] <= c[:, None]) & (g[None] >= g[:, None])
    truly = (c[None] < c[:, None]) | (g[None] > g[:, None])
    return ~(no_worse & truly).any(1)


def staircase(points: np.ndarray, right: float) -> np.ndarray:
    """Corners [2 num, 2] of the line that keeps the y of each of `points` until the next one's x.

    `points` are [num, 2] with rising x; the last one's y is kept until x = `right`.
    """
    ends = np.append(points[:, 0], right)
    return np.stack([np.repeat(ends, 2)[1:-1], np.repeat(points[:, 1], 2)], 1)


def _cost_axis(axes: Any, x: np.ndarray) -> None:
    """Logarithmic, with the arms' own round costs as ticks; room on the right for labels."""
    from matplotlib.ticker import NullFormatter

    axes.set_xscale("log")
    low, high = x.min(), x.max()
    axes.set_xlim(low / 1.12, max(high * 1.35, low * 1.6))
    ticks: list[float] = []
    values, counts = np.unique(np.round(x, 6), return_counts=True)
    for tick in values[np.lexsort((values, -counts))]:
        if all(abs(np.log(tick / t)) > 0.12 for t in ticks):
            ticks.append(tick)
    axes.set_xticks(ticks, [f"{t:.0f}" for t in ticks])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.minorticks_off()


def _handles(inputs: Inputs, names: list[str]) -> list:
    """What markers and fills mean, as far as they occur."""
    from matplotlib.lines import Line2D

    def dot(text: str, colour: str, face: str, marker: str = "o") -> Line2D:
        edge = {"markerfacecolor": face, "markeredgecolor": colour, "markeredgewidth": 0.9}
        return Line2D([], [], linestyle="none", marker=marker, label=text, **edge)

    looks = {arm: arms.look(inputs, arm) for arm in names}
    solvers = {x.marker: arms.label(inputs.arms[arm]["sampler"]) for arm, x in looks.items()}
    handles = [dot(text, style.GREY, style.GREY, marker) for marker, text in solvers.items()]
    if any(arms.is_monolith(inputs, arm) for arm in names):
        handles.append(dot("monolith", arms.MONOLITH, arms.MONOLITH))
    if any(x.is_hollow for x in looks.values()):
        handles.append(dot("random partition", style.GREY, "white"))
    front = Line2D([], [], color=style.GREY, linewidth=0.8, dashes=(3, 1.5), label="Pareto front")
    return [*handles, front]

"""Quality against its price: a metric over the cost of a sample, with the Pareto front.

An arm is on the front if no other is at least as cheap and at least as good, and better in one.
The price is expert evaluations per sample, or FLOPs, which count the router's too. Colours are
policies, markers solvers. With `by: router` arms that differ in the policy alone are joined, from
the cheapest to the dearest: a colour per router, a marker per policy, the router's name at the end
of its curve.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from routing.figures.shared import arms, families, labels, style, words
from routing.figures.shared.inputs import Inputs
from routing.figures.shared.style import Drawing

HEIGHT, HANDLE = 2.8, 0.45  # in: least height of the axes, width of a mark of the legend
PREFIXES = {"T": 1e12, "G": 1e9, "M": 1e6}


@dataclass(frozen=True)
class Frontier:
    """One metric of every arm against the cost of a sample; the front is drawn."""

    metric: str
    by: Literal["none", "router"] = "none"
    cost: Literal["experts", "flop"] = "experts"
    arms: tuple[str, ...] = ()

    needs: ClassVar[tuple[str, ...]] = ("metrics", "costs")
    formats: ClassVar[tuple[str, ...]] = style.PICTURES

    def __post_init__(self):
        """Refuse a metric without a good direction."""
        if not words.direction(self.metric):
            raise ValueError(
                f"frontier: wanted a metric of which more or less is better, got {self.metric!r}; "
                f"'quality' and 'shares' draw the others"
            )

    @style.styled
    def draw(self, inputs: Inputs) -> Drawing:
        """A point with its interval per arm."""
        table = self._table(inputs)
        parts = families.Families(inputs, table) if self.by == "router" else None
        handles = parts.handles() if parts else _handles(inputs, list(table["arm"]))
        handles.append(_front_handle())
        beside = style.width_of([handle.get_label() for handle in handles], "legend.fontsize")
        columns = min(6, max(1, int((style.PAGE - 0.2) / (beside + HANDLE))))
        columns = style.balanced(len(handles), columns)
        most = table["cost"].round(6).value_counts().max()
        high = max(HEIGHT, labels.PITCH * labels.SIZE / 72 * most)
        figure = style.canvas(style.PAGE, high + 0.45 + style.LINE * -(-len(handles) // columns))
        axes = figure.subplots()
        x, y = table["cost"].to_numpy(), table["value"].to_numpy()
        half = ((table["hi"] - table["lo"]) / 2).to_numpy()
        style.fit_scale(axes, "y", y, half)
        _cost_axis(axes, x)
        drawn = words.within(table)
        for row in drawn.itertuples():
            error = [[row.value - row.lo], [row.hi - row.value]]
            look = parts.points(row.arm) if parts else arms.look(inputs, row.arm).points()
            axes.errorbar(row.cost, row.value, yerr=error, elinewidth=0.9, **look)
        front = table[table["is_on_front"]].sort_values("cost")
        line = {"color": style.GREY, "linewidth": 0.8, "dashes": (3, 1.5), "zorder": 0}
        corners = staircase(front[["cost", "value"]].to_numpy(), axes.get_xlim()[1])
        axes.plot(*corners.T, **line)
        axes.set_xlabel(table["cost_unit"].iloc[0] + " per sample")
        axes.set_ylabel("\n".join(style.wrapped(words.axis_label(self.metric), high)))
        axes.grid(zorder=0)
        style.legend(figure, handles, columns)
        intervals = np.stack([drawn[["cost", end]] for end in ("lo", "hi")], axis=1)
        taken = [intervals, np.stack([corners[:-1], corners[1:]], 1)]
        points, names = np.stack([x, y], 1), [*map(arms.label, table["arm"])]
        colours = ["black"] * len(names)
        lines = [arms.look(inputs, arm).colour for arm in table["arm"]]
        if parts:
            taken.append(parts.curves(axes))
            points, names, colours = parts.ends()
            lines = colours
        labels.write(axes, points, names, np.concatenate(taken), colours, lines)
        return Drawing(table, figure)

    def _table(self, inputs: Inputs) -> pd.DataFrame:
        """The metric's rows with the cost of each arm and whether it is on the front."""
        measured = inputs.rows_of(self.metric, inputs.metrics)
        names = arms.measured(self.metric, measured, inputs.chosen(self.arms))
        found = measured.loc[names].reset_index(drop=True)
        totals = [inputs.cost(arm).set_index("component").loc["total"] for arm in names]
        found["expert_evaluations"] = [float(total["evaluations"]) for total in totals]
        cost = found["expert_evaluations"].to_numpy()
        unit, size = "expert evaluations", 1.0
        if self.cost == "flop":
            cost = np.array([float(total["flop"]) for total in totals])
            if not (cost > 0).all():
                raise ValueError(
                    "frontier: wanted FLOPs of every arm, got 0 (closed forms have none); take "
                    "cost: experts"
                )
            sizes = {p: s for p, s in PREFIXES.items() if s <= cost.min()} or {"": 1.0}
            prefix, size = next(iter(sizes.items()))
            unit = f"{prefix}FLOP of experts and router"
        found = found.assign(cost=cost / size, cost_unit=unit)
        sign = words.direction(self.metric)
        found["is_on_front"] = on_front(found["cost"], sign * found["value"])
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
    axes.set_xticks(ticks, [f"{t:.0f}" if low >= 1 else f"{t:.3g}" for t in ticks])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.minorticks_off()


def _handles(inputs: Inputs, names: list[str]) -> list:
    """What colours, markers and fills mean, as far as they occur."""
    from matplotlib.lines import Line2D

    def dot(text: str, colour: str, face: str, marker: str = "o", fill: str = "full") -> Line2D:
        edge = {"markerfacecolor": face, "markeredgecolor": colour, "markeredgewidth": 0.9}
        return Line2D([], [], linestyle="none", marker=marker, label=text, fillstyle=fill, **edge)

    looks = {arm: arms.look(inputs, arm) for arm in names}
    routed = [arm for arm in names if not arms.is_monolith(inputs, arm)]
    kinds = {arm: arms.policy_kind(inputs.policies[inputs.arms[arm]["policy"]]) for arm in routed}
    policies = {kind: looks[arm].colour for arm, kind in kinds.items()}
    handles = [dot(arms.label(kind), colour, colour) for kind, colour in policies.items()]
    solvers = {x.marker: arms.label(inputs.arms[arm]["sampler"]) for arm, x in looks.items()}
    handles += [dot(text, style.GREY, style.GREY, marker) for marker, text in solvers.items()]
    if any(arms.is_monolith(inputs, arm) for arm in names):
        handles.append(dot("monolith", arms.MONOLITH, arms.MONOLITH))
    if any(x.is_hollow for x in looks.values()):
        handles.append(dot("random partition", style.GREY, "white"))
    if any(x.is_guided for x in looks.values()):
        handles.append(dot("guided", style.GREY, style.GREY, fill="left"))
    return handles


def _front_handle() -> Any:
    from matplotlib.lines import Line2D

    look = {"color": style.GREY, "linewidth": 0.8, "dashes": (3, 1.5)}
    return Line2D([], [], label="Pareto front", **look)

"""Quality against cost: a metric over the cost of a sample, with the Pareto front.

An arm is on the front if every other arm is more expensive, worse, or equal in both. The cost is
the number of expert evaluations per sample (NFE), or FLOPs, which include the router. Colours are
policies, markers are solvers. With `by: router` a line joins the arms that differ in the policy
only, from the lowest to the highest cost; colours are then routers, markers are policies, and the
name of the router stands at the end of its line.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from routing.figures.shared import (
    arm_selection,
    arm_styles,
    cost_curves,
    metric_labels,
    page_layout,
    point_labels,
    style,
)
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.figure_text import figure_label
from routing.figures.shared.intervals import draw_intervals
from routing.figures.shared.style import Drawing

MIN_HEIGHT = 2.8  # of the axes, in
HANDLE_WIDTH, MAX_LEGEND_COLUMNS = 0.45, 6  # width of a legend's symbol with its margins, in
PREFIXES = {"T": 1e12, "G": 1e9, "M": 1e6}
FRONT_LINE = {"color": style.GREY, "linewidth": 0.8, "dashes": (3, 1.5)}


@dataclass(frozen=True)
class Frontier:
    """One metric of every arm over the cost of a sample, with the Pareto front."""

    metric: str
    by: Literal["none", "router"] = "none"
    cost: Literal["experts", "flop"] = "experts"
    arms: tuple[str, ...] = ()

    needs: ClassVar[tuple[str, ...]] = ("metrics", "costs")
    formats: ClassVar[tuple[str, ...]] = style.IMAGE_FORMATS

    def __post_init__(self):
        """Validate the options."""
        if not metric_labels.direction(self.metric):
            raise ValueError(
                f"frontier: wanted a metric with a better direction, got {self.metric!r}; "
                f"draw it with 'quality' or 'shares'"
            )

    @style.styled
    def draw(self, inputs: FigureInputs) -> Drawing:
        """A point per arm with its 95 % interval."""
        table = self._table(inputs)
        curves = cost_curves.CostCurves(inputs, table) if self.by == "router" else None
        handles = curves.legend_handles() if curves else _handles(inputs, list(table["arm"]))
        handles.append(_front_handle())
        columns = _legend_columns(handles)
        most = table["cost"].round(6).value_counts().max()
        height = max(MIN_HEIGHT, point_labels.PITCH * point_labels.FONT_SIZE / 72 * most)
        legend_height = style.LINE * -(-len(handles) // columns)
        figure = page_layout.new_figure(style.PAGE, height + 0.45 + legend_height)
        axes = figure.subplots()
        x, y = table["cost"].to_numpy(), table["value"].to_numpy()
        page_layout.fit_scale(axes, "y", y, ((table["hi"] - table["lo"]) / 2).to_numpy())
        _cost_axis(axes, x)
        drawn = metric_labels.clip_intervals(table)
        styles = {arm: arm_styles.arm_style(inputs, arm) for arm in table["arm"]}
        for row in drawn.itertuples():
            line = curves.marker_kwargs(row.arm) if curves else styles[row.arm].marker_kwargs()
            draw_intervals(axes, row, x=row.cost, elinewidth=0.9, **line)
        front = table[table["is_on_front"]].sort_values("cost")
        corners = staircase(front[["cost", "value"]].to_numpy(), axes.get_xlim()[1])
        axes.plot(*corners.T, zorder=0, **FRONT_LINE)
        axes.set_xlabel(table["cost_unit"].iloc[0] + " per sample")
        label = page_layout.wrap_text(metric_labels.axis_label(self.metric), height)
        axes.set_ylabel("\n".join(label))
        axes.grid(zorder=0)
        page_layout.legend_above(figure, handles, columns)
        intervals = np.stack([drawn[["cost", end]] for end in ("lo", "hi")], axis=1)
        occupied = [intervals, np.stack([corners[:-1], corners[1:]], 1)]
        points, names = np.stack([x, y], 1), [*map(figure_label, table["arm"])]
        colours, lines = ["black"] * len(names), [look.colour for look in styles.values()]
        if curves:
            occupied.append(curves.draw_lines(axes))
            points, names, colours = curves.end_labels()
            lines = colours
        point_labels.write_labels(axes, points, names, np.concatenate(occupied), colours, lines)
        return Drawing(table, figure)

    def _table(self, inputs: FigureInputs) -> pd.DataFrame:
        """The metric's rows with expert_evaluations, cost, cost_unit and is_on_front."""
        measured = inputs.metric_rows(self.metric, inputs.metrics)
        names = arm_selection.require_measured(
            self.metric, measured, inputs.selected_arms(self.arms)
        )
        found = measured.loc[names].reset_index(drop=True)
        totals = [inputs.cost(arm).set_index("component").loc["total"] for arm in names]
        found["expert_evaluations"] = [float(total["evaluations"]) for total in totals]
        cost = found["expert_evaluations"].to_numpy()
        unit, size = "expert evaluations", 1.0
        if self.cost == "flop":
            cost = np.array([float(total["flop"]) for total in totals])
            if not (cost > 0).all():
                raise ValueError(
                    "frontier: wanted FLOPs of every arm, got 0 (exact worlds count none); set "
                    "cost: experts"
                )
            sizes = {p: s for p, s in PREFIXES.items() if s <= cost.min()} or {"": 1.0}
            prefix, size = next(iter(sizes.items()))
            unit = f"{prefix}FLOP of experts and router"
        found = found.assign(cost=cost / size, cost_unit=unit)
        sign = metric_labels.direction(self.metric)
        found["is_on_front"] = on_front(found["cost"], sign * found["value"])
        return found


def on_front(cost: pd.Series, gain: pd.Series) -> np.ndarray:
    """Return which rows are Pareto optimal.

    A row is not if another row costs no more and gains no less, and differs in one of the two.
    """
    c, g = cost.to_numpy(), gain.to_numpy()
    no_worse = (c[None] <= c[:, None]) & (g[None] >= g[:, None])
    is_better = (c[None] < c[:, None]) | (g[None] > g[:, None])
    return ~(no_worse & is_better).any(1)


def staircase(points: np.ndarray, right: float) -> np.ndarray:
    """Return the corners [2 num, 2] of the step curve through `points` [num, 2] with rising x.

    The y of a point holds until the x of the next one, that of the last until `right`.
    """
    ends = np.append(points[:, 0], right)
    return np.stack([np.repeat(ends, 2)[1:-1], np.repeat(points[:, 1], 2)], 1)


def _cost_axis(axes: Any, x: np.ndarray) -> None:
    """Make the x axis logarithmic, with ticks at the costs of arms and room for labels."""
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


def _handles(inputs: FigureInputs, names: list[str]) -> list:
    """Return legend handles of the colours, markers and fills that occur."""
    from matplotlib.lines import Line2D

    def dot(text: str, colour: str, face: str, marker: str = "o", fill: str = "full") -> Line2D:
        edge = {"markerfacecolor": face, "markeredgecolor": colour, "markeredgewidth": 0.9}
        return Line2D([], [], linestyle="none", marker=marker, label=text, fillstyle=fill, **edge)

    styles = {arm: arm_styles.arm_style(inputs, arm) for arm in names}
    routed = [arm for arm in names if not arm_selection.is_monolith(inputs, arm)]
    kinds = {
        arm: arm_styles.policy_kind(inputs.policies[inputs.arms[arm]["policy"]]) for arm in routed
    }
    policies = {kind: styles[arm].colour for arm, kind in kinds.items()}
    handles = [dot(figure_label(kind), colour, colour) for kind, colour in policies.items()]
    solvers = {x.marker: figure_label(inputs.arms[arm]["sampler"]) for arm, x in styles.items()}
    handles += [dot(text, style.GREY, style.GREY, marker) for marker, text in solvers.items()]
    if any(arm_selection.is_monolith(inputs, arm) for arm in names):
        handles.append(dot("monolith", arm_styles.MONOLITH_COLOUR, arm_styles.MONOLITH_COLOUR))
    if any(x.is_hollow for x in styles.values()):
        handles.append(dot("random partition", style.GREY, "white"))
    if any(x.is_guided for x in styles.values()):
        handles.append(dot("guided", style.GREY, style.GREY, fill="left"))
    return handles


def _front_handle() -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], label="Pareto front", **FRONT_LINE)


def _legend_columns(handles: list) -> int:
    """Return the number of columns of a legend as wide as the page."""
    widest = page_layout.text_width([handle.get_label() for handle in handles], "legend.fontsize")
    fit = max(1, int((style.PAGE - 0.2) / (widest + HANDLE_WIDTH)))
    return page_layout.balanced_columns(len(handles), min(MAX_LEGEND_COLUMNS, fit))

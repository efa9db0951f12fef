"""Arms along one metric; a bar joins arms of which no two differ significantly.

Critical-difference diagram (Demsar 2006, JMLR 7:1). The original shows mean ranks over data sets;
this one shows the metric itself, with paired tests. A bar is a run of arms, in the order of their
values, no two of which differ significantly (`routing.statistics.cliques`). With paired tests two
neighbours may differ significantly although two arms further apart do not. Such pairs share no
bar; the legend has their number.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool

from routing.figures.shared import arm_pairs, dot_plot_rows, metric_labels, page_layout, style
from routing.figures.shared.dot_plot_rows import DotPlotRows
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.figure_text import figure_label
from routing.figures.shared.style import Drawing

AXIS, LANE = 2.0, 0.075  # smallest width of the axes, and width of a bar, in
Spans = list[tuple[int, int]]  # first and last rank of each bar


@dataclass(frozen=True)
class CriticalDifference:
    """One metric of every arm, the best on top; bars join arms that do not differ significantly.

    The level is 5 %, with Holm's correction for all pairs of the arms shown.
    """

    metric: str
    arms: tuple[str, ...] = ()

    needs: ClassVar[tuple[str, ...]] = ("metrics", "comparisons")
    formats: ClassVar[tuple[str, ...]] = style.IMAGE_FORMATS

    @style.styled
    def draw(self, inputs: FigureInputs) -> Drawing:
        """Draw one row per arm with its 95 % interval; the bars are on the right."""
        from routing.statistics.cliques import cliques

        found = arm_pairs.all_pairs(inputs, self.metric, self.arms)
        is_apart = found.is_distinguishable()
        spans = cliques(is_apart)
        table, missed = found.arms.copy(), pairs_without_bar(is_apart, spans)
        table["bars"] = [_bars_of(rank, spans) for rank in table["rank"]]
        table["num_without_bar"] = missed.sum(1)
        layout = DotPlotRows(
            dict(zip(table["arm"], map(float, table["rank"]), strict=True)), {}, {}
        )
        lane_of = lanes(spans)
        notes = _notes(len(table), spans, int(missed.sum()) // 2)
        names = page_layout.text_width(list(map(figure_label, table["arm"])))
        bars_width = LANE * max(lane_of, default=-1) + LANE
        width = max(style.COLUMN, names + AXIS + bars_width)
        label = page_layout.wrap_text(metric_labels.axis_label(self.metric), width - 0.1)
        above = style.LINE * (len(label) + len(notes))
        figure = page_layout.new_figure(width, layout.height + above + 0.26)
        ratios = [width - names - bars_width, bars_width] if spans else [1]
        axes = figure.subplots(1, len(ratios), squeeze=False, sharey=True, width_ratios=ratios)[0]
        layout.draw_values(axes[0], inputs, metric_labels.clip_intervals(table))
        layout.draw_frame(axes[0])
        dot_plot_rows.format_value_axis(axes[0])
        if spans:
            _bars(axes[1], layout, spans, lane_of)
        figure.supxlabel("\n".join(label), x=0.5)
        page_layout.legend_above(figure, _handles(notes, bool(spans)), 1)
        return Drawing(table, figure)


def pairs_without_bar(
    is_distinguishable: Bool[np.ndarray, "arms arms"], spans: Spans
) -> Bool[np.ndarray, "arms arms"]:
    """Return which pairs do not differ significantly and share no bar; symmetric."""
    missed = ~is_distinguishable
    np.fill_diagonal(missed, False)
    for first, last in spans:
        missed[first : last + 1, first : last + 1] = False
    return missed


def lanes(spans: Spans) -> list[int]:
    """Return the lane of each bar, the first free one; `spans` are sorted by their starts."""
    ends: list[int] = []
    found = []
    for first, last in spans:
        free = [lane for lane, end in enumerate(ends) if end < first]
        lane = free[0] if free else len(ends)
        ends[lane : lane + 1] = [last]
        found.append(lane)
    return found


def _bars_of(rank: int, spans: Spans) -> list[int]:
    """Return the indices of the bars that cover the arm at `rank`."""
    return [i for i, (first, last) in enumerate(spans) if first <= rank <= last]


def _bars(axes: Any, layout: DotPlotRows, spans: Spans, lane_of: list[int]) -> None:
    y = list(layout.of_arm.values())
    axes.hlines(y, 0, 1, transform=axes.get_yaxis_transform(), color="#EBEBEB", linewidth=0.5)
    for (first, last), lane in zip(spans, lane_of, strict=True):
        ends = [y[first] - 0.3, y[last] + 0.3]
        axes.plot([lane, lane], ends, color="black", linewidth=2, solid_capstyle="butt")
    axes.set_xlim(-0.5, max(lane_of) + 0.5)
    axes.tick_params(bottom=False, labelbottom=False, left=False, labelleft=False)
    axes.spines[:].set_visible(False)


def _notes(num_arms: int, spans: Spans, num_missed: int) -> list[str]:
    """Return the lines of the legend: what bars mean, and which pairs have none."""
    among = arm_pairs.correction_text(num_arms)
    if not spans and not num_missed:
        return [f"any two arms differ significantly ({among})"]
    first = f"joins arms of which no two differ significantly ({among})"
    if spans == [(0, num_arms - 1)]:
        return [first]
    if not spans:
        first = f"neighbours differ significantly ({among})"
    if not num_missed:
        return [first, "arms that share no bar differ significantly"]
    if num_missed == 1:
        return [first, "1 more pair does not differ significantly and has no bar"]
    return [first, f"{num_missed:,} more pairs do not differ significantly and have no bar"]


def _handles(notes: list[str], has_bars: bool) -> list[Any]:
    from matplotlib.lines import Line2D

    bar = {"color": "black", "marker": "|", "markersize": 7, "markeredgewidth": 2}
    looks = [bar if has_bars and i == 0 else {} for i in range(len(notes))]
    return [
        Line2D([], [], linestyle="none", label=note, **look)
        for note, look in zip(notes, looks, strict=True)
    ]

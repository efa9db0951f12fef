"""Difference of every router from the router `baseline`, paired by training seed and sample seed.

For each policy, partition, sampler and guidance: the metric of every router minus that of the
router `baseline`, with the 95 % interval of `routing.statistics.jackknife.jackknife_difference`.
What the two arms share through training seeds and noise cancels. Each interval is valid by
itself; with many of them some exclude zero by chance.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd

from routing.figures.shared import (
    arm_selection,
    dot_plot_rows,
    metric_labels,
    page_layout,
    router_styles,
    style,
)
from routing.figures.shared.config_view import display_name, require_known
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.figure_text import figure_text
from routing.figures.shared.intervals import draw_intervals
from routing.figures.shared.style import Drawing

KEYS = ("policy", "partition", "sampler", "guidance")  # what two compared arms have in common


@dataclass(frozen=True)
class Gains:
    """One metric of every router minus that of the router `baseline`, by policy."""

    metric: str
    baseline: str
    arms: tuple[str, ...] = ()

    needs: ClassVar[tuple[str, ...]] = ("metrics", "replicates")
    formats: ClassVar[tuple[str, ...]] = style.IMAGE_FORMATS

    @style.styled
    def draw(self, inputs: FigureInputs) -> Drawing:
        """A row per router, the best of each policy on top; filled if the interval excludes 0."""
        require_known(self.baseline, list(inputs.routers), "baseline")
        table = self._table(inputs)
        titles = _titles(table)
        table.insert(0, "group", titles)
        sign = metric_labels.direction(self.metric)
        ranked = table.assign(rank=-sign * table["value"]).sort_values("rank", kind="stable")
        groups = {
            figure_text(g): list(ranked["arm"][ranked["group"] == g])
            for g in dict.fromkeys(titles)
        }
        layout = dot_plot_rows.stacked_rows(groups)
        note = f", minus {display_name(self.baseline)}"
        names = dict(zip(table["arm"], table["router"], strict=True))
        figure = layout.new_figure(metric_labels.axis_label(self.metric, note), 0.47, names)
        axes = figure.subplots()
        axes.axvline(0, color="black", linewidth=0.8, zorder=1)
        half = (table["hi"] - table["lo"]) / 2
        page_layout.fit_scale(axes, "x", table["value"].to_numpy(), half.to_numpy())
        for row in table.itertuples():
            colour = router_styles.router_colour(inputs, row.router)
            line = {"color": colour, "marker": "o", "elinewidth": 1}
            line["markerfacecolor"] = colour if row.lo > 0 or row.hi < 0 else "white"
            draw_intervals(axes, row, y=layout.of_arm[row.arm], **line)
        layout.draw_frame(axes, names=names)
        dot_plot_rows.format_value_axis(axes)
        page_layout.legend_above(figure, _handles(), 2)
        return Drawing(table, figure)

    def asked_arms(self, inputs: FigureInputs) -> list[str]:
        """Return no arm: by default the figure selects its arms."""
        return []

    def _table(self, inputs: FigureInputs) -> pd.DataFrame:
        """policy, partition, sampler, guidance, router, arm, reference, metric, value, lo, hi."""
        import torch

        from routing.statistics.jackknife import jackknife_difference

        found = inputs.metric_rows(self.metric, inputs.metrics)
        chosen = arm_selection.require_measured(
            self.metric, found, inputs.selected_arms(self.arms)
        )
        bases = {_key(inputs, a): a for a in chosen if inputs.arms[a]["router"] == self.baseline}
        rows = []
        for arm in chosen:
            base = bases.get(_key(inputs, arm))
            if base is None or inputs.arms[arm]["router"] == self.baseline:
                continue
            pair = [torch.tensor(inputs.replicates(a, self.metric)) for a in (arm, base)]
            interval = jackknife_difference(*pair)
            row = dict(zip(KEYS, _key(inputs, arm), strict=True))
            row |= {"router": inputs.arms[arm]["router"], "arm": arm, "reference": base}
            rows.append(row | {"metric": self.metric} | interval._asdict())
        if not rows:
            raise ValueError(
                f"gains: wanted arms that differ from one of router {self.baseline!r} in the "
                f"router alone, got none; name another baseline or other arms"
            )
        order = list(inputs.policies)
        rank = lambda names: names.map(order.index)  # noqa: E731
        return pd.DataFrame(rows).sort_values("policy", key=rank, kind="stable", ignore_index=True)


def _key(inputs: FigureInputs, arm: str) -> tuple:
    """Return what two arms must have in common to be compared."""
    return tuple(inputs.arms[arm].get(key) for key in KEYS)


def _titles(table: pd.DataFrame) -> list[str]:
    """Return a title per row: the policy, and the other KEYS that differ between rows."""
    keys = [key for key in KEYS if key == "policy" or table[key].nunique(dropna=False) > 1]
    return [", ".join(display_name(v) for v in row if v) for row in table[keys].to_numpy()]


def _handles() -> list[Any]:
    from matplotlib.lines import Line2D

    line = {"color": style.GREY, "marker": "o", "linestyle": "none"}
    return [
        Line2D([], [], label="95 % interval excludes zero", **line),
        Line2D([], [], label="includes zero", markerfacecolor="white", **line),
    ]

"""Metrics against the guidance scale: does one posterior for both branches cost anything?

A curve is of arms that differ in the guidance alone (`routing.ensemble.guidance`): `separate`
weighs each
branch by its own posterior, `shared` both by that of the null branch; with one expert they are
the same, the monolith. Scale 0 asks for nothing, the start of both curves; `conditional` is
`separate` with scale 1. A metric that needs a question, such as agreement, has no scale 0.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd

from routing.figures.shared import (
    guidance_curves,
    metric_labels,
    page_layout,
    style,
)
from routing.figures.shared.config_view import require_known
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.style import Drawing

MARKERS = ("o", "s", "^", "D", "v", "P")
LONGEST = 1.8  # line of a label, in


@dataclass(frozen=True)
class Guidance:
    """A panel per metric: a curve of each kind of weights over the scale, 95 % intervals."""

    metrics: tuple[str, ...]
    arms: tuple[str, ...] = ()

    needs: ClassVar[tuple[str, ...]] = ("metrics",)
    formats: ClassVar[tuple[str, ...]] = style.IMAGE_FORMATS

    def __post_init__(self):
        """Refuse a figure without panels."""
        if not self.metrics:
            raise ValueError("guidance: wanted at least one metric, got none; name one")

    @style.styled
    def draw(self, inputs: FigureInputs) -> Drawing:
        """Panels side by side, up to three in a row."""
        table = self._table(inputs)
        columns = page_layout.balanced_columns(len(self.metrics), 3)
        width = style.COLUMN if columns == 1 else style.PAGE
        figure, axes = page_layout.panel_grid(len(self.metrics), columns, width, 2.35)
        families = list(dict.fromkeys(table["family"][table["kind"] != "monolith"]))
        handles: dict[str, Any] = {}
        for ax, metric in zip(axes, self.metrics, strict=True):
            mine = metric_labels.clip_intervals(table[table["metric"] == metric])
            for (family, kind), rows in mine.groupby(["family", "kind"], sort=False):
                many = len(families) > 1 and kind != "monolith"
                name = f"{kind}, {family}" if many else kind
                place = families.index(family) if kind != "monolith" else 0
                handles[name] = guidance_curves.draw_curve(
                    ax, rows, name, kind, MARKERS[place % len(MARKERS)]
                )
            label = page_layout.wrap_text(metric_labels.axis_label(metric), LONGEST)
            ax.set_ylabel("\n".join(label), linespacing=1.0)
            ax.set_xticks(sorted(table["scale"].unique()))
            ax.xaxis.set_major_formatter("{x:g}")
            ax.grid(zorder=0)
        figure.supxlabel("guidance scale (0: nothing is asked for)")
        page_layout.legend_above(figure, list(handles.values()), 3 if len(families) < 2 else 2)
        return Drawing(table, figure)

    def _table(self, inputs: FigureInputs) -> pd.DataFrame:
        """family, kind, scale and the metrics' rows; curves of at least two scales."""
        valid = list(dict.fromkeys(inputs.metrics["metric"]))
        for metric in self.metrics:
            require_known(metric, valid, "metrics")
        found = [
            place
            for arm in inputs.selected_arms(self.arms)
            for place in guidance_curves.curve_points(inputs, arm)
        ]
        told = pd.DataFrame(found, columns=["arm", "family", "kind", "scale"])
        told = told.drop_duplicates(["family", "kind", "scale"])
        chosen = inputs.metrics[inputs.metrics["metric"].isin(self.metrics)]
        is_curve = told.groupby(["family", "kind"])["scale"].transform("nunique") > 1
        # What asks for nothing starts the curves of both kinds, where they go on.
        table = told[is_curve].merge(chosen, on="arm")
        if table.empty:
            raise ValueError(
                "guidance: wanted arms that differ in the scale of the guidance alone, got none; "
                "name others"
            )
        return table.sort_values(["metric", "family", "kind", "scale"], ignore_index=True)

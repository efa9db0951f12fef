"""Metrics over the guidance scale, with the posterior of each branch or one shared posterior.

Arms that differ in the guidance only (`routing.ensemble.guidance`) form a curve: `separate`
weights each branch by its own posterior, `shared` weights both by that of the null branch. With
one expert, the monolith, they are equal. Scale 0 is unconditional and starts both curves;
`conditional` is `separate` with scale 1. Metrics that need a condition, such as the agreement
with it, have no value at scale 0.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd

from routing.figures.shared import guidance_curves, metric_labels, page_layout, style
from routing.figures.shared.config_view import require_known
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.style import Drawing

MARKERS = ("o", "s", "^", "D", "v", "P")
LABEL_WIDTH = 1.8  # of a line of an axis label, in


@dataclass(frozen=True)
class Guidance:
    """A panel per metric: curves over the guidance scale, one per kind, with 95 % intervals."""

    metrics: tuple[str, ...]
    arms: tuple[str, ...] = ()

    needs: ClassVar[tuple[str, ...]] = ("metrics",)
    formats: ClassVar[tuple[str, ...]] = style.IMAGE_FORMATS

    def __post_init__(self):
        """Validate the options."""
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
                index = families.index(family) if kind != "monolith" else 0
                handles[name] = guidance_curves.draw_curve(
                    ax, rows, name, kind, MARKERS[index % len(MARKERS)]
                )
            label = page_layout.wrap_text(metric_labels.axis_label(metric), LABEL_WIDTH)
            ax.set_ylabel("\n".join(label), linespacing=1.1)
            ax.set_xticks(sorted(table["scale"].unique()))
            ax.xaxis.set_major_formatter("{x:g}")
            ax.grid(zorder=0)
        figure.supxlabel("guidance scale (0: unconditional)")
        page_layout.legend_above(figure, list(handles.values()), 3 if len(families) < 2 else 2)
        return Drawing(table, figure)

    def asked_arms(self, inputs: FigureInputs) -> list[str]:
        """Return the arms that have a guidance."""
        return [arm for arm, of in inputs.arms.items() if of.get("guidance")]

    def _table(self, inputs: FigureInputs) -> pd.DataFrame:
        """family, kind, scale and the metrics' rows; curves of at least two scales."""
        valid = list(dict.fromkeys(inputs.metrics["metric"]))
        for metric in self.metrics:
            require_known(metric, valid, "metrics")
        found = [
            point
            for arm in inputs.selected_arms(self.arms)
            for point in guidance_curves.curve_points(inputs, arm)
        ]
        points = pd.DataFrame(found, columns=["arm", "family", "kind", "scale"])
        points = points.drop_duplicates(["family", "kind", "scale"])
        chosen = inputs.metrics[inputs.metrics["metric"].isin(self.metrics)]
        is_curve = points.groupby(["family", "kind"])["scale"].transform("nunique") > 1
        # Unconditional arms are points of both kinds; a curve of one point is left out.
        table = points[is_curve].merge(chosen, on="arm")
        if table.empty:
            raise ValueError(
                "guidance: wanted arms that differ in the scale of the guidance only, got none; "
                "name others"
            )
        return table.sort_values(["metric", "family", "kind", "scale"], ignore_index=True)

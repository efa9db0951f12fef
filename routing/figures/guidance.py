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

from routing.figures.shared import arms, style, words
from routing.figures.shared.inputs import Inputs
from routing.figures.shared.named import known
from routing.figures.shared.style import Drawing

LOOKS = {
    "separate": {"color": "#0072B2", "linestyle": "-"},
    "shared": {"color": "#D55E00", "linestyle": "--"},
    "monolith": {"color": arms.MONOLITH, "linestyle": "-."},
}
MARKERS = ("o", "s", "^", "D", "v", "P")
KINDS = {"none": ("separate", "shared"), "conditional": ("separate",)}  # other kinds are their own
KEYS = ("partition", "router", "policy", "sampler")
LONGEST = 1.8  # line of a label, in


@dataclass(frozen=True)
class Guidance:
    """A panel per metric: a curve of each kind of weights over the scale, 95 % intervals."""

    metrics: tuple[str, ...]
    arms: tuple[str, ...] = ()

    needs: ClassVar[tuple[str, ...]] = ("metrics",)
    formats: ClassVar[tuple[str, ...]] = style.PICTURES

    def __post_init__(self):
        """Refuse a figure without panels."""
        if not self.metrics:
            raise ValueError("guidance: wanted at least one metric, got none; name one")

    @style.styled
    def draw(self, inputs: Inputs) -> Drawing:
        """Panels side by side, up to three in a row."""
        table = self._table(inputs)
        columns = style.balanced(len(self.metrics), 3)
        width = style.COLUMN if columns == 1 else style.PAGE
        figure, axes = style.panels(len(self.metrics), columns, width, 2.35)
        families = list(dict.fromkeys(table["family"][table["kind"] != "monolith"]))
        handles: dict[str, Any] = {}
        for ax, metric in zip(axes, self.metrics, strict=True):
            mine = words.within(table[table["metric"] == metric])
            for (family, kind), rows in mine.groupby(["family", "kind"], sort=False):
                many = len(families) > 1 and kind != "monolith"
                name = f"{kind}, {family}" if many else kind
                place = families.index(family) if kind != "monolith" else 0
                handles[name] = curve(ax, rows, name, kind, MARKERS[place % len(MARKERS)])
            label = style.wrapped(words.axis_label(metric), LONGEST)
            ax.set_ylabel("\n".join(label), linespacing=1.0)
            ax.set_xticks(sorted(table["scale"].unique()))
            ax.xaxis.set_major_formatter("{x:g}")
            ax.grid(zorder=0)
        figure.supxlabel("guidance scale (0: nothing is asked for)")
        style.legend(figure, list(handles.values()), 3 if len(families) < 2 else 2)
        return Drawing(table, figure)

    def _table(self, inputs: Inputs) -> pd.DataFrame:
        """family, kind, scale and the metrics' rows; curves of at least two scales."""
        valid = list(dict.fromkeys(inputs.metrics["metric"]))
        for metric in self.metrics:
            known(metric, valid, "metrics")
        found = [place for arm in inputs.chosen(self.arms) for place in places(inputs, arm)]
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


def places(inputs: Inputs, arm: str) -> list[tuple[str, str, str, float]]:
    """(arm, family, kind, scale) of each curve that the arm is a point of."""
    of, guidance = inputs.arms[arm], arms.guidance(inputs, arm)
    scale = arms.strength(inputs, arm) or 0.0
    if arms.is_monolith(inputs, arm):
        return [(arm, arms.label(of["sampler"]), "monolith", scale)]
    family = ", ".join(arms.label(of[key]) for key in KEYS)
    kinds = KINDS.get(guidance["name"], (guidance["name"],))
    return [(arm, family, kind, scale) for kind in kinds]


def curve(axes: Any, rows: pd.DataFrame, name: str, kind: str, marker: str) -> Any:
    """One curve with its intervals; returns its handle."""
    error = [rows["value"] - rows["lo"], rows["hi"] - rows["value"]]
    look = LOOKS.get(kind, {"color": arms.any_of(arms.OTHERS, kind), "linestyle": ":"})
    look |= {"marker": "*" if kind == "monolith" else marker}
    look |= {"markersize": 6 if kind == "monolith" else 3.6}
    drawn = axes.errorbar(rows["scale"], rows["value"], yerr=error, elinewidth=0.8, **look)
    drawn.set_label(name)
    return drawn

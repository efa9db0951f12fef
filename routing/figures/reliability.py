"""Reliability diagrams of learned routers: accuracy over confidence, on held-out states.

The confidence is the largest probability of the posterior, the accuracy the fraction of states
whose true cluster is the most probable one, in bins of confidence over all t. A router is
calibrated if both are equal. Thin lines are the confidence plus and minus the mean distance of
the accuracy from it for an exactly calibrated router with as many states. Lines are means over
training seeds, bands go from the smallest to the largest value.
Source: Guo et al. 2017, arXiv:1706.04599.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd

from routing.figures.shared import calibration_curves, page_layout, router_styles, style
from routing.figures.shared.calibration_curves import AS_TRAINED, SCALED, THIN, scaled_version
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.style import Drawing


@dataclass(frozen=True)
class Reliability:
    """Accuracy over confidence, a panel per router."""

    needs: ClassVar[tuple[str, ...]] = ("reliability",)
    formats: ClassVar[tuple[str, ...]] = style.IMAGE_FORMATS

    @style.styled
    def draw(self, inputs: FigureInputs) -> Drawing:
        """Draw one panel per router; bars are the shares of the states in each bin."""
        pairs = calibration_curves.trained_routers(inputs, "reliability")
        table = pd.concat([diagram_rows(inputs, *pair) for pair in pairs], ignore_index=True)
        columns = page_layout.balanced_columns(len(pairs), calibration_curves.MAX_COLUMNS)
        size = style.PAGE / max(columns, 3)
        height = size + 0.5 / -(-len(pairs) // columns)
        figure, axes = page_layout.panel_grid(len(pairs), columns, size * columns, height)
        for i, (ax, pair) in enumerate(zip(axes, pairs, strict=True)):
            mine = table[(table["partition"] == pair[0]) & (table["router"] == pair[1])]
            _diagram(ax, inputs, mine, pair[1])
            ax.set_title(calibration_curves.panel_title(pairs, pair))
            ax.tick_params(labelleft=i % columns == 0, labelbottom=i >= len(pairs) - columns)
        figure.supxlabel("confidence (largest probability)")
        figure.supylabel("accuracy")
        handles = calibration_curves.legend_handles()
        label = "calibrated, as many states"
        handles.append(calibration_curves.legend_line(label, color=style.GREY, **THIN))
        handles += [calibration_curves.legend_line("calibrated", **style.DOTTED), _bar_handle()]
        page_layout.legend_above(figure, handles, (1, 2, 4)[min(columns, 3) - 1])
        return Drawing(table, figure)


def diagram_rows(inputs: FigureInputs, partition: str, router: str) -> pd.DataFrame:
    """Return partition, router, version, bin, num_states, confidence, accuracy, floor, low, high.

    Confidence and accuracy are means over training seeds, weighted by numbers of states. So is
    `floor`, the mean of |accuracy - confidence| if the router is exactly calibrated. Bins without
    states are left out.
    """
    found = inputs.reliability(partition, router)
    found = found[found["num_states"] > 0]
    found = found.assign(floor=calibrated_gap(found["confidence"], found["num_states"]))
    for name in ("confidence", "accuracy", "floor"):
        found = found.assign(**{f"sum_{name}": found[name] * found["num_states"]})
    ends = found.groupby(["version", "bin"], as_index=False, sort=False).agg(
        num_states=("num_states", "sum"),
        confidence=("sum_confidence", "sum"),
        accuracy=("sum_accuracy", "sum"),
        floor=("sum_floor", "sum"),
        low=("accuracy", "min"),
        high=("accuracy", "max"),
    )
    means = ["confidence", "accuracy", "floor"]
    ends[means] = ends[means].div(ends["num_states"], axis=0)
    return ends.assign(partition=partition, router=router)


def calibrated_gap(p: pd.Series, num: pd.Series) -> pd.Series:
    """Return E |X / num - p| for X of Binomial(num, p).

    It is  2 k (1 - p) P(X = k) / num  with k = floor(num p) + 1.
    Source: De Moivre 1730, in Diaconis and Zabell 1991, doi:10.1214/ss/1177011699.
    """
    from scipy import stats

    k = (num * p) // 1 + 1
    return 2 * k * (1 - p) * stats.binom.pmf(k, num, p) / num


def _diagram(axes: Any, inputs: FigureInputs, mine: pd.DataFrame, router: str) -> None:
    colour = router_styles.router_colour(inputs, router)
    axes.plot([0, 1], [0, 1], **style.DOTTED)
    raw = mine[mine["version"] == "raw"]
    share = raw["num_states"] / raw["num_states"].sum()
    num_bins = max(10, int(mine["bin"].max()) + 1)
    axes.bar((raw["bin"] + 0.5) / num_bins, share, 0.8 / num_bins, color=style.BAND, zorder=0)
    versions = {
        "raw": AS_TRAINED | {"marker": "o", "markerfacecolor": colour},
        scaled_version(inputs, router): SCALED | {"marker": "s", "markerfacecolor": "white"},
    }
    raw = raw.sort_values("bin")
    for sign in (-1, 1):
        edge = raw["confidence"] + sign * raw["floor"]
        axes.plot(raw["confidence"], edge, color=style.GREY, **THIN)
    for version, line in versions.items():
        own = mine[mine["version"] == version].sort_values("bin")
        band = {"color": colour, "alpha": 0.2, "linewidth": 0}
        axes.fill_between(own["confidence"], own["low"], own["high"], **band)
        axes.plot(own["confidence"], own["accuracy"], color=colour, markersize=2.8, **line)
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.set_aspect("equal")


def _bar_handle() -> Any:
    from matplotlib.patches import Patch

    return Patch(label="share of the states", facecolor=style.BAND)

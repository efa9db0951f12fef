"""Does a router that says 0.7 hold 7 times in 10? Learned routers on held-out states.

`calibration` is by bins of t: accuracy of the most probable expert, cross-entropy against the true
cluster, and calibration error; `reliability` is over all t: accuracy by bins of confidence, the
largest probability. Both before and after temperatures are fitted: those that the router samples
with, or, where it takes none, those of least cross-entropy. Lines are means over trainings, bands
run from the least to the greatest. Source: Guo et al. 2017, arXiv:1706.04599.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from routing.figures.shared import page_layout, router_styles, style
from routing.figures.shared.config_view import display_name
from routing.figures.shared.distributions import entropy
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.style import Drawing

WIDEST = 6  # routers side by side
QUANTITIES = {
    "accuracy": "accuracy",
    "nll": "cross-entropy (nats)",
    "ece": "calibration error",
}
BEFORE, AFTER = {"linewidth": 1.2}, {"linewidth": 1.0, "dashes": (2.5, 1.2)}
OTHERS = {"color": "#D0D0D0", "linewidth": 0.6, "zorder": 0.5}


@dataclass(frozen=True)
class Calibration:
    """Accuracy, cross-entropy and calibration error by t, a column of panels per router."""

    needs: ClassVar[tuple[str, ...]] = ("router_reports", "partitions")
    formats: ClassVar[tuple[str, ...]] = style.IMAGE_FORMATS

    @style.styled
    def draw(self, inputs: FigureInputs) -> Drawing:
        """Panels of one quantity have one scale; pale: the partition's other routers, before."""
        pairs = trained(inputs, "calibration")
        table = pd.concat([report(inputs, *pair) for pair in pairs], ignore_index=True)
        table = table[table["quantity"].isin(QUANTITIES)].reset_index(drop=True)
        figure, columns = page_layout.panel_columns(len(pairs), len(QUANTITIES), WIDEST, 2.75)
        for own, pair in zip(columns, pairs, strict=True):
            known = floors(inputs.cluster_shares(pair[0]))
            for ax, quantity in zip(own, QUANTITIES, strict=True):
                rows = table[table["quantity"] == quantity]
                _by_time(ax, inputs, rows, pair)
                if quantity in known:
                    ax.axhline(known[quantity], **style.DOTTED)
                top = (
                    1 if quantity == "accuracy" else _most(inputs, rows, known.get(quantity, 0.0))
                )
                ax.set_ylim(0, 1.04 * top)
            own[0].set_title(title(pairs, pair))
            page_layout.label_column(own, list(QUANTITIES.values()))
        figure.align_ylabels()
        figure.supxlabel(style.TIME_LABEL)
        dotted = _line("the prior alone", **style.DOTTED)
        others = _line("the other routers, before", **OTHERS) if len(pairs) > 1 else None
        handles = [*_handles(), dotted, *([others] if others else [])]
        page_layout.legend_above(figure, handles, 4 if len(pairs) > 4 else 2)
        return Drawing(table, figure)


@dataclass(frozen=True)
class Reliability:
    """Accuracy by confidence over all t, a panel per router; on the diagonal it is calibrated."""

    needs: ClassVar[tuple[str, ...]] = ("reliability",)
    formats: ClassVar[tuple[str, ...]] = style.IMAGE_FORMATS

    @style.styled
    def draw(self, inputs: FigureInputs) -> Drawing:
        """Grey bars: the share of the states in each bin of confidence, before."""
        pairs = trained(inputs, "reliability")
        table = pd.concat([diagram(inputs, *pair) for pair in pairs], ignore_index=True)
        columns = page_layout.balanced_columns(len(pairs), WIDEST)
        size = style.PAGE / max(columns, 3)
        height = size + 0.5 / -(-len(pairs) // columns)
        figure, axes = page_layout.panel_grid(len(pairs), columns, size * columns, height)
        for i, (ax, pair) in enumerate(zip(axes, pairs, strict=True)):
            mine = table[(table["partition"] == pair[0]) & (table["router"] == pair[1])]
            _diagram(ax, inputs, mine, pair[1])
            ax.set_title(title(pairs, pair))
            ax.tick_params(labelleft=i % columns == 0, labelbottom=i >= len(pairs) - columns)
        figure.supxlabel("confidence (largest probability)")
        figure.supylabel("accuracy")
        dotted = _line("calibrated", **style.DOTTED)
        page_layout.legend_above(
            figure,
            [*_handles(), dotted, _bar("share of the states")],
            (1, 2, 4)[min(columns, 3) - 1],
        )
        return Drawing(table, figure)


def trained(inputs: FigureInputs, figure: str) -> list[list[str]]:
    """The [partition, router] of all trained routers; ValueError for `figure` if there is none."""
    if not inputs.spec["routers"]:
        raise ValueError(f"{figure}: no router was trained in this run; leave it out")
    return inputs.spec["routers"]


def report(inputs: FigureInputs, partition: str, router: str) -> pd.DataFrame:
    """partition, router, version, quantity, t_low, t_high, value, low, high over trainings."""
    found = inputs.router_report(partition, router)
    by_bin = found.groupby(["version", "quantity", "t_low", "t_high"], sort=False)["value"]
    ends = by_bin.agg(value="mean", low="min", high="max").reset_index()
    ends = ends.sort_values(["version", "quantity", "t_low"], kind="stable", ignore_index=True)
    return ends.assign(partition=partition, router=router)


def diagram(inputs: FigureInputs, partition: str, router: str) -> pd.DataFrame:
    """partition, router, version, bin, num_states, confidence, accuracy, low, high.

    Means over trainings, weighted by their states; bins where no state is are left out.
    """
    found = inputs.reliability(partition, router)
    found = found[found["num_states"] > 0]
    for name in ("confidence", "accuracy"):
        found = found.assign(**{f"sum_{name}": found[name] * found["num_states"]})
    ends = found.groupby(["version", "bin"], as_index=False, sort=False).agg(
        num_states=("num_states", "sum"),
        confidence=("sum_confidence", "sum"),
        accuracy=("sum_accuracy", "sum"),
        low=("accuracy", "min"),
        high=("accuracy", "max"),
    )
    ends[["confidence", "accuracy"]] = ends[["confidence", "accuracy"]].div(
        ends["num_states"], axis=0
    )
    return ends.assign(partition=partition, router=router)


def floors(shares: np.ndarray) -> dict[str, float]:
    """What a router achieves that knows nothing but the shares of the clusters."""
    return {"accuracy": shares.max(), "nll": entropy(shares)}


def title(pairs: list[list[str]], pair: list[str]) -> str:
    """The router's name, with its partition where there are several."""
    partition, router = map(display_name, pair)
    return router if len({p for p, _ in pairs}) == 1 else f"{router}, {partition}"


def after(inputs: FigureInputs, router: str) -> str:
    """The version with temperatures: the router's own, else those of least cross-entropy."""
    own = router_styles.sampling_version(inputs, router)
    return "nll" if own == "raw" else own


def _by_time(axes: Any, inputs: FigureInputs, rows: pd.DataFrame, pair: list[str]) -> None:
    colour = router_styles.router_colour(inputs, pair[1])
    for (partition, router, version), curve in rows.groupby(["partition", "router", "version"]):
        t, value, low, high = page_layout.step_curve(curve)
        if [partition, router] == pair and version in ("raw", after(inputs, router)):
            line = BEFORE if version == "raw" else AFTER
            axes.fill_between(t, low, high, color=colour, alpha=0.2, linewidth=0)
            axes.plot(t, value, color=colour, **line)
        elif partition == pair[0] and version == "raw":
            axes.plot(t, value, **OTHERS)


def _most(inputs: FigureInputs, rows: pd.DataFrame, floor: float) -> float:
    """The highest number drawn of one quantity."""
    seen = [
        rows["high"][(rows["router"] == name) & rows["version"].isin(["raw", after(inputs, name)])]
        for name in rows["router"].unique()
    ]
    return max(floor, pd.concat(seen).max())


def _diagram(axes: Any, inputs: FigureInputs, mine: pd.DataFrame, router: str) -> None:
    colour = router_styles.router_colour(inputs, router)
    axes.plot([0, 1], [0, 1], **style.DOTTED)
    before = mine[mine["version"] == "raw"]
    share = before["num_states"] / before["num_states"].sum()
    num_bins = max(10, int(mine["bin"].max()) + 1)
    axes.bar((before["bin"] + 0.5) / num_bins, share, 0.8 / num_bins, color=style.BAND, zorder=0)
    for version, line in (("raw", BEFORE), (after(inputs, router), AFTER)):
        own = mine[mine["version"] == version].sort_values("bin")
        look = {"color": colour, "marker": "o" if version == "raw" else "s", "markersize": 2.8}
        look |= {"markerfacecolor": colour if version == "raw" else "white"}
        axes.fill_between(
            own["confidence"], own["low"], own["high"], color=colour, alpha=0.2, linewidth=0
        )
        axes.plot(own["confidence"], own["accuracy"], **look, **line)
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.set_aspect("equal")


def _handles() -> list:
    grey = {"color": style.GREY}
    return [_line("as trained", **grey, **BEFORE), _line("with temperatures", **grey, **AFTER)]


def _line(text: str, **look: Any) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], label=text, **look)


def _bar(text: str) -> Any:
    from matplotlib.patches import Patch

    return Patch(label=text, facecolor=style.BAND)

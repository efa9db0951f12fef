"""Calibration of learned routers over t: accuracy, cross-entropy and calibration error.

All three compare the posterior of a router with the true cluster of held-out states, in bins of t:
accuracy of the most probable expert, cross-entropy in nats, and expected calibration error (Guo et
al. 2017, arXiv:1706.04599). The calibration error of finitely many states is above zero even for
an exactly calibrated router: the thin line is what such a router with the same probabilities as
the router as trained scores on average. Lines are means over training seeds, bands go from the
smallest to the largest value.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from routing.figures.shared import calibration_curves, page_layout, router_styles, style
from routing.figures.shared.calibration_curves import AS_TRAINED, SCALED, THIN, scaled_version
from routing.figures.shared.distributions import entropy
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.seed_bands import draw_band
from routing.figures.shared.style import Drawing

QUANTITIES = {  # quantity of the router reports: axis label
    "accuracy": "accuracy",
    "nll": "cross-entropy\n(nats)",
    "ece": "calibration\nerror",
}
FLOOR = "ece_floor"  # drawn as a thin line in the panel of ece
OTHERS = {"color": "#D0D0D0", "linewidth": 0.6, "zorder": 0.5}


@dataclass(frozen=True)
class Calibration:
    """Accuracy, cross-entropy and calibration error over t, a column of panels per router."""

    needs: ClassVar[tuple[str, ...]] = ("router_reports", "partitions")
    formats: ClassVar[tuple[str, ...]] = style.IMAGE_FORMATS

    @style.styled
    def draw(self, inputs: FigureInputs) -> Drawing:
        """Draw panels with one scale per quantity; other routers of the partition are pale."""
        pairs = calibration_curves.trained_routers(inputs, "calibration")
        table = pd.concat([curve_rows(inputs, *pair) for pair in pairs], ignore_index=True)
        table = table[table["quantity"].isin([*QUANTITIES, FLOOR])].reset_index(drop=True)
        figure, columns = page_layout.panel_columns(
            len(pairs), len(QUANTITIES), calibration_curves.MAX_COLUMNS, 2.75
        )
        for own, pair in zip(columns, pairs, strict=True):
            baselines = prior_values(inputs.cluster_shares(pair[0]))
            for ax, quantity in zip(own, QUANTITIES, strict=True):
                rows = table[table["quantity"] == quantity]
                _by_time(ax, inputs, rows, pair)
                if quantity == "ece":
                    _floor(ax, table, pair)
                if quantity in baselines:
                    ax.axhline(baselines[quantity], **style.DOTTED)
                largest = _largest(inputs, rows, baselines.get(quantity, 0.0))
                ax.set_ylim(0, 1.04 * (1 if quantity == "accuracy" else largest))
            own[0].set_title(calibration_curves.panel_title(pairs, pair))
            page_layout.label_column(own, list(QUANTITIES.values()))
        figure.align_ylabels()
        figure.supxlabel(style.TIME_LABEL)
        handles = calibration_curves.legend_handles()
        handles.append(calibration_curves.legend_line("cluster prior", **style.DOTTED))
        label = "exactly calibrated, as many states"
        handles.append(calibration_curves.legend_line(label, color=style.GREY, **THIN))
        if len(pairs) > 1:
            label = "other routers, as trained"
            handles.append(calibration_curves.legend_line(label, **OTHERS))
        page_layout.legend_above(figure, handles, 4 if len(pairs) > 4 else 2)
        return Drawing(table, figure)


def curve_rows(inputs: FigureInputs, partition: str, router: str) -> pd.DataFrame:
    """Return partition, router, version, quantity, t_low, t_high, value, low and high."""
    found = inputs.router_report(partition, router)
    by_bin = found.groupby(["version", "quantity", "t_low", "t_high"], sort=False)["value"]
    ends = by_bin.agg(value="mean", low="min", high="max").reset_index()
    ends = ends.sort_values(["version", "quantity", "t_low"], kind="stable", ignore_index=True)
    return ends.assign(partition=partition, router=router)


def prior_values(shares: np.ndarray) -> dict[str, float]:
    """Return the values of a router that always returns the cluster shares."""
    return {"accuracy": shares.max(), "nll": entropy(shares)}


def _by_time(axes: Any, inputs: FigureInputs, rows: pd.DataFrame, pair: list[str]) -> None:
    colour = router_styles.router_colour(inputs, pair[1])
    for (partition, router, version), curve in rows.groupby(["partition", "router", "version"]):
        if [partition, router] == pair and version in ("raw", scaled_version(inputs, router)):
            line = AS_TRAINED if version == "raw" else SCALED
            draw_band(axes, curve, 0.2, color=colour, **line)
        elif partition == pair[0] and version == "raw":
            t, value, _, _ = page_layout.step_curve(curve)
            axes.plot(t, value, **OTHERS)


def _floor(axes: Any, table: pd.DataFrame, pair: list[str]) -> None:
    """Draw the calibration error of an exactly calibrated router with the same posterior."""
    is_own = (table["partition"] == pair[0]) & (table["router"] == pair[1])
    rows = table[is_own & (table["version"] == "raw") & (table["quantity"] == FLOOR)]
    if len(rows):
        t, value, _, _ = page_layout.step_curve(rows)
        axes.plot(t, value, color=style.GREY, **THIN)


def _largest(inputs: FigureInputs, rows: pd.DataFrame, floor: float) -> float:
    """Return the largest value of one quantity in the figure."""
    scaled = rows["router"].map(lambda router: scaled_version(inputs, router))
    is_drawn = (rows["version"] == "raw") | (rows["version"] == scaled)
    return max(floor, rows["high"][is_drawn].max())

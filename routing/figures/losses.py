"""Training losses of experts and routers.

A point is the mean loss over consecutive steps, at the mean number of images (for routers: stored
states) seen. Objectives of routers have different units; those of one unit share a panel. The
dotted line is the entropy of the cluster shares, which is the loss of a router that predicts the
shares whatever its input. It applies to the objective `cluster` only.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from routing.figures.shared import arm_styles, page_layout, router_styles, style
from routing.figures.shared.distributions import entropy
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.figure_text import figure_label
from routing.figures.shared.style import Drawing

NUM_POINTS = 60  # of a curve, at most


@dataclass(frozen=True)
class Losses:
    """Training losses of all experts and routers, a panel per partition and unit."""

    needs: ClassVar[tuple[str, ...]] = ("losses", "router_losses", "partitions")
    formats: ClassVar[tuple[str, ...]] = style.IMAGE_FORMATS

    @style.styled
    def draw(self, inputs: FigureInputs) -> Drawing:
        """Panels of experts first; they have one scale."""
        curves = [*_expert_curves(inputs), *_router_curves(inputs)]
        table = pd.concat(curves, ignore_index=True) if curves else pd.DataFrame()
        if table.empty:
            raise ValueError(
                "losses: wanted a run with training, but nothing was trained; leave the figure out"
            )
        experts = table[table["kind"] == "expert"]
        panels = list(table.groupby(["kind", "partition", "unit"], sort=False))
        columns = len(panels) if len(panels) <= 4 else 3
        width = style.PAGE * (max(2, columns) / 4 if len(panels) <= 4 else 1)
        figure, axes = page_layout.panel_grid(len(panels), columns, width, 1.75)
        for ax, ((kind, partition, unit), curve) in zip(axes, panels, strict=True):
            if kind == "expert":
                _draw_experts(ax, curve)
                ax.set_ylim(0.96 * experts["loss"].min(), 1.02 * experts["loss"].quantile(0.97))
            else:
                _draw_routers(ax, inputs, curve)
            ax.set_title(f"{kind}s, {figure_label(partition)}")
            ax.set_ylabel(unit if ax is axes[0] or kind == "router" else "")
        figure.supxlabel("training images or states seen (thousands)")
        return Drawing(table, figure)


def smoothed(curve: pd.DataFrame) -> pd.DataFrame:
    """Return the means of images and loss over at most NUM_POINTS blocks of equal length."""
    block = -(-len(curve) // NUM_POINTS) or 1
    means = curve[["images", "loss"]].groupby(np.arange(len(curve)) // block).mean()
    return means.reset_index(drop=True)


def _expert_curves(inputs: FigureInputs) -> list[pd.DataFrame]:
    return [
        smoothed(inputs.expert_loss(partition, k)).assign(
            kind="expert", partition=partition, name=str(k), unit="mean squared error of $v$"
        )
        for partition, k in inputs.spec["experts"]
    ]


def _router_curves(inputs: FigureInputs) -> list[pd.DataFrame]:
    return [
        smoothed(inputs.router_loss(partition, router)).assign(
            kind="router",
            partition=partition,
            name=router,
            unit=router_styles.loss_label(inputs.routers[router]),
        )
        for partition, router in inputs.spec["routers"]
    ]


def _draw_experts(axes: Any, table: pd.DataFrame) -> None:
    """Draw the losses of the experts of one partition."""
    for name, curve in table.groupby("name", sort=False):
        axes.plot(curve["images"] / 1e3, curve["loss"], **arm_styles.expert_line(int(name)))
    ends = table.groupby("name", sort=False).tail(1)
    if len(ends) > 1:
        axes.legend(
            axes.get_lines(), ends["name"], loc="upper right", ncols=2, title="expert",
            title_fontsize=7, handlelength=1.4, borderpad=0,
        )  # fmt: skip


def _draw_routers(axes: Any, inputs: FigureInputs, table: pd.DataFrame) -> None:
    """Draw the losses of routers of one partition whose objectives have one unit."""
    names = list(dict.fromkeys(table["name"]))
    for name in names:
        curve = table[table["name"] == name]
        line = router_styles.router_line(inputs, name) | {"label": figure_label(name)}
        axes.plot(curve["images"] / 1e3, curve["loss"], **line)
    low, high, legend_top = table["loss"].min(), table["loss"].quantile(0.97), 1.0
    if "cluster" in [router_styles.router_kind(inputs.routers[name]) for name in names]:
        floor = entropy(inputs.cluster_shares(table["partition"].iloc[0]))
        axes.axhline(floor, **style.DOTTED)
        axes.annotate(
            "entropy of the prior (cluster)", (1, floor), (0, 2), ha="right",
            xycoords=axes.get_yaxis_transform(), textcoords="offset points", fontsize=7,
        )  # fmt: skip
        low, high = 0, max(high, floor)
        legend_top = floor / (1.12 * high)  # in axes units: below the dotted line
    axes.set_ylim(0.96 * low, high + 0.12 * (high - low))
    region = (0, 0, 1, legend_top)
    axes.legend(loc="best", bbox_to_anchor=region, borderpad=0, handlelength=2.2)

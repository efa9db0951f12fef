"""How training went, and what came of the routers: losses and held-out reports.

A loss is the mean over consecutive steps, at most NUM_POINTS means per curve, drawn at the mean
number of images seen. The dotted line of a router is what the shares of the clusters alone
achieve: cross-entropy H(prior), accuracy max(prior).
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from routing.figures import arms, style
from routing.figures.dynamics import entropy
from routing.figures.inputs import Inputs
from routing.figures.style import Drawing

NUM_POINTS = 60
ROUTERS = (  # colour and dashes in the order of the config's trained routers
    ("#000000", "-"),
    ("#D55E00", "--"),
    ("#2C7FB8", "-."),
    ("#00A878", ":"),
    ("#6A1B5E", (0, (5, 1))),
    ("#EDA81C", (0, (3, 1, 1, 1, 1, 1))),
)


@dataclass(frozen=True)
class Losses:
    """Training losses of all experts, a panel per partition, and of all routers."""

    needs: ClassVar[tuple[str, ...]] = ("losses", "router_losses", "partitions")
    formats: ClassVar[tuple[str, ...]] = style.PICTURES

    @style.styled
    def draw(self, inputs: Inputs) -> Drawing:
        """Panels of experts share their axes."""
        table = pd.concat([*_expert_curves(inputs), *_router_curves(inputs)], ignore_index=True)
        if table.empty:
            raise ValueError("losses: nothing was trained in this run; leave the figure out")
        experts = table[table["kind"] == "expert"]
        routers = table[table["kind"] == "router"]
        partitions = list(dict.fromkeys(experts["partition"]))
        num = len(partitions) + (len(routers) > 0)
        columns = num if num <= 4 else 3
        figure, axes = style.panels(num, columns, style.PAGE * max(2, columns) / 4, 1.75)
        for ax, partition in zip(axes, partitions, strict=False):
            _experts(ax, experts[experts["partition"] == partition])
            ax.set_title(f"experts, {arms.label(partition)}")
            ax.set_ylim(0.96 * experts["loss"].min(), 1.02 * experts["loss"].quantile(0.97))
        if len(routers):
            _routers(axes[-1], inputs, routers)
            axes[-1].set_title("routers")
        if partitions:
            axes[0].set_ylabel("mean squared error of $v$")
        figure.supxlabel("training images seen (thousands)")
        return Drawing(table, figure)


@dataclass(frozen=True)
class Calibration:
    """Accuracy, negative log-likelihood and calibration error of the trained routers by t."""

    needs: ClassVar[tuple[str, ...]] = ("router_reports", "partitions")
    formats: ClassVar[tuple[str, ...]] = style.PICTURES

    @style.styled
    def draw(self, inputs: Inputs) -> Drawing:
        """Three panels along t; a step is a bin of times."""
        pairs = inputs.spec["routers"]
        if not pairs:
            raise ValueError("calibration: no router was trained in this run; leave it out")
        reports = [
            inputs.router_report(*pair).assign(partition=pair[0], router=pair[1]) for pair in pairs
        ]
        table = pd.concat(reports, ignore_index=True)
        figure, axes = style.panels(3, 3, style.PAGE, 1.95)
        texts = ("accuracy", "cross-entropy (nats)", "calibration error (ECE)")
        for ax, column, text in zip(axes, ("accuracy", "nll", "ece"), texts, strict=True):
            for i, (pair, report) in enumerate(zip(pairs, reports, strict=True)):
                edges = [*report["t_low"], report["t_high"].iloc[-1]]
                colour, dashes = ROUTERS[i % len(ROUTERS)]
                line = {"color": colour, "linestyle": dashes, "linewidth": 1.1}
                ax.stairs(report[column], edges, baseline=None, label=_name(pair), **line)
                prior = _prior(inputs, pair[0])
                if column != "ece":
                    floor = prior.max() if column == "accuracy" else entropy(prior)
                    ax.axhline(floor, **style.DOTTED)
            style.time_axis(ax)
            ax.set_ylim(0, None if column != "accuracy" else 1.02)
            ax.set_ylabel(text)
        figure.supxlabel(style.TIME)
        style.legend(figure, [*axes[0].get_legend_handles_labels()[0], _dotted("prior alone")], 4)
        return Drawing(table, figure)


def smoothed(curve: pd.DataFrame) -> pd.DataFrame:
    """images and loss of `curve`, both means over at most NUM_POINTS runs of equal length."""
    block = -(-len(curve) // NUM_POINTS) or 1
    means = curve[["images", "loss"]].groupby(np.arange(len(curve)) // block).mean()
    return means.reset_index(drop=True)


def _expert_curves(inputs: Inputs) -> list[pd.DataFrame]:
    return [
        smoothed(inputs.loss(partition, k)).assign(kind="expert", partition=partition, name=str(k))
        for partition, k in inputs.spec["experts"]
    ]


def _router_curves(inputs: Inputs) -> list[pd.DataFrame]:
    return [
        smoothed(inputs.router_loss(partition, router)).assign(
            kind="router", partition=partition, name=router
        )
        for partition, router in inputs.spec["routers"]
    ]


def _experts(axes: Any, table: pd.DataFrame) -> None:
    for name, curve in table.groupby("name", sort=False):
        axes.plot(curve["images"] / 1e3, curve["loss"], **arms.expert_line(int(name)))
    ends = table.groupby("name", sort=False).tail(1)
    if len(ends) > 1:
        axes.legend(
            axes.get_lines(), ends["name"], loc="upper right", ncols=2, title="expert",
            title_fontsize=7, handlelength=1.4, borderpad=0,
        )  # fmt: skip


def _routers(axes: Any, inputs: Inputs, table: pd.DataFrame) -> None:
    drawn = []
    for i, pair in enumerate(inputs.spec["routers"]):
        curve = table[(table["partition"] == pair[0]) & (table["name"] == pair[1])]
        colour, dashes = ROUTERS[i % len(ROUTERS)]
        look = {"color": colour, "linestyle": dashes, "label": _name(pair)}
        drawn += axes.plot(curve["images"] / 1e3, curve["loss"], **look)
        axes.axhline(entropy(_prior(inputs, pair[0])), **style.DOTTED)
    axes.set_ylim(0)
    axes.set_ylabel("loss (nats)")
    axes.legend(handles=[*drawn, _dotted("entropy of the prior")], loc="lower left", borderpad=0)


def _prior(inputs: Inputs, partition: str) -> np.ndarray:
    sizes = inputs.sizes(partition)
    return sizes / sizes.sum()


def _name(pair: list[str]) -> str:
    partition, router = map(arms.label, pair)
    return f"{router}, {partition}"


def _dotted(text: str) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], label=text, **style.DOTTED)

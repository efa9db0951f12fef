"""Exposure bias: is a router as good on the sampler's own states as on those it was made for?

A router is trained on noised images, and asked about the states of trajectories. Along t,

    accuracy     how often  argmax_k p_k(x_t)  is the cluster c in which the trajectory ends: the
                 nearest centroid of its sample; on noised images, the cluster of the image
    gap          mean of  max_k p_k(x_t) , the confidence, minus the accuracy
    nll          mean of  -log p_c(x_t) , nats; a trace holds p in single precision, and what
                 is below 1e-7 there counts as 1e-7
    ece          expected calibration error over 10 bins of confidence

of trajectories (solid) and of the noised held-out images of the report (dashed). The two are not
the same question. Under an ODE the end is a function of x_t, so that a router which foresees the
sampler may be right more often than it says, and even the exact posterior has a gap below zero;
under a stochastic sampler that follows the exact reverse process it has none. Means over samples
and trainings, bands from the least to the greatest training.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from routing.figures.shared import arms, means, routers, style
from routing.figures.shared.inputs import Inputs
from routing.figures.shared.style import Drawing

WIDEST = 6
PANELS = {
    "accuracy": "accuracy",
    "gap": "confidence – accuracy",
    "nll": "cross-entropy (nats)",
    "ece": "calibration error",
}
LEAST = 1e-7  # probability in a trace
OWN, NOISED = "trajectories", "noised images"


@dataclass(frozen=True)
class Exposure:
    """Accuracy, confidence and calibration along t, a column of panels per arm.

    Arms of trained routers, of the partition whose clusters the metrics count
    (metrics.shares_partition); without `arms`, all of these.
    """

    arms: tuple[str, ...] = ()

    needs: ClassVar[tuple[str, ...]] = ("traces", "places", "partitions", "router_reports")
    formats: ClassVar[tuple[str, ...]] = style.PICTURES

    @style.styled
    def draw(self, inputs: Inputs) -> Drawing:
        """Bands of up to six arms."""
        names = self._chosen(inputs)
        tables = [pd.concat([own(inputs, a), noised(inputs, a)]).assign(arm=a) for a in names]
        table = pd.concat(tables, ignore_index=True)
        figure, columns = style.columns(len(names), len(PANELS), WIDEST, 4.4)
        highest = table.groupby("quantity")["high"].max()
        reach = 1.1 * max(highest["gap"], -table[table["quantity"] == "gap"]["low"].min(), 0.01)
        limits = {"accuracy": (0, 1.02), "gap": (-reach, reach)}
        limits |= {name: (0, 1.05 * highest[name]) for name in ("nll", "ece")}
        for axes, arm, mine in zip(columns, names, tables, strict=True):
            colour = arms.look(inputs, arm).colour
            for ax, quantity in zip(axes, PANELS, strict=True):
                for states, rows in mine[mine["quantity"] == quantity].groupby("states"):
                    _curve(ax, rows, states, colour)
                ax.set_ylim(*limits[quantity])
            axes[1].axhline(0, color="black", linewidth=0.6, zorder=1)
            axes[0].set_title(arms.label(arm))
            style.label_column(axes, list(PANELS.values()))
        figure.align_ylabels()
        figure.supxlabel(style.TIME)
        style.legend(figure, _handles(), 2)
        return Drawing(table, figure)

    def _chosen(self, inputs: Inputs) -> list[str]:
        partition = inputs.spec["shares_partition"]
        names = []
        for arm in inputs.chosen(self.arms):
            of = inputs.arms[arm]
            if of["partition"] == partition and routers.is_learned(inputs.routers[of["router"]]):
                names.append(arm)
            elif self.arms:
                raise ValueError(
                    f"exposure: wanted arms of trained routers and partition {partition!r}, got "
                    f"{arm!r}; leave it out"
                )
        if not names:
            raise ValueError(
                f"exposure: wanted arms of trained routers and partition {partition!r}, got none; "
                f"leave the figure out"
            )
        return names


def own(inputs: Inputs, arm: str) -> pd.DataFrame:
    """quantity, t_low, t_high, value, low, high on the arm's trajectories."""
    trace = inputs.trace(arm)
    p = means.by_training(inputs, trace["posteriors"].astype(np.float64))
    end = means.by_training(inputs, ends(inputs, arm))
    was_asked = ~np.isnan(p).any(axis=(0, 1, 3))  # a policy may need no posterior at some times
    p, times = p[:, :, was_asked], trace["times"][was_asked]
    confidence, is_right = p.max(-1), p.argmax(-1) == end[:, :, None]
    of_end = np.take_along_axis(p, end[:, :, None, None], -1)[..., 0]
    values = {
        "accuracy": is_right.mean(1),
        "gap": (confidence - is_right).mean(1),
        "nll": -np.log(of_end.clip(LEAST)).mean(1),
        "ece": calibration_errors(confidence, is_right),
    }
    parts = []
    for quantity, value in values.items():
        t, mean = means.by_time(times, value)
        part = {"quantity": quantity, "t_low": np.append(t[1:], 0.0), "t_high": t}
        part |= {"value": mean.mean(0), "low": mean.min(0), "high": mean.max(0)}
        parts.append(pd.DataFrame(part))
    return pd.concat(parts, ignore_index=True).assign(states=OWN)


def calibration_errors(confidence: np.ndarray, is_right: np.ndarray) -> np.ndarray:
    """The expected calibration error [trainings, calls] of values [trainings, samples, calls]."""
    import torch

    from routing.ensemble.calibration import calibration_error

    def of(training: int, call: int) -> float:
        pair = (confidence[training, :, call], is_right[training, :, call].astype(np.float64))
        return calibration_error(*map(torch.tensor, pair))

    trainings, _, calls = confidence.shape
    return np.array([[of(r, i) for i in range(calls)] for r in range(trainings)])


def ends(inputs: Inputs, arm: str) -> np.ndarray:
    """Cluster in which each trajectory ends, of the partition whose clusters are counted."""
    centroids = inputs.centroids(inputs.spec["shares_partition"]).astype(np.float64)
    place = inputs.place(arm).astype(np.float64)
    return np.square(place[:, None] - centroids[None]).sum(-1).argmin(1)


def noised(inputs: Inputs, arm: str) -> pd.DataFrame:
    """The same on noised held-out images, of the version of the router that samples."""
    of = inputs.arms[arm]
    found = inputs.router_report(of["partition"], of["router"])
    found = found[found["version"] == routers.version(inputs, of["router"])]
    keys = ["t_low", "t_high", "training_seed"]
    wide = found.pivot(index=keys, columns="quantity", values="value")
    wide["gap"] = wide["confidence"] - wide["accuracy"]
    parts = []
    for quantity in PANELS:
        of_bin = wide[quantity].groupby(["t_low", "t_high"])
        part = of_bin.agg(value="mean", low="min", high="max").reset_index()
        parts.append(part.assign(quantity=quantity))
    return pd.concat(parts, ignore_index=True).assign(states=NOISED)


def _curve(axes: Any, rows: pd.DataFrame, states: str, colour: str) -> None:
    t, value, low, high = style.steps(rows)
    look = {"color": colour, "linewidth": 1.3}
    if states == NOISED:
        look = {"color": "black", "linewidth": 0.9, "dashes": (2.5, 1.5)}
    axes.fill_between(t, low, high, color=look["color"], alpha=0.18, linewidth=0)
    axes.plot(t, value, **look)


def _handles() -> list[Any]:
    from matplotlib.lines import Line2D

    solid = {"color": style.GREY, "linewidth": 1.3}
    dashed = {"color": "black", "linewidth": 0.9, "dashes": (2.5, 1.5)}
    return [
        Line2D([], [], label="the sampler's own trajectories", **solid),
        Line2D([], [], label="noised held-out images", **dashed),
    ]

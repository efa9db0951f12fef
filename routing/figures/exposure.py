"""Exposure bias: accuracy and calibration of routers on the sampler's states and on noised images.

A router is trained on noised images and evaluated on the states of sampling trajectories. By t:

    accuracy     fraction of the samples for which  argmax_k p_k(x_t)  is the cluster c in which
                 the trajectory ends, the nearest centroid of its sample; on noised images c is
                 the cluster of the image
    gap          mean confidence  max_k p_k(x_t)  minus accuracy
    nll          mean of  -log p_c(x_t) , nats; a trace stores p in single precision, so that
                 probabilities below 1e-7 count as 1e-7
    ece          expected calibration error over 10 bins of confidence

Solid lines are of trajectories, dashed ones of the noised held-out images of the router's report.
The two measure different things. Under an ODE the end of a trajectory is a function of x_t: a
router that anticipates the sampler can be right more often than its confidence, and even the
exact posterior has a gap below zero. Under a stochastic sampler that follows the exact reverse
process the exact posterior has no gap. Values are means over samples and training seeds, bands
run from the smallest to the largest training seed.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from routing.figures.shared import (
    arm_styles,
    means_with_intervals,
    page_layout,
    router_styles,
    seed_bands,
    style,
)
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.figure_text import figure_label
from routing.figures.shared.style import Drawing

MAX_COLUMNS = 6  # arms side by side
PANELS = {
    "accuracy": "accuracy",
    "gap": "confidence – accuracy",
    "nll": "cross-entropy (nats)",
    "ece": "calibration error",
}
MIN_PROBABILITY = 1e-7  # smaller ones are not resolved in a trace
TRAJECTORIES, NOISED_IMAGES = "trajectories", "noised images"  # values of the column `states`
DASHED = {"color": "black", "linewidth": 0.9, "dashes": (2.5, 1.5)}


@dataclass(frozen=True)
class Exposure:
    """Accuracy, confidence and calibration along t, a column of panels per arm.

    The arms are those of trained routers on the partition `metrics.shares_partition`; `arms`
    selects some of them.
    """

    arms: tuple[str, ...] = ()

    needs: ClassVar[tuple[str, ...]] = (
        "traces",
        "cluster_features",
        "partitions",
        "router_reports",
    )
    formats: ClassVar[tuple[str, ...]] = style.IMAGE_FORMATS

    @style.styled
    def draw(self, inputs: FigureInputs) -> Drawing:
        """Up to six arms side by side; panels of one quantity have one scale."""
        names = self._arms(inputs)
        tables = [
            pd.concat([on_trajectories(inputs, arm), on_noised_images(inputs, arm)]).assign(
                arm=arm
            )
            for arm in names
        ]
        table = pd.concat(tables, ignore_index=True)
        figure, columns = page_layout.panel_columns(len(names), len(PANELS), MAX_COLUMNS, 4.4)
        highest = table.groupby("quantity")["high"].max()
        reach = 1.1 * max(highest["gap"], -table[table["quantity"] == "gap"]["low"].min(), 0.01)
        limits = {"accuracy": (0, 1.02), "gap": (-reach, reach)}
        limits |= {name: (0, 1.05 * highest[name]) for name in ("nll", "ece")}
        for axes, arm, mine in zip(columns, names, tables, strict=True):
            colour = arm_styles.arm_style(inputs, arm).colour
            lines = {TRAJECTORIES: {"color": colour, "linewidth": 1.3}, NOISED_IMAGES: DASHED}
            for ax, quantity in zip(axes, PANELS, strict=True):
                for states, rows in mine[mine["quantity"] == quantity].groupby("states"):
                    seed_bands.draw_band(ax, rows, 0.18, **lines[states])
                ax.set_ylim(*limits[quantity])
            axes[1].axhline(0, color="black", linewidth=0.6, zorder=1)
            axes[0].set_title(figure_label(arm))
            page_layout.label_column(axes, list(PANELS.values()))
        figure.align_ylabels()
        figure.supxlabel(style.TIME_LABEL)
        page_layout.legend_above(figure, _handles(), 2)
        return Drawing(table, figure)

    def asked_arms(self, inputs: FigureInputs) -> list[str]:
        """Return no arm: by default the figure selects its arms."""
        return []

    def _arms(self, inputs: FigureInputs) -> list[str]:
        partition = inputs.spec["shares_partition"]
        names = []
        for arm in inputs.selected_arms(self.arms):
            of = inputs.arms[arm]
            is_learned = router_styles.is_learned(inputs.routers[of["router"]])
            if of["partition"] == partition and is_learned:
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


def on_trajectories(inputs: FigureInputs, arm: str) -> pd.DataFrame:
    """quantity, t_low, t_high, value, low, high, states on the arm's trajectories."""
    trace = inputs.trace(arm)
    by_seed = means_with_intervals.split_by_training_seed
    p = by_seed(inputs, trace["posteriors"].astype(np.float64))
    end = by_seed(inputs, final_clusters(inputs, arm))
    # A policy may need no posterior at some times: those have NaN.
    has_posterior = ~np.isnan(p).any(axis=(0, 1, 3))
    p, times = p[:, :, has_posterior], trace["times"][has_posterior]
    confidence, is_right = p.max(-1), p.argmax(-1) == end[:, :, None]
    of_end = np.take_along_axis(p, end[:, :, None, None], -1)[..., 0]
    values = {
        "accuracy": is_right.mean(1),
        "gap": (confidence - is_right).mean(1),
        "nll": -np.log(of_end.clip(MIN_PROBABILITY)).mean(1),
        "ece": calibration_errors(confidence, is_right),
    }
    parts = []
    for quantity, value in values.items():
        parts.append(seed_bands.band_by_time(times, value))
        parts[-1].insert(0, "quantity", quantity)
    return pd.concat(parts, ignore_index=True).assign(states=TRAJECTORIES)


def calibration_errors(confidence: np.ndarray, is_right: np.ndarray) -> np.ndarray:
    """Return the expected calibration error [seeds, calls] of values [seeds, samples, calls]."""
    import torch

    from routing.ensemble.calibration import calibration_error

    def error(seed: int, call: int) -> float:
        pair = (confidence[seed, :, call], is_right[seed, :, call].astype(np.float64))
        return calibration_error(*map(torch.tensor, pair))

    seeds, _, calls = confidence.shape
    return np.array([[error(seed, call) for call in range(calls)] for seed in range(seeds)])


def final_clusters(inputs: FigureInputs, arm: str) -> np.ndarray:
    """Return the cluster [samples] in which each trajectory ends: that of the nearest centroid."""
    centroids = inputs.centroids(inputs.spec["shares_partition"]).astype(np.float64)
    features = inputs.cluster_features(arm).astype(np.float64)
    return np.square(features[:, None] - centroids[None]).sum(-1).argmin(1)


def on_noised_images(inputs: FigureInputs, arm: str) -> pd.DataFrame:
    """t_low, t_high, value, low, high, quantity, states on noised held-out images.

    The numbers are those of the version of the router that samples.
    """
    of = inputs.arms[arm]
    found = inputs.router_report(of["partition"], of["router"])
    found = found[found["version"] == router_styles.sampling_version(inputs, of["router"])]
    keys = ["t_low", "t_high", "training_seed"]
    wide = found.pivot(index=keys, columns="quantity", values="value")
    wide["gap"] = wide["confidence"] - wide["accuracy"]
    parts = [seed_bands.band_by_bin(wide[name]).assign(quantity=name) for name in PANELS]
    return pd.concat(parts, ignore_index=True).assign(states=NOISED_IMAGES)


def _handles() -> list[Any]:
    from matplotlib.lines import Line2D

    solid = {"color": style.GREY, "linewidth": 1.3}
    return [
        Line2D([], [], label="states of sampling trajectories", **solid),
        Line2D([], [], label="noised held-out images", **DASHED),
    ]

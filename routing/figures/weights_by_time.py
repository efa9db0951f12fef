"""Where along t routers differ from one of them, and where that pays.

    on each arm's own trajectories, from the same noise, under one policy:
        total variation   1/2 sum_k |p_k - p'_k| ,  p' of the router `baseline`
        entropy           H(p) = -sum_k p_k log p_k   (nats)
    on the probe, noised held-out images, the same states for all:
        entropy, and the squared error of the ensemble w^T G w, w = p, less that of `baseline`

Two posteriors on own trajectories are of states that start alike and drift apart: what routers
say about different x_t is in the first panel too, and the more the later. The probe has no
drift; what temperatures the router samples with are in all panels. Means over samples or states,
and over trainings; bands run from the least to the greatest training.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from routing.figures.shared import (
    arm_selection,
    means_with_intervals,
    page_layout,
    router_styles,
    style,
)
from routing.figures.shared.config_view import display_name
from routing.figures.shared.distributions import entropy
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.style import Drawing

PANELS = {
    "total_variation": ("total variation to {}", "own trajectories"),
    "entropy": ("entropy (nats)", "own trajectories"),
    "entropy_probe": ("entropy (nats)", "the probe (same states)"),
    "error_probe": ("squared error minus {}", "the probe (same states)"),
}


@dataclass(frozen=True)
class WeightsByTime:
    """Difference from the trained router `baseline`, entropy, and gain in squared error by t."""

    partition: str
    sampler: str
    baseline: str
    policy: str = "full"
    arms: tuple[str, ...] = ()

    needs: ClassVar[tuple[str, ...]] = ("traces", "router_reports")
    formats: ClassVar[tuple[str, ...]] = style.IMAGE_FORMATS

    @style.styled
    def draw(self, inputs: FigureInputs) -> Drawing:
        """Four panels; routers without training are not on the probe."""
        chosen = self._routers(inputs)
        parts = [*self._trajectories(inputs, chosen), *self._probe(inputs, chosen)]
        table = pd.concat(parts, ignore_index=True)
        figure, axes = page_layout.panel_grid(4, 4, style.PAGE, 1.95)
        drawn: dict[str, Any] = {}
        for ax, (quantity, (text, title)) in zip(axes, PANELS.items(), strict=True):
            for router in chosen:
                mine = table[(table["quantity"] == quantity) & (table["router"] == router)]
                if len(mine) and not (router == self.baseline and "{}" in text):
                    drawn[router] = _curve(ax, inputs, mine, router)
            page_layout.time_axis(ax)
            ax.set_ylabel(text.format(display_name(self.baseline)))
            ax.set_title(title)
            if quantity == "error_probe":
                ax.axhline(0, color="black", linewidth=0.8, zorder=1)
            else:
                ax.set_ylim(0, 1.04 * max(ax.get_ylim()[1], 1e-9))
        figure.supxlabel(style.TIME_LABEL)
        page_layout.legend_above(figure, [drawn[r] for r in chosen if r in drawn], 6)
        return Drawing(table, figure)

    def _routers(self, inputs: FigureInputs) -> dict[str, str]:
        """{router: arm} under the policy."""
        cells = arm_selection.arms_by_router_and_policy(
            inputs, self.arms, self.partition, self.sampler, None
        )
        found = {router: arm for (router, policy), arm in cells.items() if policy == self.policy}
        if self.baseline not in found or not router_styles.is_learned(
            inputs.routers[self.baseline]
        ):
            valid = [r for r in found if router_styles.is_learned(inputs.routers[r])]
            raise ValueError(
                f"weights_by_time: wanted a baseline that is trained and has an arm with policy "
                f"{self.policy!r}, got {self.baseline!r}; take one of: {', '.join(valid)}"
            )
        return {router: found[router] for router in inputs.routers if router in found}

    def _trajectories(self, inputs: FigureInputs, chosen: dict[str, str]) -> list[pd.DataFrame]:
        base = _posteriors(inputs, chosen[self.baseline])
        parts = []
        for router, arm in chosen.items():
            times, p = inputs.trace(arm)["times"], _posteriors(inputs, arm)
            per_sample = {
                "total_variation": np.abs(p - base).sum(-1) / 2,
                "entropy": entropy(p),
            }
            for quantity, values in per_sample.items():
                t, mean = means_with_intervals.mean_by_time(times, values.mean(1))
                part = {"router": router, "quantity": quantity, "t_high": t}
                part |= {"t_low": np.append(t[1:], 0.0), "value": mean.mean(0)}
                parts.append(pd.DataFrame(part | {"low": mean.min(0), "high": mean.max(0)}))
        return parts

    def _probe(self, inputs: FigureInputs, chosen: dict[str, str]) -> list[pd.DataFrame]:
        reports = {}
        for router in chosen:
            if [self.partition, router] in inputs.spec["routers"]:
                found = inputs.router_report(self.partition, router)
                found = found[found["version"] == router_styles.sampling_version(inputs, router)]
                keys = ["quantity", "training_seed", "t_low", "t_high"]
                reports[router] = found.set_index(keys).sort_index()
        base = reports[self.baseline].loc["error_full", "value"]
        parts = []
        for router, found in reports.items():
            values = {
                "entropy_probe": found.loc["entropy", "value"],
                "error_probe": found.loc["error_full", "value"] - base,  # same training, same bin
            }
            for quantity, value in values.items():
                of_bin = value.groupby(["t_low", "t_high"])
                part = of_bin.agg(value="mean", low="min", high="max").reset_index()
                parts.append(part.assign(router=router, quantity=quantity))
        return parts


def _posteriors(inputs: FigureInputs, arm: str) -> np.ndarray:
    """[trainings, samples, calls, experts]."""
    return means_with_intervals.split_by_training_seed(
        inputs, inputs.trace(arm)["posteriors"].astype(np.float64)
    )


def _curve(axes: Any, inputs: FigureInputs, mine: pd.DataFrame, router: str) -> Any:
    t, value, low, high = page_layout.step_curve(mine)
    look = router_styles.router_line(inputs, router)
    axes.fill_between(t, low, high, color=look["color"], alpha=0.12, linewidth=0)
    (line,) = axes.plot(t, value, label=display_name(router), linewidth=1.1, **look)
    return line

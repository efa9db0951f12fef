"""Differences of routers from the router `baseline` along t, and their gain in squared error.

    on each arm's own trajectories, from equal noise, under one policy:
        total variation   1/2 sum_k |p_k - p'_k| ,  p' of the router `baseline`
        entropy           H(p) = -sum_k p_k log p_k   (nats)
    on the probe (noised held-out images on which all experts were evaluated):
        entropy           as above
        squared error     w^T G w  of the ensemble with w = p, minus that of `baseline`

The trajectories of two arms start at equal states and diverge. The total variation therefore
includes the effect of different x_t, which grows along the trajectory. The states of the probe are
the same for all routers. The posteriors have the temperatures with which the router samples.
Values are means over samples or states and over training seeds; bands run from the smallest to
the largest training seed.
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
    seed_bands,
    style,
)
from routing.figures.shared.distributions import entropy
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.figure_text import figure_label
from routing.figures.shared.style import Drawing

PANELS = {  # quantity: axis label, title
    "total_variation": ("total variation from {}", "own trajectories"),
    "entropy": ("entropy (nats)", "own trajectories"),
    "entropy_probe": ("entropy (nats)", "probe (same states)"),
    "error_probe": ("squared error minus {}", "probe (same states)"),
}
COLUMNS = ["router", "quantity", "t_high", "t_low", "value", "low", "high"]


@dataclass(frozen=True)
class WeightsByTime:
    """Total variation, entropy and squared error by t, against the trained router `baseline`."""

    partition: str
    sampler: str
    baseline: str
    policy: str = "full"
    arms: tuple[str, ...] = ()

    needs: ClassVar[tuple[str, ...]] = ("traces", "router_reports")
    formats: ClassVar[tuple[str, ...]] = style.IMAGE_FORMATS

    @style.styled
    def draw(self, inputs: FigureInputs) -> Drawing:
        """Four panels; those of the probe have the trained routers only."""
        chosen = self._arm_of_router(inputs)
        parts = [*self._trajectories(inputs, chosen), *self._probe(inputs, chosen)]
        table = pd.concat(parts, ignore_index=True)
        figure, axes = page_layout.panel_grid(4, 4, style.PAGE, 1.95)
        drawn: dict[str, Any] = {}
        for ax, (quantity, (text, title)) in zip(axes, PANELS.items(), strict=True):
            for router in chosen:
                mine = table[(table["quantity"] == quantity) & (table["router"] == router)]
                is_zero = router == self.baseline and "{}" in text
                if len(mine) and not is_zero:
                    line = router_styles.router_line(inputs, router)
                    line |= {"label": figure_label(router), "linewidth": 1.1}
                    drawn[router] = seed_bands.draw_band(ax, mine, 0.12, **line)
            page_layout.time_axis(ax)
            ax.set_ylabel(text.format(figure_label(self.baseline)))
            ax.set_title(title)
            if quantity == "error_probe":
                ax.axhline(0, color="black", linewidth=0.8, zorder=1)
            else:
                ax.set_ylim(0, 1.04 * max(ax.get_ylim()[1], 1e-9))
        figure.supxlabel(style.TIME_LABEL)
        page_layout.legend_above(figure, [drawn[r] for r in chosen if r in drawn], 6)
        return Drawing(table, figure)

    def asked_arms(self, inputs: FigureInputs) -> list[str]:
        """Return no arm: by default the figure selects its arms."""
        return []

    def _arm_of_router(self, inputs: FigureInputs) -> dict[str, str]:
        """Return {router: arm} of the arms with the policy."""
        cells = arm_selection.arms_by_router_and_policy(
            inputs, self.arms, self.partition, self.sampler, None
        )
        found = {router: arm for (router, policy), arm in cells.items() if policy == self.policy}
        valid = [r for r in found if router_styles.is_learned(inputs.routers[r])]
        if self.baseline not in valid:
            raise ValueError(
                f"weights_by_time: wanted a baseline that is trained and has an arm with policy "
                f"{self.policy!r}, got {self.baseline!r}; take one of: {', '.join(valid)}"
            )
        return {router: found[router] for router in inputs.routers if router in found}

    def _trajectories(self, inputs: FigureInputs, chosen: dict[str, str]) -> list[pd.DataFrame]:
        """router, quantity, t_high, t_low, value, low, high on each arm's own trajectories."""
        base = _posteriors(inputs, chosen[self.baseline])
        parts = []
        for router, arm in chosen.items():
            times, p = inputs.trace(arm)["times"], _posteriors(inputs, arm)
            per_sample = {
                "total_variation": np.abs(p - base).sum(-1) / 2,
                "entropy": entropy(p),
            }
            for quantity, values in per_sample.items():
                part = seed_bands.band_by_time(times, values.mean(1))
                parts.append(part.assign(router=router, quantity=quantity)[COLUMNS])
        return parts

    def _probe(self, inputs: FigureInputs, chosen: dict[str, str]) -> list[pd.DataFrame]:
        """The same on the probe, of trained routers."""
        reports = {}
        for router in chosen:
            if [self.partition, router] in inputs.spec["routers"]:
                found = inputs.router_report(self.partition, router)
                version = router_styles.sampling_version(inputs, router)
                keys = ["quantity", "training_seed", *seed_bands.BINS]
                found = found[found["version"] == version]
                reports[router] = found.set_index(keys).sort_index()
        base = reports[self.baseline].loc["error_full", "value"]
        parts = []
        for router, found in reports.items():
            values = {
                "entropy_probe": found.loc["entropy", "value"],
                # The difference is within one training seed and one bin.
                "error_probe": found.loc["error_full", "value"] - base,
            }
            for quantity, value in values.items():
                part = seed_bands.band_by_bin(value)
                parts.append(part.assign(router=router, quantity=quantity)[COLUMNS])
        return parts


def _posteriors(inputs: FigureInputs, arm: str) -> np.ndarray:
    """Return the posteriors [training seeds, samples, calls, experts] of an arm."""
    posteriors = inputs.trace(arm)["posteriors"].astype(np.float64)
    return means_with_intervals.split_by_training_seed(inputs, posteriors)

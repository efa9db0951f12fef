"""Errors of every expert on every cluster in bins of t, and the disagreement of experts along t.

The states are those of the probe: noised held-out images on which all experts were evaluated.
With the Gram matrix G of the experts' errors and the true cluster c of each image:

    error         mean of G_kk over the states of cluster c in a bin of t, per dimension
    excess        error minus the smallest error of its row; what every expert gets wrong cancels
    disagreement  D_ij = ||v_i - v_j||^2 / dim = G_ii + G_jj - 2 G_ij, mean over states

(`routing.ensemble.gram_matrix`). The states of all training seeds count. With conditional experts
these are states with a condition and states with the null condition.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from routing.figures.shared import heat_map, page_layout, seed_bands, style
from routing.figures.shared.config_view import require_known
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.style import Drawing

NUM_CURVE_BINS = 10
MAX_CLUSTERS_WITH_NUMBERS = 6  # in maps of more clusters there is no room for numbers


@dataclass(frozen=True)
class ExpertErrors:
    """Excess errors by true cluster and expert in `num_bins` bins of t, and disagreement by t."""

    partition: str
    num_bins: int = 4

    needs: ClassVar[tuple[str, ...]] = ("probes", "partitions")
    formats: ClassVar[tuple[str, ...]] = style.IMAGE_FORMATS

    def __post_init__(self):
        """Validate the options."""
        if not 1 <= self.num_bins <= 5:
            raise ValueError(f"expert_errors: wanted num_bins in 1..5, got {self.num_bins}")

    @style.styled
    def draw(self, inputs: FigureInputs) -> Drawing:
        """Maps from noise to data: a dark cell has a small excess, a dot marks the best expert."""
        require_known(self.partition, list(inputs.spec["probed"]), "partition")
        table = self._errors(inputs)
        pairs = self._disagreement(inputs)
        num = inputs.num_experts[self.partition]
        figure = page_layout.new_figure(style.PAGE, 1.75)
        ratios = [1] * self.num_bins + [1.15]
        axes = figure.subplots(1, self.num_bins + 1, width_ratios=ratios)
        most = float(table["excess"].max())
        unit = 10.0 ** math.floor(math.log10(max(most, 1e-300)))
        bins = list(table.groupby("t_low"))[::-1]
        for i, (ax, (low, rows)) in enumerate(zip(axes, bins, strict=False)):
            excess = rows["excess"].to_numpy().reshape(num, num)
            _map(ax, excess, most, unit)
            ax.set_title(f"$t$ in {low:.2g}–{rows['t_high'].iloc[0]:.2g}")
            ax.set_xlabel("expert")
            ax.set_ylabel("true cluster" if i == 0 else "")
            ax.tick_params(labelleft=i == 0)
        _curve(axes[-1], pairs)
        power = f" (in $10^{{{round(math.log10(unit))}}}$)" if unit != 1 else ""
        text = (
            f"maps{power}: squared error minus that of the best expert of the row (dot); "
            "right: disagreement of two experts"
        )
        figure.suptitle(text, fontsize=7.5)
        return Drawing(pd.concat([table, pairs], ignore_index=True), figure)

    def _errors(self, inputs: FigureInputs) -> pd.DataFrame:
        """quantity, t_low, t_high, cluster, expert, value, excess."""
        from routing.ensemble.gram_matrix import error_matrix

        states, gram, edges = self._states(inputs, self.num_bins)
        cluster = inputs.clusters(self.partition)[states["row"]]
        t = _tensor(states["t"].to_numpy())
        found = error_matrix(_tensor(gram), _tensor(cluster), t, edges).double().numpy()
        num, bins = found.shape[1], found.shape[2]
        c, k, b = np.indices(found.shape).reshape(3, -1)
        low = edges.numpy()
        table = pd.DataFrame({"quantity": "error", "t_low": low[b], "t_high": low[b + 1]})
        table = table.assign(cluster=c, expert=k, value=found.ravel())
        table["excess"] = (found - found.min(1, keepdims=True)).ravel()
        assert len(table) == num * num * bins
        return table.sort_values(["t_low", "cluster", "expert"], ignore_index=True)

    def _disagreement(self, inputs: FigureInputs) -> pd.DataFrame:
        """t_low, t_high, expert and other (the pair i < j), value, quantity."""
        from routing.ensemble.gram_matrix import disagreement, mean_by_time

        states, gram, edges = self._states(inputs, NUM_CURVE_BINS)
        t = _tensor(states["t"].to_numpy())
        mean = mean_by_time(disagreement(_tensor(gram)), t, edges).numpy()
        i, j = np.triu_indices(mean.shape[1], 1)
        parts = [
            pd.DataFrame({"t_low": edges[b].item(), "t_high": edges[b + 1].item(),
                          "expert": i, "other": j, "value": mean[b, i, j]})
            for b in range(len(mean))
        ]  # fmt: skip
        table = pd.concat(parts, ignore_index=True).dropna(subset="value")
        return table.assign(quantity="disagreement")

    def _states(self, inputs: FigureInputs, num_bins: int) -> tuple[pd.DataFrame, np.ndarray, Any]:
        """Return the states, their Gram matrices, and the edges of equal bins of t."""
        import torch

        states, gram = inputs.probe(self.partition)
        return states, gram, torch.linspace(0, 1, num_bins + 1)


def _tensor(values: np.ndarray) -> Any:
    import torch

    return torch.tensor(values)


def _map(axes: Any, excess: np.ndarray, most: float, unit: float) -> None:
    """Draw one map, with numbers in multiples of `unit` if they fit."""
    dark = 1 - excess / max(most, 1e-300)
    heat_map.draw_heat_map(axes, dark)
    num = len(excess)
    for c, k in np.ndindex(excess.shape):
        if not np.isfinite(excess[c, k]):
            continue
        ink = heat_map.text_colour(dark[c, k])
        if excess[c, k] == 0:
            axes.plot(k, c, "o", color=ink, markersize=2.5)
        elif num <= MAX_CLUSTERS_WITH_NUMBERS:
            text = f"{excess[c, k] / unit:.1f}"
            axes.text(k, c, text, ha="center", va="center", color=ink, fontsize=6.5)
    axes.set_xticks(range(num), map(str, range(num)))
    axes.set_yticks(range(num), map(str, range(num)))


def _curve(axes: Any, pairs: pd.DataFrame) -> None:
    """Draw the mean over pairs of experts, and the band from the smallest to the largest pair."""
    of_bin = seed_bands.band_by_bin(pairs.set_index(seed_bands.BINS)["value"])
    t, mean, low, high = page_layout.step_curve(of_bin)
    axes.fill_between(t, low, high, color=style.BAND, linewidth=0, label="range over pairs")
    axes.plot(t, mean, color="black", linewidth=1.1, label="mean over pairs")
    page_layout.time_axis(axes)
    axes.set_ylim(0)
    axes.set_title(r"$\|v_i - v_j\|^2$ / dim")
    axes.set_xlabel("time $t$")
    axes.legend(loc="best", borderpad=0)

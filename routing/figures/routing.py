"""Routing along t: mean weights, entropies and argmax experts, from the routing trace.

    mean weight   mean_i w_ik(t)
    entropy       mean_i H(w_i(t)) and mean_i H(p_i(t)),  H(w) = -sum_k w_k log w_k   (nats)
    occupancy     fraction of the samples i whose largest weight is that of expert k; experts with
                  equal weights share the sample

Means are over samples, and over the calls at one time (a Heun step has two). A weight holds until
the next call. The dotted lines across the areas are the cluster shares of the training images.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from routing.figures.shared import arm_styles, page_layout, style
from routing.figures.shared.distributions import entropy
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.figure_text import figure_label
from routing.figures.shared.style import Drawing

MAX_COLUMNS = 6  # arms side by side


@dataclass(frozen=True)
class Routing:
    """Mean weights, entropies and occupancy of experts along t, a column of panels per arm."""

    arms: tuple[str, ...] = ()

    needs: ClassVar[tuple[str, ...]] = ("traces", "partitions")
    formats: ClassVar[tuple[str, ...]] = style.IMAGE_FORMATS

    @style.styled
    def draw(self, inputs: FigureInputs) -> Drawing:
        """Up to six arms side by side."""
        names = inputs.selected_arms(self.arms)
        tables = [profile(arm, inputs.trace(arm)) for arm in names]
        figure, columns = page_layout.panel_columns(len(names), 3, MAX_COLUMNS, 2.75)
        highest = max(inputs.num_experts[inputs.arms[arm]["partition"]] for arm in names)
        for own, arm, table in zip(columns, names, tables, strict=True):
            shares = inputs.cluster_shares(inputs.arms[arm]["partition"])
            colour = arm_styles.arm_style(inputs, arm).colour
            _draw_column(own, table, shares, np.log(max(highest, 2)), colour)
            own[0].set_title(figure_label(arm))
            page_layout.label_column(own, ["mean weight", "entropy (nats)", "argmax occupancy"])
        figure.align_ylabels()
        figure.supxlabel(style.TIME_LABEL)
        page_layout.legend_above(figure, _handles(highest), min(MAX_COLUMNS, len(names)) + 2)
        return Drawing(pd.concat(tables, ignore_index=True), figure)


def profile(arm: str, trace: dict[str, np.ndarray]) -> pd.DataFrame:
    """arm, t, quantity, expert (missing for entropies), value, unit; a row per drawn number."""
    times, at = np.unique(-trace["times"], return_inverse=True)
    w, p = trace["weights"].astype(np.float64), trace["posteriors"].astype(np.float64)
    is_top = w == w.max(-1, keepdims=True)
    occupancy = is_top / is_top.sum(-1, keepdims=True)
    per_call = {
        "mean_weight": w.mean(0),
        "occupancy": occupancy.mean(0),
        "entropy_weights": entropy(w).mean(0)[:, None],
        "entropy_posterior": entropy(p).mean(0)[:, None],
    }
    parts = []
    for quantity, values in per_call.items():
        mean = np.stack([values[at == i].mean(0) for i in range(len(times))])
        num = mean.shape[1]
        is_entropy = quantity.startswith("entropy")
        experts = [None] if is_entropy else list(range(num))
        part = pd.DataFrame({"arm": arm, "t": -np.repeat(times, num), "quantity": quantity})
        part["expert"] = pd.array(experts * len(times), dtype="Int64")
        part["value"] = mean.ravel()
        part["unit"] = "nats" if is_entropy else "share"
        parts.append(part.dropna(subset="value"))  # NaN: the router was not evaluated
    return pd.concat(parts, ignore_index=True)


def _draw_column(
    axes: np.ndarray, table: pd.DataFrame, shares: np.ndarray, top: float, colour: str
) -> None:
    of = dict(list(table.groupby("quantity", sort=False)))
    _areas(axes[0], of["mean_weight"], shares)
    lines = {
        "entropy_weights": {"color": colour, "linewidth": 1.6},
        "entropy_posterior": {"color": "black", "linewidth": 0.9, "dashes": (2.5, 1.5)},
    }
    times = of["entropy_weights"]["t"]
    for quantity, line in lines.items():
        if quantity in of:  # with gaps where the router was not evaluated
            values = of[quantity].set_index("t")["value"].reindex(times)
            axes[1].step(*_held(values), where="post", **line)
    axes[1].axhline(np.log(len(shares)), **style.DOTTED)
    axes[1].set_ylim(-0.05 * top, 1.12 * top)
    _areas(axes[2], of["occupancy"], shares)


def _areas(axes: Any, table: pd.DataFrame, shares: np.ndarray) -> None:
    """Draw stacked areas, expert 0 at the bottom, and the cumulative cluster shares as lines."""
    wide = table.pivot(index="t", columns="expert", values="value").sort_index(ascending=False)
    base = np.zeros(len(wide) + 1)
    for k in wide.columns:
        x, y = _held(wide[k])
        look = arm_styles.expert_area(int(k))
        axes.fill_between(x, base, base + y, step="post", edgecolor="white", linewidth=0.3, **look)
        base = base + y
    for edge in np.cumsum(shares)[:-1]:
        axes.axhline(edge, color="white", linewidth=1.1)
        axes.axhline(edge, color="black", linewidth=0.7, dashes=(1, 1.5))
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])


def _held(series: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return t and values of a step curve whose last value holds until t = 0."""
    return np.append(series.index.to_numpy(), 0), np.append(series.to_numpy(), series.iloc[-1])


def _handles(num_experts: int) -> list:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    experts = [
        Patch(label=f"expert {k}", edgecolor="white", **arm_styles.expert_area(k))
        for k in range(num_experts)
    ]
    lines = [
        Line2D([], [], color=style.GREY, linewidth=1.6, label="weights"),
        Line2D([], [], color="black", linewidth=0.9, dashes=(2.5, 1.5), label="posterior"),
        Line2D([], [], label="$\\log K$; cluster shares", **style.DOTTED),
    ]
    return experts + lines

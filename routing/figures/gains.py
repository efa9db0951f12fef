"""What a router gains on another one under the same policy: paired by training and seed.

For each policy (and partition, sampler and guidance) the metric of every router minus that of the
router `baseline`, with the 95 % interval of `routing.statistics.intervals.paired_difference`:
what trainings
and seeds have in common cancels. Each interval holds by itself; among many of them, some leave
out zero by chance.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd

from routing.figures.shared import arms, routers, style, words
from routing.figures.shared.inputs import Inputs
from routing.figures.shared.named import known
from routing.figures.shared.rows import scale, stacked
from routing.figures.shared.style import Drawing

KEYS = ("policy", "partition", "sampler", "guidance")


@dataclass(frozen=True)
class Gains:
    """One metric of every router minus that of the router `baseline`, policy by policy."""

    metric: str
    baseline: str
    arms: tuple[str, ...] = ()

    needs: ClassVar[tuple[str, ...]] = ("metrics", "replicates")
    formats: ClassVar[tuple[str, ...]] = style.PICTURES

    @style.styled
    def draw(self, inputs: Inputs) -> Drawing:
        """A row per router, the best of each policy on top; filled: the interval leaves out 0."""
        known(self.baseline, list(inputs.routers), "baseline")
        table = self._table(inputs)
        titles = _titles(table)
        table.insert(0, "group", titles)
        sign = words.direction(self.metric)
        ranked = table.assign(rank=-sign * table["value"]).sort_values("rank", kind="stable")
        groups = {g: list(ranked["arm"][ranked["group"] == g]) for g in dict.fromkeys(titles)}
        layout = stacked(groups)
        note = f", minus {arms.label(self.baseline)}"
        names = dict(zip(table["arm"], table["router"], strict=True))
        figure = layout.canvas(words.axis_label(self.metric, note), 0.47, names)
        axes = figure.subplots()
        axes.axvline(0, color="black", linewidth=0.8, zorder=1)
        half = (table["hi"] - table["lo"]) / 2
        style.fit_scale(axes, "x", table["value"].to_numpy(), half.to_numpy())
        for row in table.itertuples():
            error = [[row.value - row.lo], [row.hi - row.value]]
            look = {"color": routers.colour(inputs, row.router), "marker": "o", "elinewidth": 1}
            look["markerfacecolor"] = look["color"] if row.lo > 0 or row.hi < 0 else "white"
            axes.errorbar(row.value, layout.of_arm[row.arm], xerr=error, **look)
        layout.frame(axes, names=names)
        scale(axes)
        style.legend(figure, _handles(), 2)
        return Drawing(table, figure)

    def _table(self, inputs: Inputs) -> pd.DataFrame:
        """policy, partition, sampler, guidance, router, arm, reference, metric, value, lo, hi."""
        import torch

        from routing.statistics.intervals import paired_difference

        found = inputs.rows_of(self.metric, inputs.metrics)
        chosen = arms.measured(self.metric, found, inputs.chosen(self.arms))
        bases = {_key(inputs, a): a for a in chosen if inputs.arms[a]["router"] == self.baseline}
        rows = []
        for arm in chosen:
            base = bases.get(_key(inputs, arm))
            if base is None or inputs.arms[arm]["router"] == self.baseline:
                continue
            pair = [torch.tensor(inputs.replicates(a, self.metric)) for a in (arm, base)]
            interval = paired_difference(*pair)
            told = dict(zip(KEYS, _key(inputs, arm), strict=True))
            told |= {"router": inputs.arms[arm]["router"], "arm": arm, "reference": base}
            rows.append(told | {"metric": self.metric} | interval._asdict())
        if not rows:
            raise ValueError(
                f"gains: wanted arms that differ from one of router {self.baseline!r} in the "
                f"router alone, got none; name another baseline or other arms"
            )
        order = list(inputs.policies)
        rank = lambda names: names.map(order.index)  # noqa: E731
        return pd.DataFrame(rows).sort_values("policy", key=rank, kind="stable", ignore_index=True)


def _key(inputs: Inputs, arm: str) -> tuple:
    """What two arms must share to be compared."""
    return tuple(inputs.arms[arm].get(key) for key in KEYS)


def _titles(table: pd.DataFrame) -> list[str]:
    """The policy, and of what else is not the same in all rows."""
    keys = [key for key in KEYS if key == "policy" or table[key].nunique(dropna=False) > 1]
    return [", ".join(arms.label(v) for v in row if v) for row in table[keys].to_numpy()]


def _handles() -> list[Any]:
    from matplotlib.lines import Line2D

    look = {"color": style.GREY, "marker": "o", "linestyle": "none"}
    return [
        Line2D([], [], label="95 % interval without zero", **look),
        Line2D([], [], label="with zero", markerfacecolor="white", **look),
    ]

"""Quality by partition and policy: the arms that differ in these two alone, and their looks.

A family is a named list of partitions, one notion with several numbers of experts: the config
says which belong together, nothing is read off names. Colour is the method of the family's first
partition, dashes and filling tell families of one method apart. To give a method a colour of its
own, add a row to COLOURS; without one it takes one of OTHERS by its name.
"""

from typing import Any

import pandas as pd

from routing.figures.shared import arm_selection, arm_styles, metric_labels, page_layout, style
from routing.figures.shared.config_view import require_known
from routing.figures.shared.figure_inputs import FigureInputs

METHOD_COLOURS = {  # by method
    "kmeans": "#D55E00",
    "balanced_kmeans": "#0072B2",
    "two_stage": "#00694E",
    "overlapping": "#B37AE8",
    "labels": "#7A5200",
    "random": "#8C8C8C",
    "random_equal": "#5F6B73",
    "components": "#C2185B",
}
OTHER_COLOURS = ("#A03A3A", "#3F8F8F", "#A6A11B")
DASHES = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1)))
FILLS = ("full", "none", "left", "top", "right")  # of families of one method, as DASHES
MONOLITH = "monolith"
WHOLE_PARTITION = -1  # what a report calls the partition itself
Families = dict[str, list[str]]


def metric_rows(inputs: FigureInputs, of: Any, families: Families) -> pd.DataFrame:
    """Rows of the metric `of.metric` with family, partition, num_experts and policy.

    Of each partition of `families` and each of `of.policies` (all, if none is named) the arm with
    `of.sampler`, `of.guidance` and, where it is named, `of.router`; the last row is the monolith
    under the same sampler and strength of guidance, if there is one. ValueError on unknown names,
    where two routers are left for one row, and where no row is.
    """
    for policy in of.policies:
        require_known(policy, list(inputs.policies), "policies")
    if of.router is not None:
        require_known(of.router, list(inputs.routers), "router")
    found = inputs.metric_rows(of.metric, inputs.metrics)
    pairs = [
        (family, arm)
        for family, partitions in families.items()
        for partition in partitions
        for arm in _arms(inputs, of, partition)
        if arm in found.index
    ]
    if not pairs:
        raise ValueError(
            f"{of.metric}: wanted arms with several experts on which it was measured, got none; "
            f"name others"
        )
    table = found.loc[[arm for _, arm in pairs]].reset_index(drop=True)
    table.insert(0, "family", [family for family, _ in pairs])
    monolith = arm_selection.matching_monolith(inputs, pairs[0][1], list(inputs.arms))
    if monolith in found.index:
        last = found.loc[[monolith]].assign(family=MONOLITH)
        table = pd.concat([table, last], ignore_index=True)
    table.insert(1, "partition", [inputs.arms[arm]["partition"] for arm in table["arm"]])
    table.insert(2, "num_experts", [inputs.num_experts[p] for p in table["partition"]])
    table.insert(3, "policy", [inputs.arms[arm]["policy"] for arm in table["arm"]])
    table["half_width"] = (table["hi"] - table["lo"]) / 2
    return table


def policies_in(inputs: FigureInputs, of: Any, table: pd.DataFrame) -> list[str]:
    """The policies of the table: in the order asked for, else in that of the config."""
    own = set(table["policy"][table["family"] != MONOLITH])
    return [policy for policy in of.policies or inputs.policies if policy in own]


def require_families(figure: str, families: Families) -> None:
    """Raise ValueError unless there are families, and partitions in each."""
    if not families or not all(families.values()):
        raise ValueError(
            f"{figure}: wanted families {{name: [partition, ...]}}, got {families}; name some"
        )


def family_style(inputs: FigureInputs, families: Families, family: str) -> dict[str, Any]:
    """Colour and dashes of lines of `family`, and the filling of its points."""
    methods = {name: _method(inputs, members[0]) for name, members in families.items()}
    before = list(methods)[: list(methods).index(family)]
    place = sum(methods[name] == methods[family] for name in before)
    colour = METHOD_COLOURS.get(methods[family]) or arm_styles.pick_by_name(
        OTHER_COLOURS, methods[family]
    )
    return {
        "color": colour,
        "linestyle": DASHES[place % len(DASHES)],
        "fillstyle": FILLS[place % len(FILLS)],
        "markerfacecoloralt": "white",
        "markeredgewidth": 0.9,
    } | ({"markerfacecolor": "white"} if FILLS[place % len(FILLS)] == "none" else {})


def draw_monolith(axes: Any, table: pd.DataFrame) -> list:
    """Line and band of the monolith, if the table has it; the legend's handle."""
    rows = table[table["family"] == MONOLITH]
    if rows.empty:
        return []
    (row,) = metric_labels.clip_intervals(rows).itertuples()
    axes.axhspan(row.lo, row.hi, color=style.BAND, linewidth=0, zorder=0)
    line = axes.axhline(row.value, color=arm_styles.MONOLITH_COLOUR, linewidth=0.8, zorder=1)
    line.set_label("monolith with the same sampler (95 % interval)")
    return [line]


def axis_label(metric: str) -> str:
    """Words and direction in lines that are as long as a panel is high."""
    return "\n".join(page_layout.wrap_text(metric_labels.axis_label(metric), 1.6))


def partition_quantities(report: pd.DataFrame) -> dict[str, float]:
    """The quantities of a partition as a whole."""
    rows = report[report["cluster"] == WHOLE_PARTITION]
    return dict(zip(rows["quantity"], rows["value"], strict=True))


def _method(inputs: FigureInputs, partition: str) -> str:
    return inputs.partitions[partition]["method"]["name"]


def _arms(inputs: FigureInputs, of: Any, partition: str) -> list[str]:
    """The arms of one partition, at most one per policy."""
    require_known(partition, list(inputs.partitions), "families")
    if inputs.num_experts[partition] == 1:
        raise ValueError(
            f"families: wanted partitions with experts to choose from, got {partition!r} with "
            f"one; the monolith is drawn by itself, take it out"
        )
    by_policy: dict[str, str] = {}
    by_cell = arm_selection.arms_by_router_and_policy(
        inputs, (), partition, of.sampler, of.guidance
    )
    for (router, policy), arm in by_cell.items():
        if of.router not in (None, router) or policy not in (of.policies or (policy,)):
            continue
        first = by_policy.setdefault(policy, arm)
        if first != arm:
            raise ValueError(
                f"router: wanted one router per partition and policy, got {first!r} and {arm!r}; "
                f"name the router"
            )
    return list(by_policy.values())

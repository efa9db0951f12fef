"""Metrics of arms that differ in partition and policy, and the styles of families of partitions.

A family is a named list of partitions in the config, such as one method with several numbers of
clusters. Its colour is that of the method of its first partition; dashes and fill styles
distinguish families of one method. To give a method its own colour, add it to METHOD_COLOURS;
otherwise it gets one of OTHER_COLOURS that depends on its name.
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
FILLS = ("full", "none", "left", "top", "right")  # used with DASHES
MONOLITH = "monolith"  # family of the monolith, in tables; see the column is_monolith
WHOLE_PARTITION = -1  # column `cluster` of a report: the quantity of the whole partition
Families = dict[str, list[str]]


def metric_rows(inputs: FigureInputs, of: Any, families: Families) -> pd.DataFrame:
    """Return the rows of a metric with family, partition, num_experts, policy and is_monolith.

    `of` is a figure with the options metric, sampler, guidance, router (None: any) and policies
    (empty: all). There is one row per partition of `families` and policy, if such an arm exists,
    and a last row for the monolith with the same sampler and guidance scale. Raises ValueError on
    unknown names, if two routers are left for one row, and if no row is left.
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
    table["is_monolith"] = False
    monolith = arm_selection.matching_monolith(inputs, pairs[0][1], list(inputs.arms))
    if monolith in found.index:
        last = found.loc[[monolith]].assign(family=MONOLITH, is_monolith=True)
        table = pd.concat([table, last], ignore_index=True)
    table.insert(1, "partition", [inputs.arms[arm]["partition"] for arm in table["arm"]])
    table.insert(2, "num_experts", [inputs.num_experts[p] for p in table["partition"]])
    table.insert(3, "policy", [inputs.arms[arm]["policy"] for arm in table["arm"]])
    table["half_width"] = (table["hi"] - table["lo"]) / 2
    return table


def asked_arms(inputs: FigureInputs, of: Any, families: Families) -> list[str]:
    """Return the arms of `families` for `of`, as in `metric_rows`, measured or not."""
    partitions = dict.fromkeys(sum(families.values(), []))
    return [arm for partition in partitions for arm in _arms(inputs, of, partition)]


def policies_in(inputs: FigureInputs, of: Any, table: pd.DataFrame) -> list[str]:
    """Return the policies of the table in the order of `of.policies`, or of the config."""
    own = set(table["policy"][~table["is_monolith"]])
    return [policy for policy in of.policies or inputs.policies if policy in own]


def require_families(figure: str, families: Families) -> None:
    """Raise ValueError unless there is a family, and every family has a partition."""
    if not families or not all(families.values()):
        raise ValueError(
            f"{figure}: wanted families {{name: [partition, ...]}}, got {families}; name some"
        )


def family_style(inputs: FigureInputs, families: Families, family: str) -> dict[str, Any]:
    """Return the colour, dashes and fill style of a family, as keyword arguments of a line."""
    methods = {name: _method(inputs, members[0]) for name, members in families.items()}
    before = list(methods)[: list(methods).index(family)]
    position = sum(methods[name] == methods[family] for name in before)
    other = arm_styles.pick_by_name(OTHER_COLOURS, methods[family])
    colour = METHOD_COLOURS.get(methods[family], other)
    return {
        "color": colour,
        "linestyle": DASHES[position % len(DASHES)],
        "fillstyle": FILLS[position % len(FILLS)],
        "markerfacecoloralt": "white",
        "markeredgewidth": 0.9,
    } | ({"markerfacecolor": "white"} if FILLS[position % len(FILLS)] == "none" else {})


def draw_monolith(axes: Any, table: pd.DataFrame) -> list:
    """Draw the value and interval of the monolith, if any; return the legend handles."""
    rows = table[table["is_monolith"]]
    if rows.empty:
        return []
    (row,) = metric_labels.clip_intervals(rows).itertuples()
    axes.axhspan(row.lo, row.hi, color=style.BAND, linewidth=0, zorder=0)
    line = axes.axhline(row.value, color=arm_styles.MONOLITH_COLOUR, linewidth=0.8, zorder=1)
    line.set_label("monolith with the same sampler (95 % interval)")
    return [line]


def axis_label(metric: str) -> str:
    """Return label and direction of `metric`, wrapped to the height of a panel."""
    return "\n".join(page_layout.wrap_text(metric_labels.axis_label(metric), 1.6))


def partition_quantities(report: pd.DataFrame) -> dict[str, float]:
    """Return {quantity: value} of the whole partition."""
    rows = report[report["cluster"] == WHOLE_PARTITION]
    return dict(zip(rows["quantity"], rows["value"], strict=True))


def _method(inputs: FigureInputs, partition: str) -> str:
    return inputs.partitions[partition]["method"]["name"]


def _arms(inputs: FigureInputs, of: Any, partition: str) -> list[str]:
    """Return the arms of one partition, at most one per policy."""
    require_known(partition, list(inputs.partitions), "families")
    if inputs.num_experts[partition] == 1:
        raise ValueError(
            f"families: wanted partitions with at least two experts, got {partition!r} with one; "
            f"remove it, the monolith is drawn without being named"
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

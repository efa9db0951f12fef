"""Figures that compare routers: every drawn number is computed a second time."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from figures_world import (
    ABLATION,
    ROUTERS,
    FakeJob,
    ablation,
    best_of,
    drawn,
    guided,
    learned,
    make,
    make_job,
)
from scipy import stats

from routing.figures import calibration, exposure, reliability, switching
from routing.figures.shared import (
    arm_selection,
    arm_styles,
    cost_curves,
    means_with_intervals,
    metric_labels,
    page_layout,
    point_labels,
    router_styles,
    style,
    text_tables,
)
from routing.figures.shared.figure_inputs import FigureInputs

FEW = (
    "monolith",
    "cluster_full",
    "cluster_top1",
    "velocity_full",
    "velocity_top1",
    "uniform_full",
)
FEW = (*FEW, "uniform_top1", "soft_full")


@pytest.fixture(scope="module")
def few():
    """Four routers, two policies, three trainings; the cell soft/top1 is empty."""
    return FigureInputs(make_job("digits", FEW, ("monolith", "semantic"), 2, 3))


def changed(inputs, spec=None, **files):
    """The same run with other parts of the spec, or other files."""
    return FigureInputs(FakeJob(inputs.spec | (spec or {}), inputs.job.files | files))


# Looks and groups


def test_routers_have_different_lines(few):
    kinds = [router_styles.router_kind(r) for r in ROUTERS.values()]
    assert kinds == [
        "cluster", "cluster", "soft_cluster", "expert_error", "velocity", "consistency",
        "uniform", "prior",
    ]  # fmt: skip
    assert len(set(router_styles.ROUTER_COLOURS.values())) == len(router_styles.ROUTER_COLOURS)
    looks = [tuple(router_styles.router_line(few, name).values()) for name in ROUTERS]
    assert len(set(looks)) == len(looks)  # two of one objective differ in dashes
    assert router_styles.router_colour(few, "learned") == router_styles.router_colour(
        few, "cluster"
    )
    assert router_styles.loss_label(learned("velocity_topk")) == router_styles.SQUARED
    assert router_styles.loss_label(learned("expert_error")) == router_styles.NATS
    assert router_styles.loss_label(learned("my_own")) == "loss of my own"
    names = ("soft", "cluster", "velocity")
    assert [router_styles.sampling_version(few, name) for name in names] == ["raw", "nll", "error"]


def test_guided_arms_have_their_own_groups_and_styles():
    inputs = FigureInputs(guided())
    names = list(inputs.arms)
    strengths = {
        "cluster_full": None, "full_requested": 1, "full_separate_4": 4, "full_shared_1": 1,
        "full_shared_2": 2,
    }  # fmt: skip
    assert {arm: arm_selection.guidance_scale(inputs, arm) for arm in strengths} == strengths
    groups = arm_selection.group_arms(inputs, names)
    assert groups["semantic, euler, guidance 2"] == ["full_separate_2", "full_shared_2"]
    assert groups["semantic, euler, guidance 1"] == ["full_requested", "full_shared_1"]
    assert groups["semantic, euler"] == ["cluster_full"] and groups["monolith"] == ["monolith"]
    assert groups["monolith, guidance 4"] == ["monolith_separate_4"]
    assert sorted(sum(groups.values(), [])) == sorted(names)
    assert arm_selection.matching_monolith(inputs, "full_shared_4", names) == "monolith_separate_4"
    assert arm_selection.matching_monolith(inputs, "cluster_full", names) == "monolith"
    plain, guided_look = (
        arm_styles.arm_style(inputs, arm) for arm in ("cluster_full", "full_shared_2")
    )
    assert guided_look.is_guided and not plain.is_guided and plain.colour == guided_look.colour
    assert (
        plain.marker_kwargs()["fillstyle"] == "full"
        and guided_look.marker_kwargs()["fillstyle"] == "left"
    )
    random = arm_styles.ArmStyle("#123456", "o", True, True).marker_kwargs()
    assert (random["markerfacecolor"], random["markerfacecoloralt"]) == ("white", "#123456")


def test_results_name_the_guidance_where_there_is_any():
    text = make("results", metrics=["fd_digits", "agreement_digits"]).draw(FigureInputs(guided()))
    head, _, *lines = text.texts["md"].splitlines()
    assert "| sampler | guidance |" in head
    cells = {
        line.split(" | ")[0][2:]: line.strip("| ").split(" | ") for line in lines if "|" in line
    }
    assert cells["cluster full"][5] == "–" and cells["full shared 2"][5] == "shared 2"
    assert cells["cluster full"][-1] == "–" and "±" in cells["full shared 2"][-1]
    assert "±" in [*cells.values()][-1][-1]  # held-out images have labels
    assert "guidance" not in drawn("results").texts["md"]
    assert len({len(row) for row in cells.values()}) == 1


def test_what_was_not_measured_is_left_out():
    inputs = FigureInputs(guided())
    table = make("quality", metric="agreement_digits").draw(inputs).table
    requested = [
        arm for arm in inputs.arms if arm_selection.guidance_scale(inputs, arm) is not None
    ]
    assert set(table["arm"]) == {*requested, "heldout"}
    with pytest.raises(ValueError, match="agreement_digits: it was not measured on any"):
        make("quality", metric="agreement_digits", arms=["cluster_full"]).draw(inputs)
    assert metric_labels.direction("agreement_digits") == 1
    assert metric_labels.metric_label("agreement_digits").startswith(
        "agreement with the requested class, digits"
    )


def test_cells_share_all_but_router_and_policy(few):
    found = arm_selection.arms_by_router_and_policy(few, (), "semantic", "euler", None)
    assert found == {
        (of["router"], of["policy"]): arm for arm, of in few.arms.items() if arm != "monolith"
    }
    assert arm_selection.arms_by_router_and_policy(
        few, ("cluster_full",), "semantic", "euler", None
    ) == {("cluster", "full"): "cluster_full"}
    both = FigureInputs(guided())
    assert arm_selection.arms_by_router_and_policy(both, (), "semantic", "euler", "shared_2") == {
        ("cluster", "full"): "full_shared_2"
    }
    twice = changed(few, {"arms": few.arms | {"again": few.arms["soft_full"]}})
    with pytest.raises(ValueError, match="got 'soft_full' and 'again' with the same ones"):
        arm_selection.arms_by_router_and_policy(twice, (), "semantic", "euler", None)


# Routers by policies


def test_the_router_table_holds_the_metric_and_bolds_the_best(few):
    drawing = make("router_table").draw(few)
    given = few.metrics.query("metric == 'fd_digits'").set_index("arm")
    table = drawing.table
    assert set(table["arm"]) == set(FEW) - {"monolith"}
    for row in table.itertuples():
        of = few.arms[row.arm]
        assert (row.router, row.policy) == (of["router"], of["policy"])
        assert row.value == given.loc[row.arm, "value"]
        assert row.half_width == pytest.approx(given.loc[row.arm, "hi"] - row.value)
        cost = few.cost(row.arm).set_index("component")
        assert row.expert_evaluations == cost.loc["total", "evaluations"]
    best = best_of(few, "fd_digits", list(table["arm"]), -1)
    assert table["arm"][table["is_best"]].to_list() == best
    lines = drawing.texts["md"].splitlines()
    assert lines[0] == "| router | full | top1 |"
    rows = {line.split(" | ")[0][2:]: line[2:-2].split(" | ") for line in lines[2:7]}
    assert list(rows) == ["cluster", "soft", "velocity", "uniform", "expert evaluations"]
    assert rows["soft"][2] == "–" and rows["expert evaluations"][1:] == ["40", "8"]
    for row in table.itertuples():
        text = metric_labels.format_value(row.value, row.half_width)
        cell = rows[row.router][1 + ["full", "top1"].index(row.policy)]
        assert cell == (f"**{text}**" if row.is_best else text)
    row = given.loc["monolith"]
    monolith = metric_labels.format_value(row["value"], (row["hi"] - row["lo"]) / 2)
    assert f"The monolith: {monolith}; held-out data: " in lines[-1]
    tex = drawing.texts["tex"]
    assert tex.count(r"\textbf") == len(best) and {
        x.count("&") for x in tex.splitlines() if "&" in x
    } == {2}
    assert tex.index("\\midrule\nexpert evaluations") > tex.index("uniform")
    highest = make("router_table", metric="recall_digits").draw(few).table
    best = best_of(few, "recall_digits", list(highest["arm"]), 1)
    assert highest["arm"][highest["is_best"]].to_list() == best
    share = make("router_table", metric="cluster_share_1").draw(few)
    assert not share.table["is_best"].any() and "**" not in share.texts["md"]


def test_costs_that_differ_between_routers_are_a_range(few):
    costs = [b.copy() for b in few.job.files["costs"]]
    last = list(few.arms).index("soft_full")
    for cost in costs[6 * last : 6 * last + 6]:
        cost["evaluations"] = cost["evaluations"] / 3
    drawing = make("router_table").draw(changed(few, costs=costs))
    line = next(x for x in drawing.texts["md"].splitlines() if "expert evaluations" in x)
    assert line == "| expert evaluations | 13.3–40 | 8 |"
    assert "13.3--40" in drawing.texts["tex"]


def test_tables_as_text():
    assert (
        text_tables.markdown_table(["a", "b"], [["x", "1"]], 1)
        == "| a | b |\n| --- | --: |\n| x | 1 |\n"
    )
    text = text_tables.latex_table(["a", "b"], [["x", "-1"], ["y", "2–3"]], 1, 0).splitlines()
    assert text == [
        r"\begin{tabular}{lr}", r"\toprule", r"a & b \\", r"\midrule", r"x & $-$1 \\",
        r"y & 2--3 \\", r"\bottomrule", r"\end{tabular}",
    ]  # fmt: skip


@pytest.mark.parametrize("metric, sign", [("fd_digits", -1), ("recall_digits", 1)])
def test_the_router_matrix_is_darkest_and_framed_at_the_best_cell(few, metric, sign):
    drawing = make("router_matrix", metric=metric).draw(few)
    (axes,) = drawing.figure.axes
    names, policies = ["cluster", "soft", "velocity", "uniform"], ["full", "top1"]
    assert [t.get_text() for t in axes.get_yticklabels()] == names
    value = drawing.table.pivot(index="router", columns="policy", values="value")
    value = sign * value.loc[names, policies].to_numpy()
    dark = axes.images[0].get_array()
    assert dark.mask.tolist() == np.isnan(value).tolist() and dark.mask.sum() == 1
    span = np.nanmax(value) - np.nanmin(value)
    assert dark.filled(np.nan) == pytest.approx((value - np.nanmin(value)) / span, nan_ok=True)
    best = best_of(few, metric, list(drawing.table["arm"]), sign)
    assert len(axes.patches) == len(best)
    for frame in axes.patches:
        i, j = np.unravel_index(np.nanargmax(value), value.shape)
        assert (round(frame.get_x() + 0.46), round(frame.get_y() + 0.46)) == (j, i)
    at = {t.get_position(): t.get_text() for t in axes.texts}
    row = drawing.table.query("router == 'cluster' and policy == 'top1'").iloc[0]
    assert (
        at[(1, 0)] == metric_labels.format_value(row["value"], row["half_width"]).split(" ± ")[0]
    )
    assert len(axes.texts) == 2 * 7


# Gains


def test_gains_are_paired_by_training_and_seed(few):
    drawing = make("gains", baseline="cluster").draw(few)
    table = drawing.table.set_index("arm")
    pairs = {
        "velocity_full": "cluster_full", "uniform_full": "cluster_full",
        "soft_full": "cluster_full", "velocity_top1": "cluster_top1",
        "uniform_top1": "cluster_top1",
    }  # fmt: skip
    assert table["reference"].to_dict() == pairs
    for arm, base in pairs.items():
        a, b = (few.replicates(name, "fd_digits") for name in (arm, base))
        stored = few.job.files["replicates"][0].set_index(
            ["arm", "metric", "training_seed", "block"]
        )
        assert a[2, 4] == stored.loc[(arm, "fd_digits", 2, 3), "value"]
        d = a - b
        left_out = d[:, 1:].mean(0)
        se = np.sqrt(7 / 8 * ((left_out - left_out.mean()) ** 2).sum())
        se_training = d[:, 0].std(ddof=1) / np.sqrt(3)
        half = np.hypot(stats.t.ppf(0.975, 7) * se, stats.t.ppf(0.975, 2) * se_training)
        assert table.loc[arm, "value"] == pytest.approx(d[:, 0].mean())
        assert table.loc[arm, "hi"] - table.loc[arm, "value"] == pytest.approx(half)
    (axes,) = drawing.figure.axes
    assert [t.get_text() for t in axes.get_yticklabels()[:2]] == ["full", "top1"]
    points = [c[0] for c in axes.containers]
    for point, row in zip(points, drawing.table.itertuples(), strict=True):
        assert point.get_xdata()[0] == row.value
        assert point.get_color() == router_styles.router_colour(few, row.router)
        is_sure = row.lo > 0 or row.hi < 0
        assert (point.get_markerfacecolor() != "white") == is_sure
    of_full = {p.get_ydata()[0]: p.get_xdata()[0] for p in points[:3]}
    assert list(of_full[y] for y in sorted(of_full)) == sorted(of_full.values())  # best on top
    rising = make("gains", baseline="cluster", metric="recall_digits").draw(few)
    best = rising.table[rising.table["group"] == "full"].sort_values("value")["arm"].iloc[-1]
    first = min(rising.figure.axes[0].containers[:3], key=lambda c: c[0].get_ydata()[0])
    assert first[0].get_xdata()[0] == rising.table.set_index("arm").loc[best, "value"]


def test_gains_compare_what_differs_in_the_router_alone():
    inputs = FigureInputs(make_job())
    table = make("gains").draw(inputs).table
    assert table[["arm", "reference"]].to_numpy().tolist() == [["uniform_full", "full"]]
    both = changed(inputs, {"arms": inputs.arms | {
        "top1": inputs.arms["top1"] | {"router": "soft"},
        "random_top1": inputs.arms["random_top1"] | {"router": "soft"},
        "sticky": inputs.arms["top1"],
        "top2": inputs.arms["random_top1"],
    }})  # fmt: skip
    table = make("gains").draw(both).table.set_index("arm")
    assert table["reference"].to_dict() == {
        "uniform_full": "full", "top1": "sticky", "random_top1": "top2"
    }  # fmt: skip
    assert table["group"].to_dict()["random_top1"] == "top1, random"


# The frontier


def test_the_frontier_joins_the_policies_of_a_router(few):
    drawing = make("frontier", by="router").draw(few)
    axes = drawing.figure.axes[0]
    table = drawing.table.set_index("arm")
    found = cost_curves.CostCurves(few, drawing.table)
    for router in ("cluster", "velocity", "uniform"):
        cheap, dear = f"{router}_top1", f"{router}_full"
        wanted = table.loc[[cheap, dear], ["cost", "value"]].to_numpy()
        lines = [line.get_xydata() for line in axes.get_lines() if len(line.get_xydata()) == 2]
        assert any(np.array_equal(line, wanted) for line in lines)
    points, names, colours = found.end_labels()
    assert set(names) == {"cluster", "velocity", "uniform", "soft", "monolith"}
    for point, name in zip(points, names, strict=True):
        arm = "monolith" if name == "monolith" else f"{name}_full"
        assert point.tolist() == table.loc[arm, ["cost", "value"]].to_list()
    assert colours[names.index("monolith")] == arm_styles.MONOLITH_COLOUR
    assert [h.get_label() for h in found.legend_handles()] == ["full", "top1"]
    assert (
        found.marker_kwargs("cluster_full")["marker"]
        != found.marker_kwargs("cluster_top1")["marker"]
    )
    assert found.marker_kwargs("monolith")["marker"] == "*"
    assert found.marker_kwargs("soft_full")["color"] == router_styles.router_colour(few, "soft")
    texts = {t.get_text() for t in axes.texts}
    assert texts == set(names)
    kinds = {arm_styles.policy_kind(p) for p in few.policies.values()} - {"mine_alone"}
    assert kinds <= set(cost_curves.POLICY_MARKERS) <= set(arm_styles.POLICY_COLOURS)
    assert len(set(cost_curves.POLICY_MARKERS.values())) == len(cost_curves.POLICY_MARKERS)


def test_families_are_named_by_what_differs():
    inputs = FigureInputs(make_job())
    table = make("frontier", by="router").draw(inputs).table
    _, names, _ = cost_curves.CostCurves(inputs, table).end_labels()
    assert "learned, semantic, euler" in names and "learned, random, euler" in names
    assert "monolith, euler" in names and "monolith, heun" in names
    both = FigureInputs(guided())
    table = make("frontier", by="router").draw(both).table
    _, names, _ = cost_curves.CostCurves(both, table).end_labels()
    assert {"cluster", "cluster, shared 2", "monolith", "monolith, requested"} <= set(names)


def test_costs_in_flop_count_the_router(few):
    table = make("frontier", by="router", cost="flop").draw(few).table.set_index("arm")
    assert set(table["cost_unit"]) == {"MFLOP of experts and router"}
    for arm, row in table.iterrows():
        cost = few.cost(arm)
        parts = cost[cost["component"].isin(["expert", "router"])]["flop"].sum()
        assert row["cost"] == pytest.approx(parts / 1e6)
    costs = [b.assign(flop=b["flop"] * 1e4) for b in few.job.files["costs"]]
    large = make("frontier", cost="flop").draw(changed(few, costs=costs)).table
    assert set(large["cost_unit"]) == {"GFLOP of experts and router"}
    costs = [b.assign(flop=0.0) for b in few.job.files["costs"]]
    with pytest.raises(ValueError, match="wanted FLOPs of every arm, got 0"):
        make("frontier", cost="flop").draw(changed(few, costs=costs))


def test_a_slanted_segment_is_covered_by_small_boxes():
    a, b = np.array([0.0, 0.0]), np.array([120.0, 60.0])
    boxes = point_labels._around_segment(a, b, 1.0)
    assert len(boxes) == 22 and sum(box.area for box in boxes) < 0.2 * 122 * 62
    for s in np.linspace(0, 1, 50):
        x, y = a + s * (b - a)
        assert any(box.x0 <= x <= box.x1 and box.y0 <= y <= box.y1 for box in boxes)
    assert len(point_labels._around_segment(a, np.array([90.0, 0.0]), 1.0)) == 1


# Means


def test_the_interval_of_a_mean_is_the_usual_one(rng):
    values = torch.randn(3, 40, generator=rng, dtype=torch.float64).numpy() + 5
    value, low, high = means_with_intervals.mean_with_interval(values[:1])
    half = stats.t.ppf(0.975, 39) * values[0].std(ddof=1) / np.sqrt(40)
    assert (value, low, high) == pytest.approx(
        (values[0].mean(), values[0].mean() - half, values[0].mean() + half)
    )
    value, low, high = means_with_intervals.mean_with_interval(values)
    sampling = stats.t.ppf(0.975, 39) * values.mean(0).std(ddof=1) / np.sqrt(40)
    training = stats.t.ppf(0.975, 2) * values.mean(1).std(ddof=1) / np.sqrt(3)
    assert value == pytest.approx(values.mean())
    assert high - value == pytest.approx(np.hypot(sampling, training)) == value - low


def test_means_by_time_and_training(few):
    t, mean = means_with_intervals.mean_by_time(
        np.array([1, 0.5, 0.5, 0.25]), np.array([[1.0, 2, 4, 8]])
    )
    assert t.tolist() == [1, 0.5, 0.25] and mean.tolist() == [[1, 3, 8]]
    trace = few.trace("cluster_full")
    assert trace["seeds"].tolist() == 3 * list(range(80))
    assert (
        means_with_intervals.split_by_training_seed(few, trace["seeds"]) == np.arange(80)
    ).all()


def test_step_curves_are_cut_at_gaps():
    rows = pd.DataFrame({"t_low": [0.5, 0.0, 0.1], "t_high": [0.6, 0.1, 0.2]})
    rows = rows.assign(value=[3.0, 1.0, 2.0], low=0.0, high=9.0)
    t, value, low, _ = page_layout.step_curve(rows)
    assert t[:4].tolist() == [0, 0.1, 0.1, 0.2] and np.isnan(t[4]) and t[5:].tolist() == [0.5, 0.6]
    assert value[[0, 1, 2, 3, 5, 6]].tolist() == [1, 1, 2, 2, 3, 3] and np.isnan(low[4])


# Calibration


def test_reports_are_means_over_trainings(few):
    files = few.job.files["router_reports"]
    place = few.spec["routers"].index(["semantic", "velocity"])
    table = calibration.curve_rows(few, "semantic", "velocity")
    row = table.query("version == 'nll' and quantity == 'accuracy' and t_low == 0.3").iloc[0]
    values = [
        f.query("version == 'nll' and quantity == 'accuracy' and t_low == 0.3")["value"].item()
        for f in files[3 * place : 3 * place + 3]
    ]
    assert (row["low"], row["high"]) == (min(values), max(values)) and min(values) < max(values)
    assert row["value"] == pytest.approx(np.mean(values))


def test_calibration_draws_before_and_after(few):
    drawing = make("calibration").draw(few)
    pairs = few.spec["routers"]
    axes = np.array(drawing.figure.axes).reshape(3, len(pairs))
    sizes = few.cluster_sizes("semantic")
    shares = sizes / sizes.sum()
    for column, (_, router) in enumerate(pairs):
        assert axes[0, column].get_title() == router
        for ax, quantity in zip(axes[:, column], calibration.QUANTITIES, strict=True):
            assert ax.get_xlim() == (1, 0)
            mine = drawing.table.query("router == @router and quantity == @quantity")
            lines = [
                x
                for x in ax.get_lines()
                if x.get_color() == router_styles.router_colour(few, router)
            ]
            wanted = ["raw", {"velocity": "error"}.get(router, "nll")]
            drawn_values = sorted(line.get_ydata()[0] for line in lines)
            values = mine[mine["version"].isin(wanted) & (mine["t_low"] == 0)]["value"]
            assert drawn_values == pytest.approx(sorted(values))
            floors = [x for x in ax.get_lines() if x.get_color() == style.GREY]
            floor = {"accuracy": shares.max(), "nll": -(shares * np.log(shares)).sum()}
            floor["ece"] = 0.03 + 0.08 / 10  # of an exactly calibrated router, as trained
            assert [x.get_ydata()[0] for x in floors] == pytest.approx(
                [floor[quantity]] if quantity in floor else []
            )


def test_reliability_weighs_trainings_by_their_states(few):
    place = few.spec["routers"].index(["semantic", "cluster"])
    tables_ = [t.copy() for t in few.job.files["reliability"]]
    for table, num, accuracy in zip(tables_[3 * place :], (10, 0, 30), (0.2, np.nan, 0.6)):  # noqa: B905
        table.loc[(table["bin"] == 4) & (table["version"] == "raw"), "num_states"] = num
        table.loc[(table["bin"] == 4) & (table["version"] == "raw"), "accuracy"] = accuracy
    found = reliability.diagram_rows(changed(few, reliability=tables_), "semantic", "cluster")
    row = found.query("version == 'raw' and bin == 4").iloc[0]
    assert row["accuracy"] == pytest.approx((10 * 0.2 + 30 * 0.6) / 40)
    assert (row["low"], row["high"], row["num_states"]) == (0.2, 0.6, 40)
    assert 0 not in set(found["bin"])  # nobody was there
    axes = make("reliability").draw(few).figure.axes[place]
    own = [
        x for x in axes.get_lines() if x.get_color() == router_styles.router_colour(few, "cluster")
    ]
    wanted = reliability.diagram_rows(few, "semantic", "cluster")
    for line, version in zip(own, ("raw", "nll"), strict=True):
        rows = wanted[wanted["version"] == version]
        assert line.get_xydata() == pytest.approx(rows[["confidence", "accuracy"]].to_numpy())


def test_the_gap_of_a_calibrated_router_is_that_of_the_binomial(few):
    for p, num in ((0.3, 1), (0.55, 7), (0.5, 4), (0.97, 20), (1.0, 5)):
        x = np.arange(num + 1)
        expected = (np.abs(x / num - p) * stats.binom.pmf(x, num, p)).sum()
        found = reliability.calibrated_gap(pd.Series([p]), pd.Series([num]))
        assert found.item() == pytest.approx(expected)
    rows = reliability.diagram_rows(few, "semantic", "cluster").query("version == 'raw'")
    axes = (
        make("reliability")
        .draw(few)
        .figure.axes[few.spec["routers"].index(["semantic", "cluster"])]
    )
    edges = [x.get_ydata() for x in axes.get_lines() if x.get_linewidth() == 0.6]
    expected = [rows["confidence"] - rows["floor"], rows["confidence"] + rows["floor"]]
    np.testing.assert_allclose(edges, expected)


def test_losses_of_one_unit_share_a_panel(few):
    figure = make("losses").draw(few).figure
    panels = {
        ax.get_ylabel(): [x.get_label() for x in ax.get_lines() if x.get_label()[0] != "_"]
        for ax in figure.axes
        if ax.get_title() == "routers, semantic"
    }
    assert panels == {router_styles.NATS: ["cluster", "soft"], router_styles.SQUARED: ["velocity"]}
    sizes = few.cluster_sizes("semantic") / few.cluster_sizes("semantic").sum()
    for ax in figure.axes:
        dotted = [x.get_ydata()[0] for x in ax.get_lines() if x.get_color() == style.GREY]
        is_nats = ax.get_ylabel() == router_styles.NATS
        assert dotted == pytest.approx([-(sizes * np.log(sizes)).sum()] if is_nats else [])
    only_soft = few.spec["all_routers"] | {"cluster": learned("expert_error")}
    figure = make("losses").draw(changed(few, {"all_routers": only_soft})).figure
    assert all(x.get_color() != style.GREY for ax in figure.axes for x in ax.get_lines())


# Along t


def test_weights_by_time_are_differences_from_the_baseline(few):
    table = make("weights_by_time", baseline="cluster").draw(few).table
    base = few.trace("cluster_full")["posteriors"].astype(float)
    p = few.trace("velocity_full")["posteriors"].astype(float)
    times = few.trace("cluster_full")["times"]
    tv = np.zeros((3, 8))
    for training, i, call in itertools.product(range(3), range(80), range(8)):
        a, b = p[80 * training + i, call], base[80 * training + i, call]
        tv[training, call] += 0.5 * sum(abs(x - y) for x, y in zip(a, b, strict=True)) / 80
    mine = table.query("router == 'velocity' and quantity == 'total_variation'")
    assert mine["t_high"].to_list() == times.tolist()
    assert mine["t_low"].to_list() == [*times[1:], 0]
    assert mine["value"].to_numpy() == pytest.approx(tv.mean(0))
    assert mine["low"].to_numpy() == pytest.approx(tv.min(0))
    same = table.query("router == 'cluster' and quantity in ('total_variation', 'error_probe')")
    assert (same["value"] == 0).all() and len(same) == 8 + 9
    reports = {
        r: few.router_report("semantic", r).query(f"version == '{v}' and quantity == 'error_full'")
        for r, v in (("velocity", "error"), ("cluster", "nll"))
    }
    error = {
        r: x.sort_values(["training_seed", "t_low"])["value"].to_numpy()
        for r, x in reports.items()
    }
    gain = (error["velocity"] - error["cluster"]).reshape(3, 9)
    mine = table.query("router == 'velocity' and quantity == 'error_probe'").sort_values("t_low")
    assert mine["value"].to_numpy() == pytest.approx(gain.mean(0))
    assert mine["high"].to_numpy() == pytest.approx(gain.max(0))
    on_probe = table.query("quantity == 'entropy_probe'")
    assert set(on_probe["router"]) == {"cluster", "velocity", "soft"}
    uniform = table.query("router == 'uniform' and quantity == 'entropy'")
    assert uniform["value"].to_numpy() == pytest.approx(np.log(5))


def test_switches_are_counted_of_the_support_and_of_the_argmax():
    a, b, half = [1, 0, 0], [0, 1, 0], [0.5, 0.5, 0]
    w = np.array([[a, a, b, b], [a, half, [0.4, 0.6, 0], a], [half, half, half, half]], float)
    found = switching.per_trajectory(w)
    assert found["switches_set"].tolist() == [1, 2, 0]
    assert found["switches_argmax"].tolist() == [1, 2, 0]  # of equal weights the lower index
    assert found["dwell_time"].tolist() == pytest.approx([1 / 2, 1 / 3, 1])
    h = -(0.4 * np.log(0.4) + 0.6 * np.log(0.6))
    assert found["entropy"].tolist() == pytest.approx([0, (np.log(2) + h) / 4, np.log(2)])
    assert found["effective_experts"].tolist() == pytest.approx([1, (4 + np.exp(h)) / 4, 2])
    assert found["evaluated_experts"].tolist() == [1, 1.5, 2]
    full = switching.per_trajectory(np.array([[[0.6, 0.4], [0.4, 0.6]]]))
    assert (full["switches_set"], full["switches_argmax"]) == ([0], [1])


def test_switching_draws_every_mean(few):
    drawing = make("switching").draw(few)
    assert set(drawing.table["arm"]) == set(FEW) - {"monolith"}
    values = switching.per_trajectory(few.trace("velocity_top1")["weights"].astype(float))
    mine = drawing.table.query("arm == 'velocity_top1'").set_index("quantity")
    for name, per_sample in values.items():
        assert mine.loc[name, "value"] == pytest.approx(per_sample.mean())
    panel = drawing.figure.axes[0].containers
    assert [c[0].get_markerfacecolor() == "white" for c in panel] == 7 * [True] + 7 * [False]
    assert [c[0].get_xdata()[0] for c in panel[7:]] == list(
        drawing.table.query("quantity == 'switches_set'")["value"]
    )


# The probe


def test_expert_errors_are_means_over_states_of_a_cluster():
    inputs = FigureInputs(make_job("digits", FEW, ("monolith", "semantic"), 2, 2))
    drawing = make("expert_errors", num_bins=3).draw(inputs)
    states, gram = inputs.probe("semantic")
    assert states["training_seed"].value_counts().to_list() == [600, 600]
    cluster, t = inputs.clusters("semantic")[states["row"]], states["t"].to_numpy()
    errors = drawing.table.query("quantity == 'error'").set_index(["t_low", "cluster", "expert"])
    assert len(errors) == 3 * 25
    means_ = np.zeros((3, 5, 5))
    for b, c, k in itertools.product(range(3), range(5), range(5)):
        chosen = (cluster == c) & (t >= b / 3) & (t < (b + 1) / 3)
        means_[b, c, k] = gram[chosen, k, k].mean()
    assert errors.sort_index()["value"].to_numpy() == pytest.approx(means_.ravel(), rel=1e-4)
    excess = means_ - means_.min(2, keepdims=True)
    assert errors.sort_index()["excess"].to_numpy() == pytest.approx(excess.ravel(), abs=1e-4)
    maps = drawing.figure.axes[:3]
    for ax, b in zip(maps, (2, 1, 0), strict=True):  # from noise to data
        dark = 1 - ax.images[0].get_array() * 1.0
        assert dark.filled(np.nan) == pytest.approx(excess[b] / excess.max(), abs=1e-4)
        dots = [tuple(map(int, line.get_xydata()[0])) for line in ax.get_lines()]
        assert dots == [(int(excess[b, c].argmin()), c) for c in range(5)]
    pairs = drawing.table.query("quantity == 'disagreement' and expert == 1 and other == 3")
    for row in pairs.itertuples():
        g = gram[(t >= row.t_low) & (t < row.t_high)].astype(float)
        wanted = (g[:, 1, 1] + g[:, 3, 3] - 2 * g[:, 1, 3]).mean()
        assert row.value == pytest.approx(wanted, rel=1e-4)
    assert len(pairs) == 10 and len(drawing.table.query("quantity == 'disagreement'")) == 100


# Guidance


def test_guidance_curves_are_of_arms_that_differ_in_the_scale():
    inputs = FigureInputs(guided())
    drawing = make("guidance").draw(inputs)
    given = inputs.metrics.set_index(["arm", "metric"])["value"]
    wanted = {
        "separate": {
            0: "cluster_full", 1: "full_requested", 2: "full_separate_2", 4: "full_separate_4"
        },
        "shared": {0: "cluster_full", 1: "full_shared_1", 2: "full_shared_2", 4: "full_shared_4"},
        "monolith": {
            0: "monolith", 1: "monolith_requested",
            2: "monolith_separate_2", 4: "monolith_separate_4",
        },
    }  # fmt: skip
    for kind, arm_at in wanted.items():
        for metric in ("fd_digits", "agreement_digits"):
            rows = drawing.table[drawing.table["kind"] == kind].query("metric == @metric")
            known = {s: a for s, a in arm_at.items() if s > 0 or metric == "fd_digits"}
            assert dict(zip(rows["scale"], rows["arm"], strict=True)) == known
            assert rows["value"].to_list() == [given[a, metric] for a in known.values()]
    assert len(drawing.figure.axes) == 2 and len(drawing.table) == 3 * 7
    (legend,) = drawing.figure.legends
    assert {t.get_text() for t in legend.get_texts()} == set(wanted)


def test_what_has_one_scale_is_no_curve():
    inputs = FigureInputs(guided())
    names = ["cluster_full", "full_separate_2", "full_shared_4", "monolith"]
    table = make("guidance", metrics=["fd_digits"], arms=names).draw(inputs).table
    assert set(table["kind"]) == {"separate", "shared"} and len(table) == 4
    table = make("guidance", metrics=["fd_digits"], arms=names[:2]).draw(inputs).table
    assert set(table["kind"]) == {"separate"}


# Exposure


def test_exposure_compares_posteriors_with_the_final_cluster(few):
    arm = "velocity_top1"
    table = make("exposure").draw(few).table
    learned_arms = [a for a in FEW if a.split("_")[0] in ("cluster", "velocity", "soft")]
    assert set(table["arm"]) == set(learned_arms)
    centroids, place = few.centroids("semantic"), few.cluster_features(arm)
    p = few.trace(arm)["posteriors"]
    right, sure, nll = np.zeros((3, 3, 8))
    for training, i in itertools.product(range(3), range(80)):
        row = 80 * training + i
        end = min(range(5), key=lambda k: ((place[row] - centroids[k]) ** 2).sum())
        for call in range(8):
            right[training, call] += (max(range(5), key=lambda k: p[row, call, k]) == end) / 80  # noqa: B023
            sure[training, call] += max(p[row, call]) / 80
            nll[training, call] -= np.log(max(float(p[row, call, end]), 1e-7)) / 80
    own = table[(table["arm"] == arm) & (table["states"] == exposure.TRAJECTORIES)]
    for quantity, value in (("nll", nll), ("accuracy", right), ("gap", sure - right)):
        rows = own[own["quantity"] == quantity]
        assert rows["value"].to_numpy() == pytest.approx(value.mean(0), abs=1e-6)
        assert rows["low"].to_numpy() == pytest.approx(value.min(0), abs=1e-6)
        assert rows["high"].to_numpy() == pytest.approx(value.max(0), abs=1e-6)
    assert rows["t_high"].to_list() == few.trace(arm)["times"].tolist()
    report = few.router_report("semantic", "velocity").query("version == 'error' and t_low == 0.2")
    wide = report.pivot(index="training_seed", columns="quantity", values="value")
    noised = table[(table["arm"] == arm) & (table["states"] == exposure.NOISED_IMAGES)]
    noised = noised[noised["t_low"] == 0.2].set_index("quantity")
    assert noised.loc["gap", "value"] == pytest.approx(
        (wide["confidence"] - wide["accuracy"]).mean()
    )
    assert noised.loc["accuracy", "high"] == wide["accuracy"].max()


def test_exposure_leaves_out_calls_without_a_posterior(few):
    traces = [t | {"posteriors": t["posteriors"].copy()} for t in few.job.files["traces"]]
    for trace in traces:
        trace["posteriors"][:, 3] = np.nan
    found = exposure.on_trajectories(changed(few, traces=traces), "cluster_full")
    assert np.isfinite(found["value"]).all() and len(found) == 4 * 7


def test_the_whole_ablation_can_be_drawn():
    inputs = FigureInputs(ablation(1))
    assert len(ABLATION) == 24
    drawing = make("frontier", by="router").draw(inputs)
    texts = [t.get_window_extent() for t in drawing.figure.axes[0].texts]
    for box, other in itertools.combinations(texts, 2):
        height = min(box.y1, other.y1) - max(box.y0, other.y0)
        assert min(height, min(box.x1, other.x1) - max(box.x0, other.x0)) < 2.5

"""Figures: the numbers drawn are those given, nothing is cut off, equal inputs equal files."""

import functools
import itertools
import json
import math
import re
import subprocess
import sys
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from figures_world import (
    ARMS,
    CASES,
    IN_PLANE,
    OF_DIVISIONS,
    POLICIES,
    FakeJob,
    best_of,
    drawn,
    guided,
    job_for,
    make,
    make_job,
    texts_of,
)

from routing.figures import exposure, frontier, routing, trajectories
from routing.figures.losses import NUM_POINTS, smoothed
from routing.figures.registry import FIGURES
from routing.figures.shared import (
    arm_selection,
    arm_styles,
    exact_world,
    image_grids,
    metric_labels,
    page_layout,
    point_labels,
    style,
    text_tables,
)
from routing.figures.shared.figure_inputs import FigureInputs
from routing.metrics import feature_space_names
from routing.metrics.registry import METRICS, Kind
from routing.stages.figures import run as run_stage
from routing.workflow import artifacts


def test_the_cases_are_the_table():
    assert list(CASES) == list(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_files_are_complete_and_embed_their_fonts(name):
    drawing = drawn(name)
    files = {kind: drawing.rendered(kind) for kind in make(name).formats}
    assert len(drawing.table) and artifacts.table_bytes(drawing.table, {})
    if "png" not in files:
        assert re.match(rb"\| (arm|router|partition) \|", files["md"])
        assert files["tex"].startswith(rb"\begin{tabular}")
        return
    assert files["png"][:4] == b"\x89PNG" and files["pdf"][:5] == b"%PDF-"
    assert b"CreationDate" not in files["pdf"] and b"/Type3" not in files["pdf"]
    if texts_of(drawing.figure):
        assert b"/FontFile2" in files["pdf"]  # TrueType, embedded
    assert round(drawing.figure.get_size_inches()[0], 2) <= style.PAGE


@pytest.mark.parametrize("name", [n for n in FIGURES if "png" in FIGURES[n].formats])
def test_no_text_is_cut_off_and_none_is_too_small(name):
    figure = drawn(name).figure
    width, height = figure.bbox.size
    for text, box, size in texts_of(figure):
        assert size >= 6.5, text
        assert box.x0 >= -1 and box.y0 >= -1, text
        assert box.x1 <= width + 1 and box.y1 <= height + 1, text


UNCROWDED = (
    "quality differences frontier losses calibration reliability router_matrix gains "
    "weights_by_time switching expert_errors guidance departure exposure partition_quality "
    "contact_sheet imbalance agreement critical_difference distinguishable"
).split()


@pytest.mark.parametrize("name", UNCROWDED)
def test_no_text_covers_another(name):
    boxes = texts_of(drawn(name).figure)
    for (a, box, _), (b, other, _) in itertools.combinations(boxes, 2):
        width = min(box.x1, other.x1) - max(box.x0, other.x0)
        height = min(box.y1, other.y1) - max(box.y0, other.y0)
        assert min(width, height) < 2.5, (a, b)


@pytest.mark.parametrize("name", ["quality", "grids", "results", "trajectories"])
def test_equal_inputs_are_equal_files_whatever_the_users_settings(name):
    import matplotlib

    job = make_job("plane" if name in IN_PLANE else "digits", ("monolith", "top1", "full"))
    first = make(name).draw(FigureInputs(job))
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red", "pdf.fonttype": 3}):
        second = make(name).draw(FigureInputs(job))
        for kind in make(name).formats:
            assert first.rendered(kind) == second.rendered(kind)
        assert matplotlib.rcParams["font.size"] == 20  # the user's settings are left alone


BOTH, ONE_EXPERT = ("monolith", "random_full"), ("monolith",)
NEEDS_MORE = dict.fromkeys(["differences", "gains", "guidance", "departure", "exposure"], BOTH)
NEEDS_MORE |= dict.fromkeys(["critical_difference", "comparison", "distinguishable"], BOTH)
NEEDS_MORE |= dict.fromkeys(
    ["calibration", "reliability", "weights_by_time", "expert_errors", *OF_DIVISIONS], ONE_EXPERT
)


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("arm", BOTH)
def test_one_arm_alone_and_one_expert(name, arm):
    partition = ARMS[arm].split()[0]
    kind = "plane" if name in IN_PLANE else "digits"
    options = {"arms": []} if "arms" in make(name).__dataclass_fields__ else {}
    options |= {"partition": partition} if "partition" in CASES[name] else {}
    options |= {"families": {"all": [partition]}} if "families" in CASES[name] else {}
    job = make_job(kind, (arm,), (partition,), 1)
    if arm in NEEDS_MORE.get(name, ()):
        with pytest.raises(ValueError, match="wanted|was trained|unknown name"):
            make(name, **options).draw(FigureInputs(job))
        return
    drawing = make(name, **options).draw(FigureInputs(job))
    assert len(drawing.table) and drawing.rendered(make(name).formats[0])


@pytest.mark.parametrize(
    "name, options, wanted",
    [
        ("quality", {"metric": "fd_digit"}, "did you mean 'fd_digits'"),
        ("differences", {"metric": "recal_digits"}, "did you mean 'recall_digits'"),
        ("frontier", {"metric": "fd_digtis"}, "did you mean 'fd_digits'"),
        ("frontier", {"metric": "class_share_3"}, "shares"),
        ("results", {"metrics": ["fid"]}, "valid names"),
        ("grids", {"arms": ["stick"]}, "did you mean 'sticky'"),
        ("clusters", {"partition": "semantics"}, "did you mean 'semantic'"),
        ("shares", {"partition": "randm"}, "did you mean 'random'"),
        ("grids", {"num_images": 0}, ">= 1"),
        ("clusters", {"num_images": 0}, ">= 1"),
        ("router_table", {"metric": "fid"}, "valid names"),
        ("router_table", {"partition": "semantc"}, "did you mean 'semantic'"),
        ("router_matrix", {"sampler": "heum"}, "did you mean 'heun'"),
        ("router_matrix", {"guidance": "shared"}, "did you mean 'shared_"),
        ("router_matrix", {"guidance": "shared_2"}, "with partition semantic, sampler euler, gui"),
        ("gains", {"baseline": "learnd"}, "did you mean 'learned'"),
        ("gains", {"baseline": "soft"}, "differ from one of router 'soft'"),
        ("weights_by_time", {"baseline": "uniform"}, "baseline that is trained"),
        (
            "weights_by_time",
            {"policy": "top2", "baseline": "soft"},
            "one of: learned",
        ),
        ("expert_errors", {"partition": "monolith"}, "unknown name 'monolith'"),
        ("expert_errors", {"num_bins": 0}, "num_bins in 1..5, got 0"),
        ("departure", {"arms": ["monolith", "full"]}, "guided arms and a monolith"),
        ("guidance", {"metrics": []}, "at least one metric"),
        ("guidance", {"metrics": ["fd_digits"]}, "differ in the scale"),
        ("exposure", {"arms": ["uniform_full"]}, "got 'uniform_full'"),
        ("exposure", {"arms": ["random_full"]}, "got 'random_full'"),
        ("densities", {}, "wanted data.source 'mixture'"),
        ("trajectories", {}, "wanted data.source 'mixture'"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(name, options, wanted):
    with pytest.raises(ValueError, match=wanted) as error:
        make(name, **options).draw(FigureInputs(make_job()))
    assert "\n" not in str(error.value)


def test_points_are_no_images():
    for name in ("grids", "clusters"):
        with pytest.raises(ValueError, match="wanted images, got points"):
            make(name).draw(FigureInputs(make_job("plane")))
    with pytest.raises(ValueError, match="1 or 3 channels, got 4"):
        image_grids.stored_integers(np.zeros((2, 4, 8, 8)), 255, "grids")


def test_the_stage_writes_every_output_and_names_the_figure_in_errors():
    class Job(FakeJob):
        def write_bytes(self, kind, data):
            written[kind] = data

        write_table = write_bytes

    written, base = {}, make_job()
    figure = {"figure_name": "first", "figure": {"name": "quality", "metric": "fd_digits"}}
    run_stage(Job(base.spec | figure, base.files))
    assert list(written) == ["pdf", "png", "table"]
    with pytest.raises(ValueError, match=r"^figures.first: metric: unknown name 'fid'"):
        run_stage(
            Job(base.spec | figure | {"figure": {"name": "quality", "metric": "fid"}}, base.files)
        )


def test_drawing_is_not_paid_for_where_nothing_is_drawn():
    code = (
        "import routing.figures, sys; print('torch' in sys.modules, 'matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


# Colours


def lab(colour):
    """CIE L*a*b* (D65); L* in 0..100 is the lightness."""
    from matplotlib.colors import to_rgb

    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    m = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = np.array(m) @ linear / [0.9505, 1, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def lightness(colour):
    return lab(colour)[0]


def test_neighbours_differ_in_grey():
    for palette in (list(arm_styles.POLICY_COLOURS.values()), list(arm_styles.EXPERT_COLOURS)):
        steps = np.abs(np.diff([lightness(c) for c in palette]))
        assert steps.min() > 12, steps
    top = [lightness(arm_styles.POLICY_COLOURS[f"top{k}"]) for k in (1, 2, 3)]
    assert np.diff(top).min() > 20  # more experts, lighter
    every = [
        *arm_styles.POLICY_COLOURS.values(),
        *arm_styles.OTHER_COLOURS,
        *arm_styles.EXPERT_COLOURS,
        arm_styles.MONOLITH_COLOUR,
    ]
    for one, other in itertools.combinations(every, 2):  # 2.3 is just noticeable
        assert np.linalg.norm(lab(one) - lab(other)) > 10, (one, other)
    assert max(map(lightness, every)) < 82  # seen on white
    looks = [tuple(arm_styles.expert_area(k).values()) for k in range(32)]
    assert len(set(looks)) == 32


def test_a_look_is_what_an_arm_is_not_where_it_stands():
    inputs = FigureInputs(make_job())
    for names in itertools.permutations(("top1", "random_full", "top1_heun")):
        few = FigureInputs(make_job("digits", names))
        assert all(arm_styles.arm_style(few, n) == arm_styles.arm_style(inputs, n) for n in names)
    look = functools.partial(arm_styles.arm_style, inputs)
    assert look("top1").colour == look("top1_heun").colour == look("random_top1").colour
    assert look("top1").marker != look("top1_heun").marker != look("monolith_dpmpp").marker
    assert look("random_top1").is_hollow and not look("top1").is_hollow
    assert look("monolith").colour == arm_styles.MONOLITH_COLOUR != look("full").colour
    kinds = [arm_styles.policy_kind(p) for p in POLICIES.values()]
    assert set(kinds) - {"mine_alone"} <= set(arm_styles.POLICY_COLOURS) and len(
        set(kinds)
    ) == len(kinds)


def test_groups_differ_in_router_and_policy_alone():
    inputs = FigureInputs(make_job())
    groups = arm_selection.group_arms(inputs, list(ARMS))
    heads = ["monolith", "semantic, euler", "random, euler", "semantic, heun"]
    assert list(groups) == heads and groups["random, euler"] == ["random_top1", "random_full"]
    assert sorted(sum(groups.values(), [])) == sorted(ARMS)
    assert arm_selection.matching_monolith(inputs, "top1_heun", list(ARMS)) == "monolith_heun"
    assert arm_selection.matching_monolith(inputs, "top1_heun", ["monolith", "top1_heun"]) is None


# Numbers


def test_quality_draws_the_table_best_on_top():
    inputs, drawing = FigureInputs(make_job()), drawn("quality")
    given = inputs.metrics.query("metric == 'fd_digits'").set_index("arm")
    assert set(drawing.table["arm"]) == {*ARMS, "heldout"}
    for row in drawing.table.itertuples():
        assert (row.value, row.lo, row.hi) == tuple(given.loc[row.arm, ["value", "lo", "hi"]])
    (axes,) = drawing.figure.axes
    points = {c[0].get_xdata()[0]: c[0].get_ydata()[0] for c in axes.containers}
    assert set(points) == set(given.loc[list(ARMS), "value"])
    bars = [c[2][0].get_segments()[0][:, 0] for c in axes.containers]
    assert sorted(map(tuple, bars)) == sorted(
        map(tuple, given.loc[list(ARMS), ["lo", "hi"]].values)
    )
    texts = [t.get_text() for t in axes.get_yticklabels()]
    names = dict(zip(axes.get_yticks(), texts, strict=True))
    for value, y in points.items():
        assert names[y].replace(" ", "_") == given.index[given["value"] == value][0]
    for group in arm_selection.group_arms(inputs, list(ARMS)).values():
        values = given.loc[group, "value"].sort_values()
        assert list(np.argsort([points[v] for v in values])) == list(range(len(group)))
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first row is on top


def test_every_group_is_compared_with_the_monolith_of_its_sampler():
    drawing = drawn("quality")
    given = drawing.table.set_index("arm")
    (axes,) = drawing.figure.axes
    lines = [x.get_xdata()[0] for x in axes.get_lines() if len(x.get_xdata()) == 2]
    peers = ["monolith", "monolith", "monolith_heun", "heldout"]
    assert lines == [given.loc[p, "value"] for p in peers]
    bands = [c for c in axes.collections if type(c).__name__ == "FillBetweenPolyCollection"]
    ends = [c.get_paths()[0].vertices[:, 0] for c in bands]
    assert [(x.min(), x.max()) for x in ends] == [
        tuple(given.loc[p, ["lo", "hi"]]) for p in peers[:-1]
    ]


def test_higher_is_better_turns_the_order_round():
    for metric, sign in (("fd_digits", 1), ("recall_digits", -1)):
        table = (
            make("quality", metric=metric).draw(FigureInputs(make_job())).table.set_index("arm")
        )
        group = arm_selection.group_arms(FigureInputs(make_job()), list(ARMS))["semantic, euler"]
        values = sign * table.loc[[a for a in table.index if a in group], "value"]
        assert values.is_monotonic_increasing


def test_differences_leave_the_reference_out():
    drawing = drawn("differences")
    assert set(drawing.table["arm"]) == set(ARMS) - {"monolith"}
    assert set(drawing.table["reference"]) == {"monolith"}
    assert drawing.figure.axes[0].get_lines()[0].get_xdata() == [0, 0]


@pytest.mark.parametrize("size", [1e-9, 1e-4, 1.0, 1e6])
@pytest.mark.parametrize("name", ["quality", "differences", "gains", "critical_difference"])
def test_numbers_of_any_size_have_ticks_that_can_be_told_apart(name, size):
    base = make_job()
    files = base.files | {t: [base.files[t][0].copy()] for t in TABLES}
    for (table,) in (files[t] for t in TABLES):
        numbers = table.columns.intersection(["value", "lo", "hi"])
        table[numbers] *= size * 1.234567 / 20
    figure = make(name).draw(FigureInputs(FakeJob(base.spec, files))).figure
    axes = figure.axes[0]
    boxes = [b for text, b, _ in texts_of(figure) if b.y1 < axes.get_window_extent().y0]
    for a, b in itertools.combinations(boxes, 2):
        assert max(a.x0, b.x0) - min(a.x1, b.x1) > 2 or max(a.y0, b.y0) >= min(a.y1, b.y1) - 1
    low, high = axes.get_xlim()
    assert 3 <= sum(low <= t <= high for t in axes.get_xticks()) <= 6
    factor = axes.xaxis.get_offset_text().get_text()
    assert bool(factor) == (size != 1)
    rows = axes.get_window_extent().height / (1 + abs(np.diff(axes.get_ylim())[0]))
    assert rows > 0.75 * style.ROW * figure.dpi  # the factor takes nothing from the rows


TABLES = ("metrics", "differences", "replicates")


@pytest.mark.parametrize("name", ["quality", "differences", "gains", "router_matrix"])
def test_long_labels_and_names_are_not_cut_off(name):
    job = make_job()
    renamed = {a: f"{a}_with_a_name_that_is_as_long_as_some_are_{len(a)}" for a in ARMS}
    spec = job.spec | {"arms": {renamed[a]: of for a, of in job.spec["arms"].items()}}
    files = dict(job.files)
    for table in TABLES:
        rows = files[table][0].copy()
        rows["arm"] = rows["arm"].map(lambda a: renamed.get(a, a))
        rows["metric"] = rows["metric"].replace({"fd_digits": LONG})
        files[table] = [rows]
    files["differences"][0]["reference"] = renamed["monolith"]
    figure = make(name, metric=LONG).draw(FigureInputs(FakeJob(spec, files))).figure
    width, height = figure.bbox.size
    for text, box, _ in texts_of(figure):
        assert box.x0 >= -1 and box.x1 <= width + 1, text
        assert box.y0 >= -1 and box.y1 <= height + 1, text
    assert figure.axes[0].get_window_extent().width / figure.dpi > 1.3


LONG = "clip_score_hessel_of_a_network_with_a_name_that_is_long_30k"


def test_labels_are_cut_at_clauses_before_words():
    text = "one two, three; four five"
    width = lambda text: page_layout.WIDER * page_layout.text_width([text], "axes.labelsize")  # noqa: E731
    assert page_layout.wrap_text(text, width(text)) == [text]
    assert page_layout.wrap_text(text, width(text) - 0.01) == ["one two, three", "four five"]
    assert page_layout.wrap_text(text, width("one two, ")) == ["one two,", "three", "four five"]
    assert page_layout.wrap_text(text, 0.01) == ["one", "two,", "three", "four", "five"]
    assert page_layout.wrap_text("", 1.0) == [""]


@pytest.mark.parametrize("name", ["quality", "shares", "critical_difference", "frontier"])
def test_intervals_are_drawn_within_the_range_of_the_metric(name):
    base, metric = make_job(), "cluster_share_1" if name == "shares" else "recall_digits"
    table = base.files["metrics"][0].copy()
    mine = (table["metric"] == metric) & table["arm"].isin(ARMS)
    values = np.linspace(0.02, 0.98, len(ARMS))
    table.loc[mine, ["value", "lo", "hi"]] = values[:, None] + [0, -0.1, 0.1]
    files = base.files | {"metrics": [table]}
    options = {} if name == "shares" else {"metric": metric}
    drawing = make(name, **options).draw(FigureInputs(FakeJob(base.spec, files)))
    axes = drawing.figure.axes[1 if name == "shares" else 0]
    along = int(name == "frontier")
    drawn = [c[2][0].get_segments()[0][:, along] for c in axes.containers]
    wanted = np.sort(table[mine][["lo", "hi"]].clip(0, 1).to_numpy(), 0)
    assert np.sort(drawn, 0) == pytest.approx(wanted)
    mine = drawing.table["metric"] == metric
    assert drawing.table["lo"][mine].min() < 0 and drawing.table["hi"][mine].max() > 1


@pytest.mark.parametrize("name", ["guidance", "partition_quality", "imbalance"])
def test_intervals_of_lines_are_drawn_within_the_range_of_the_metric(name):
    base = job_for(name)
    table = base.files["metrics"][0].copy()
    mine = table["metric"] == "recall_digits"
    table.loc[mine, ["value", "lo", "hi"]] = [0.5, -0.1, 1.1]
    options = {"metrics": ["recall_digits"]} if name == "guidance" else {"metric": "recall_digits"}
    job = FakeJob(base.spec, base.files | {"metrics": [table]})
    axes = make(name, **options).draw(FigureInputs(job)).figure.axes[0]
    bars = [segment[:, 1] for c in axes.containers for segment in c[2][0].get_segments()]
    assert len(bars) and all(bar.tolist() == [0, 1] for bar in bars)
    spans = [p.get_extents() for p in axes.patches]
    assert all(
        (box.y0, box.y1) == tuple(axes.transData.transform([[0, 0], [0, 1]])[:, 1])
        for box in spans
    )


def test_intervals_are_cut_on_the_side_that_has_an_end():
    rows = [["fd_x", 1, -1, 3], ["kd_x", 1, -1, 3], ["recall_x", 0.5, -1, 3]]
    rows += [["new_one", 1, -1, 3], ["recall_x", 2, -1, 3]]  # nonsense is shown
    table = pd.DataFrame(rows, columns=["metric", "value", "lo", "hi"])
    found = metric_labels.clip_intervals(table)
    assert found["lo"].tolist() == [0, -1, 0, -1, 0] and found["hi"].tolist() == [3, 3, 1, 3, 2]
    assert found[["metric", "value"]].equals(table[["metric", "value"]])


def test_the_front_is_what_nobody_beats(rng):
    cost = pd.Series([1, 1, 2, 2, 3, 3, 4, 4.0])
    gain = pd.Series([1, 0, 1, 3, 2, 3, 5, 5.0])
    assert list(frontier.on_front(cost, gain)) == [1, 0, 0, 1, 0, 0, 1, 1]
    table = drawn("frontier").table
    for a in table.itertuples():
        beaten = any(
            b.expert_evaluations <= a.expert_evaluations
            and b.value <= a.value
            and (b.expert_evaluations, b.value) != (a.expert_evaluations, a.value)
            for b in table.itertuples()
        )
        assert a.is_on_front != beaten


def test_the_front_is_a_staircase():
    steps = np.array([[1.0, 5], [2, 3], [4, 2]])
    wanted = [[1, 5], [2, 5], [2, 3], [4, 3], [4, 2], [9, 2]]
    assert frontier.staircase(steps, 9.0).tolist() == wanted


def test_labels_are_beside_their_points_and_free(rng):
    points = np.random.default_rng(1).uniform(60, 340, (14, 2))
    points[:9, 0] = 80  # a column, as of arms of equal cost
    sizes = np.tile([50.0, 10.0], (14, 1))
    frame = point_labels.Box(0.0, 0.0, 400.0, 400.0)
    dots = [point_labels.Box(x - 4, y - 4, x + 4, y + 4) for x, y in points]
    boxes = point_labels.place_labels(points, sizes, dots, frame, 6.0)
    assert boxes == point_labels.place_labels(points, sizes, dots, frame, 6.0)
    for box, other in itertools.combinations(boxes + dots[:0], 2):
        assert box.overlap(other) == 0
    assert all(box.overlap(dot) == 0 for box in boxes for dot in dots)
    assert all(box.overlap(frame) == box.area == pytest.approx(500) for box in boxes)
    near = [min(abs(b.x0 - x), abs(b.x1 - x)) for b, (x, _) in zip(boxes, points, strict=True)]
    assert np.median(near[9:]) == pytest.approx(6)
    assert near[:9] == pytest.approx([18] * 9) and len({box.x0 for box in boxes[:9]}) == 1
    rising = [boxes[i].y0 for i in np.argsort(points[:9, 1])]
    assert (np.diff(rising) >= 11.99).all()
    alone = point_labels.place_labels(points[:1], sizes[:1], [], frame, 6.0)[0]
    x, y = points[0]
    assert (alone.x0, alone.y0 + alone.y1) == pytest.approx((x + 6, 2 * y))  # right, level


def crowded(num, **options):
    """`num` arms of one cost, most of them alike, and two dearer ones."""
    names = [f"arm_{i}" for i in range(num + 2)]
    kinds = itertools.cycle(itertools.product(list(POLICIES)[:11], ("euler", "heun", "dpmpp")))
    chosen = {
        name: {"partition": "semantic", "router": "learned", "guidance": None}
        | {"policy": policy, "sampler": sampler}
        for name, (policy, sampler) in zip(names, kinds, strict=False)
    }
    rng, base = np.random.default_rng(5), make_job()
    size = num + 2
    value = np.where(np.arange(size) % 5, rng.normal(8, 1.5, size), rng.uniform(20, 40, size))
    pairs = zip(names, value, strict=True)
    rows = [["r", name, "fd_digits", x, x - 0.7, x + 0.7, 64] for name, x in pairs]
    heads = ["run", "arm", "metric", "value", "lo", "hi", "num_samples"]
    files = base.files | {"metrics": [pd.DataFrame(rows, columns=heads)], "costs": []}
    for i in range(num + 2):
        bill = pd.DataFrame(
            {"component": ["expert", "router", "total"], "expert_index": 0, "seconds": 1.0}
        )
        files["costs"].append(bill.assign(evaluations=32.0 if i < num else 96.0, flop=1e6))
    job = FakeJob(base.spec | {"arms": chosen, "num_shards": 1}, files)
    return make("frontier", **options).draw(FigureInputs(job))


@pytest.mark.parametrize("num", [3, 12, 22, 45])
def test_labels_of_a_column_are_a_stack_in_the_order_of_the_points(num):
    drawing = crowded(num)
    figure, table = drawing.figure, drawing.table.set_index("arm")["value"]
    axes = figure.axes[0]
    limits = axes.get_xlim(), axes.get_ylim()
    found = {t.replace(" ", "_"): b for t, b, _ in texts_of(figure) if t.startswith("arm")}
    assert len(found) == num + 2
    for (a, box), (b, other) in itertools.combinations(found.items(), 2):
        width = min(box.x1, other.x1) - max(box.x0, other.x0)
        height = min(box.y1, other.y1) - max(box.y0, other.y0)
        assert min(width, height) < 2.5, (a, b)
    frame = axes.get_window_extent()
    assert all(frame.y0 <= b.y0 and b.y1 <= frame.y1 and b.x1 < frame.x1 for b in found.values())
    stack = sorted(table.index[:num], key=lambda arm: found[arm].y0)
    assert stack == sorted(stack, key=lambda arm: table[arm])
    ends = [x.get_xydata() for x in axes.get_lines() if x.get_color() != style.GREY]
    lines = [axes.transData.transform(e) for e in ends if len(e) == 2 and e[0][0] < 90]
    assert len(lines) == (num if num > 3 else 0)
    for start, end in lines:
        (arm,) = [a for a in table.index if table[a] == pytest.approx(inverse(axes, start)[1])]
        gaps = found[arm].x0 - end[0], end[0] - found[arm].x1
        assert 0 < max(gaps) < 3  # it ends at its own label, in the middle
        assert (found[arm].y0 + found[arm].y1) / 2 == pytest.approx(end[1], abs=2)
    for (a, b), (c, d) in itertools.combinations(lines, 2):
        assert np.sign(a[1] - c[1]) * np.sign(b[1] - d[1]) >= 0  # none crosses another
    figure.draw_without_rendering()
    assert (axes.get_xlim(), axes.get_ylim()) == limits
    low, high = limits[1]
    assert low > table.min() - 0.15 * np.ptp(table) and high < table.max() + 0.15 * np.ptp(table)


def inverse(axes, point):
    return axes.transData.inverted().transform(point)


def test_the_legend_of_the_frontier_says_what_colours_are():
    figure = drawn("frontier").figure
    handles = figure.legends[0].legend_handles
    told = {h.get_label(): h.get_markeredgecolor() for h in handles if h.get_marker() == "o"}
    kinds = {"full", "top1", "top2", "sticky"}
    assert {kind: told[kind] for kind in kinds} == {
        kind: arm_styles.POLICY_COLOURS[kind] for kind in kinds
    }
    assert told["monolith"] == arm_styles.MONOLITH_COLOUR and told["euler"] == style.GREY
    assert len(told) == len(kinds) + 3  # and hollow ones
    for num in (12, 45):
        boxes = [b for text, b, _ in texts_of(crowded(num).figure)]
        assert min(b.x0 for b in boxes) >= -1


def test_profile_is_the_mean_over_samples_and_calls_of_one_time():
    w = np.random.default_rng(3).dirichlet(np.ones(3), (6, 4))
    w[0, 0] = [0.5, 0.5, 0]  # a tie, and a zero
    p = np.random.default_rng(4).dirichlet(np.ones(3), (6, 4))
    p[:, 2:] = np.nan  # the router was not asked
    times = np.array([1, 0.5, 0.5, 0.25])
    table = routing.profile("a", {"times": times, "weights": w, "posteriors": p})
    of = table.set_index(["quantity", "t"]).sort_index()

    def entropy(q):
        return -sum(x * np.log(x) for x in q if x > 0)

    for t, calls in ((1, [0]), (0.5, [1, 2]), (0.25, [3])):
        rows = [w[i, c] for i in range(6) for c in calls]
        assert of.loc[("mean_weight", t), "value"].to_list() == pytest.approx(np.mean(rows, 0))
        share = np.zeros(3)
        for row in rows:
            best = [k for k in range(3) if row[k] == max(row)]
            share[best] += 1 / len(best) / len(rows)
        assert of.loc[("occupancy", t), "value"].to_list() == pytest.approx(share)
        found = of.loc[("entropy_weights", t), "value"].item()
        assert found == pytest.approx(np.mean([entropy(row) for row in rows]))
    requested = table[table["quantity"] == "entropy_posterior"]
    assert requested["t"].to_list() == [1] and set(requested["unit"]) == {"nats"}
    assert requested["value"].item() == pytest.approx(np.mean([entropy(row) for row in p[:, 0]]))
    assert entropy([0.25] * 4) == pytest.approx(routing.entropy(np.full(4, 0.25)))


def test_time_runs_from_noise_to_data_and_areas_fill_the_panel():
    figure = drawn("routing").figure
    for axes in figure.axes:
        assert axes.get_xlim() == (1, 0)
    areas = figure.axes[0].collections  # mean weights of the first arm
    corners = areas[-1].get_paths()[0].vertices
    assert corners[:, 1].max() == pytest.approx(1) and corners[:, 0].min() == 0
    assert areas[0].get_paths()[0].vertices[:, 1].min() == 0


def test_a_router_that_was_not_asked_has_no_entropy():
    figure = drawn("routing").figure
    column = [ax.get_title() for ax in figure.axes].index("sticky")
    weights, posterior = figure.axes[column + 6].get_lines()[:2]  # the row below
    assert np.isfinite(weights.get_ydata()).all() and weights.get_xdata().tolist()[-1] == 0
    assert np.isfinite(posterior.get_ydata()).tolist() == [True] + 8 * [False]


def test_grids_show_the_first_seeds_where_the_table_says():
    inputs, table = FigureInputs(make_job()), drawn("grids").table
    own = table[table["arm"] == "top1_heun"]
    assert own["number"].to_list() == list(range(64))
    values = inputs.samples("top1_heun", 64)
    levels = np.clip(np.rint((values + 1) * 8), 0, 16).reshape(64, -1)
    assert np.array_equal(np.stack(own["pixels"]), levels)
    image = drawn("grids").figure.axes[1 + list(ARMS).index("top1_heun")].images[0].get_array()
    for row in own.itertuples():
        tile = image[9 * row.row : 9 * row.row + 8, 9 * row.column : 9 * row.column + 8]
        assert np.array_equal(tile[..., 0] * 16, row.pixels.reshape(8, 8))
    real = table[table["arm"] == "data"]
    rows = real["number"].to_numpy()
    assert (inputs.index["split"][rows] == "train").all() and len(set(rows)) == 64
    index, files = inputs.index, inputs.job.files["data"]
    stored = [files[index["shard"][i]]["samples"][index["row"][i]].ravel() for i in rows]
    assert np.array_equal(np.stack(real["pixels"]), stored)


def test_colour_images_keep_their_channels():
    tiles = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    paper = image_grids.image_grid(tiles, 2, 200)
    assert paper.shape == (4, 11, 3) and (paper[:, 5] == 1).all()
    for c, y, x in itertools.product(range(3), range(4), range(5)):
        assert paper[y, 6 + x, c] == tiles[1, c, y, x] / 200
    job = make_job("colour", ("monolith", "full"))
    image = (
        make("grids", num_images=5).draw(FigureInputs(job)).figure.axes[1].images[0].get_array()
    )
    assert image.shape == (2 * 7 - 1, 3 * 6 - 1, 3) and (image[7:, 12:] == 1).all()  # no 6th
    assert np.ptp(image[:6, :5], axis=-1).max() > 0.1


def test_evenly_spaced_rows():
    assert image_grids.evenly_spaced(3, np.arange(10, 19)).tolist() == [10, 13, 16]
    assert image_grids.evenly_spaced(5, np.arange(2)).tolist() == [0, 1]


def test_smoothing_keeps_the_mean():
    curve = pd.DataFrame({"images": np.arange(1, 1201) * 8, "loss": np.random.rand(1200)})
    short = smoothed(curve)
    assert len(short) == NUM_POINTS and short["loss"].mean() == pytest.approx(curve["loss"].mean())
    assert short["loss"][1] == pytest.approx(curve["loss"][20:40].mean())
    assert short["images"][0] == pytest.approx(8 * 10.5)
    assert smoothed(curve[:7]).equals(curve[:7].astype(float)) and len(smoothed(curve[:0])) == 0
    assert len(smoothed(curve[:61])) <= NUM_POINTS


def test_a_run_without_training_has_no_losses():
    base = make_job()
    empty = [t[:0] for t in base.files["losses"]]
    none = base.spec | {"routers": []}
    with pytest.raises(ValueError, match="nothing was trained"):
        make("losses").draw(FigureInputs(FakeJob(none, base.files | {"losses": empty})))


@pytest.mark.parametrize("of", ["cluster", "class"])
def test_the_truth_is_the_training_split(of):
    inputs = FigureInputs(make_job())
    drawing = make("shares", of=of).draw(inputs)
    is_train = inputs.index["split"] == "train"
    values = inputs.clusters("semantic") if of == "cluster" else inputs.index["label"]
    wanted = pd.Series(np.asarray(values)[is_train]).value_counts(normalize=True).sort_index()
    truth = drawing.table.drop_duplicates("category")
    assert truth["truth"].to_list() == pytest.approx(wanted.to_list())
    assert (drawing.table["metric"] == f"{of}_share_" + drawing.table["category"]).all()
    for axes, share in zip(drawing.figure.axes, wanted, strict=True):
        assert axes.get_lines()[0].get_xdata()[0] == pytest.approx(share)


def test_results_hold_the_unrounded_numbers_and_mark_the_best():
    inputs, drawing = FigureInputs(make_job()), drawn("results")
    table = drawing.table
    assert set(table["metric"]) == {"fd_digits", "recall_digits", "cluster_tv"}  # no shares
    given = inputs.metrics.set_index(["arm", "metric"])
    for row in table.itertuples():
        assert row.value == given.loc[(row.arm, row.metric), "value"]
        assert row.half_width == pytest.approx((row.hi - row.lo) / 2)
    best = table[table["is_best"]]
    for metric, sign in (("fd_digits", -1), ("recall_digits", 1), ("cluster_tv", -1)):
        found = best["arm"][best["metric"] == metric].to_list()
        assert found == best_of(inputs, metric, list(ARMS), sign)
    bill = inputs.cost("full").set_index("component")
    row = table[table["arm"] == "full"].iloc[0]
    assert row["expert_evaluations"] == bill.loc["total", "evaluations"] == 40
    assert row["router_evaluations"] == bill.loc["router", "evaluations"] == 8
    assert row["mflop"] == pytest.approx(bill.loc["total", "flop"] / 1e6) == 40.8
    lines = drawing.texts["md"].splitlines()
    assert [line.split(" | ")[0][2:] for line in lines[2:-3]] == [
        a.replace("_", " ") for a in ARMS
    ]
    assert drawing.texts["md"].count("**") == 2 * len(best)
    assert drawing.texts["tex"].count(r"\textbf") == len(best)
    assert "held-out" in lines[-3] and not re.search(r"[_±↓]", drawing.texts["tex"])
    assert {line.count("&") for line in drawing.texts["tex"].splitlines() if "&" in line} == {10}


def test_numbers_are_rounded_to_their_interval():
    assert metric_labels.format_value(12.3456, 0.234) == "12.35 ± 0.23"
    assert metric_labels.format_value(1234.5, 67.8) == "1234 ± 68"
    assert metric_labels.format_value(-0.00004, 0.0123) == "0.000 ± 0.012"
    assert metric_labels.format_value(0.5, 0.0) == "0.500 ± 0"
    assert metric_labels.format_value(5.0, 1.0) == "5.0 ± 1.0"
    assert text_tables.escape_latex("-0.5 ± 0.1 top-1 a_b") == r"$-$0.5 $\pm$ 0.1 top-1 a\_b"


@pytest.mark.parametrize(
    "metric, wanted",
    {
        "fd_digits": "Fréchet distance, digits features; lower is better",
        "recall_x_y": "recall, x y features; higher is better",
        "class_share_3": "share of class 3",
        "cluster_share_12": "share of cluster 12",
        "class_share_fig_50k": "share of class fig_50k",
        "cluster_tv": "total variation of cluster shares; lower is better",
        "fid_inception_50k": "FID, inception features, 50k samples; lower is better",
        "fd_digits_16": "Fréchet distance, digits features, 16 samples; lower is better",
        "fd_dinov2_vitl14_l2_1500": (
            "Fréchet distance, dinov2 vitl14 l2 features, 1500 samples; lower is better"
        ),
        "cmmd_clip_vitl14_336": "CMMD, clip vitl14 336 features; lower is better",
        "cmmd_clip_vitl14_336_50k": (
            "CMMD, clip vitl14 336 features, 50k samples; lower is better"
        ),
        "clip_score_vitl14_336": "CLIP score, vitl14 336 features; higher is better",
        "clip_score_hessel_vitb32_30k": (
            "CLIP score (2.5 max(cos, 0)), vitb32 features, 30k samples; higher is better"
        ),
        "precision_x_k10": "precision, x features, k = 10; higher is better",
        "recall_x_k10_50k": "recall, x features, k = 10, 50k samples; higher is better",
        "coverage_x_k3_cluster_2": "coverage, x features, k = 3, cluster 2; higher is better",
        "is_inception_splits1_50k": (
            "Inception score, inception features, splits: 1, 50k samples; higher is better"
        ),
        "fd_my_k2": "Fréchet distance, my k2 features; lower is better",
        "fd_x_16_cluster_worst": (
            "Fréchet distance, x features, 16 samples, worst cluster; lower is better"
        ),
        "copy_ratio_x": "distance to training images relative to held-out images, x features",
        "lpips_vgg_to_my_arm_cluster_3": "LPIPS distance to my arm cluster 3 (vgg)",
        "new_one": "new one",
        "new_50k": "new 50k",
        "": "",
    }.items(),
)
def test_metrics_in_words(metric, wanted):
    assert metric_labels.axis_label(metric) == wanted


def test_notes_stand_before_the_direction():
    assert metric_labels.axis_label("fd_x", ", minus y").endswith(
        "features, minus y; lower is better"
    )


def names_of(kind):
    """What a kind of routing.metrics.registry may be called in the tables."""
    if kind.startswith("lpips"):
        tails = {"lpips_diversity": ("", "_within_condition"), "lpips_to": ("_some_arm",)}[kind]
        return [f"lpips_alex_{kind.removeprefix('lpips_')}{tail}" for tail in tails]
    if kind.endswith("_share"):
        return [f"{kind}_0"]
    if kind.startswith(("class_", "cluster_")):
        return [kind]
    plain, tail = kind.removesuffix("_cluster"), "_cluster_1" if "_cluster" in kind else ""
    named = functools.partial(feature_space_names.metric_name, plain)
    return [
        named(space, num) + tail
        for space in ("toy", "inception", "dinov2_vitl14", "clip_vitb32", "clip_vitl14_336")
        for num in (None, 50, 50_000)
    ]


@pytest.mark.parametrize("name", METRICS)
def test_every_kind_of_every_measure_has_words_direction_and_range(name):
    for kind, of in METRICS[name].kinds.items():
        for metric in names_of(kind):
            assert (
                metric_labels.metric_kind(metric) == of
                and metric_labels.direction(metric) == of.direction
            )
            assert metric_labels.value_range(metric) == (of.low, of.high)
            begin = next(
                b for b in sorted(metric_labels.METRIC_LABELS, key=len)[::-1] if begins(metric, b)
            )
            told = metric_labels.metric_label(metric)
            assert told.startswith(metric_labels.METRIC_LABELS[begin]) and "_" not in told
            assert ("50 samples" in told) == ("_50" in metric and "_50k" not in metric)
            assert ("50k samples" in told) == ("_50k" in metric)
            if "336" in metric:
                assert "336 features" in told


def begins(metric, begin):
    return f"{metric}_".replace("lpips_alex_", "lpips_").startswith(f"{begin}_")


def test_a_metric_of_another_package_says_itself_which_way_is_better(monkeypatch):
    @dataclass(frozen=True)
    class Mine:
        kinds: ClassVar = {
            "mine_up": Kind(1, 0, 2),
            "mine_neither": Kind(0),
            "mine_cluster": Kind(-1),
        }

    class Entry:
        name, value = "mine", "package:Mine"

        def load(self):
            return Mine

    def installed(group):
        return [Entry()] if group == "routing.metrics" else []

    monkeypatch.setattr("importlib.metadata.entry_points", installed)
    metric_labels.metric_kinds.cache_clear()
    try:
        assert metric_labels.axis_label("mine_up_x_50k") == (
            "mine up, x features, 50k samples; higher is better"
        )
        assert metric_labels.value_range("mine_up_x") == (0, 2)
        assert metric_labels.axis_label("mine_neither") == "mine neither"
        assert metric_labels.direction("mine_x_cluster_worst") == -1
    finally:
        monkeypatch.undo()
        metric_labels.metric_kinds.cache_clear()
    assert metric_labels.direction("mine_up_x") == 0 and metric_labels.value_range(
        "mine_up_x"
    ) == (-math.inf, math.inf)


# The plane


def test_areas_hold_their_mass():
    world = {"weights": np.ones(1), "means": np.zeros((1, 2)), "stds": np.array([0.7])}
    line = np.linspace(-5, 5, 801)
    q = exact_world.density(world, np.stack(np.meshgrid(line, line), -1))
    assert q.sum() * (line[1] - line[0]) ** 2 == pytest.approx(1)
    heights = exact_world.density_levels(q, (line[1] - line[0]) ** 2)
    exact = [
        (1 - mass) * q.max() for mass in exact_world.MASSES
    ]  # mass within q > h is 1 - h / q_max
    assert heights == pytest.approx(exact, rel=0.02)


def test_the_density_is_that_of_the_mixture():
    import torch

    from routing.flow.exact_worlds import GaussianMixture

    world = exact_world.exact_world(FigureInputs(make_job("plane")), "densities")
    covs = torch.eye(2).double() * torch.tensor(world["stds"])[:, None, None] ** 2
    mixture = GaussianMixture(torch.tensor(world["weights"]), torch.tensor(world["means"]), covs)
    x = np.random.default_rng(0).uniform(-4, 4, (50, 2))
    log_q = mixture.log_density(torch.tensor(x), torch.zeros(50).double())
    assert exact_world.density(world, x) == pytest.approx(log_q.exp().numpy())


def test_trajectories_are_cut_where_the_expert_of_largest_weight_changes():
    w = np.array([[[0.9, 0.1], [0.9, 0.1], [0.5, 0.5], [0.2, 0.8]]])
    assert trajectories.largest_weight(w).tolist() == [
        [0, 0, trajectories.NONE, 1, trajectories.NONE]
    ]
    states = np.arange(10.0).reshape(1, 5, 2)
    pieces = list(trajectories.segments(states, trajectories.largest_weight(w)))
    assert [k for _, k in pieces] == [0, trajectories.NONE, 1]
    assert [p[:, 0].tolist() for p, _ in pieces] == [[0, 2, 4], [4, 6], [6, 8]]


def test_trajectories_run_through_the_stored_states():
    inputs, table = FigureInputs(make_job("plane")), drawn("trajectories").table
    own = table[table["arm"] == "top1"]
    states = inputs.trajectories("top1")
    assert np.array_equal(own[["x", "y"]].to_numpy().reshape(16, 9, 2), states)
    assert own["t"][own["call"] == 0].eq(1).all() and own["t"][own["call"] == 8].eq(0).all()
    assert own["seed"].to_list() == np.repeat(np.arange(16), 9).tolist()
    axes = drawn("trajectories").figure.axes[list(ARMS).index("top1")]
    start, end = axes.get_lines()
    assert (
        np.array_equal(start.get_xydata(), states[:, 0]) and start.get_markerfacecolor() == "white"
    )
    assert np.array_equal(end.get_xydata(), states[:, -1])
    few = make("trajectories", num_trajectories=3).draw(inputs).table
    assert len(few) == 3 * 9 * len(ARMS)


def test_densities_draw_the_first_samples():
    inputs, table = FigureInputs(make_job("plane")), drawn("densities").table
    own = table[table["arm"] == "sticky"]
    assert np.array_equal(own[["x", "y"]].to_numpy(), inputs.samples("sticky", 1000))
    few = make("densities", num_samples=10).draw(inputs).table
    assert (few.groupby("arm")["number"].count() == 10).all()


# Inputs and style


def test_shards_are_joined_in_the_order_of_the_seeds():
    inputs = FigureInputs(make_job())
    assert inputs.trace("top2")["seeds"].tolist() == list(range(80))
    assert inputs.trace("top2")["times"].shape == (8,)
    bill, parts = inputs.cost("top1"), inputs.job.files["costs"][2:4]
    assert bill["evaluations"].iloc[0] == pytest.approx(
        (parts[0]["evaluations"][0] + parts[1]["evaluations"][0]) / 2
    )
    assert bill.set_index("component").loc["total", "seconds"] == 5


def test_panels_are_balanced():
    for num, most in itertools.product(range(1, 30), range(1, 9)):
        columns = page_layout.balanced_columns(num, most)
        rows = -(-num // most)
        assert columns <= most and -(-num // columns) == rows
        assert columns == 1 or -(-num // (columns - 1)) > rows


@pytest.mark.parametrize(
    "values, half, scale",
    [
        ([5, 20, 60], 1, "linear"),
        ([1, 20, 60], 0.5, "log"),
        ([-0.001, 0.0, 0.002, 1.9], 0.004, "symlog"),
        ([-0.3, 0.2, 0.5], 0.1, "linear"),
        ([0.01, 2, 3], 0.02, "linear"),
        ([0, 0, 0], 0, "linear"),
    ],
)
def test_scales(values, half, scale):
    axes = page_layout.new_figure(3.0, 2.0).subplots()
    page_layout.fit_scale(axes, "x", np.array(values, float), np.full(len(values), float(half)))
    assert axes.get_xscale() == scale and axes.get_yscale() == "linear"


def sorted_spec(spec):
    """The same spec with every dictionary in the order of the alphabet."""
    return json.loads(json.dumps(spec, sort_keys=True))


@pytest.mark.parametrize("read", [
    lambda inputs: inputs.cost("top1"),
    lambda inputs: inputs.trace("monolith"),
    lambda inputs: inputs.samples("top1", 4),
    lambda inputs: inputs.clusters("monolith"),
    lambda inputs: inputs.cluster_sizes("monolith"),
    lambda inputs: inputs.partition_report("monolith"),
])  # fmt: skip
def test_files_of_another_order_are_not_taken_for_each_other(read):
    job = make_job(names=("top1", "monolith"), partitions=("semantic", "monolith"))
    mixed = FakeJob(sorted_spec(job.spec), job.files)
    mixed.made = job.spec
    read(FigureInputs(job))
    with pytest.raises(AssertionError, match="the rule has another order"):
        read(FigureInputs(mixed))


def test_departures_are_distances_from_the_monolith_of_the_same_scale():
    job = guided()
    drawing = make("departure").draw(FigureInputs(job))
    samples = functools.partial(FigureInputs(job).samples, num=10**6)
    assert set(zip(drawing.table["kind"], drawing.table["scale"], strict=True)) == {
        ("separate", 1.0), ("separate", 2.0), ("separate", 4.0),
        ("shared", 1.0), ("shared", 2.0), ("shared", 4.0),
    }  # fmt: skip
    for row in drawing.table.itertuples():
        monolith = {1.0: "requested", 2.0: "separate_2", 4.0: "separate_4"}[row.scale]
        assert row.monolith == f"monolith_{monolith}"
        apart = samples(row.arm).astype(float) - samples(row.monolith)
        assert row.departure == pytest.approx(math.sqrt((apart**2).mean()))


def test_exposure_is_scored_on_where_trajectories_end():
    inputs = FigureInputs(make_job("digits"))
    found = exposure.on_trajectories(inputs, "full")
    trace, end = inputs.trace("full"), exposure.final_clusters(inputs, "full")
    call = 3
    p = trace["posteriors"][:, call].astype(float)
    right = p.argmax(1) == end
    row = found[found["t_high"] == trace["times"][call]].set_index("quantity")["value"]
    assert row["accuracy"] == pytest.approx(right.mean())
    assert row["gap"] == pytest.approx(p.max(1).mean() - right.mean())
    expected = -np.log(p[np.arange(len(p)), end].clip(1e-7)).mean()
    assert row["nll"] == pytest.approx(expected)
    bins = np.minimum((p.max(1) * 10).astype(int), 9)
    gaps = [abs((right - p.max(1))[bins == b].sum()) for b in range(10)]
    assert row["ece"] == pytest.approx(sum(gaps) / len(p))

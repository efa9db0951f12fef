"""Figures of significant differences: bars, letters and shades against pairs set by hand."""

import itertools
import re
import string

import numpy as np
import pandas as pd
import pytest
from figures_world import ARMS, KEYS, FakeJob, make, make_job, texts_of

from routing.figures import comparison, critical_difference, distinguishable
from routing.figures.shared import arm_pairs, arm_styles, page_layout, style, text_tables
from routing.figures.shared.config_view import display_name
from routing.figures.shared.figure_inputs import FigureInputs

KINDS = ("semantic learned top1 euler", "semantic prior sticky heun", "random uniform full euler")


def run_of(values, alike=(), p=None, reference=None, metric="fd_digits", half=0.5, names=None):
    """Arms a, b, c ... with these values; all pairs have p = 0 but `alike`, or those of `p`.

    Pairs are by names. The reference, if there is one, is the second of its pairs. All arms have
    another metric too, of which no two can be told apart.
    """
    names = list(names or string.ascii_lowercase[: len(values)])
    value = dict(zip(names, values, strict=True))
    half = np.broadcast_to(half, len(values))
    said = {frozenset(pair): 1.0 for pair in alike}
    said |= {frozenset(pair): number for pair, number in (p or {}).items()}
    rows, kept = [], []
    for own, sign in ((metric, 1), ("other", -1)):
        for (name, middle), h in zip([*value.items(), ("heldout", -99)], [*half, 1], strict=True):
            middle = float(sign * middle)
            rows.append(["r", name, own, middle, middle - h, middle + h, 64])
        for pair in itertools.combinations(names, 2):
            a, b = pair[::-1] if pair[0] == reference else pair
            gap = float(sign * (value[a] - value[b]))
            number = said.get(frozenset(pair), 0.0) if own == metric else 1.0
            beside = 0.5 if b == reference else np.nan  # corrected by nobody: figures do it
            kept.append(["r", own, a, b, gap, gap - 0.25, gap + 0.25, number, "seed blocks"])
            kept[-1] += [0.5, beside, False]
    heads = ["run", "arm", "metric", "value", "lo", "hi", "num_samples"]
    of_pairs = ["run", "metric", "arm", "other", "value", "lo", "hi", "p", "test"]
    of_pairs += ["p_holm", "p_holm_reference", "is_distinguishable"]
    base = make_job("digits", ("monolith", "top1"), ("monolith", "semantic", "random"), 1)
    kinds = itertools.cycle(KINDS)
    chosen = {
        n: dict(zip(KEYS, [*k.split(), None], strict=True))
        for n, k in zip(names, kinds, strict=False)
    }
    files = {"metrics": [pd.DataFrame(rows, columns=heads)]}
    files["comparisons"] = [pd.DataFrame(kept, columns=of_pairs)]
    return FigureInputs(FakeJob(base.spec | {"arms": chosen}, files))


def draw(name, inputs, **options):
    return make(name, **{"metric": "fd_digits"} | options).draw(inputs)


def random_apart(rng, num, share):
    upper = np.triu(rng.random((num, num)) < share, 1)
    return upper | upper.T


def letters_of(word):
    return set(re.findall(r"[a-zA-Z]\d*", word))


# Pairs


def test_holm_is_among_the_pairs_shown():
    p = {("a", "b"): 0.02, ("a", "c"): 0.03, ("b", "c"): 0.004, ("a", "d"): 0.9}
    p |= {("b", "d"): 0.01, ("c", "d"): 0.2}
    inputs = run_of([1, 2, 3, 4], p=p)
    by_hand = {  # p times the number of pairs that are not smaller, never falling
        "abcd": {"bc": 0.024, "bd": 0.05, "ab": 0.08, "ac": 0.09, "cd": 0.4, "ad": 0.9},
        "abc": {"bc": 0.012, "ab": 0.04, "ac": 0.04},
        "ab": {"ab": 0.02},
    }
    for names, wanted in by_hand.items():
        found = arm_pairs.all_pairs(inputs, "fd_digits", tuple(names))
        of = {a + b: n for a, b, n in found.pairs[["arm", "other", "p_holm"]].itertuples(False)}
        assert of == pytest.approx(wanted)
        matrix = found.is_distinguishable()
        for pair, number in wanted.items():
            i, j = map(names.index, pair)
            assert matrix[i, j] == matrix[j, i] == (number <= 0.05)
        assert not matrix.diagonal().any()


def test_of_all_arms_it_is_the_table_of_the_stage():
    inputs = FigureInputs(make_job())
    found = arm_pairs.all_pairs(inputs, "recall_digits", ())
    table = inputs.comparisons.query("metric == 'recall_digits'").reset_index(drop=True)
    for column in ("arm", "other", "p_holm", "is_distinguishable"):
        assert found.pairs[column].equals(table[column])
    assert 0 < table["is_distinguishable"].sum() < len(table)
    names, matrix = list(found.arms["arm"]), found.is_distinguishable()
    values = found.arms["value"].to_numpy()
    assert found.differences() == pytest.approx(values[:, None] - values)
    for row in table.itertuples():
        i, j = names.index(row.arm), names.index(row.other)
        assert matrix[i, j] == matrix[j, i] == row.is_distinguishable
    assert found.arms["rank"].tolist() == list(range(len(ARMS)))


@pytest.mark.parametrize(
    "metric, order", [("fd_digits", "badc"), ("recall_digits", "cdab"), ("class_share_1", "cdab")]
)
def test_the_best_is_first_and_the_highest_if_none_is_better(metric, order):
    inputs = run_of([2, 1, 4, 3], metric=metric)
    assert "".join(arm_pairs.all_pairs(inputs, metric, ()).arms["arm"]) == order
    some = arm_pairs.all_pairs(inputs, metric, ("d", "a", "d"))
    assert list(some.arms["arm"]) == sorted("ad", key=order.index) and len(some.pairs) == 1
    tied = run_of([1, 1, 0, 1], metric=metric)
    wanted = "cabd" if metric == "fd_digits" else "abdc"
    assert (
        "".join(arm_pairs.all_pairs(tied, metric, ()).arms["arm"]) == wanted
    )  # else as in the config


def test_the_family_of_the_reference_is_that_of_the_arms_shown():
    p = {("a", "r"): 0.02, ("b", "r"): 0.03, ("c", "r"): 0.01, ("a", "b"): 0.5}
    inputs = run_of([1, 2, 3, 4], p=p, reference="r", names="rabc")
    base = arm_pairs.differences_from_reference(inputs, "fd_digits", list("rabc"))
    assert base["p_holm_reference"].to_dict() == pytest.approx({"a": 0.04, "b": 0.04, "c": 0.03})
    assert base["value"].to_dict() == {"a": 1, "b": 2, "c": 3}
    assert set(base["other"]) == {"r"}
    few = arm_pairs.differences_from_reference(inputs, "fd_digits", ["a", "b"])
    assert few["p_holm_reference"].to_dict() == pytest.approx({"a": 0.04, "b": 0.04})
    assert arm_pairs.differences_from_reference(inputs, "fd_digits", ["r"]).empty
    assert arm_pairs.differences_from_reference(run_of([1, 2]), "fd_digits", ["a", "b"]).empty
    assert (arm_pairs.correction_text(2), arm_pairs.correction_text(60)) == (
        "Holm, 5 %, 1 pair",
        "Holm, 5 %, 1,770 pairs",
    )


@pytest.mark.parametrize("name", ["critical_difference", "comparison", "distinguishable"])
@pytest.mark.parametrize(
    "options, wanted",
    [
        ({"metric": "fd_digit"}, "metric: unknown name 'fd_digit'; did you mean 'fd_digits'"),
        ({"arms": ["top1", "stick"]}, "arms: unknown name 'stick'; did you mean 'sticky'"),
        ({"arms": ["top1"]}, "arms: wanted at least two on which fd_digits was .*got only 'top1'"),
        ({"arms": ["top1", "top1"]}, "at least two"),
        ({"metric": "agreement_digits"}, "agreement_digits: it was not measured on any of these"),
    ],
)
def test_what_cannot_be_compared_is_one_line(name, options, wanted):
    with pytest.raises(ValueError, match=wanted) as error:
        draw(name, FigureInputs(make_job()), **options)
    assert "\n" not in str(error.value)


# Bars


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def bars(figure):
    """(lane, top, bottom) of each bar that is drawn."""
    return [
        (line.get_xdata()[0], *map(float, line.get_ydata())) for line in figure.axes[1].get_lines()
    ]


def test_dots_stand_in_the_order_of_their_values_with_their_intervals():
    inputs = run_of([3, 1, 2, 7], half=[0.5, 0.25, 1, 2])
    drawing = draw("critical_difference", inputs)
    axes = drawing.figure.axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == list("bcad")
    assert axes.get_yticks().tolist() == [0, 1, 2, 3] and axes.get_ylim()[0] > axes.get_ylim()[1]
    points = [(c[0].get_xdata()[0], c[0].get_ydata()[0]) for c in axes.containers]
    assert points == [(1, 0), (2, 1), (3, 2), (7, 3)]
    ends = [c[2][0].get_segments()[0].tolist() for c in axes.containers]
    assert ends[0] == [[0.75, 0], [1.25, 0]] and ends[3] == [[5, 3], [9, 3]]
    colours = [c[0].get_color() for c in axes.containers]
    assert colours == [arm_styles.arm_style(inputs, name).colour for name in "bcad"]
    given = inputs.metrics.query("metric == 'fd_digits'").set_index("arm")
    for row in drawing.table.itertuples():
        assert (row.value, row.lo, row.hi) == tuple(given.loc[row.arm, ["value", "lo", "hi"]])
    assert drawing.figure.get_supxlabel() == "Fréchet distance, digits features; lower is better"


def test_bars_are_the_runs_that_are_alike_and_the_rest_is_counted():
    # In the order of values: a b c | b c d | e f, and beyond all bars a-d, a-f.
    alike = ["ab", "ac", "bc", "bd", "cd", "ef", "af"]
    drawing = draw("critical_difference", run_of([1, 2, 3, 4, 5, 6], alike))
    assert bars(drawing.figure) == [(0, -0.3, 2.3), (1, 0.7, 3.3), (0, 3.7, 5.3)]
    assert [list(b) for b in drawing.table["bars"]] == [[0], [0, 1], [0, 1], [1], [2], [2]]
    assert drawing.table["num_without_bar"].tolist() == [1, 0, 0, 0, 0, 1]
    assert legend(drawing.figure) == [
        "joins arms of which no two differ significantly (Holm, 5 %, 15 pairs)",
        "1 more pair does not differ significantly and has no bar",
    ]
    handles = drawing.figure.legends[0].legend_handles
    assert [h.get_marker() for h in handles] == ["|", "None"]
    left, right = drawing.figure.axes
    assert left.get_ylim() == right.get_ylim()  # a bar stands beside its arms


@pytest.mark.parametrize(
    "alike, num_bars, notes",
    [
        (["ab", "bc", "ac"], 1, ["joins arms of which no two", "arms that share no bar differ"]),
        (["ab", "ac", "ad", "bc", "bd", "cd"], 1, ["joins arms of which no two"]),
        (
            ["ab", "bc", "ad", "bd"],
            2,
            ["joins arms of which no two", "2 more pairs .* have no bar"],
        ),
        ([], 0, [r"any two arms differ significantly \(Holm, 5 %, 6 pairs\)"]),
        (["ac"], 0, [r"neighbours differ significantly \(Holm", "1 more pair does .* has no bar"]),
    ],
)
def test_the_legend_says_what_bars_leave_out(alike, num_bars, notes):
    figure = draw("critical_difference", run_of([1, 2, 3, 4], alike)).figure
    assert len(figure.axes) == (2 if num_bars else 1)
    assert not num_bars or len(bars(figure)) == num_bars
    assert len(legend(figure)) == len(notes)
    assert all(map(re.search, notes, legend(figure)))
    markers = [h.get_marker() for h in figure.legends[0].legend_handles]
    assert markers == ["|" if i == 0 and num_bars else "None" for i in range(len(notes))]


def test_bars_and_the_pairs_without_one_are_all_that_is_alike():
    rng = np.random.default_rng(0)
    for num in (2, 5, 9):
        apart = random_apart(rng, num, 0.3)
        names = string.ascii_lowercase[:num]
        alike = [names[i] + names[j] for i, j in np.argwhere(np.triu(~apart, 1))]
        table = draw("critical_difference", run_of(range(num), alike)).table
        shared = [
            [bool(set(a) & set(b)) or i == j for j, b in enumerate(table["bars"])]
            for i, a in enumerate(table["bars"])
        ]
        assert not (np.array(shared) & apart).any()
        missed = (~np.array(shared) & ~apart).sum(1)
        assert table["num_without_bar"].tolist() == missed.tolist()


def test_bars_in_a_lane_do_not_touch():
    spans = [(0, 3), (1, 4), (3, 6), (4, 8), (5, 9), (9, 11)]
    found = critical_difference.lanes(spans)
    assert found == [0, 1, 2, 0, 1, 0]
    for i, j in itertools.combinations(range(len(spans)), 2):
        assert found[i] != found[j] or spans[i][1] < spans[j][0]
    assert critical_difference.lanes([]) == []


# Letters in a table


def cells(text):
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return rows[0], rows[2:]


def test_the_table_has_values_differences_p_and_letters():
    p = {("a", "r"): 0.02, ("b", "r"): 0.0004, ("c", "r"): 0.3}
    p |= {("a", "b"): 1, ("a", "c"): 1, ("b", "c"): 0}
    drawing = draw("comparison", run_of([5, 2, 1, 9], p=p, reference="r", names="rabc"))
    heads, rows = cells(drawing.texts["md"])
    assert heads == ["arm", "letters", "fd digits", "minus r", "p", "p (Holm)"]
    assert rows == [
        ["b", "a", "**1.00 ± 0.50**", "-4.00 ± 0.25", r"\< 0.001", "0.001"],
        ["a", "ab", "2.00 ± 0.50", "-3.00 ± 0.25", "0.020", "0.040"],
        ["r", "b", "5.00 ± 0.50", "–", "–", "–"],
        ["c", "b", "9.00 ± 0.50", "4.00 ± 0.25", "0.300", "0.300"],
    ]
    note = drawing.texts["md"].splitlines()[-1]
    assert note.startswith("Fréchet distance, digits features; lower is better; ± is half of a ")
    assert "(Holm, 5 %, 6 pairs)" in note and "for 3 differences from r only" in note
    table = drawing.table.set_index("arm")
    assert table["letters"].to_dict() == {"b": "a", "a": "ab", "r": "b", "c": "b"}
    assert table.loc["a", ["difference", "difference_lo", "difference_hi"]].tolist() == [
        -3, -3.25, -2.75,
    ]  # fmt: skip
    assert table.loc["b", ["value", "lo", "hi", "is_best"]].tolist() == [1, 0.5, 1.5, True]
    assert table["is_best"].sum() == 1 and pd.isna(table.loc["r", "reference"])
    tex = drawing.texts["tex"]
    assert r"\begin{tabular}{llrrrr}" in tex and r"b & a & \textbf{1.00 $\pm$ 0.50}" in tex
    assert r"$-$4.00 $\pm$ 0.25 & $<$ 0.001 & 0.001 \\" in tex and "r & b & 5.00" in tex


def test_the_reference_need_not_be_shown_nor_measured():
    p = {("a", "r"): 0.02, ("b", "r"): 0.03, ("c", "r"): 0.5, ("a", "b"): 1}
    inputs = run_of([5, 2, 1, 9], p=p, reference="r", names="rabc")
    heads, rows = cells(draw("comparison", inputs, arms=["a", "b"]).texts["md"])
    assert heads[3] == "minus r"
    assert [row[0] for row in rows] == ["b", "a"] and [row[5] for row in rows] == ["0.040"] * 2
    none = draw("comparison", run_of([5, 2], metric="class_share_3"), metric="class_share_3")
    heads, rows = cells(none.texts["md"])
    assert heads == ["arm", "letters", "class share 3"]
    assert rows == [["a", "a", "5.00 ± 0.50"], ["b", "b", "2.00 ± 0.50"]]  # and no best
    assert "bold" not in none.texts["md"] and "p (Holm)" not in none.texts["md"]
    assert r"\begin{tabular}{llr}" in none.texts["tex"]
    one = draw("comparison", run_of([5, 2], reference="a")).texts["md"]
    assert "for 1 difference from a only" in one and "bold: better than each other" in one


def test_p_values_in_words():
    words = [comparison.p_value(p) for p in (0.0, 0.00099, 0.001, 0.0123, 1.0)]
    assert words == ["< 0.001", "< 0.001", "0.001", "0.012", "1.000"]
    assert text_tables.escape_latex("< 0.001") == "$<$ 0.001"


def test_letters_agree_with_the_bars_and_the_matrix():
    inputs = FigureInputs(make_job())
    table = draw("comparison", inputs, metric="cluster_tv").table
    found = arm_pairs.all_pairs(inputs, "cluster_tv", ())
    told = draw("critical_difference", inputs, metric="cluster_tv").table
    assert list(told["arm"]) == list(table["arm"]) == list(found.arms["arm"])
    for i, j in itertools.combinations(range(len(table)), 2):
        shared = letters_of(table["letters"][i]) & letters_of(table["letters"][j])
        assert bool(shared) != found.is_distinguishable()[i, j]
        assert not set(told["bars"][i]) & set(told["bars"][j]) or shared


# Shades


def picture(drawing):
    return np.asarray(drawing.figure.axes[0].images[0].get_array())


@pytest.mark.parametrize("metric", ["fd_digits", "recall_digits", "class_share_0"])
def test_cells_say_who_is_better_and_by_how_much(metric):
    inputs = run_of([1, 2, 4, 9], ["ab", "cd"], metric=metric)
    drawing = draw("distinguishable", inputs, metric=metric)
    image = picture(drawing)
    names = list(arm_pairs.all_pairs(inputs, metric, ()).arms["arm"])
    value = dict(zip("abcd", [1, 2, 4, 9], strict=True))
    grey = tuple(np.full(3, 0xE4 / 255))
    shades = {}
    for (i, a), (j, b) in itertools.product(enumerate(names), enumerate(names)):
        red, _, blue = cell = tuple(image[i, j])
        if i == j:
            assert cell == pytest.approx(grey)
        elif {a, b} in ({"a", "b"}, {"c", "d"}):
            assert cell == (1, 1, 1)
        else:
            assert (blue > red) == (i < j)  # blue: the row is better; the best is first
            shades.setdefault(i < j, {})[abs(value[a] - value[b])] = sum(cell)
    for of in shades.values():  # the larger the difference, the darker
        assert sorted(of, key=of.get) == sorted(of, reverse=True) == [8, 7, 3, 2]
    key = drawing.figure.axes[1]
    told = [t.get_text() for t in key.get_yticklabels()]
    low, high = ("lower", "higher") if "share" in metric else ("worse", "better")
    assert told == [f"row is {low}", f"row is {high}"] and key.get_xlim() == (0, 8)
    assert legend(drawing.figure) == ["the two do not differ significantly (Holm, 5 %, 6 pairs)"]


@pytest.mark.parametrize("values, scale", [([0, 1, 3, 30], "linear"), ([0, 1, 3, 40], "log")])
def test_the_key_has_the_colours_of_the_cells(values, scale):
    drawing = draw("distinguishable", run_of(values))
    key = drawing.figure.axes[1]
    assert key.get_xscale() == scale
    assert key.get_xlim() == (1 if scale == "log" else 0, values[-1])
    mesh = key.collections[0]
    edges = mesh.get_coordinates()[0, :, 0]
    shown = np.asarray(mesh.get_array())
    image = picture(drawing)
    for i, j in itertools.permutations(range(4), 2):
        at = np.searchsorted(edges, abs(values[i] - values[j]) * (1 - 1e-9), "right") - 1
        is_better = int(i < j)  # the upper row of the key
        assert image[i, j] == pytest.approx(shown[is_better, max(at, 0)], abs=0.02)
    middle = key.get_yticks().tolist()
    assert middle == [0.5, 1.5]


def test_shades_by_hand():
    sizes = np.array([2.0, 10, 20])
    assert distinguishable.depths(sizes, sizes).tolist() == [0.1, 0.5, 1]
    sizes = np.array([1.0, 10, 100])
    assert distinguishable.depths(sizes, sizes) == pytest.approx([0, 0.5, 1])
    assert not distinguishable.is_log(np.array([1.0, 30])) and not distinguishable.is_log(
        np.array([5.0])
    )
    ends = distinguishable.tone(np.array([True, True, False, False]), np.array([0, 1, 0, 1.0]))
    from matplotlib.colors import to_hex

    wanted = [distinguishable.LIGHT[0], distinguishable.DARK[0]]
    wanted += [distinguishable.LIGHT[1], distinguishable.DARK[1]]
    assert [to_hex(c).upper() for c in ends] == wanted


def test_where_nobody_can_be_told_apart_there_is_no_key():
    drawing = draw("distinguishable", run_of([1, 2, 3], ["ab", "ac", "bc"]))
    image = picture(drawing)
    assert (image[~np.eye(3, dtype=bool)] == 1).all()
    assert len(drawing.figure.axes) == 1 and not drawing.figure.get_supxlabel()
    box = drawing.figure.axes[0].get_window_extent()
    high = drawing.figure.bbox.height - box.height
    assert high < 0.5 * drawing.figure.dpi  # for the legend and the numbers of the columns
    drawing.rendered("png")
    assert len(drawing.table) == 3 and not drawing.table["is_distinguishable"].any()


def test_columns_have_the_numbers_of_the_rows():
    drawing = draw("distinguishable", run_of([2, 1, 3]))
    axes = drawing.figure.axes[0]
    rows = [t.get_text() for t in axes.get_yticklabels()]
    assert rows == [rf"{name}  $\mathbf{{{i}}}$" for i, name in enumerate("bac", 1)]
    columns = [t.get_text() for t in axes.get_xticklabels()]
    assert columns == [rf"$\mathbf{{{i}}}$" for i in (1, 2, 3)]
    ranks = dict(zip(drawing.table["arm"], drawing.table["rank"], strict=True))
    assert ranks == {"a": 1, "b": 0} and drawing.table["other_rank"].tolist() == [0, 2, 2]


# On paper


def world(name):
    rng = np.random.default_rng(4)
    many = np.sort(rng.gamma(3, 3, 60)) + 2
    number = lambda n: [f"arm_{i}" for i in range(n)]  # noqa: E731
    next_to = [(i, j) for i, j in itertools.combinations(range(60), 2) if j - i < 7]
    near = [(f"arm_{i}", f"arm_{j}") for i, j in next_to]
    long = [f"balanced_eight_velocity_topk_hysteresis_dpmpp_{i}" for i in range(60)]
    return {
        "two": lambda: run_of([3, 4]),
        "two alike": lambda: run_of([3, 4], ["ab"]),
        "24": lambda: run_of(many[:24], near, names=number(24)),
        "60": lambda: run_of(many, near, names=number(60)),
        "long names": lambda: run_of(many, [(long[i], long[j]) for i, j in next_to], names=long),
        "three long names": lambda: run_of([1, 2, 3], names=long[:3], metric="copy_ratio_digits"),
        "negative": lambda: run_of(many[:24] - 9, near, names=number(24)),
        "outlier": lambda: run_of([*many[:23], 9000], near, names=number(24)),
    }[name]()


@pytest.mark.parametrize("name", ["critical_difference", "distinguishable"])
@pytest.mark.parametrize(
    "of", "two;two alike;24;60;long names;three long names;negative;outlier".split(";")
)
def test_everything_can_be_read(name, of):
    inputs = world(of)
    figure = draw(name, inputs, metric=inputs.metrics["metric"][0]).figure
    width, height = figure.bbox.size
    assert figure.get_size_inches()[0] <= style.PAGE + 0.005 and height / figure.dpi < 9.5
    found = texts_of(figure)
    assert len(found) > len(inputs.arms)
    for text, box, size in found:
        assert size >= 6.5 and box.x0 >= -1 and box.x1 <= width + 1, text
        assert box.y0 >= -1 and box.y1 <= height + 1, text
    boxes = np.array([[b.x0, b.y0, b.x1, b.y1] for _, b, _ in found])
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    over = (np.minimum(boxes[:, None, 2:], boxes[None, :, 2:]) - low).min(-1)
    np.fill_diagonal(over, 0)
    assert over.max() < 2.5, [found[i][0] for i in np.unravel_index(over.argmax(), over.shape)]
    main = figure.axes[0].get_window_extent()
    least = 1.5 if name == "critical_difference" else 0.5  # in, for values
    assert main.width / figure.dpi > least and main.height / figure.dpi > 0.12 * len(inputs.arms)


def test_names_are_as_wide_as_they_are_drawn():
    inputs = world("three long names")
    names = [display_name(name) for name in inputs.arms]
    figure = draw("critical_difference", inputs, metric="copy_ratio_digits").figure
    drawn = [b.width / figure.dpi for text, b, _ in texts_of(figure) if text in names]
    assert page_layout.text_width(names) == pytest.approx(max(drawn), rel=0.03)
    assert page_layout.text_width(["", *names]) == page_layout.text_width(names)


def test_an_outlier_leaves_the_others_apart():
    figure = draw("critical_difference", world("outlier")).figure
    assert figure.axes[0].get_xscale() == "log"
    assert draw("distinguishable", world("outlier")).figure.axes[1].get_xscale() == "log"


def test_numbers_of_columns_are_apart_and_cells_square_where_there_is_room():
    for of, step in (("24", 1), ("60", 2), ("long names", 2)):
        figure = draw("distinguishable", world(of)).figure
        axes = figure.axes[0]
        assert axes.get_xticks().tolist() == list(range(0, len(axes.get_yticks()), step))
        figure.draw_without_rendering()
        boxes = [t.label2.get_window_extent() for t in axes.xaxis.get_major_ticks()]
        gaps = [b.x0 - a.x1 for a, b in itertools.pairwise(boxes)]
        assert min(gaps) > 0.01 * figure.dpi, of
        if of == "24":
            box = axes.get_window_extent()
            assert box.width / 24 == pytest.approx(distinguishable.MAX_CELL * figure.dpi, rel=0.1)
            assert box.height == pytest.approx(box.width, rel=0.1)


def test_names_too_long_for_a_page_leave_cells_that_can_be_seen():
    names = [f"{'very_' * 16}long_{i}" for i in range(60)]
    figure = draw("distinguishable", run_of(range(60), names=names)).figure
    figure.draw_without_rendering()
    box = figure.axes[0].get_window_extent()
    assert box.width / 60 > 0.9 * distinguishable.MIN_CELL * figure.dpi
    assert figure.get_size_inches()[0] > style.PAGE  # scaled down in print, but whole

"""Bold values are better than all others; values that are exactly zero are not measurable."""

import numpy as np
import pandas as pd
import pytest
from figures_world import FakeJob, make, make_job

from routing.figures.shared import best_arms, value_cells
from routing.figures.shared.figure_inputs import FigureInputs

NAMES = ("monolith", "top1", "full")


def run_with(values, gaps, metric="recall_digits"):
    """Arms with these values; `gaps` are (lo, hi) of arm minus other, by pair."""
    base = make_job("digits", NAMES)
    rows = [["r", a, metric, v, v - h, v + h, 64] for a, (v, h) in zip(NAMES, values, strict=True)]
    heads = ["run", "arm", "metric", "value", "lo", "hi", "num_samples"]
    pairs = [["r", metric, a, b, (lo + hi) / 2, lo, hi] for (a, b), (lo, hi) in gaps.items()]
    of_pairs = ["run", "metric", "arm", "other", "value", "lo", "hi"]
    files = base.files | {"metrics": [pd.DataFrame(rows, columns=heads)]}
    files["comparisons"] = [pd.DataFrame(pairs, columns=of_pairs)]
    return FigureInputs(FakeJob(base.spec, files))


def best(inputs, metric="recall_digits"):
    rows = inputs.metrics
    return rows["arm"][best_arms.is_best(inputs, metric, rows)].to_list()


VALUES = [(0.5, 0.1), (0.6, 0.1), (0.7, 0.1)]
A, B, C = ("monolith", "top1"), ("full", "monolith"), ("top1", "full")


@pytest.mark.parametrize(
    "gaps, wanted",
    [
        ({A: (-0.2, 0), B: (0.1, 0.3), C: (-0.2, -0.05)}, ["full"]),
        ({A: (-0.2, 0), B: (0.1, 0.3), C: (-0.2, 0.05)}, []),  # not better than the second
        ({A: (-0.2, 0), B: (-0.1, 0.3), C: (-0.2, -0.05)}, []),  # nor than the third
        ({A: (-0.2, 0), B: (0.0, 0.3), C: (-0.2, -0.05)}, []),
        ({A: (-0.2, 0), C: (-0.2, -0.05)}, []),  # a pair that was not compared
    ],
)
def test_the_best_is_better_than_each_other(gaps, wanted):
    assert best(run_with(VALUES, gaps)) == wanted


def test_lower_is_better_turns_the_intervals_round():
    gaps = {A: (-0.2, -0.1), B: (0.1, 0.3), C: (-0.2, -0.05)}
    inputs = run_with(VALUES, gaps, "fd_digits")
    assert best(inputs, "fd_digits") == ["monolith"]
    assert best(run_with(VALUES, gaps, "class_share_1"), "class_share_1") == []


def test_values_of_zero_are_not_measurable():
    zero = [(0.0, 0.0)] * 3
    gaps = dict.fromkeys((A, B, C), (0.0, 0.0))
    inputs = run_with(zero, gaps)
    assert best(inputs) == []
    texts = make("results", metrics=["recall_digits"]).draw(inputs).texts
    for text in texts.values():
        assert text.count("not measurable at this size") == 3 and "0 ± 0" not in text
    assert "**" not in texts["md"] and "textbf" not in texts["tex"]
    one = run_with([(0.0, 0.0), (0.0, 0.0), (0.2, 0.1)], gaps)
    assert best(one) == ["full"]  # the only arm with a value
    row = {"metric": "recall_digits", "value": 0.0, "lo": 0.0, "hi": 0.0}
    assert value_cells.is_unmeasurable(pd.Series(row))
    for other in ({"hi": 0.1}, {"metric": "fd_digits"}, {"metric": "class_share_1"},
                  {"value": 1.0, "lo": 1.0, "hi": 1.0}, {"value": np.nan}):  # fmt: skip
        assert not value_cells.is_unmeasurable(pd.Series(row | other)), other

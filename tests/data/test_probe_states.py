"""States of the probe: from the seed alone, spread evenly over images and times."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import kstest
from stages import refused

from routing.data import probe_states
from routing.data.probe_states import SPLITS

HELDOUT = np.array([3, 4, 8, 10, 11, 15, 16, 20, 21, 29])  # rows of an index of 30 images
SHARES = {"fit": 0.5, "calibrate": 0.3}
SHAPE = (2, 3, 3)


def table(num=80, root=5, heldout=HELDOUT, shares=SHARES):
    return probe_states.table(heldout, num, root, shares)


def values(dtype=np.float32):
    return np.random.default_rng(0).normal(size=(30, *SHAPE)).astype(dtype)


def test_every_image_is_seen_once_in_each_stratum():
    made = table()
    assert list(made) == ["state", "row", "t", "is_null", "split"]
    assert np.array_equal(made["state"], np.arange(80))
    for row in HELDOUT:
        t = np.sort(made["t"][made["row"] == row])
        assert np.array_equal(np.floor(t * 8), np.arange(8))
    first = np.floor(8 * made["t"][:10])
    assert len(set(first)) > 3  # each image has an order of its own


def test_the_last_round_may_be_short():
    made, whole = table(75), table(80)
    pd.testing.assert_frame_equal(made, whole[:75])
    counts = made["row"].value_counts()
    assert [counts[row] for row in HELDOUT] == [8] * 5 + [7] * 5
    assert table(8, shares={"fit": 0.4, "calibrate": 0.3})["row"].tolist() == HELDOUT[:8].tolist()


def test_times_are_uniform_within_their_strata_and_in_every_part():
    made = table(4000)
    assert ((made["t"] >= 0) & (made["t"] <= 1)).all() and made["t"].dtype == np.float32
    assert kstest(made["t"] * 400 % 1, "uniform").pvalue > 0.01
    for part in SPLITS:
        mine = np.sort(made["t"][made["split"] == part])
        middle = (np.arange(len(mine)) + 0.5) / len(mine)
        assert np.abs(mine - middle).max() <= 1 / 400  # stratified: no part lacks a time


def test_parts_are_of_images_and_of_the_asked_sizes():
    made = table()
    of = made.groupby("row")["split"].agg(set)
    assert all(len(parts) == 1 for parts in of)
    counts = of.map(lambda parts: next(iter(parts))).value_counts()
    assert dict(counts) == {"fit": 5, "calibrate": 3, "report": 2}
    assert [*of[HELDOUT[:5]]] != [{"fit"}] * 5  # drawn, not the first ones


@pytest.mark.parametrize("root", range(3))
@pytest.mark.parametrize(
    ("fit", "calibrate", "sizes"),
    [(0.6, 0.2, [6, 2, 2]), (0.25, 0.25, [3, 2, 5]), (0.34, 0.33, [3, 4, 3])],
)
def test_sizes_are_the_nearest(fit, calibrate, sizes, root):
    made = table(root=root, shares={"fit": fit, "calibrate": calibrate})
    counts = made.groupby("split")["row"].nunique()
    assert [counts[part] for part in SPLITS] == sizes  # ends at 2.5 -> 3, 5; at 3.4 -> 3, 6.7 -> 7


def test_all_comes_from_the_seed():
    again, other = table(), table(root=6)
    pd.testing.assert_frame_equal(table(), again)
    for column in ("t", "is_null", "split"):
        assert not other[column].equals(again[column])


def test_half_are_told_nothing():
    made = table(20_000)
    for rows in (made["split"] == "fit", made["t"] < 0.2, made["row"] == HELDOUT[0]):
        share, num = made["is_null"][rows].mean(), rows.sum()
        assert abs(share - probe_states.NULL_FRACTION) < 4 * 0.5 / num**0.5


def test_a_state_is_on_the_line_between_image_and_noise():
    made, x0 = table(), values()
    found = probe_states.states(made, x0[made["row"]], 5)
    assert len(found) == 80 and np.array_equal(found.row, made["row"])
    assert np.array_equal(found.is_null, made["is_null"])
    assert np.array_equal(found.t, made["t"])
    eps = (found.target + torch.from_numpy(x0[found.row])).double()
    t = found.t.double()[:, None, None, None]
    expected = (1 - t) * torch.from_numpy(x0[found.row]).double() + t * eps
    torch.testing.assert_close(found.x.double(), expected, rtol=0, atol=1e-6)
    assert kstest(eps.flatten(), "norm").pvalue > 0.01
    assert abs(torch.corrcoef(eps.flatten(1)).triu(1)).max() < 0.95  # each its own


def test_a_state_hangs_on_its_number_alone():
    made, x0 = table(), values()
    whole = probe_states.states(made, x0[made["row"]], 5)
    parts = [
        probe_states.states(made.iloc[i : i + 30], x0[made.iloc[i : i + 30]["row"]], 5)
        for i in (0, 30, 60)
    ]
    for name in ("x", "t", "target"):
        joined = torch.cat([getattr(part, name) for part in parts])
        assert torch.equal(joined, getattr(whole, name))
    picked = made[made["split"] == "report"]
    rows = picked["state"].tolist()
    assert torch.equal(probe_states.states(picked, x0[picked["row"]], 5).x, whole.x[rows])
    assert not torch.equal(probe_states.states(made, x0[made["row"]], 6).x, whole.x)
    along = probe_states.directions(made, 3, SHAPE, 5)
    assert torch.equal(probe_states.directions(picked, 3, SHAPE, 5), along[rows])


def test_no_two_draws_are_from_one_stream():
    # The strata of image i, the noise of state m and its directions: PCG64 says the same twice.
    made = table(80)
    zero = probe_states.states(made, np.zeros((len(made), *SHAPE), np.float32), 5)
    streams = {tuple(row) for row in zero.target.flatten(1).numpy()[:, :3].tolist()}
    streams |= {tuple(u) for u in probe_states.directions(made, 1, (3,), 5)[:, 0].numpy().tolist()}
    assert len(streams) == 160


def test_streams_of_different_purpose_never_meet(monkeypatch):
    requested = []
    stream = probe_states.seeds.stream

    def heard(*who):
        requested.append(who)
        return stream(*who)

    monkeypatch.setattr(probe_states.seeds, "stream", heard)
    made = table()
    probe_states.states(made, values()[made["row"]], 5)
    probe_states.directions(made, 1, SHAPE, 5)
    assert len(set(requested)) == len(requested) == 1 + 10 + 2 + 80 + 80
    assert {len(who) for who in requested if who[1] == "probe"} == {4}


def test_directions_are_standard_normal():
    along = probe_states.directions(table(), 4, SHAPE, 5)
    assert along.shape == (80, 4, *SHAPE) and along.dtype == torch.float32
    assert kstest(along.flatten(), "norm").pvalue > 0.01
    flat = along.flatten(0, 1).flatten(1)
    assert len(torch.unique(flat[:, 0])) == 320


@pytest.mark.parametrize(
    ("num", "shares", "part"),
    [
        (80, {"fit": 0.01, "calibrate": 0.5}, "fit"),
        (80, {"fit": 0.5, "calibrate": 0.01}, "calibrate"),
        (80, {"fit": 0.5, "calibrate": 0.49}, "report"),
        (1, SHARES, "(fit|calibrate|report)"),
    ],
)
def test_an_empty_part_is_refused(num, shares, part):
    with refused(
        rf"probe: wanted states in every split, got none in '{part}' \({num} states of 10"
    ):
        table(num, shares=shares)

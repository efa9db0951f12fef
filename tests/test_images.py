"""Stored integers and values: inverse on the grid, nearest and clipped off it."""

import numpy as np
import pytest

from routing.images import quantised, to_stored, to_values

every_levels = pytest.mark.parametrize("levels", [1, 16, 255])


@every_levels
def test_values_and_integers_are_inverse_on_the_grid(levels):
    stored = np.arange(levels + 1, dtype=np.uint8)
    values = to_values(stored, levels)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, 2 * stored.astype(float) / levels - 1, atol=3e-7)
    assert values[0] == -1
    back = to_stored(values, levels)
    assert back.dtype == np.uint8 and np.array_equal(back, stored)


@every_levels
def test_a_value_goes_to_the_nearest_level(levels):
    values = np.random.default_rng(0).uniform(-1, 1, 5000).astype(np.float32)
    grid = 2 * np.arange(levels + 1) / levels - 1
    nearest = np.abs(values[:, None] - grid).argmin(1)
    is_tie = np.abs((values + 1) * levels / 2 % 1 - 0.5) < 1e-4
    assert np.array_equal(to_stored(values, levels)[~is_tie], nearest[~is_tie])


@every_levels
def test_values_beyond_the_ends_are_clipped(levels):
    assert to_stored(np.array([-9.0, -1.0001, 1.0001, 9.0]), levels).tolist() == [
        *(0, 0, levels, levels)
    ]


@every_levels
def test_a_generated_sample_lands_on_the_very_values_of_real_ones(levels):
    values = np.random.default_rng(1).normal(size=(40, 3)).astype(np.float32)
    seen = quantised(values, levels)
    assert np.array_equal(seen, quantised(seen, levels))
    assert np.isin(seen, to_values(np.arange(levels + 1), levels)).all()


def test_points_are_left_as_they_are():
    points = np.array([[-7.25, 0.1], [3.0, 1e-9]])
    for change in (to_values, to_stored, quantised):
        assert np.array_equal(change(points, None), points.astype(np.float32))
        assert change(points, None).dtype == np.float32

"""Stored integers and values: inverse on the grid, nearest and clipped off it."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from stages import refused

from routing.data import pixel_values
from routing.data.pixel_values import quantised, to_stored, to_values

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


def floats(*values, num=100):
    """`num` images of 2 x 2, with these values first in each."""
    stored = np.random.default_rng(0).normal(size=(num, 1, 2, 2)).astype(np.float32)
    stored.reshape(num, 4)[:, : len(values)] = values
    return stored


@pytest.mark.parametrize(
    ("stored", "levels", "word"),
    [
        (np.ones((3, 1, 2, 2), np.int16), 16, "uint8 .0..16. or floats in .-1, 1., got int16"),
        (np.ones((3, 1, 2, 2), np.int8), 16, "uint8 .0..16. or floats in .-1, 1., got int8"),
        (np.ones((3, 1, 2, 2), bool), 1, "got bool"),
        (np.full((3, 1, 2, 2), 17, np.uint8), 16, "wanted bytes of 0..16, got 17"),
        (np.ones((3, 2), np.uint8), None, "wanted samples that are floats, got uint8"),
        (floats(np.nan), None, "wanted finite samples, got nan or inf in 100 of 100"),
    ],
)
def test_what_no_image_is_stored_as_is_refused(stored, levels, word):
    with refused(f"^s.safetensors: .*{word}"):
        pixel_values.check_stored(stored, levels, "s.safetensors")


@pytest.mark.parametrize(
    ("stored", "levels"),
    [
        (np.full((3, 1, 2, 2), 16, np.uint8), 16),
        (np.full((3, 1, 2, 2), 255, np.uint8), 255),
        (np.zeros((0, 1, 2, 2), np.uint8), 16),
        (floats(), 16),
        (floats(300), None),  # points, latents
    ],
)
def test_what_images_are_stored_as_is_not(stored, levels):
    pixel_values.check_stored(stored, levels, "s")
    pixel_values.check_scale(stored, levels, "s")


@pytest.mark.parametrize("levels", [16, 255])
def test_floats_of_the_scale_of_bytes_are_refused(levels):
    """Real digits too, most of whose pixels are black; not those, nor noise, in their own."""
    stored = load_digits().images.reshape(-1, 1, 8, 8) * (levels / 16)
    with refused(rf"^s: wanted images in \[-1, 1\], got values from 0 to {levels}, .* beyond"):
        pixel_values.check_scale(stored.astype(np.float32), levels, "s")
    pixel_values.check_scale(pixel_values.to_values(stored, levels), levels, "s")
    pixel_values.check_scale(3 * floats(), levels, "s")


def test_samples_may_overshoot_and_some_may_be_lost():
    stored = floats()
    stored[:5] = 1000
    pixel_values.check_scale(stored, 16, "s")
    stored[5] = -1000
    with refused("6% of them beyond .*check the arm"):
        pixel_values.check_scale(stored, 16, "s")

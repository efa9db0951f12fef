"""How images are resized: each rule written down again, and what stands for no byte."""

import math
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image
from stages import refused

from routing.pretrained.image_networks.backbone import Resize
from routing.pretrained.resizing import RESIZES, to_bytes

SIZES = [((32, 32), 48), ((40, 40), 16), ((20, 14), 17), ((9, 30), 12)]


def values(stored):
    return torch.from_numpy(stored.astype(np.float32) * np.float32(2 / 255) - 1)


@pytest.fixture
def stored():
    draw = np.random.default_rng(0)
    return lambda *shape: draw.integers(256, size=shape, dtype=np.uint8)


def keys(s, a):
    """Keys' cubic kernel."""
    s = abs(s)
    if s < 1:
        return (a + 2) * s**3 - (a + 3) * s**2 + 1
    return a * s**3 - 5 * a * s**2 + 8 * a * s - 4 * a if s < 2 else 0.0


def antialiased(old, new):
    """The matrix [new, old] of a cubic filter (a = -1/2) as wide as the larger of both pixels."""
    matrix, scale = np.zeros((new, old)), old / new
    width = max(scale, 1)
    for i in range(new):
        centre = (i + 0.5) * scale
        for j in range(old):
            matrix[i, j] = keys((j + 0.5 - centre) / width, -0.5)
    return matrix / matrix.sum(1, keepdims=True)


def tensorflow1(old, new):
    """The matrix [new, old] of a line between neighbours, out[i] at i old / new."""
    matrix = np.zeros((new, old))
    for i in range(new):
        at = i * old / new
        low = math.floor(at)
        matrix[i, low] += 1 - (at - low)
        matrix[i, min(low + 1, old - 1)] += at - low
    return matrix


LINEAR = {"bicubic_antialias": antialiased, "tf1_bilinear": tensorflow1}


def test_the_table_is_that_of_the_option():
    assert RESIZES.keys() == set(get_args(Resize)) == LINEAR.keys() | {"bicubic_pil"}


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize(("shape", "size"), SIZES)
def test_a_linear_rule_is_its_matrix(name, shape, size, stored):
    x = values(stored(2, 3, *shape))
    rows, columns = (LINEAR[name](side, size) for side in shape)
    expected = np.einsum("ih,jw,bchw->bcij", rows, columns, x.double().numpy())
    np.testing.assert_allclose(RESIZES[name](x, size).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(("shape", "size"), SIZES)
def test_pillows_is_of_the_stored_images_as_dgm_eval_resizes_them(shape, size, stored):
    bytes_ = stored(2, 3, *shape)
    found = RESIZES["bicubic_pil"](values(bytes_), size)
    for image, ours in zip(bytes_, found, strict=True):
        whole = Image.fromarray(image.transpose(1, 2, 0))  # its three channels at once
        truth = np.asarray(whole.resize((size, size), Image.BICUBIC)).transpose(2, 0, 1)
        assert torch.equal(ours, values(truth))


def test_the_rules_differ_and_twice_are_the_same(stored):
    """By far more than rounding: the rule is part of a metric's value."""
    x = values(stored(1, 3, 32, 32))
    found = {name: rule(x, 48) for name, rule in RESIZES.items()}
    for name, first in found.items():
        assert torch.equal(first, RESIZES[name](x, 48))
        for other, second in found.items():
            if name < other:
                assert (first - second).abs().max() > 0.02, (name, other)
    assert found["bicubic_antialias"].abs().max() > 1 >= found["bicubic_pil"].abs().max()


@pytest.mark.parametrize("name", RESIZES)
def test_an_image_of_the_right_size_is_left_alone_and_is_resized_alone(name, stored):
    x = values(stored(3, 1, 24, 24))
    torch.testing.assert_close(RESIZES[name](x, 24), x, atol=1e-6, rtol=0)
    alone = torch.cat([RESIZES[name](image[None], 31) for image in x])
    torch.testing.assert_close(RESIZES[name](x, 31), alone, atol=1e-6, rtol=0)


def test_bytes_are_those_that_were_stored():
    every = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    assert np.array_equal(to_bytes(values(every), "x"), every)
    by_division = torch.from_numpy(every).float() / 127.5 - 1  # one rounding more
    assert np.array_equal(to_bytes(by_division, "x"), every)


@pytest.mark.parametrize("bad", [1.01, -1.004, 0.0, 2e-5, 255.0, math.nan, math.inf])
def test_what_is_no_byte_is_refused(bad):
    x = values(np.full((2, 1, 3, 3), 128, np.uint8))
    x[1, 0, 0, 2] = bad + (1 / 255 if bad == 2e-5 else 0)
    x[1, 0, 2] = bad + (1 / 255 if bad == 2e-5 else 0)
    with refused("^x: images outside uint8: wanted .* and 3 more; store the images as bytes$"):
        to_bytes(x, "x")
    with refused("^bicubic_pil: images outside uint8"):
        RESIZES["bicubic_pil"](x, 8)

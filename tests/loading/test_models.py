"""Networks and closed forms come back from their arrays as they were."""

import json

import numpy as np
import pytest
import torch
from stages import refused

from routing.flow.conditions import Condition
from routing.loading import models

OPTIONS = {"patch_size": 2, "width": 16, "depth": 1, "num_heads": 2}


@pytest.mark.parametrize("more", [{}, {"num_logits": 3}, {"modulation": "adaln_single"}])
def test_a_network_comes_back_from_its_arrays(more, rng):
    note = models.dit_config((2, 4, 4), **OPTIONS, **more)
    assert note["image_size"] == 4 and note["channels"] == 2
    net = models.build_dit(note)
    for p in net.parameters():
        p.data = 0.3 * torch.randn(p.shape, generator=rng)
    arrays = {name: p.detach().numpy() for name, p in net.named_parameters()}
    loaded = models.load(arrays, {"model": json.loads(json.dumps(note))})
    x, t = torch.randn(3, 2, 4, 4, generator=rng), torch.rand(3, generator=rng)
    assert torch.equal(loaded(x, t), net(x, t)) and loaded(x, t).std() > 0.01
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())


def test_a_new_network_hangs_on_the_seed():
    note = models.dit_config((1, 4, 4), **OPTIONS)
    nets = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        nets.append(models.build_dit(note).patch_embed.weight)
    assert torch.equal(nets[0], nets[1]) and not torch.equal(nets[0], nets[2])


@pytest.mark.parametrize("shape", [(2,), (1, 4, 6), (4, 4)])
def test_what_is_no_square_image_is_refused(shape):
    with refused("a transformer wants square images"):
        models.dit_config(shape, **OPTIONS)


def test_a_mixture_of_one_component_has_the_velocity_of_a_gaussian(rng):
    arrays = {
        "weights": np.array([0.3]),
        "means": np.array([[1.0, -2.0]]),
        "stds": np.array([0.5]),
    }
    world = models.load(arrays, {"model": {"name": "mixture"}})
    x = torch.randn(5, 2, generator=rng, dtype=torch.float64)
    t = torch.rand(5, generator=rng, dtype=torch.float64)
    a, m = (1 - t)[:, None], torch.tensor([1.0, -2.0], dtype=torch.float64)
    slope = (t[:, None] - a * 0.25) / (a**2 * 0.25 + t[:, None] ** 2)
    torch.testing.assert_close(world.velocity(x, t), slope * (x - a * m) - m)


def test_a_mixture_with_labels_is_asked_by_label(rng):
    arrays = {
        "weights": np.array([0.5, 0.25, 0.25]),
        "means": np.array([[1.0, -2.0], [0.0, 3.0], [-1.0, 0.0]]),
        "stds": np.array([0.5, 1.0, 2.0]),
    }
    labelled = arrays | {"labels": np.array([2, 2, 0])}
    note = {"model": {"name": "mixture", "num_labels": 4}}
    world, plain = models.load(labelled, note), models.load_mixture(arrays)
    x, t = torch.randn(6, 2, generator=rng).double(), torch.rand(6, generator=rng).double()
    assert torch.equal(world.velocity(x, t), plain.velocity(x, t))
    label = torch.tensor([2, 0, 2, 0, 4, 1])  # null, and a label that none has: null too
    both = plain.restrict(torch.tensor([0, 1])).velocity(x, t)
    one = plain.restrict(torch.tensor([2])).velocity(x, t)
    all_ = plain.velocity(x, t)
    expected = torch.stack([both[0], one[1], both[2], one[3], all_[4], all_[5]])
    torch.testing.assert_close(world.velocity(x, t, Condition(label)), expected)


def test_the_weights_of_a_mixture_are_renormalised():
    arrays = {
        "weights": np.array([1.0, 3.0]),
        "means": np.array([[0.0], [1.0]]),
        "stds": np.array([1.0, 2.0]),
    }
    world = models.load_mixture(arrays)
    assert world.weights.tolist() == [0.25, 0.75]
    assert world.covs.flatten().tolist() == [1.0, 4.0]

"""Weights of a training, whose names have a prefix, are refused with the prefix in the message."""

import re

import pytest
import torch
from stages import refused
from torch import nn

from routing.pretrained.weight_files import load_weights, read_tensors


def network():
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "model.", "ema.", "module._orig_mod.", "ema.module."]
)
def test_a_prefix_of_all_names_is_named(prefix, tmp_path):
    state = {prefix + name: tensor for name, tensor in network().state_dict().items()}
    torch.save(state, tmp_path / "x.pt")
    num = len(state)
    with refused(
        re.escape(f"{num} of its {num} names begin with {prefix!r}, as in the file of a training")
    ):
        load_weights(network(), read_tensors(tmp_path / "x.pt"), "x")


def test_two_networks_in_one_file(tmp_path):
    """The average is beside the weights: the message names one, and how many tensors it has."""
    state = network().state_dict()
    both = {f"model.{n}": t for n, t in state.items()} | {f"ema.{n}": t for n, t in state.items()}
    with refused(re.escape("7 of its 14 names begin with 'model.'")):
        load_weights(network(), both, "x")


def test_other_names_are_another_file():
    state = network().state_dict()
    for other in (
        {f"model.x{name}": tensor for name, tensor in state.items()},
        state | {"module.0.weight": state["0.weight"]},
        {},
    ):
        with refused("the weights do not fit the network: .*; use the file that belongs to the"):
            load_weights(network(), other, "x")
    load_weights(network(), state, "x")

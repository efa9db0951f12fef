"""Vendi score: closed forms, repeated rows, replicates."""

import pytest
import torch

from routing.vendi import vendi_score


def vendi(x, weights=None):
    return vendi_score(x, torch.ones(1, len(x)) if weights is None else weights)


def test_alike_is_one_and_orthogonal_is_their_number():
    assert vendi(torch.ones(9, 4)).item() == pytest.approx(1)
    assert vendi(3 * torch.eye(6)).item() == pytest.approx(6)  # as many samples as dimensions
    assert vendi(torch.eye(4).repeat(5, 1)).item() == pytest.approx(4)  # more
    assert vendi(torch.eye(12)[:5]).item() == pytest.approx(5)  # fewer


@pytest.mark.parametrize(("num", "dim"), [(30, 5), (6, 20)])
def test_it_is_the_entropy_of_the_similarities(num, dim, rng):
    x = torch.randn(num, dim, generator=rng, dtype=torch.float64)
    unit = x / x.norm(dim=1, keepdim=True)
    p = torch.linalg.eigvalsh(unit @ unit.T / num).clamp_min(1e-300)
    assert vendi(x).item() == pytest.approx(torch.exp(-(p * p.log()).sum()).item(), rel=1e-9)


@pytest.mark.parametrize(("num", "dim"), [(24, 4), (12, 40)])
def test_a_count_is_a_repeated_row_and_a_zero_one_left_out(num, dim, rng):
    x = torch.randn(num, dim, generator=rng, dtype=torch.float64)
    weights = torch.ones(4, num)
    weights[1, :3], weights[2, 5], weights[3, 0], weights[3, 1] = 0, 3, 2, 0
    found = vendi(x, weights)
    for row, value in zip(weights.long(), found, strict=True):
        assert value.item() == pytest.approx(vendi(x.repeat_interleave(row, 0)).item(), rel=1e-9)


def test_a_row_without_direction_is_refused():
    x = torch.ones(4, 3)
    x[2] = 0
    with pytest.raises(ValueError) as error:
        vendi(x)
    assert "\n" not in str(error.value)

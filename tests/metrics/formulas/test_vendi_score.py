"""Vendi score: closed forms, repeated rows, replicates."""

import pytest
import torch

from routing.metrics.formulas.vendi_score import vendi_score


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


def test_orthogonal_modes_have_the_entropy_of_their_shares():
    """8, 4 and 4 of 16 rows, however long each: 2 sqrt 2, by either matrix."""
    modes = torch.tensor([0] * 8 + [1] * 4 + [2] * 4)
    for dim in (5, 40):
        x = torch.eye(dim)[modes] * torch.arange(1.0, 17)[:, None]
        assert vendi(x).item() == pytest.approx(8**0.5)


@pytest.mark.parametrize("block", [1, 7, 24, 100])
def test_the_block_does_not_matter(block, rng):
    x = torch.randn(24, 4, generator=rng, dtype=torch.float64)
    w = torch.randint(0, 3, (5, 24), generator=rng).double()  # row 0 too leaves some out
    found = vendi_score(x, w, block)
    torch.testing.assert_close(found, vendi_score(x, w), rtol=1e-12, atol=0)
    alone = torch.stack([vendi(x.repeat_interleave(row.long(), 0))[0] for row in w])
    torch.testing.assert_close(found, alone, rtol=1e-9, atol=0)


def test_single_precision_is_counted_in_double(rng):
    for num in (3, 30):
        x = torch.randn(num, 6, generator=rng)
        assert torch.equal(vendi(x), vendi(x.double())) and vendi(x).dtype == torch.float64


def test_the_right_way_round(rng):
    """More modes, wider modes: more; and no more than samples or dimensions."""
    modes, noise = torch.eye(8).double(), torch.randn(96, 8, generator=rng, dtype=torch.float64)
    of = lambda num, width: vendi(modes[torch.arange(96) % num] + width * noise).item()  # noqa: E731
    found = [of(num, 0.05) for num in (1, 2, 4, 8)]
    assert found == sorted(found) and found[0] < 1.2 and found[3] > 7.5
    assert found[1] < of(2, 0.2) < of(2, 0.5) < 8


def test_bad_input_is_one_line():
    x = torch.ones(4, 3)
    broken, zero = x.clone(), x.clone()
    broken[1, 2], zero[2] = torch.nan, 0
    refused = [
        ((broken,), "samples: wanted finite features, got nan or inf in 1 of 4 rows"),
        ((zero,), "samples: wanted rows of a positive finite length, got zero .* in 1 of 4"),
        ((x, torch.zeros(1, 4)), "wanted at least 1 samples in every replicate, got 0"),
        ((x[:0],), "samples: wanted at least 1 rows, got 0"),
    ]
    for arguments, message in refused:
        with pytest.raises(ValueError, match=message) as error:
            vendi(*arguments)
        assert "\n" not in str(error.value) and "; " in str(error.value)

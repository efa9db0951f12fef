"""The policy `switch`: its time, in any precision, and the carries of its parts."""

import pytest
import torch
from posteriors import BATCH, posterior, trajectory, walk

from routing.ensemble.policies import Full, Sample, Sticky, Switch, TopK


def test_switch_is_early_above_and_late_from_its_time_down(rng):
    p, u = posterior(rng, 5), torch.rand(5, generator=rng)
    t = torch.tensor([1.0, 0.7, 0.6, 0.5, 0.0])
    w, _ = Switch(Full(), TopK(1), 0.6)(p, t, u, None)
    assert torch.equal(w[:2], p[:2])
    assert torch.equal(w[2:], TopK(1)(p, t, u, None)[0][2:])


@pytest.mark.parametrize("t", [0.3, 0.1 * 3, torch.tensor(0.3).item(), torch.tensor(0.3).double()])
def test_a_threshold_in_time_is_reached_in_any_precision(t, rng):
    p, u, expected = posterior(rng), torch.rand(BATCH, generator=rng), None
    for dtype in (torch.float32, torch.float64):
        time = torch.full((BATCH,), float(t), dtype=dtype)
        w, carry = Switch(Full(), Sticky(0.3), 0.3)(p, time, u, None)
        assert torch.equal(w, Sample()(p, time, u, expected)[0])
        assert not Switch(Full(), Sticky(0.3), 0.3).needs_posterior(float(t), carry)


def test_switch_keeps_the_carries_of_its_parts(rng):
    calls = list(trajectory(rng, torch.linspace(1, 0, 6)))
    weights = walk(Switch(Sticky(), Sticky(), 0.6), calls)
    early, late = Sample()(*calls[0], None)[0], Sample()(*calls[2], None)[0]
    assert all(torch.equal(w, early) for w in weights[:2])
    assert all(torch.equal(w, late) for w in weights[2:])
    # Also where time goes back, as in samplers that add noise again.
    weights = walk(Switch(Sticky(), Sticky(), 0.6), [calls[i] for i in (0, 2, 1, 3)])
    assert torch.equal(weights[2], early) and torch.equal(weights[3], late)

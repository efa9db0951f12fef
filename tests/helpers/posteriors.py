"""What the tests of policies share: posteriors of every kind, trajectories of them, a pilot."""

import pytest
import torch

from routing.ensemble.policies import Pilot, bind_pilot

BATCH, EXPERTS = 64, 5


def posterior(rng, batch=BATCH, experts=EXPERTS):
    """Rows of every kind: random, peaked, with zeros, with ties, one-hot, uniform."""
    p = (4 * torch.randn(batch, experts, generator=rng)).softmax(dim=1)
    p[::4] = p[::4].masked_fill(torch.rand(len(p[::4]), experts, generator=rng) < 0.4, 0.0)
    p[::4, 1] += 1e-3
    p[1::8] = torch.randint(1, 3, (len(p[1::8]), experts), generator=rng).float()
    p[5::16] = 1.0
    p[13::16] = torch.eye(experts)[torch.arange(len(p[13::16])) % experts]
    return p / p.sum(dim=1, keepdim=True)


def trajectory(rng, times, batch=BATCH):
    """(p, t, u) at each call; `times` [calls] for all samples or [calls, batch]."""
    for t in times:
        t = t.expand(batch) if t.ndim == 0 else t
        yield posterior(rng, batch), t, torch.rand(batch, generator=rng)


def walk(policy, calls):
    """The weights of all calls of a trajectory."""
    carry, weights = None, []
    for p, t, u in calls:
        w, carry = policy(p, t, u, carry)
        weights.append(w)
    return torch.stack(weights)


def disagreement(rng, experts=EXPERTS, bins=4, dim=3):
    """||v_i - v_j||^2 / dim of random velocities, and these: [bins, i, j], [bins, i, dim]."""
    v = torch.randn(bins, experts, dim, generator=rng, dtype=torch.float64)
    return (v[:, :, None] - v[:, None]).square().mean(dim=-1), v


def soft_pilot(experts=EXPERTS, states=400, seed=0):
    """All posteriors positive and without ties, at times that fill [0, 1]."""
    rng = torch.Generator().manual_seed(seed)
    t = torch.rand(states, generator=rng)
    p = (3 * torch.randn(states, experts, generator=rng) * (1 - t[:, None])).softmax(dim=1)
    return Pilot(t, p, disagreement(rng, experts)[0].float())


def with_soft_pilot(policy, experts=EXPERTS):
    """Return the policy bound to `soft_pilot` of so many experts."""
    return bind_pilot(policy, soft_pilot(experts))


def assert_one_line_error(call, *words):
    """Check that the call raises a ValueError of one line that contains all these words."""
    with pytest.raises(ValueError) as error:
        call()
    text = str(error.value)
    assert "\n" not in text and text == text[0].lower() + text[1:]
    assert all(word in text for word in words), text

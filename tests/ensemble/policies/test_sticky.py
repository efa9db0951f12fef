"""The policy `sticky`: when it draws, what it keeps, when it needs the posterior."""

import torch
from posteriors import trajectory, walk

from routing.ensemble.policies import Full, Sample, Sticky, Switch, TopK


def test_sticky_uses_before_until_it_draws_and_keeps_the_expert(rng):
    calls = list(trajectory(rng, torch.linspace(1, 0, 11)))
    weights = walk(Sticky(0.7, TopK(2)), calls)
    for step in range(3):
        assert torch.equal(weights[step], TopK(2)(*calls[step], None)[0])
    drawn, _ = Sample()(*calls[3], None)  # t = 0.7
    assert all(torch.equal(w, drawn) for w in weights[3:])
    assert not torch.equal(drawn, Sample()(*calls[4], None)[0])
    assert torch.equal(walk(Sticky(), calls)[-1], Sample()(*calls[0], None)[0])
    # A grid that starts below t_star: drawn at its first call.
    assert torch.equal(walk(Sticky(), calls[5:])[-1], Sample()(*calls[5], None)[0])


def test_when_sticky_needs_the_posterior(rng):
    def requested(policy):
        carry, answers = None, []
        for p, t, u in trajectory(rng, torch.linspace(1, 0, 6)):
            answers.append(policy.needs_posterior(t[0].item(), carry))
            _, carry = policy(p, t, u, carry)
        return answers

    yes, no = True, False
    assert requested(Full()) == [yes] * 6
    assert requested(Sticky()) == [yes] + [no] * 5
    assert requested(Sticky(0.6)) == [yes, yes, yes, no, no, no]
    assert requested(Sticky(0.4, Sticky(0.8))) == [yes, yes, no, yes, no, no]
    assert requested(Switch(Full(), Sticky(), 0.6)) == [yes, yes, yes, no, no, no]
    assert requested(Switch(Sticky(), TopK(1), 0.4)) == [yes, no, no, yes, yes, yes]

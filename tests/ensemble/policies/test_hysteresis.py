"""The policy `hysteresis`: when it switches, and how often."""

import pytest
import torch
from posteriors import BATCH, EXPERTS, walk

from routing.ensemble.policies import Hysteresis, TopK


def changes(weights):
    """How often each sample's experts changed between calls."""
    return ((weights[1:] > 0) != (weights[:-1] > 0)).any(dim=2).sum(dim=0)


def wander(rng, calls, batch=BATCH):
    """Posteriors that drift: logits on a random walk."""
    logits = torch.randn(calls, batch, EXPERTS, generator=rng, dtype=torch.float64).cumsum(dim=0)
    times = torch.linspace(1, 0, calls)[:, None].expand(-1, batch)
    return list(zip((logits / 2).softmax(dim=2), times, torch.zeros(calls, batch), strict=True))


@pytest.mark.parametrize("margin", [0.0, 0.1, 0.4, 1.0])
def test_hysteresis_is_the_loop_of_its_definition(margin, rng):
    calls = wander(rng, 60)
    for i, rows in enumerate(walk(Hysteresis(margin), calls).transpose(0, 1).tolist()):
        held = None
        for (p, _, _), row in zip(calls, rows, strict=True):
            p = p[i].tolist()
            if held is None or max(p) - p[held] > margin:
                held = p.index(max(p))
            assert row == [float(k == held) for k in range(EXPERTS)]


def test_hysteresis_switches_less_the_larger_its_margin_and_never_more_than_top1(rng):
    calls = wander(rng, 200)
    counts = [changes(walk(p, calls)) for p in (TopK(1), *map(Hysteresis, (0.0, 0.2, 0.5, 1.0)))]
    assert torch.equal(counts[0], counts[1])  # no ties here
    for policy in counts[1:]:
        assert (policy <= counts[0]).all()
    totals = [count.sum().item() for count in counts]
    assert totals[1] > 2 * totals[3] > 0 and totals[1] > totals[2] > totals[3] > totals[4] == 0


def test_hysteresis_needs_more_than_its_margin():
    def expert(margin, *rows):
        calls = [(torch.tensor([row]), torch.ones(1), torch.zeros(1)) for row in rows]
        return walk(Hysteresis(margin), calls)[-1].argmax().item()

    assert expert(0.0, [0.25, 0.5, 0.25], [0.5, 0.5, 0.0]) == 1  # the present one wins ties
    assert expert(0.0, [0.5, 0.5, 0.0]) == 0  # the first time the lower index does
    assert expert(0.25, [0.0, 0.5, 0.5], [0.0, 0.375, 0.625]) == 1
    assert expert(0.25, [0.0, 0.5, 0.5], [0.0, 0.375 - 2**-9, 0.625 + 2**-9]) == 2
    assert expert(0.5, [0.0, 0.5, 0.5], [0.0, 0.25, 0.75]) == 1
    assert expert(1.0, [0.0, 1.0], [1.0, 0.0]) == 1

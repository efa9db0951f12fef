"""The router `conditional_prior`: counts by hand, and labels that were not counted."""

import pytest
import torch
from router_inputs import BATCH, COUNTS, LABELS, PRIOR, states

from routing.ensemble.routers import ConditionalPrior
from routing.flow.conditions import Condition


def test_conditional_prior_counts_training_images(rng):
    x, t = states(rng)
    router = ConditionalPrior(PRIOR, COUNTS)
    shares = torch.stack([torch.tensor([3 / 8, 1 / 8, 4 / 8]), PRIOR, torch.tensor([0, 0, 1.0])])
    shares = torch.cat([shares, PRIOR[None]])
    for labels in (LABELS, LABELS + 1):  # no image of label 1, and the null label 3: the prior
        p = router.posterior(x, t, router.start(x, None, Condition(label=labels)))
        torch.testing.assert_close(p, shares.double()[labels])
    assert torch.equal(router.posterior(x, t, router.start(x, None)), PRIOR.expand(BATCH, -1))


@pytest.mark.parametrize(
    "condition, message",
    [
        (Condition(text=torch.ones(BATCH, 1, 5)), "needs a label, got a text"),
        (Condition(label=LABELS - 1), "in 0..3 .3: null., got -1..1"),
        (Condition(label=LABELS + 2), "in 0..3 .3: null., got 2..4"),
    ],
)
def test_conditional_prior_refuses_what_it_has_not_counted(condition, message, rng):
    with pytest.raises(ValueError, match=message) as error:
        ConditionalPrior(PRIOR, COUNTS).start(states(rng)[0], None, condition)
    assert "\n" not in str(error.value)

import dataclasses

import pytest
import torch
from posteriors import BATCH, EXPERTS, posterior, trajectory, walk, with_soft_pilot

from routing.ensemble.policies import (
    POLICIES,
    Budget,
    DisagreementGated,
    EntropyGated,
    Full,
    Hysteresis,
    Nucleus,
    Sample,
    Sticky,
    Switch,
    Threshold,
    TopK,
    ranking,
)

GATES = [EntropyGated(0.4), EntropyGated(0.8, 2, 4), DisagreementGated(0.3, 1, 2)]
CASES = {
    "full": [Full()],
    "top_k": [TopK(1), TopK(2), TopK(EXPERTS)],
    "nucleus": [Nucleus(0.3), Nucleus(0.9), Nucleus(1.0)],
    "threshold": [Threshold(0.0), Threshold(0.2), Threshold(1.0)],
    "sample_each_step": [Sample()],
    "sticky": [
        Sticky(),
        Sticky(0.5),
        Sticky(0.5, TopK(2)),
        Sticky(0.5, GATES[2]),
        Sticky(0.3, Sticky(0.7, Sample())),
    ],
    "hysteresis": [Hysteresis(0.0), Hysteresis(0.2), Hysteresis(1.0)],
    "entropy_gated": [EntropyGated(0.0), *GATES[:2]],
    "disagreement_gated": [DisagreementGated(0.0, 2), DisagreementGated(0.3), GATES[2]],
    "budget": [
        Budget(1.0),
        Budget(1.5, Nucleus()),
        Budget(2.5, Threshold()),
        Budget(1.2, GATES[0]),
        Budget(2.5, GATES[1]),
        Budget(1.7, GATES[2]),
    ],
    "switch": [
        Switch(Full(), TopK(1)),
        Switch(TopK(2), Sticky(), 0.6),
        Switch(Sticky(0.8), Sticky(0.4, Nucleus()), 0.5),
        Switch(Switch(Sample(), Full(), 0.9), Threshold(), 0.2),
        Switch(Hysteresis(0.3), Sticky(0.2, Hysteresis()), 0.6),
        Switch(Budget(1.5), DisagreementGated(0.2, 1, 3), 0.6),
    ],
}
ALL = [policy for cases in CASES.values() for policy in cases]
PURE = [Full(), TopK(1), TopK(2), TopK(4), Nucleus(0.5), Nucleus(0.9), Nucleus(1.0)] + [
    Threshold(0.1),
    Threshold(0.3),
    Sample(),
]


def by_loop(policy, p, u):
    """Row by row in plain Python, from the definitions."""
    order = sorted(range(len(p)), key=lambda k: (-p[k], k))
    match policy:
        case Full():
            chosen = range(len(p))
        case TopK(k):
            chosen = order[:k]
        case Nucleus(mass):
            chosen = []
            while sum(p[k] for k in chosen) < mass - 1e-12 or not chosen:
                chosen = order[: len(chosen) + 1]
        case Threshold(min_p):
            chosen = {order[0]} | {k for k in order if p[k] >= min_p}
        case Sample():
            total = 0.0
            for k, p_k in enumerate(p):
                total += p_k
                if u < total:
                    return [float(j == k) for j in range(len(p))]
    kept = [p_k if k in chosen else 0.0 for k, p_k in enumerate(p)]
    return [p_k / sum(kept) for p_k in kept]


def test_the_list_is_the_table():
    assert CASES.keys() == POLICIES.keys()
    assert all(type(policy) is POLICIES[name] for name in CASES for policy in CASES[name])


@pytest.mark.parametrize("policy", ALL, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_are_a_distribution_on_the_support_of_p(policy, dtype, rng):
    policy = with_soft_pilot(policy)
    carry = None
    for p, t, u in trajectory(rng, torch.linspace(1, 0, 11)):
        p = p.to(dtype)
        w, carry = policy(p, t, u, carry)
        assert w.dtype == dtype and w.shape == p.shape
        assert (w >= 0).all()
        torch.testing.assert_close(w.sum(dim=1), torch.ones(BATCH, dtype=dtype))
        if policy in PURE:
            assert not w[p == 0].any()


@pytest.mark.parametrize("policy", ALL, ids=str)
@pytest.mark.parametrize("mixed", [False, True])
def test_rows_do_not_see_each_other(policy, mixed, rng):  # bitwise, carry included
    policy = with_soft_pilot(policy)
    times = torch.linspace(1, 0, 9)
    if mixed:
        times = torch.rand(9, BATCH, generator=rng).sort(dim=0, descending=True).values
    calls = list(trajectory(rng, times))
    together = walk(policy, calls)
    for i in range(0, BATCH, 3):
        alone = walk(policy, [tuple(a[i : i + 1] for a in call) for call in calls])
        assert torch.equal(together[:, i : i + 1], alone)
    order = torch.randperm(BATCH, generator=rng)
    permuted = walk(policy, [tuple(a[order] for a in call) for call in calls])
    assert torch.equal(together[:, order], permuted)


@pytest.mark.parametrize("policy", ALL, ids=str)
@pytest.mark.parametrize("double", [False, True])
def test_the_posterior_can_be_left_out_where_it_is_not_needed(policy, double, rng):
    policy = with_soft_pilot(policy)
    times = torch.linspace(1, 0, 11, dtype=torch.float64 if double else torch.float32)
    carry = with_p = None
    for p, t, u in trajectory(rng, times):
        needed = policy.needs_posterior(t[0].item(), carry)
        w, carry = policy(p if needed else None, t, u, carry)
        expected, with_p = policy(p, t, u, with_p)
        assert torch.equal(w, expected)


@pytest.mark.parametrize("policy", ALL, ids=str)
def test_a_single_expert_has_weight_1(policy):
    if policy.min_experts == 1:
        policy = with_soft_pilot(policy, 1)
        calls = [(torch.ones(3, 1), torch.full((3,), t), torch.rand(3)) for t in (1.0, 0.5, 0.1)]
        assert torch.equal(walk(policy, calls), torch.ones(3, 3, 1))


@pytest.mark.parametrize("policy", ALL, ids=str)
def test_min_experts_is_the_smallest_number_that_works(policy):
    for num_experts in range(1, EXPERTS + 1):
        p = torch.full((2, num_experts), 1 / num_experts)
        calls = [(p, torch.full((2,), t), torch.zeros(2)) for t in (1.0, 0.0)]
        if num_experts >= policy.min_experts:
            walk(with_soft_pilot(policy, num_experts), calls)
        else:
            with pytest.raises(ValueError, match=f"1..{num_experts}, got k=|reaches on .* got "):
                walk(with_soft_pilot(policy, num_experts), calls)


def test_min_experts_of_nested_policies():
    assert TopK(3).min_experts == 3
    assert Switch(TopK(3), TopK(2)).min_experts == 3
    assert Switch(Full(), Sticky(0.5, TopK(4))).min_experts == 4
    alone = (Full(), Nucleus(), Threshold(), Sample(), Sticky(), Hysteresis(), EntropyGated())
    assert {p.min_experts for p in (*alone, DisagreementGated(), Budget(1.0))} == {1}
    assert EntropyGated(0.5, 3).min_experts == DisagreementGated(0.5, 1, 3).min_experts == 3
    assert Budget(1.5, EntropyGated(0.5, 1, 3)).min_experts == 3
    assert Budget(3.0).min_experts == 3 and Budget(3.01).min_experts == 4


@pytest.mark.parametrize("policy", PURE, ids=str)
def test_pure_policies_are_the_loops_of_their_definition(policy, rng):
    p, u = posterior(rng, 400).double(), torch.rand(400, generator=rng).double()
    p = p / p.sum(dim=1, keepdim=True)
    w, carry = policy(p, torch.rand(400, generator=rng), u, None)
    expected = [by_loop(policy, *row) for row in zip(p.tolist(), u.tolist(), strict=True)]
    assert carry is None
    torch.testing.assert_close(w, torch.tensor(expected, dtype=torch.float64))


def test_ties_go_to_the_lower_index():
    p = torch.full((1, 40), 1 / 40)  # long enough for an unstable sort to show
    t, u = torch.ones(1), torch.zeros(1)
    assert ranking(p).tolist() == [list(range(40))]
    for policy, count in [(TopK(1), 1), (TopK(7), 7), (Nucleus(0.5), 20), (Threshold(1.0), 1)]:
        assert policy(p, t, u, None)[0].nonzero()[:, 1].tolist() == list(range(count))
    p = torch.tensor([[0.2, 0.3, 0.2, 0.3]])
    assert TopK(1)(p, t, u, None)[0].tolist() == [[0, 1, 0, 0]]
    assert TopK(3)(p, t, u, None)[0].nonzero()[:, 1].tolist() == [0, 1, 3]


@pytest.mark.parametrize("policy", ALL, ids=str)
def test_a_row_of_zeros_in_the_carry_has_no_history(policy, rng):
    """Samples that join a batch later are as those that start."""
    policy = with_soft_pilot(policy)
    calls = list(trajectory(rng, torch.linspace(1, 0, 7)))
    _, carry = policy(*calls[0], None)
    fresh = torch.arange(BATCH) % 2 == 0

    def cleared(part):
        if isinstance(part, tuple):
            return tuple(map(cleared, part))
        return part if part is None else torch.where(fresh[:, None], torch.zeros_like(part), part)

    start, carry = None, cleared(carry)
    for call in calls[3:]:
        w, carry = policy(*call, carry)
        expected, start = policy(*call, start)
        assert torch.equal(w[fresh], expected[fresh])


@pytest.mark.parametrize(
    "kind, options",
    [
        (TopK, {"k": 0}),
        (TopK, {"k": -1}),
        (Nucleus, {"mass": 0.0}),
        (Nucleus, {"mass": 1.1}),
        (Nucleus, {"mass": float("nan")}),
        (Threshold, {"min_p": -0.1}),
        (Threshold, {"min_p": 1.1}),
        (Hysteresis, {"margin": -0.1}),
        (Hysteresis, {"margin": 1.1}),
        (EntropyGated, {"threshold": -0.1}),
        (EntropyGated, {"threshold": float("nan")}),
        (EntropyGated, {"few": 0}),
        (EntropyGated, {"few": 2, "many": 2}),
        (DisagreementGated, {"threshold": -0.1}),
        (DisagreementGated, {"few": 0}),
        (DisagreementGated, {"few": 2, "many": 1}),
        (Budget, {"mean_experts": 0.9}),
        (Budget, {"mean_experts": float("nan")}),
        (Budget, {"mean_experts": 1.5, "by": Full()}),
        (Budget, {"mean_experts": 1.5, "by": Budget(1.5)}),
        (Budget, {"mean_experts": 1.5, "by": EntropyGated(0.5, 2)}),
        (Budget, {"mean_experts": 2.5, "by": DisagreementGated(0.5, 1, 2)}),
        (Sticky, {"t_star": -0.1}),
        (Sticky, {"t_star": 1.1}),
        (Switch, {"early": Full(), "late": Full(), "t_switch": 1.5}),
        (Switch, {"early": Full(), "late": Full(), "t_switch": -0.5}),
    ],
)
def test_impossible_options_are_one_line(kind, options):
    with pytest.raises(ValueError) as error:
        kind(**options)
    text = str(error.value)
    assert "\n" not in text and ", got " in text and text == text[0].lower() + text[1:]


@pytest.mark.parametrize("policy", ALL, ids=str)
def test_choices_are_frozen_and_have_a_docstring(policy):
    assert dataclasses.is_dataclass(policy) and hash(policy) == hash(dataclasses.replace(policy))
    assert type(policy).__doc__.splitlines()[0].endswith(".")

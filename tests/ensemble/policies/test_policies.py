import dataclasses

import pytest
import scipy.stats
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
    "sample": [Sample()],
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
def test_rows_do_not_see_each_other(policy, mixed, rng):  # bitwise, memory included
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
def test_one_expert_speaks_always(policy):
    if policy.min_experts == 1:
        policy = with_soft_pilot(policy, 1)
        calls = [(torch.ones(3, 1), torch.full((3,), t), torch.rand(3)) for t in (1.0, 0.5, 0.1)]
        assert torch.equal(walk(policy, calls), torch.ones(3, 3, 1))


@pytest.mark.parametrize("policy", ALL, ids=str)
def test_least_experts_is_where_it_starts_to_work(policy):
    for num_experts in range(1, EXPERTS + 1):
        p = torch.full((2, num_experts), 1 / num_experts)
        calls = [(p, torch.full((2,), t), torch.zeros(2)) for t in (1.0, 0.0)]
        if num_experts >= policy.min_experts:
            walk(with_soft_pilot(policy, num_experts), calls)
        else:
            with pytest.raises(ValueError, match=f"1..{num_experts}, got k=|reaches on .* got "):
                walk(with_soft_pilot(policy, num_experts), calls)


def test_least_experts_of_nested_policies():
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


@pytest.mark.parametrize("num_experts", [2, 5, 7, 8, 10, 14, 64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nucleus_counts_experts_at_equal_shares(num_experts, dtype):
    p = torch.full((1, num_experts), 1 / num_experts, dtype=dtype)
    for kept in range(1, num_experts + 1):
        for mass in (kept / num_experts, (kept - 0.5) / num_experts, (kept - 1e-5) / num_experts):
            w, _ = Nucleus(mass)(p, torch.ones(1), torch.zeros(1), None)
            assert (w > 0).sum() == kept


def test_nucleus_at_its_edges():
    t, u = torch.ones(1), torch.zeros(1)
    p = torch.tensor([[0.1, 0.0, 0.6, 0.3]])
    for mass, kept in [(0.6, [2]), (0.61, [2, 3]), (0.9, [2, 3]), (0.91, [0, 2, 3])]:
        assert Nucleus(mass)(p, t, u, None)[0].nonzero()[:, 1].tolist() == kept
    # The tail is lost beside 1 in single precision; a mass of 1 keeps it all the same.
    p = torch.tensor([[1.0, 1e-9, 0.0, 1e-30]])
    assert (Nucleus(1.0)(p, t, u, None)[0] > 0).tolist() == [[True, True, False, True]]
    assert (Nucleus(0.999)(p, t, u, None)[0] > 0).tolist() == [[True, False, False, False]]
    p = torch.tensor([[0.5 - 1e-7, 0.5 - 1e-7]])  # a row sum below 1 - mass
    assert Nucleus(1e-9)(p, t, u, None)[0].tolist() == [[1, 0]]


def test_threshold_keeps_an_expert_exactly_at_it():
    p = torch.tensor([[0.25, 0.5, 0.25 - 1e-6, 1e-6]])
    w, _ = Threshold(0.25)(p, torch.ones(1), torch.zeros(1), None)
    torch.testing.assert_close(w, torch.tensor([[1 / 3, 2 / 3, 0, 0]]))


def test_samples_are_drawn_at_the_edges_of_the_unit_interval():
    def index(p, u, dtype=torch.float32):
        p, u = torch.tensor([p]), torch.tensor([u], dtype=dtype)
        return Sample()(p, torch.ones(1), u, None)[0].argmax().item()

    assert index([0.0, 0.3, 0.0, 0.7, 0.0], 0.0) == 1  # never an expert with p = 0
    assert index([0.0, 0.25, 0.0, 0.75, 0.0], 0.25) == 3  # [cdf[k-1], cdf[k])
    assert index([0.0, 0.3, 0.0, 0.7, 0.0], 1 - 2**-24) == 3
    assert index([0.5, 0.5 - 1e-6, 0.0], 1 - 2**-24) == 1  # cdf ends below 1
    assert index([0.1] * 10 + [0.0], 1 - 2**-53, torch.float64) == 9
    assert index([0.5, 0.5 + 1e-6, 0.0], 1 - 2**-24) == 1  # cdf ends above 1


@pytest.mark.parametrize("policy", [Sample(), Sticky()], ids=str)
def test_frequencies_of_the_draws_are_the_posterior(policy, rng):
    num = 20_000
    p = torch.tensor([0.02, 0.0, 0.5, 0.18, 0.3])
    u = torch.rand(num, generator=rng)
    w, _ = policy(p.repeat(num, 1), torch.ones(num), u, None)
    counts, live = w.sum(dim=0), p > 0
    assert counts[1] == 0 and set(w.unique().tolist()) == {0, 1}
    assert scipy.stats.chisquare(counts[live].numpy(), num * p[live].numpy()).pvalue > 0.01
    # Equal steps through [0, 1) give the shares exactly: a stronger test than any frequency.
    u = (torch.arange(1000) + 0.5) / 1000
    w, _ = policy(p.repeat(1000, 1), torch.ones(1000), u, None)
    assert w.sum(dim=0).tolist() == [20, 0, 500, 180, 300]


def test_sticky_keeps_what_it_drew_and_lets_before_speak_until_then(rng):
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


def test_sticky_asks_for_the_posterior_once(rng):
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


@pytest.mark.parametrize("policy", ALL, ids=str)
def test_a_row_of_zeros_remembers_nothing(policy, rng):
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


def test_switch_keeps_the_memories_of_its_parts(rng):
    calls = list(trajectory(rng, torch.linspace(1, 0, 6)))
    weights = walk(Switch(Sticky(), Sticky(), 0.6), calls)
    early, late = Sample()(*calls[0], None)[0], Sample()(*calls[2], None)[0]
    assert all(torch.equal(w, early) for w in weights[:2])
    assert all(torch.equal(w, late) for w in weights[2:])
    # Also where time goes back, as in samplers that add noise again.
    weights = walk(Switch(Sticky(), Sticky(), 0.6), [calls[i] for i in (0, 2, 1, 3)])
    assert torch.equal(weights[2], early) and torch.equal(weights[3], late)


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

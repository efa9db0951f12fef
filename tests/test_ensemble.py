import pytest
import torch

from routing.ensemble import RoutedField, ensemble_velocity
from routing.oracle import Mixture
from routing.policies import POLICIES, Full, Sample, Sticky, Switch, TopK
from routing.routers import Exact, NearestCentroid, Network, OracleLabel, Prior, Router
from routing.samplers import SAMPLERS, Euler, Heun

BATCH, EXPERTS, STEPS = 10, 4, 6
SHAPE = (BATCH, 2, 3)


class Affine:
    """An expert with elementwise arithmetic that records what it was given."""

    def __init__(self, k):
        self.k, self.batches = k, []

    def __call__(self, x, t):
        self.batches.append(x)
        return (self.k + 1) * x - (self.k - 1.5) * t.reshape(-1, *[1] * (x.ndim - 1))


class Logits:
    """A router network that counts the samples it has seen."""

    def __init__(self):
        self.rows = 0

    def __call__(self, x, t):
        self.rows += len(x)
        return torch.stack(
            [(k - 1) * x.flatten(1)[:, k % 3] + k * t for k in range(EXPERTS)], dim=1
        )


def make_experts(num=EXPERTS):
    return [Affine(k) for k in range(num)]


def weights(rng, density=0.5):
    """Rows with every size of support from 1 to all, some of them shared."""
    w = torch.rand(BATCH, EXPERTS, generator=rng)
    w = w * (torch.rand(BATCH, EXPERTS, generator=rng) < density)
    w[:, 2] += (w.sum(dim=1) == 0).float()
    return w / w.sum(dim=1, keepdim=True)


def dense(w, x, t):
    """All experts on all samples, one sample and one expert at a time, in double precision."""
    x, t, w = x.double(), t.double(), w.double()
    v = torch.zeros_like(x)
    for i in range(len(x)):
        for k in range(w.shape[1]):
            v[i] += w[i, k] * Affine(k)(x[i : i + 1], t[i : i + 1])[0]
    return v


def batch(rng):
    return torch.randn(SHAPE, generator=rng), torch.rand(BATCH, generator=rng)


def field(rng, policy=Full(), router=None, experts=None, **options):  # noqa: B008
    uniforms = torch.rand(BATCH, STEPS, generator=rng)
    router = Network(Logits()) if router is None else router
    return RoutedField(experts or make_experts(), router, policy, uniforms, **options)


@pytest.mark.parametrize("density", [0.0, 0.3, 0.6, 1.0])
def test_the_sum_is_the_dense_one_and_the_bill_its_support(density, rng):
    x, t = batch(rng)
    w, experts = weights(rng, density), make_experts()
    v, evaluations = ensemble_velocity(experts, w, x, t)
    assert v.dtype == x.dtype
    torch.testing.assert_close(v.double(), dense(w, x, t), rtol=1e-5, atol=1e-5)
    assert evaluations.tolist() == [int((w[:, k] > 0).sum()) for k in range(EXPERTS)]
    for k, expert in enumerate(experts):
        asked = x[w[:, k] > 0]
        assert len(expert.batches) == (len(asked) > 0)  # once or not at all
        assert all(torch.equal(rows, asked) for rows in expert.batches)


def test_an_expert_without_weight_is_never_called(rng):
    def broken(x, t):
        raise AssertionError("called")

    x, t = batch(rng)
    w = torch.zeros(BATCH, EXPERTS)
    w[:, 1], w[3:, 1], w[3:, 3] = 1.0, 0.25, 0.75
    v, evaluations = ensemble_velocity([broken, Affine(1), broken, Affine(3)], w, x, t)
    torch.testing.assert_close(v.double(), dense(w, x, t), rtol=1e-5, atol=1e-5)
    assert evaluations.tolist() == [0, BATCH, 0, BATCH - 3]


def test_an_expert_of_the_whole_batch_gets_it_without_a_copy(rng):
    x, t = batch(rng)
    w = torch.zeros(BATCH, EXPERTS)
    w[:, 1], w[::2, 1], w[::2, 2] = 1.0, 0.5, 0.5
    experts = make_experts()
    ensemble_velocity(experts, w, x, t)
    assert experts[1].batches[0] is x


@pytest.mark.parametrize("density", [0.0, 0.5, 1.0])
def test_samples_do_not_see_each_other(density, rng):  # bitwise
    x, t = batch(rng)
    w = weights(rng, density)
    v, _ = ensemble_velocity(make_experts(), w, x, t)
    for size in (1, 3, 7):
        parts = [slice(i, i + size) for i in range(0, BATCH, size)]
        some = [ensemble_velocity(make_experts(), w[s], x[s], t[s])[0] for s in parts]
        assert torch.equal(v, torch.cat(some))
    order = torch.randperm(BATCH, generator=rng)
    permuted, _ = ensemble_velocity(make_experts(), w[order], x[order], t[order])
    assert torch.equal(v[order], permuted)


def test_one_expert_is_the_monolith(rng):
    x, t = batch(rng)
    v, evaluations = ensemble_velocity([Affine(2)], torch.ones(BATCH, 1), x, t)
    assert torch.equal(v, Affine(2)(x, t)) and evaluations.tolist() == [BATCH]
    alone = field(rng, TopK(1), Prior(torch.ones(1)), [Affine(2)])
    assert torch.equal(alone(x, t, 0), Affine(2)(x, t))


def test_experts_that_are_bound_to_another_dtype_of_weights(rng):
    x, t = batch(rng)
    w = weights(rng).double()
    v, _ = ensemble_velocity(make_experts(), w, x, t)
    assert v.dtype == torch.float32
    torch.testing.assert_close(v.double(), dense(w, x, t), rtol=1e-5, atol=1e-5)


def test_gradients_are_those_of_the_dense_sum(rng):
    x, t = batch(rng)
    w = weights(rng)
    for fixed in (w, torch.full_like(w, 1 / EXPERTS)):
        x = x.detach().requires_grad_()
        p = fixed.clone().requires_grad_()
        v, _ = ensemble_velocity(make_experts(), p, x, t)
        got = torch.autograd.grad(v.square().sum(), (x, p))
        v = sum(p[:, k, None, None] * Affine(k)(x, t) for k in range(EXPERTS))
        expected = torch.autograd.grad(v.square().sum(), (x, p))
        torch.testing.assert_close(got[0], expected[0])
        torch.testing.assert_close(got[1], expected[1] * (fixed > 0))


def test_weights_of_another_partition_are_refused(rng):
    x, t = batch(rng)
    with pytest.raises(ValueError, match="one column per expert, 3, got 4"):
        ensemble_velocity(make_experts(3), weights(rng), x, t)


def test_exact_experts_with_the_exact_posterior_are_the_whole(rng):
    means = torch.tensor([[-2.0, 0.0], [0.0, 3.0], [2.0, 0.0], [2.0, -2.0]], dtype=torch.float64)
    world = Mixture(
        torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64),
        means,
        torch.eye(2, dtype=torch.float64).repeat(4, 1, 1) * 0.1,
    )
    clusters = torch.tensor([0, 1, 2, 2])
    experts = [world.restrict((clusters == k).nonzero()[:, 0]).velocity for k in range(3)]
    x = torch.randn(BATCH, 2, generator=rng, dtype=torch.float64)
    routed = field(rng, Full(), Exact(world, clusters, 3), experts)
    for step, time in enumerate((1.0, 0.6, 0.0)):
        t = torch.full((BATCH,), time, dtype=torch.float64)
        torch.testing.assert_close(routed(x, t, step), world.velocity(x, t), rtol=0, atol=1e-12)
    # At noise the posterior is the prior: of the equal first two the lower index is asked.
    tied = Prior(torch.tensor([0.4, 0.4, 0.2], dtype=torch.float64))
    top = field(rng, TopK(1), tied, experts)
    assert torch.equal(top(x, t, 0), experts[0](x, t))
    assert top.expert_evaluations.tolist() == [BATCH, 0, 0]


def test_trace_and_bill(rng):
    x, _ = batch(rng)
    net, experts = Logits(), make_experts()
    routed = field(rng, TopK(2), Network(net), experts, keep_states=True)
    states = []
    for step, time in enumerate((1.0, 0.7, 0.2)):
        t, before = torch.full((BATCH,), time), x.clone()
        v = routed(x, t, step)
        p = Logits()(x, t).softmax(dim=1)
        torch.testing.assert_close(routed.posteriors[step], p)
        assert torch.equal(routed.weights[step], TopK(2)(p, t, t, None)[0])
        torch.testing.assert_close(v.double(), dense(routed.weights[step], x, t))
        states.append(before)
        x -= 0.3 * v  # in place: the trace must not follow
    assert routed.steps == [0, 1, 2]
    assert [t.tolist() for t in routed.times] == [
        torch.full((BATCH,), time).tolist() for time in (1.0, 0.7, 0.2)
    ]
    assert all(torch.equal(a, b) for a, b in zip(routed.states, states, strict=True))
    assert routed.router_evaluations == net.rows == 3 * BATCH
    assert routed.expert_evaluations.tolist() == [
        sum(len(rows) for rows in expert.batches) for expert in experts
    ]
    assert routed.expert_evaluations.sum() == 3 * 2 * BATCH
    assert not field(rng).states and not field(rng).steps


def test_the_router_is_asked_only_where_the_policy_needs_it(rng):
    x, _ = batch(rng)
    net = Logits()
    routed = field(rng, Switch(Sticky(), TopK(1), 0.3), Network(net))
    for step, time in enumerate((1.0, 0.8, 0.5, 0.3, 0.1)):
        routed(x, torch.full((BATCH,), time), step)
    assert [p.isnan().all().item() for p in routed.posteriors] == [False, True, True, False, False]
    assert routed.posteriors[1].shape == (BATCH, EXPERTS)
    assert routed.router_evaluations == net.rows == 3 * BATCH
    assert torch.equal(routed.weights[0], routed.weights[2])
    free = field(rng, Full(), Prior(torch.full((EXPERTS,), 1 / EXPERTS)))
    free(x, torch.ones(BATCH), 0)
    assert free.router_evaluations == 0 and not free.posteriors[0].isnan().any()


def test_one_sample_in_need_of_the_posterior_is_enough(rng):
    x, _ = batch(rng)
    routed = field(rng, Switch(Sticky(), TopK(1), 0.5))
    routed(x, torch.ones(BATCH), 0)
    routed(x, torch.tensor([0.8] * (BATCH - 1) + [0.2]), 1)
    assert torch.equal(routed.weights[1][:-1], routed.weights[0][:-1])
    assert routed.weights[1][-1].argmax() == routed.posteriors[1][-1].argmax()


def test_the_random_number_is_that_of_the_step(rng):
    x, t = batch(rng)
    routed = field(rng, Sample())
    for step in (0, 0, 1, 4):
        routed(x, t, step)
        p = routed.posteriors[-1]
        expected, _ = Sample()(p, t, routed.uniforms[:, step], None)
        assert torch.equal(routed.weights[-1], expected)
    assert torch.equal(routed.weights[0], routed.weights[1])  # both stages of a step
    assert not torch.equal(routed.weights[1], routed.weights[2])


def test_switched_says_whose_set_of_experts_changed(rng):
    class Scripted(Router):
        def posterior(self, x, t, carry):
            return self.p

    router = Scripted()
    routed = field(rng, Full(), router)
    assert not routed.switched().any()
    x, t = batch(rng)
    first = torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(BATCH, 1)
    second = first.clone()
    second[2], second[5] = torch.tensor([0.0, 1.0, 0.0, 0.0]), torch.tensor([0.5, 0.0, 0.5, 0.0])
    third = second.clone()
    third[5], third[7] = torch.tensor([0.1, 0.0, 0.9, 0.0]), torch.tensor([0.0, 0.0, 0.0, 1.0])
    for router.p, changed in [(first, []), (second, [2, 5]), (third, [7]), (third, [])]:
        routed(x, t, 0)
        assert routed.switched().dtype == torch.bool and routed.switched().shape == (BATCH,)
        assert routed.switched().nonzero()[:, 0].tolist() == changed


def test_the_router_hears_the_ensemble_and_knows_the_cluster(rng):
    x, t = batch(rng)
    x = x.flatten(1)
    cluster = torch.arange(BATCH) % EXPERTS
    routed = field(rng, Full(), OracleLabel(EXPERTS), cluster=cluster)
    routed(x, t, 0)
    assert torch.equal(routed.weights[0], torch.eye(EXPERTS)[cluster])
    with pytest.raises(ValueError, match="oracle_label"):
        field(rng, Full(), OracleLabel(EXPERTS))(x, t, 0)

    centroids = torch.randn(EXPERTS, 6, generator=rng)
    prior = torch.full((EXPERTS,), 1 / EXPERTS)
    router = NearestCentroid(lambda x0: x0, centroids, prior, 1.0)
    routed = field(rng, Full(), router)
    v = routed(x, t, 0)
    routed(2 * x, t / 2, 1)
    assert torch.equal(routed.posteriors[0], prior.expand(BATCH, -1))
    expected = (-((x - t[:, None] * v)[:, None] - centroids).square().sum(-1) / 2).softmax(dim=1)
    torch.testing.assert_close(routed.posteriors[1], expected)


def test_a_broken_state_posterior_or_expert_is_one_line(rng):
    x, t = batch(rng)
    seeds = torch.arange(BATCH) + 100
    bad = torch.tensor([3, 7])

    def expert(x, t):
        return torch.where(x.flatten(1)[:, :1, None] > 50, torch.inf, x)

    def net(x, t):
        return Logits()(x, t).masked_fill(x.flatten(1)[:, :1] > 50, torch.nan)

    def line(call):
        with pytest.raises(ValueError) as error:
            call()
        assert "\n" not in str(error.value)
        return str(error.value)

    nan, large = x.clone(), x.clone()
    nan[bad, 1, 1], large[bad, 0, 0] = torch.nan, 60.0
    where = f"at step 2, t = {t[3].item():.4g}, in 2 samples (seeds 103, 107)"
    text = line(lambda: field(rng, seeds=seeds)(nan, t, 2))
    assert text.startswith("the state must be finite") and where in text
    text = line(lambda: field(rng, router=Network(net), seeds=seeds)(large, t, 2))
    assert text.startswith("the posterior of the router must be finite") and where in text

    # Expert 2 serves the odd samples: its rows are not those of the batch.
    cluster = torch.tensor([0, 2] * (BATCH // 2))
    experts = [Affine(0), Affine(1), expert, Affine(3)]
    options = {"router": OracleLabel(EXPERTS), "experts": experts, "cluster": cluster}
    text = line(lambda: field(rng, **options, seeds=seeds)(large, t, 2))
    assert text.startswith("the velocity of expert 2 must be finite") and where in text
    assert "(seeds 3, 7)" in line(lambda: field(rng, **options)(large, t, 2))
    large[:, 0, 0] = 60.0
    text = line(lambda: field(rng, router=Network(net), seeds=seeds)(large, t, 2))
    assert "in 10 samples (seeds 100, 101, 102, 103, 104)" in text


PRIOR = torch.tensor([0.1, 0.2, 0.3, 0.4])
CHOSEN = {
    "top_k": {"k": 2},
    "switch": {"early": Full(), "late": Sticky()},
}


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("sampler", [Euler(STEPS), Heun(STEPS), SAMPLERS["dpmpp_2m"](STEPS)])
def test_a_trajectory_does_not_see_its_batch(name, sampler, rng):
    """Samplers, routers with memory, policies with memory: bitwise, end to end."""
    policy = POLICIES[name](**CHOSEN.get(name, {}))
    x = torch.randn(BATCH, 6, generator=rng)
    uniforms = torch.rand(BATCH, STEPS, generator=rng)
    router = NearestCentroid(lambda x0: x0, torch.randn(EXPERTS, 6, generator=rng) * 3, PRIOR, 2.0)

    def sampled(rows):
        return sampler(RoutedField(make_experts(), router, policy, uniforms[rows]), x[rows])

    together = sampled(slice(None))
    parts = [slice(0, 1), slice(1, 4), slice(4, BATCH)]
    assert torch.equal(together, torch.cat([sampled(rows) for rows in parts]))

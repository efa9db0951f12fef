import pytest
import torch
from exact_mixtures import (
    CLUSTERS,
    LABELS,
    NUM_CLUSTERS,
    NUM_LABELS,
    exact_experts,
    labelled,
    prior,
    states,
)
from posteriors import with_soft_pilot

from routing.ensemble.policies import POLICIES, Full, Policy, Sample, Sticky, Switch, TopK
from routing.ensemble.routed_field import RoutedField, ensemble_velocity
from routing.ensemble.routers import (
    ROUTERS,
    Exact,
    LearnedRouter,
    NearestCentroid,
    OracleLabel,
    Prior,
    Router,
    RouterInputs,
)
from routing.ensemble.routers.exact_labelled import ExactLabelled
from routing.flow.conditions import Condition
from routing.flow.exact_worlds import GaussianMixture
from routing.flow.samplers import SAMPLERS, Euler, Heun

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
    router = LearnedRouter(Logits()) if router is None else router
    return RoutedField(experts or make_experts(), router, policy, uniforms, **options)


@pytest.mark.parametrize("density", [0.0, 0.3, 0.6, 1.0])
def test_the_sum_is_the_dense_one_and_the_cost_its_support(density, rng):
    x, t = batch(rng)
    w, experts = weights(rng, density), make_experts()
    v, evaluations = ensemble_velocity(experts, w, x, t)
    assert v.dtype == x.dtype
    torch.testing.assert_close(v.double(), dense(w, x, t), rtol=1e-5, atol=1e-5)
    assert evaluations.tolist() == [int((w[:, k] > 0).sum()) for k in range(EXPERTS)]
    for k, expert in enumerate(experts):
        evaluated = x[w[:, k] > 0]
        assert len(expert.batches) == (len(evaluated) > 0)  # once or not at all
        assert all(torch.equal(rows, evaluated) for rows in expert.batches)


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
    world = GaussianMixture(
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
    # At noise the posterior is the prior: of the two equal experts the lower index is evaluated.
    tied = Prior(torch.tensor([0.4, 0.4, 0.2], dtype=torch.float64))
    top = field(rng, TopK(1), tied, experts)
    assert torch.equal(top(x, t, 0), experts[0](x, t))
    assert top.expert_evaluations.tolist() == [BATCH, 0, 0]


def test_trace_and_cost(rng):
    x, _ = batch(rng)
    net, experts = Logits(), make_experts()
    routed = field(rng, TopK(2), LearnedRouter(net), experts, keep_states=True)
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


def test_the_router_is_evaluated_only_where_the_policy_needs_it(rng):
    x, _ = batch(rng)
    net = Logits()
    routed = field(rng, Switch(Sticky(), TopK(1), 0.3), LearnedRouter(net))
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


def test_expert_set_changed(rng):
    class Scripted(Router):
        def posterior(self, x, t, carry):
            return self.p

    router = Scripted()
    routed = field(rng, Full(), router)
    assert not routed.expert_set_changed().any()
    x, t = batch(rng)
    first = torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(BATCH, 1)
    second = first.clone()
    second[2], second[5] = torch.tensor([0.0, 1.0, 0.0, 0.0]), torch.tensor([0.5, 0.0, 0.5, 0.0])
    third = second.clone()
    third[5], third[7] = torch.tensor([0.1, 0.0, 0.9, 0.0]), torch.tensor([0.0, 0.0, 0.0, 1.0])
    for router.p, changed in [(first, []), (second, [2, 5]), (third, [7]), (third, [])]:
        routed(x, t, 0)
        assert (
            routed.expert_set_changed().dtype == torch.bool
            and routed.expert_set_changed().shape == (BATCH,)
        )
        assert routed.expert_set_changed().nonzero()[:, 0].tolist() == changed


def test_the_router_observes_the_velocity_and_gets_the_cluster(rng):
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
    text = line(lambda: field(rng, router=LearnedRouter(net), seeds=seeds)(large, t, 2))
    assert text.startswith("the posterior of the router 'LearnedRouter' must be finite")
    assert where in text

    # Expert 2 serves the odd samples: its rows are not those of the batch.
    cluster = torch.tensor([0, 2] * (BATCH // 2))
    experts = [Affine(0), Affine(1), expert, Affine(3)]
    options = {"router": OracleLabel(EXPERTS), "experts": experts, "cluster": cluster}
    text = line(lambda: field(rng, **options, seeds=seeds)(large, t, 2))
    assert text.startswith("the velocity of expert 2 must be finite") and where in text
    assert "(seeds 3, 7)" in line(lambda: field(rng, **options)(large, t, 2))
    large[:, 0, 0] = 60.0
    text = line(lambda: field(rng, router=LearnedRouter(net), seeds=seeds)(large, t, 2))
    assert "in 10 samples (seeds 100, 101, 102, 103, 104)" in text


# What routers and policies of other packages may return instead of probabilities.
P = torch.tensor([0.1, 0.2, 0.3, 0.4]).expand(BATCH, -1)
NO_PROBABILITIES = {  # what is returned -> the line behind the name of the row
    "a sum of 4.5": (P * 4.5, "wanted rows that sum to 1, got the sum 4.5 at step 1, t = "),
    "a sum below 1": (P * 0.999, "wanted rows that sum to 1, got the sum 0.999 at step 1, t = "),
    "zeros": (P * 0, "wanted rows that sum to 1, got the sum 0 at step 1, t = "),
    "negative": (P + torch.tensor([0.2, -0.3, 0.1, 0.0]), "wanted entries >= 0, got -0.1 at st"),
    "nan": (P.masked_fill(P == 0.2, torch.nan), "must be finite, got nan or inf at step 1, t = "),
    "inf": (P.masked_fill(P == 0.2, torch.inf), "must be finite, got nan or inf at step 1, t = "),
    "a column too few": (P[:, 1:] / 0.9, "wanted a tensor of shape [10, 4] (samples, experts), g"),
    "a column for all": (P.sum(1, True), "wanted a tensor of shape [10, 4] (samples, experts), g"),
    "a row for all": (P[:1], "wanted a tensor of shape [10, 4] (samples, experts), got the shape"),
    "transposed": (
        P.T,
        "wanted a tensor of shape [10, 4] (samples, experts), got the shape [4, 1",
    ),
    "one axis": (P[0], "wanted a tensor of shape [10, 4] (samples, experts), got the shape [4];"),
    "no tensor": (P.numpy(), "wanted a tensor of shape [10, 4] (samples, experts), got a ndarray"),
}


class Foreign(Policy, Router):
    """A policy and a router without a check of its own."""

    def __init__(self, result):
        self.result = result

    def __call__(self, p, t, u, carry):
        return self.result, carry

    def posterior(self, x, t, carry):
        return self.result


def foreign_line(rng, **parts):
    x, t = batch(rng)
    names = {"router_name": "theirs", "policy_name": "mine"}
    with pytest.raises(ValueError) as error:
        field(rng, **names, **parts)(x, t, 1)
    line = str(error.value)
    assert "\n" not in line and len(line) < 250
    return line


@pytest.mark.parametrize("case", NO_PROBABILITIES)
def test_weights_and_posteriors_must_be_probabilities(case, rng):
    result, expected = NO_PROBABILITIES[case]
    line = foreign_line(rng, policy=Foreign(result))
    assert line.startswith("the weights of policy 'mine'") and expected in line
    line = foreign_line(rng, router=Foreign(result))
    assert line.startswith("the posterior of the router 'theirs'") and expected in line


def test_only_the_wrong_samples_are_named(rng):
    for factor in (2.0, -1.0, torch.nan):
        wrong = P.clone()
        wrong[[3, 7]] *= factor
        line = foreign_line(rng, policy=Foreign(wrong), seeds=torch.arange(BATCH) + 100)
        assert "in 2 samples (seeds 103, 107)" in line


def test_a_policy_returns_a_carry_too(rng):
    alone = Foreign(P)
    alone.__class__ = type("Alone", (Foreign,), {"__call__": lambda self, p, t, u, carry: p})
    assert foreign_line(rng, policy=alone) == (
        "policy 'mine': wanted a pair (weights, carry), got a Tensor; return both"
    )


def test_rounding_is_accepted(rng):
    x, t = batch(rng)
    for error in (1e-5, -1e-5):
        field(rng, Foreign(P * (1 + error)), Foreign(P * (1 - error)))(x, t, 0)


# Conditions


class ConditionalAffine(Affine):
    """An expert that adds the label to its velocity, and records the labels."""

    def __call__(self, x, t, condition):
        self.labels = condition.label
        return super().__call__(x, t) + condition.label.reshape(-1, *[1] * (x.ndim - 1))


def test_every_sample_keeps_its_condition(rng):
    x, t = batch(rng)
    w = weights(rng, 0.6)
    w[:, 0] = 0.0  # not called
    w[:, 3] = 0.5  # all rows
    w = w / w.sum(dim=1, keepdim=True)
    condition = Condition(torch.arange(BATCH))
    experts = [ConditionalAffine(k) for k in range(EXPERTS)]
    v, _ = ensemble_velocity(experts, w, x, t, condition)
    expected = dense(w, x, t) + torch.arange(BATCH).double()[:, None, None]
    torch.testing.assert_close(v.double(), expected, rtol=1e-5, atol=1e-5)
    assert not hasattr(experts[0], "labels")
    for k in (1, 2, 3):
        assert torch.equal(experts[k].labels, (w[:, k] > 0).nonzero()[:, 0])


def test_router_and_experts_get_the_condition(rng):
    class KeepsCarry(Prior):
        def start(self, x, cluster, condition=None):
            return condition

        def posterior(self, x, t, carry):
            self.__dict__["carry"] = carry
            return super().posterior(x, t, carry)

    x, t = batch(rng)
    condition, router = Condition(torch.arange(BATCH)), KeepsCarry(PRIOR)
    experts = [ConditionalAffine(k) for k in range(EXPERTS)]
    v = field(rng, Full(), router, experts, condition=condition)(x, t, 0)
    assert router.carry is condition
    expected = ensemble_velocity(experts, PRIOR.repeat(BATCH, 1), x, t, condition)[0]
    assert torch.equal(v, expected)
    field(rng, Full(), router)(x, t, 0)
    assert router.carry is None


# Routers that read the outputs of all experts


class Reader(Router):
    """Keeps what it observes; its posterior has zeros."""

    def __init__(self, reads, w):
        self.reads, self.w, self.observed = reads, w, []

    def posterior(self, x, t, carry):
        assert carry == len(self.observed)
        return self.w

    def start(self, x, cluster, condition=None):
        self.observed.clear()
        return 0

    def observe(self, x, t, prediction, carry):
        self.observed.append((x, t, prediction))
        return carry + 1


@pytest.mark.parametrize("reads", ["velocities", "divergences"])
@pytest.mark.parametrize("shape", [(2, 2), (2, 3)])
def test_a_router_that_reads_all_experts(reads, shape, rng):
    x, t = torch.randn(BATCH, *shape, generator=rng), torch.rand(BATCH, generator=rng)
    w, condition = weights(rng), Condition(torch.arange(BATCH))
    u = torch.randn(BATCH, *shape, generator=rng)
    router, experts = Reader(reads, w), [ConditionalAffine(k) for k in range(EXPERTS)]
    routed = field(rng, Full(), router, experts, condition=condition, directions=u)
    with torch.no_grad():
        v = routed(x, t, 0)
        routed(2 * x, t, 1)
    assert torch.equal(v, ensemble_velocity(experts, w, x, t, condition)[0])  # bitwise
    assert torch.equal(routed.weights[0], w)
    (x_seen, t_seen, prediction), again = router.observed
    assert x_seen is x and t_seen is t and torch.equal(prediction.v, v)
    assert again[2].v.shape == v.shape and torch.equal(again[0], 2 * x)
    products = {(2, 2): 4, (2, 3): 1}[shape]
    each = 2 * BATCH * (1 if reads == "velocities" else 1 + 2 * products)
    assert routed.expert_evaluations.tolist() == [each] * EXPERTS
    assert [len(expert.batches) for expert in experts] == [
        2 + (w[:, k] > 0).any() for k, expert in enumerate(experts)
    ]
    for k in range(EXPERTS):
        assert torch.equal(prediction.velocities[:, k], ConditionalAffine(k)(x, t, condition))
        if reads == "divergences":
            div = {4: 4.0 * torch.ones(BATCH), 1: (u * u).sum(dim=(1, 2))}[products] * (k + 1)
            torch.testing.assert_close(prediction.divergences[:, k], div)
    assert (prediction.divergences is None) == (reads == "velocities")


def test_directions_stay_along_a_trajectory(rng):
    """Of x^2 the estimate is  2 u . (x u) : it shows which u was used, at every call."""
    x, u = torch.randn(2, BATCH, 6, generator=rng)
    t, router = torch.ones(BATCH), Reader("divergences", torch.ones(BATCH, 1))
    routed = field(rng, Full(), router, [lambda x, t: x**2], directions=u)
    for step in range(2):
        routed((step + 1) * x, t, step)
        expected = 2 * (step + 1) * (u * x * u).sum(dim=1)
        torch.testing.assert_close(router.observed[step][2].divergences[:, 0], expected)
    with pytest.raises(ValueError, match="give directions"):
        field(rng, Full(), router, [lambda x, t: x**2])(x, t, 0)


def test_a_router_observes_the_velocity_that_is_followed(rng):
    x, t = batch(rng)
    for reads in (None, "velocities"):
        router = Reader(reads, weights(rng))
        routed = field(rng, Full(), router)
        v = routed.velocity(x, t, 0)
        assert not router.observed and routed.steps == [0]
        routed.observe(x, t, v + 1)
        ((x_seen, t_seen, prediction),) = router.observed
        assert x_seen is x and t_seen is t and torch.equal(prediction.v, v + 1)
        assert (prediction.velocities is None) == (reads is None)
        routed(x, t, 1)  # the carry, not the start again
        assert len(router.observed) == 2


def test_gradients_flow_to_a_router_that_reads_velocities(rng):
    x, t = batch(rng)
    x.requires_grad_()
    w = weights(rng).requires_grad_()
    got = torch.autograd.grad(field(rng, Full(), Reader("velocities", w))(x, t, 0).sum(), (x, w))
    v = sum(w[:, k, None, None] * Affine(k)(x, t) for k in range(EXPERTS))
    expected = torch.autograd.grad(v.sum(), (x, w))
    torch.testing.assert_close(got, expected)


def test_outputs_that_a_router_reads_must_be_finite(rng):
    """Also of experts without weight; and a velocity may be finite where its slope is not."""
    x = torch.zeros(BATCH, 2)
    x[4] = 50.0
    w, t = torch.tensor([1.0, 0.0]).repeat(BATCH, 1), torch.ones(BATCH)

    def broken(x, t):
        return torch.where(x > 10, torch.inf, x)

    routed = field(rng, Full(), Reader("velocities", w), [Affine(0), broken])
    with pytest.raises(ValueError, match=r"velocity of expert 1 must be finite.*\(seeds 4\)"):
        routed(x, t, 0)

    def steep(x, t):
        return (x - 50).abs().sqrt() + x

    routed = field(rng, Full(), Reader("divergences", w), [Affine(0), steep])
    with pytest.raises(ValueError, match=r"divergence of expert 1 must be finite.*\(seeds 4\)"):
        routed(x, t, 0)


PRIOR = torch.tensor([0.1, 0.2, 0.3, 0.4])
CHOSEN = {
    "top_k": {"k": 2},
    "switch": {"early": Full(), "late": Sticky()},
    "budget": {"mean_experts": 1.5},
}


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("sampler", [Euler(STEPS), Heun(STEPS), SAMPLERS["dpmpp_2m"](STEPS)])
def test_a_trajectory_does_not_see_its_batch(name, sampler, rng):
    """Samplers, routers and policies with a carry: bitwise, end to end."""
    policy = with_soft_pilot(POLICIES[name](**CHOSEN.get(name, {})), EXPERTS)
    x = torch.randn(BATCH, 6, generator=rng)
    uniforms = torch.rand(BATCH, STEPS, generator=rng)
    router = NearestCentroid(lambda x0: x0, torch.randn(EXPERTS, 6, generator=rng) * 3, PRIOR, 2.0)

    def sampled(rows):
        return sampler(RoutedField(make_experts(), router, policy, uniforms[rows]), x[rows])

    together = sampled(slice(None))
    parts = [slice(0, 1), slice(1, 4), slice(4, BATCH)]
    assert torch.equal(together, torch.cat([sampled(rows) for rows in parts]))


# Every router with every policy, in the world with closed forms


def bound(name):
    """The router of this name, built from the labelled mixture."""
    world = labelled()
    if name == "labelled":
        return ExactLabelled(world, CLUSTERS, NUM_CLUSTERS)
    if name == "network":
        return LearnedRouter(lambda x, t: torch.stack([x[:, 0], t, x[:, 1] - t], dim=1))
    counts = torch.zeros(NUM_CLUSTERS, NUM_LABELS, dtype=torch.long)
    counts[CLUSTERS, LABELS] = 10
    inputs = RouterInputs(
        prior=prior(world.mixture),
        centroids=torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64),
        encode=lambda x0: x0,
        mixture=world.mixture,
        cluster_of_component=CLUSTERS,
        label_counts=counts,
    )
    return ROUTERS[name]().build(inputs)


NUM_CALLS = 3


def sampled(router, policy, rng, experts=None, **options):
    """The end and the field of a short run, with a sampler that suits the router."""
    x, _ = states(labelled().mixture, BATCH, 1.0, rng)
    kind = SAMPLERS["ancestral" if router == "confidence" else "euler"]
    uniforms = torch.rand(BATCH, NUM_CALLS, generator=rng, dtype=torch.float64)
    noise = torch.randn(NUM_CALLS, BATCH, 2, generator=rng, dtype=torch.float64)
    routed = RoutedField(
        experts or exact_experts(labelled()),
        bound(router),
        policy,
        uniforms,
        cluster=torch.arange(BATCH) % NUM_CLUSTERS,
        condition=Condition(torch.arange(BATCH) % NUM_LABELS),
        seeds=torch.arange(BATCH) + 100,
        **options,
    )
    with torch.no_grad():
        return kind(NUM_CALLS)(routed, x, noise=lambda step: noise[step]), routed


ALL_ROUTERS = [*ROUTERS, "network", "labelled"]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("router", ALL_ROUTERS)
def test_every_router_goes_with_every_policy(router, policy, rng):
    policy = with_soft_pilot(POLICIES[policy](**CHOSEN.get(policy, {})), NUM_CLUSTERS)
    x, routed = sampled(router, policy, rng, keep_states=True)
    w, p = torch.stack(routed.weights), torch.stack(routed.posteriors)
    assert x.isfinite().all() and x.dtype == torch.float64
    assert routed.steps == list(range(NUM_CALLS)) and len(routed.states) == NUM_CALLS
    assert w.shape == p.shape == (NUM_CALLS, BATCH, NUM_CLUSTERS)
    for rows in (w, p[~p.isnan().any(dim=2)]):
        assert (rows >= 0).all()
        torch.testing.assert_close(rows.sum(-1), torch.ones_like(rows[..., 0]))
    was_asked = (~p.isnan().any(dim=2)).sum().item()
    assert routed.router_evaluations == (was_asked if router == "network" else 0)
    reads = {"confidence": 1, "density": 1 + 2 * 2}
    expected = NUM_CALLS * BATCH * reads[router] if router in reads else (w > 0).sum(dim=(0, 1))
    assert torch.equal(routed.expert_evaluations, torch.zeros(3, dtype=torch.long) + expected)
    # What was followed is what these weights make of the experts.
    v = torch.zeros_like(routed.states[0])
    for k, expert in enumerate(exact_experts(labelled())):
        v += w[0, :, k, None] * expert(routed.states[0], routed.times[0], routed.condition)
    if router != "confidence":
        torch.testing.assert_close(routed.states[1], routed.states[0] - v / NUM_CALLS)


@pytest.mark.parametrize("router", ALL_ROUTERS)
def test_with_every_router_an_error_names_the_seeds(router, rng):
    def broken(k):
        def expert(x, t, condition):
            v = exact_experts(labelled())[k](x, t, condition)
            is_bad = (condition.label == 2) & (t < 0.5)
            return v.masked_fill(is_bad[:, None], torch.nan)

        return expert

    with pytest.raises(ValueError) as error:
        sampled(router, Full(), rng, [broken(k) for k in range(NUM_CLUSTERS)])
    assert "must be finite" in str(error.value) and "\n" not in str(error.value)
    # Label 2 has samples 2, 5 and 8, which oracle_label all gives to cluster 2.
    assert "(seeds 102, 105, 108)" in str(error.value)
    assert "at step 2, t = 0.3333" in str(error.value)


def test_exact_routing_given_labels_is_the_conditional_monolith(rng):
    x, routed = sampled("labelled", Full(), rng, keep_states=True)
    condition, world = routed.condition, labelled()
    alone = Euler(NUM_CALLS)(lambda x, t, step: world.velocity(x, t, condition), routed.states[0])
    torch.testing.assert_close(x, alone, rtol=0, atol=1e-12)
    unconditional, _ = sampled("exact", Full(), torch.Generator().manual_seed(0))
    assert (unconditional - x).abs().max() > 0.05

import math
from dataclasses import FrozenInstanceError, replace

import jaxtyping
import pytest
import torch
from exact_mixtures import CLUSTERS as CLUSTERS_OF_LABELLED
from exact_mixtures import LABELS, NULL, NUM_LABELS, exact_experts, labelled, members
from torch.autograd.functional import jacobian
from torch.distributions import MultivariateNormal

from routing.flow import paths
from routing.flow.conditions import Condition
from routing.flow.exact_worlds import GaussianMixture, LabelledMixture

CLUSTERS = torch.tensor([0, 1, 0, 2, 2])
NUM_CLUSTERS = 3
TIMES = [0.9, 0.7, 0.5, 0.2]


def world(dim=2, num=5, seed=1, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    weights = torch.tensor([0.1, 0.15, 0.2, 0.25, 0.3], dtype=torch.float64)[:num]
    means = 1.2 * torch.randn(num, dim, generator=g, dtype=torch.float64)
    roots = 0.4 * torch.randn(num, dim, dim, generator=g, dtype=torch.float64)
    covs = roots @ roots.mT + 0.1 * torch.eye(dim, dtype=torch.float64)
    return GaussianMixture((weights / weights.sum()).to(dtype), means.to(dtype), covs.to(dtype))


def clusters(mixture):
    """The exact experts."""
    return [mixture.restrict((CLUSTERS == k).nonzero().flatten()) for k in range(NUM_CLUSTERS)]


def states(mixture, num, t, rng):
    """`num` points x_t that the data really visits."""
    x0, _ = mixture.sample(num, rng)
    t = torch.full((num,), t, dtype=x0.dtype)
    return paths.add_noise(x0, torch.randn(x0.shape, generator=rng, dtype=x0.dtype), t), t


def grid(half_width=9.0, num=361):
    """Points of a square and the area of each: sums over it are integrals, to rounding."""
    axis = torch.linspace(-half_width, half_width, num, dtype=torch.float64)
    return torch.cartesian_prod(axis, axis), (axis[1] - axis[0]).item() ** 2


def data_density(mixture, x):
    parts = [
        w * MultivariateNormal(m, S).log_prob(x).exp()
        for w, m, S in zip(mixture.weights, mixture.means, mixture.covs, strict=True)
    ]
    return torch.stack(parts, -1)


# What the oracle says, against independent computations


@pytest.mark.parametrize("t", [1.0, *TIMES, 0.0])
def test_density_and_posterior_are_those_of_the_noised_gaussians(t, rng):
    mixture = world(dim=3)
    x, time = states(mixture, 32, t, rng)
    noised = GaussianMixture(
        mixture.weights,
        (1 - t) * mixture.means,
        (1 - t) ** 2 * mixture.covs + t**2 * torch.eye(3, dtype=torch.float64),
    )
    parts = data_density(noised, x)
    torch.testing.assert_close(mixture.log_density(x, time), parts.sum(-1).log())
    torch.testing.assert_close(mixture.posterior(x, time), parts / parts.sum(-1, keepdim=True))


@pytest.mark.parametrize("t", [0.9, 0.6, 0.3])
def test_velocity_is_the_mean_of_the_regression_target(t, rng):
    """Quadrature of E[v | x_t] over x_0, with Bayes' rule and nothing else."""
    mixture = world()
    x, time = states(mixture, 8, t, rng)
    x0, area = grid()
    prior = data_density(mixture, x0).sum(-1) * area
    eps = (x[:, None] - (1 - t) * x0) / t
    weight = prior * (-0.5 * eps.square().sum(-1)).exp()
    expected = torch.einsum("bg,bgd->bd", weight, eps - x0) / weight.sum(-1, keepdim=True)
    torch.testing.assert_close(mixture.velocity(x, time), expected, rtol=1e-9, atol=1e-9)


def test_velocity_is_the_regression_of_the_targets_of_samples(rng):
    """Monte Carlo, through `sample` and `paths`: residuals are uncorrelated with any function."""
    mixture = world()
    x0, _ = mixture.sample(200_000, rng)
    eps = torch.randn(x0.shape, generator=rng, dtype=x0.dtype)
    t = torch.rand(len(x0), generator=rng, dtype=x0.dtype)
    x = paths.add_noise(x0, eps, t)
    residual = paths.velocity(x0, eps) - mixture.velocity(x, t)
    probes = torch.cat([torch.ones_like(t)[:, None], x, x * t[:, None], x.sin()], 1)
    products = residual[:, :, None] * probes[:, None]
    z = products.mean(0) / products.std(0) * math.sqrt(len(x0))
    assert z.abs().max() < 4


@pytest.mark.parametrize("t", [1.0, *TIMES, 0.0])
def test_score_is_the_gradient_of_the_log_density(t, rng):
    mixture = world(dim=3)
    x, time = states(mixture, 16, t, rng)
    x.requires_grad_()
    expected = torch.autograd.grad(mixture.log_density(x, time).sum(), x)[0]
    score = mixture.score(x, time)
    torch.testing.assert_close(score, expected, rtol=1e-11, atol=1e-11)
    if t > 0:
        v = mixture.velocity(x, time)
        torch.testing.assert_close(score, paths.score_from_velocity(x, v, time))


@pytest.mark.parametrize("t", [1.0, 0.5, 0.0])
def test_density_integrates_to_one(t):
    x, area = grid()
    mass = world().log_density(x, torch.full((len(x),), t, dtype=x.dtype)).exp().sum() * area
    assert mass.item() == pytest.approx(1, abs=1e-10)


@pytest.mark.parametrize("t", [1.0, *TIMES, 0.0])
def test_continuity_equation(t, rng):
    """d log p / dt + v . grad log p + div v = 0 : the velocity carries the density."""
    mixture = world()
    x, time = states(mixture, 16, t, rng)
    time.requires_grad_()
    dt_log_p = torch.autograd.grad(mixture.log_density(x, time).sum(), time)[0]
    time = time.detach()
    J = jacobian(lambda x: mixture.velocity(x, time).sum(0), x).permute(1, 0, 2)
    div = J.diagonal(dim1=-2, dim2=-1).sum(-1)
    advection = (mixture.velocity(x, time) * mixture.score(x, time)).sum(-1)
    torch.testing.assert_close(dt_log_p, -advection - div, rtol=1e-10, atol=1e-10)


def test_limits_in_time(rng):
    mixture = world()
    x = torch.randn(16, 2, generator=rng, dtype=torch.float64)
    one, zero = torch.ones(16, dtype=x.dtype), torch.zeros(16, dtype=x.dtype)
    torch.testing.assert_close(mixture.velocity(x, one), x - mixture.weights @ mixture.means)
    torch.testing.assert_close(mixture.velocity(x, zero), -x)  # eps is independent of x_0
    torch.testing.assert_close(mixture.score(x, one), -x)
    torch.testing.assert_close(mixture.posterior(x, one), mixture.weights.expand(16, -1))
    for t, inner in [(one, 1 - 1e-9), (zero, 1e-9)]:  # and the limits are limits
        near = torch.full_like(t, inner)
        for f in (mixture.velocity, mixture.score, mixture.posterior, mixture.log_density):
            torch.testing.assert_close(f(x, t), f(x, near), rtol=1e-6, atol=1e-6)


# The identities of routing


@pytest.mark.parametrize("t", [1.0, *TIMES, 0.0])
def test_posterior_weighted_clusters_are_the_monolith(t, rng):
    mixture = world()
    x, time = states(mixture, 64, t, rng)
    p = mixture.cluster_posterior(x, time, CLUSTERS, NUM_CLUSTERS)
    v = torch.stack([expert.velocity(x, time) for expert in clusters(mixture)], 1)
    torch.testing.assert_close(p.sum(-1), torch.ones(64, dtype=p.dtype))
    error = torch.einsum("bk,bkd->bd", p, v) - mixture.velocity(x, time)
    assert error.abs().max() < 1e-12


@pytest.mark.parametrize("t", TIMES)
def test_router_gradient_is_the_disagreement(t, rng):
    """grad log p(k | x_t) = -((1 - t) / t) (v_k - v)."""
    mixture = world()
    x, time = states(mixture, 16, t, rng)

    def log_p(x):
        return mixture.cluster_posterior(x, time, CLUSTERS, NUM_CLUSTERS).log().sum(0)

    gradient = jacobian(log_p, x)  # [clusters, batch, dim]
    v = mixture.velocity(x, time)
    for k, expert in enumerate(clusters(mixture)):
        expected = -((1 - t) / t) * (expert.velocity(x, time) - v)
        torch.testing.assert_close(gradient[k], expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("t", TIMES)
def test_jacobian_of_the_exact_ensemble(t, rng):
    """J = sum_k p_k J_k - ((1 - t) / t) Cov_p(v_k)."""
    mixture = world()
    x, time = states(mixture, 16, t, rng)

    def J(mixture):
        return jacobian(lambda x: mixture.velocity(x, time).sum(0), x).permute(1, 0, 2)

    experts = clusters(mixture)
    p = mixture.cluster_posterior(x, time, CLUSTERS, NUM_CLUSTERS)
    v = torch.stack([e.velocity(x, time) for e in experts], 1)
    centred = v - torch.einsum("bk,bkd->bd", p, v)[:, None]
    cov = torch.einsum("bk,bkd,bke->bde", p, centred, centred)
    frozen = torch.einsum("bk,bkde->bde", p, torch.stack([J(e) for e in experts], 1))
    torch.testing.assert_close(J(mixture), frozen - (1 - t) / t * cov, rtol=1e-9, atol=1e-9)


def cluster_variance(mixture, x, time):
    """tr Cov_p(x0_hat_k) over the clusters, per point."""
    p = mixture.cluster_posterior(x, time, CLUSTERS, NUM_CLUSTERS)
    x0 = torch.stack(
        [paths.x0_from_velocity(x, e.velocity(x, time), time) for e in clusters(mixture)], 1
    )
    centred = x0 - torch.einsum("bk,bkd->bd", p, x0)[:, None]
    return (p * centred.square().sum(-1)).sum(-1)


@pytest.mark.parametrize("t", [0.9, 0.8, 0.7, 0.6])
def test_disagreement_is_the_rate_of_routing_information(t, rng):
    """-d H(k | x_t) / d snr = 1/2 E tr Cov_p(x0_hat_k), by quadrature and by Monte Carlo."""
    mixture = world()
    x, area = grid()
    time = torch.tensor(t, dtype=x.dtype, requires_grad=True)
    p = mixture.cluster_posterior(x, time.expand(len(x)), CLUSTERS, NUM_CLUSTERS)
    density = mixture.log_density(x, time.expand(len(x))).exp()
    entropy = (density * torch.special.entr(p).sum(-1)).sum() * area
    dH_dt = torch.autograd.grad(entropy, time)[0].item()
    rate = -dH_dt / (-2 * (1 - t) / t**3)  # d snr / dt of snr = ((1 - t) / t)^2

    with torch.no_grad():
        disagreement = cluster_variance(mixture, x, time.expand(len(x)))
        assert 0.5 * (density * disagreement).sum().item() * area == pytest.approx(rate, rel=1e-6)

    x, time = states(mixture, 100_000, t, rng)
    drawn = 0.5 * cluster_variance(mixture, x, time)
    four_errors = 4 * drawn.std().item() / math.sqrt(len(drawn))
    assert four_errors < 0.03 * rate
    assert drawn.mean().item() == pytest.approx(rate, abs=four_errors)


@pytest.mark.parametrize("t", TIMES)
def test_conditional_ensemble_needs_the_conditional_posterior(t, rng):
    """u(x | c) = sum_k p(k | x, c) u_k(x | c); guidance mixes two ensembles, each its own."""
    mixture = world()
    x, time = states(mixture, 64, t, rng)
    # p(caption | component): a caption is not a cluster, and clusters share captions.
    p_caption = torch.tensor([0.9, 0.2, 0.3, 0.6, 0.1], dtype=torch.float64)
    joint = mixture.weights * p_caption
    conditional = replace(mixture, weights=joint / joint.sum())

    # Brute force: x_0 on a grid, weighted by p(x_0, caption) p(x_t | x_0).
    x0, area = grid(num=181)
    prior = (data_density(mixture, x0) * p_caption).sum(-1) * area
    eps = (x[:, None] - (1 - t) * x0) / t
    weight = prior * (-0.5 * eps.square().sum(-1)).exp()
    u_caption = torch.einsum("bg,bgd->bd", weight, eps - x0) / weight.sum(-1, keepdim=True)

    def ensemble(world, posterior_of):
        p = posterior_of.cluster_posterior(x, time, CLUSTERS, NUM_CLUSTERS)
        v = torch.stack([expert.velocity(x, time) for expert in clusters(world)], 1)
        return torch.einsum("bk,bkd->bd", p, v)

    u_c, u_null = ensemble(conditional, conditional), ensemble(mixture, mixture)
    torch.testing.assert_close(u_c, u_caption, rtol=1e-7, atol=1e-7)
    scale = 3.0
    guided = u_null + scale * (u_c - u_null)
    v_null = mixture.velocity(x, time)
    expected = v_null + scale * (u_caption - v_null)
    torch.testing.assert_close(guided, expected, rtol=1e-6, atol=1e-6)
    assert (ensemble(conditional, mixture) - u_caption).abs().max() > 0.05  # one router for both


# Drawing, restricting, refusing


def test_samples_have_the_moments_of_their_component(rng):
    mixture = world(dim=3)
    x0, component = mixture.sample(200_000, rng)
    for c in range(5):
        mine = x0[component == c]
        assert len(mine) / len(x0) == pytest.approx(mixture.weights[c].item(), abs=4e-3)
        torch.testing.assert_close(mine.mean(0), mixture.means[c], rtol=0, atol=0.03)
        torch.testing.assert_close(mine.T.cov(), mixture.covs[c], rtol=0.05, atol=0.02)


@pytest.mark.parametrize(
    "weights, num, counts",
    [
        ([0.5, 0.3, 0.2], 10, [5, 3, 2]),
        ([0.29, 0.71], 100, [29, 71]),  # 0.29 * 100 = 28.999999999999996
        ([0.47, 0.16, 0.37], 10, [5, 1, 4]),  # remainders .7 .6 .7
        ([0.25, 0.25, 0.25, 0.25], 6, [2, 2, 1, 1]),  # a tie goes to the lower index
        ([0.0, 1.0], 3, [0, 3]),
    ],
)
def test_stratified_counts_are_exact(weights, num, counts, rng):
    k = len(weights)
    covs = 1e-6 * torch.eye(1).expand(k, 1, 1)
    mixture = GaussianMixture(torch.tensor(weights), torch.arange(float(k))[:, None], covs)
    assert mixture.counts(num).tolist() == counts
    x0, component = mixture.sample_stratified(num, rng)
    assert component.bincount(minlength=k).tolist() == counts
    assert torch.equal(x0.round().long().flatten(), component)


def test_stratified_samples_are_shuffled_and_repeatable(rng):
    mixture = world()
    _, component = mixture.sample_stratified(1000, rng)
    assert len(component[:100].unique()) == 5
    again = [mixture.sample_stratified(9, torch.Generator().manual_seed(3))[0] for _ in range(2)]
    assert torch.equal(*again)


def test_restrict_renormalises_and_keeps_the_rest(rng):
    mixture = world()
    part = mixture.restrict(torch.tensor([3, 1]))
    expected = mixture.weights[[3, 1]] / (mixture.weights[3] + mixture.weights[1])
    torch.testing.assert_close(part.weights, expected)
    assert torch.equal(part.means, mixture.means[[3, 1]])
    assert torch.equal(part.covs, mixture.covs[[3, 1]])


def test_a_component_of_weight_zero_does_not_exist(rng):
    mixture = world()
    weights = torch.tensor([0.5, 0.0, 0.5, 0.0, 0.0], dtype=torch.float64)
    dead = replace(mixture, weights=weights)
    alive = GaussianMixture(weights[[0, 2]], mixture.means[[0, 2]], mixture.covs[[0, 2]])
    x, time = states(mixture, 8, 0.5, rng)
    for name in ("velocity", "score", "log_density"):
        torch.testing.assert_close(getattr(dead, name)(x, time), getattr(alive, name)(x, time))
    with pytest.raises(ValueError, match="total weight above 0"):
        dead.restrict(torch.tensor([1, 3]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_is_kept_and_float32_agrees(dtype, rng):
    mixture, exact = world(dtype=dtype), world()
    x0, _ = mixture.sample(16, rng)
    t = torch.linspace(0, 1, 16, dtype=dtype)
    for name in ("velocity", "score", "log_density", "posterior"):
        got = getattr(mixture, name)(x0, t)
        assert got.dtype == x0.dtype == dtype
        want = getattr(exact, name)(x0.double(), t.double())
        torch.testing.assert_close(got.double(), want, rtol=2e-4, atol=2e-5)


def test_rows_do_not_see_each_other(rng):
    mixture = world(dim=3)
    x, _ = mixture.sample(16, rng)
    t = torch.rand(16, generator=rng, dtype=x.dtype)
    alone = torch.cat([mixture.velocity(x[i : i + 1], t[i : i + 1]) for i in range(16)])
    torch.testing.assert_close(mixture.velocity(x, t), alone, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"weights": [0.5, 0.6]}, "sum to 1"),
        ({"weights": [1.5, -0.5]}, "weights must be >= 0"),
        ({"weights": [1.0]}, "shapes must be"),  # would broadcast
        ({"means": [[0.0, math.nan], [0.0, 0.0]]}, "finite"),
        ({"covs": [[[1.0, 0.5], [0.0, 1.0]]] * 2}, "symmetric"),
        ({"covs": [[[1.0, 0.0], [0.0, -1.0]]] * 2}, "positive definite"),
        ({"covs": [[[1.0, 1.0], [1.0, 1.0]]] * 2}, "positive definite"),
    ],
)
def test_what_is_no_mixture_is_refused(change, message, monkeypatch):
    good = {
        "weights": [0.5, 0.5],
        "means": [[0.0, 0.0]] * 2,
        "covs": [[[1.0, 0.0], [0.0, 1.0]]] * 2,
    }
    GaussianMixture(**{name: torch.tensor(value) for name, value in good.items()})
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as in runs
    with pytest.raises(ValueError, match=message):
        GaussianMixture(**{name: torch.tensor(value) for name, value in (good | change).items()})


@pytest.mark.parametrize("components", [[], [1, 1], [-1, 4]])
def test_restrict_refuses_what_is_no_set(components):
    with pytest.raises(ValueError, match="distinct indices in 0..4"):
        world().restrict(torch.tensor(components, dtype=torch.long))


def test_a_mixture_is_frozen():
    with pytest.raises(FrozenInstanceError):
        world().weights = torch.ones(1)


# Labels: another division of the same components


def conditions(num, rng):
    """All labels in one batch, the null label too."""
    return Condition(torch.randint(NUM_LABELS + 1, (num,), generator=rng))


def with_label(label):
    """The components with this label, all of them for the null label."""
    return ((LABELS == label) | (label == NULL)).nonzero().flatten()


@pytest.mark.parametrize("t", [1.0, *TIMES, 0.0])
def test_a_label_is_a_restriction(t, rng):
    """Sample by sample: the mixture of those components that have its label, and no other."""
    given = labelled()
    x, time = states(given.mixture, 48, t, rng)
    condition = conditions(48, rng)
    v = given.velocity(x, time, condition)
    p = given.posterior(x, time, condition)
    for i, label in enumerate(condition.label.tolist()):
        some, row = with_label(label), slice(i, i + 1)
        alone = given.mixture.restrict(some)
        torch.testing.assert_close(v[row], alone.velocity(x[row], time[row]))
        expected = torch.zeros(1, 6, dtype=p.dtype)
        expected[:, some] = alone.posterior(x[row], time[row])
        torch.testing.assert_close(p[row], expected)


@pytest.mark.parametrize("t", [1.0, *TIMES, 0.0])
def test_conditional_experts_and_posterior_are_the_conditional_monolith(t, rng):
    given = labelled()
    x, time = states(given.mixture, 64, t, rng)
    for condition in (conditions(64, rng), None):
        p = given.cluster_posterior(x, time, CLUSTERS_OF_LABELLED, 3, condition)
        v = torch.stack([expert(x, time, condition) for expert in exact_experts(given)], 1)
        error = torch.einsum("bk,bkd->bd", p, v) - given.velocity(x, time, condition)
        assert v.isfinite().all() and error.abs().max() < 1e-12
        torch.testing.assert_close(p.sum(1), torch.ones_like(time))


@pytest.mark.parametrize("t", TIMES)
def test_branches_differ_by_the_gradient_of_the_classifier(t, rng):
    """v(x | c) - v(x) = -(t / (1 - t)) grad log p(c | x)."""
    given = labelled()
    x, time = states(given.mixture, 32, t, rng)
    condition = Condition(torch.arange(32) % NUM_LABELS)
    x.requires_grad_()
    has_label = condition.label[:, None] == LABELS
    log_p = (given.mixture.posterior(x, time) * has_label).sum(1).log()
    expected = -t / (1 - t) * torch.autograd.grad(log_p.sum(), x)[0]
    got = given.velocity(x, time, condition) - given.velocity(x, time)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


def test_the_expert_of_a_cluster_without_the_label_is_finite_and_not_asked(rng):
    given = labelled()
    x, time = states(given.mixture, 16, 0.3, rng)
    condition = Condition(torch.ones(16, dtype=torch.long))
    p = given.cluster_posterior(x, time, CLUSTERS_OF_LABELLED, 3, condition)
    assert (p[:, 2] == 0).all() and (p[:, :2] > 0).all()
    expert = given.restrict(members(2))
    assert expert.label_of_component.tolist() == [0, 2]
    assert torch.equal(expert.velocity(x, time, condition), expert.velocity(x, time))
    # A component of weight 0 does not count: its label is one that nothing has.
    weights = torch.tensor([0.4, 0.0, 0.3, 0.0, 0.2, 0.1], dtype=torch.float64)
    without = replace(given, mixture=replace(given.mixture, weights=weights))
    assert torch.equal(without.velocity(x, time, condition), without.velocity(x, time))


def test_none_and_the_null_label_are_no_condition(rng):
    given = labelled()
    x, time = states(given.mixture, 16, 0.6, rng)
    null = Condition(torch.full((16,), NULL))
    for say in (given.velocity, given.posterior):
        assert torch.equal(say(x, time), say(x, time, null))
    assert torch.equal(given.velocity(x, time), given.mixture.velocity(x, time))
    assert torch.equal(given.posterior(x, time), given.mixture.posterior(x, time))


def test_labelled_rows_do_not_see_each_other(rng):
    given = labelled()
    x, time = states(given.mixture, 24, 0.4, rng)
    condition = conditions(24, rng)
    alone = [slice(i, i + 1) for i in range(24)]
    v = torch.cat([given.velocity(x[row], time[row], condition[row]) for row in alone])
    torch.testing.assert_close(given.velocity(x, time, condition), v, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("labels", "num"), [([0, 1, 0, 1, 0], 2), ([0, 1, 2, 0, 1, 3], 3), ([0, 1, -1, 0, 1, 2], 3)]
)
def test_what_are_no_labels_is_refused(labels, num, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as outside of tests
    with pytest.raises(ValueError, match="wanted 6 labels in 0..") as error:
        LabelledMixture(labelled().mixture, torch.tensor(labels), num)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (Condition(torch.tensor([0, 4])), "in 0..3 .*got 0..4"),
        (Condition(torch.tensor([-1, 0])), "got -1..0"),
        (Condition(text=torch.zeros(2, 1, 1)), "must be labels, got a text"),
        (Condition(torch.tensor([0, 1]), torch.zeros(2, 1, 1)), "got a label and a text"),
    ],
)
def test_conditions_of_another_kind_are_refused(condition, message):
    x, time = torch.zeros(2, 2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    with pytest.raises(ValueError, match=message) as error:
        labelled().velocity(x, time, condition)
    assert "\n" not in str(error.value)

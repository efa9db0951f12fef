import dataclasses
import math

import pytest
import torch

from routing.ensemble.policies import Full
from routing.ensemble.routers import (
    ROUTERS,
    ConditionalLearnedRouter,
    ConditionalPrior,
    ConditionalPriorOptions,
    ConfidenceOptions,
    DensityOptions,
    Exact,
    ExactOptions,
    LearnedRouter,
    NearestCentroid,
    NearestCentroidOptions,
    OracleLabel,
    OracleLabelOptions,
    Prediction,
    Prior,
    PriorOptions,
    Router,
    RouterInputs,
    Uniform,
    UniformOptions,
)
from routing.flow.conditions import Condition
from routing.flow.exact_worlds import GaussianMixture
from routing.flow.paths import add_noise

BATCH, DIM = 12, 2
PRIOR = torch.tensor([0.1, 0.2, 0.7], dtype=torch.float64)
CENTROIDS = torch.tensor([[-2.0, 0.0], [0.0, 3.0], [2.0, -1.0]], dtype=torch.float64)
WORLD = GaussianMixture(
    torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64),
    torch.tensor([[-2.0, 0.0], [0.0, 3.0], [2.0, 0.0], [2.0, -2.0]], dtype=torch.float64),
    torch.eye(DIM, dtype=torch.float64).repeat(4, 1, 1) * 0.25,
)
CLUSTERS = torch.tensor([0, 1, 2, 2])
LABELS = torch.arange(BATCH) % 3


def itself(x0):
    return x0


def logits(x, t):
    return torch.stack([x[:, 0], x[:, 1], t], dim=1)


COUNTS = torch.tensor([[3, 0, 0], [1, 0, 0], [4, 0, 1]])  # 8, none and 1 images of labels 0, 1, 2
INPUTS = RouterInputs(PRIOR, CENTROIDS, itself, WORLD, CLUSTERS, COUNTS)
OPTIONS = {
    "prior": PriorOptions(),
    "uniform": UniformOptions(),
    "oracle_label": OracleLabelOptions(),
    "nearest_centroid": NearestCentroidOptions(0.7),
    "conditional_prior": ConditionalPriorOptions(),
    "confidence": ConfidenceOptions(1.5),
    "density": DensityOptions(),
    "exact": ExactOptions(),
}
ROUTER_OF = {name: options.build(INPUTS) for name, options in OPTIONS.items()}
ROUTER_OF["network"] = LearnedRouter(logits, torch.tensor([2.0, 0.5]))
ROUTER_OF["conditional_network"] = ConditionalLearnedRouter(
    lambda x, t, c: logits(x, t) * (c.label % 2)[:, None]
)
NAMES = sorted(ROUTER_OF)
CONDITIONAL = {"conditional_prior", "conditional_network", "confidence", "density"}


def states(rng):
    x0, _ = WORLD.sample(BATCH, rng)
    eps = torch.randn(BATCH, DIM, dtype=torch.float64, generator=rng)
    t = torch.rand(BATCH, dtype=torch.float64, generator=rng)
    return add_noise(x0, eps, t), t


def posteriors(router, x, t, v, cluster):
    """At the first call and at the two after it, at falling times."""
    carry = router.start(x, cluster, Condition(label=cluster))
    p = []
    for _ in range(3):
        p.append(router.posterior(x, t, carry))
        velocities = torch.stack([v, x * v, 0.5 * x], dim=1)
        prediction = Prediction(v, velocities, velocities[:, :, 0])
        carry = router.observe(x, t, prediction, carry)
        x, t = x - 0.3 * t[:, None] * v, 0.7 * t
    return torch.stack(p, dim=1)


def test_the_list_is_the_table():
    assert OPTIONS.keys() == ROUTERS.keys()
    assert all(type(options) is ROUTERS[name] for name, options in OPTIONS.items())
    assert all(dataclasses.is_dataclass(kind) and not kind.learned for kind in ROUTERS.values())


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_distributions_and_the_bill_is_declared(name, rng):
    x, t = states(rng)
    router = ROUTER_OF[name]
    assert isinstance(router, Router)
    assert router.network_calls == (1 if "network" in name else 0)
    assert router.reads == {"confidence": "velocities", "density": "divergences"}.get(name)
    assert getattr(OPTIONS.get(name), "needs_noise", False) == (name == "confidence")
    for dtype in [torch.float64] if name == "exact" else [torch.float32, torch.float64]:
        p = posteriors(router, x.to(dtype), t.to(dtype), torch.ones_like(x, dtype=dtype), LABELS)
        assert p.shape == (BATCH, 3, 3) and p.dtype == dtype and (p >= 0).all()
        torch.testing.assert_close(p.sum(dim=2), torch.ones(BATCH, 3, dtype=dtype))


@pytest.mark.parametrize("name", NAMES)
def test_rows_do_not_see_each_other(name, rng):
    x, t = states(rng)
    v = torch.randn(BATCH, DIM, dtype=x.dtype, generator=rng)
    p = posteriors(ROUTER_OF[name], x, t, v, LABELS)
    rows = [slice(i, i + 1) for i in range(BATCH)]
    alone = [posteriors(ROUTER_OF[name], x[i], t[i], v[i], LABELS[i]) for i in rows]
    if name == "exact":  # a matrix product
        torch.testing.assert_close(p, torch.cat(alone), rtol=1e-12, atol=1e-14)
    else:
        assert torch.equal(p, torch.cat(alone))


@pytest.mark.parametrize("name", sorted(set(NAMES) - CONDITIONAL))
def test_the_others_do_not_look_at_the_condition(name, rng):
    x, t = states(rng)
    for condition in (Condition(label=LABELS), Condition(text=torch.ones(BATCH, 1, 5))):
        p = ROUTER_OF[name].posterior(x, t, ROUTER_OF[name].start(x, LABELS, condition))
        assert torch.equal(p, ROUTER_OF[name].posterior(x, t, ROUTER_OF[name].start(x, LABELS)))


def test_prior_uniform_and_oracle_label_are_what_they_say(rng):
    x, t = states(rng)
    x32, t32 = x.float(), t.float()
    assert torch.equal(Prior(PRIOR).posterior(x, t, None), PRIOR.expand(BATCH, -1))
    assert Prior(PRIOR).posterior(x32, t32, None).dtype == torch.float32
    assert torch.equal(Uniform(4).posterior(x32, t32, None), torch.full((BATCH, 4), 0.25))
    router = OracleLabel(3)
    p = router.posterior(x32, t32, router.start(x32, LABELS))
    assert torch.equal(p, torch.eye(3)[LABELS])


def test_oracle_label_without_a_label_is_refused(rng):
    x, _ = states(rng)
    with pytest.raises(ValueError, match="oracle_label needs every sample's cluster, got none"):
        OracleLabel(3).start(x, None)


def test_network_is_the_softmax_of_its_logits(rng):
    x, t = states(rng)
    p = LearnedRouter(logits).posterior(x, t, None)
    for row, (a, b), time in zip(p.tolist(), x.tolist(), t.tolist(), strict=True):
        weights = [math.exp(a), math.exp(b), math.exp(time)]
        assert row == pytest.approx([w / sum(weights) for w in weights], rel=1e-12)


def test_logits_are_divided_by_the_temperature_of_the_bin_of_t():
    t = torch.tensor([0.0, 0.24, 0.25, 0.5, 0.74, 0.75, 1.0], dtype=torch.float64)
    x = torch.linspace(-1, 2, 14, dtype=torch.float64).reshape(7, 2)
    temperatures = torch.tensor([0.5, 2.0, 3.0, 7.0])
    of_row = temperatures[[0, 0, 1, 2, 2, 3, 3]].double()
    p = LearnedRouter(logits, temperatures).posterior(x, t, None)
    torch.testing.assert_close(p, (logits(x, t) / of_row[:, None]).softmax(1))
    conditional = ConditionalLearnedRouter(lambda x, t, c: logits(x, t), temperatures)
    assert torch.equal(conditional.posterior(x, t, None), p)
    with pytest.raises(ValueError, match="temperatures must be > 0, got"):
        LearnedRouter(logits, torch.tensor([1.0, 0.0]))


def test_a_conditional_network_is_told_what_is_asked_for_and_a_blind_one_is_not(rng):
    x, t = states(rng)
    condition, requested = Condition(label=LABELS), []

    def net(x, t, *condition):
        requested.append(condition)
        return logits(x, t)

    for router in (LearnedRouter(net), ConditionalLearnedRouter(net)):
        for given in (condition, None):
            router.posterior(x, t, router.start(x, None, given))
    assert requested == [(), (), (condition,), (None,)]


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
    with pytest.raises(ValueError, match=message) as refused:
        ConditionalPrior(PRIOR, COUNTS).start(states(rng)[0], None, condition)
    assert "\n" not in str(refused.value)


def test_exact_is_bayes_rule_written_out(rng):
    x, t = states(rng)
    p = Exact(WORLD, CLUSTERS, 3).posterior(x, t, None)
    for row, point, time in zip(p.tolist(), x.tolist(), t.tolist(), strict=True):
        joint = [0.0] * 3
        var = (1 - time) ** 2 * 0.25 + time**2
        for pi, mean, k in zip(
            WORLD.weights.tolist(), WORLD.means.tolist(), CLUSTERS, strict=True
        ):
            distance = sum((a - (1 - time) * m) ** 2 for a, m in zip(point, mean, strict=True))
            joint[k] += pi * math.exp(-distance / (2 * var)) / var
        assert row == pytest.approx([j / sum(joint) for j in joint], rel=1e-10)


def test_nearest_centroid_is_the_prior_at_first_then_its_formula(rng):
    x, t = states(rng)
    v = torch.randn(BATCH, DIM, dtype=x.dtype, generator=rng)

    def encode(x0):
        return x0 * torch.tensor([2.0, -1.0], dtype=x0.dtype) + 0.5

    router = NearestCentroid(encode, CENTROIDS, PRIOR, temperature=0.8)
    carry = router.start(x, None)
    assert torch.equal(router.posterior(x, t, carry), PRIOR.expand(BATCH, -1))
    carry = router.observe(x, t, Prediction(v), carry)
    p = router.posterior(torch.zeros_like(x), torch.zeros_like(t), carry)  # x_t is not looked at
    for i in range(BATCH):
        (a, b), time = (x[i] - t[i] * v[i]).tolist(), 2 * 0.8**2
        weights = [
            pi * math.exp(-((2 * a + 0.5 - c) ** 2 + (-b + 0.5 - d) ** 2) / time)
            for pi, (c, d) in zip(PRIOR.tolist(), CENTROIDS.tolist(), strict=True)
        ]
        assert p[i].tolist() == pytest.approx([w / sum(weights) for w in weights], rel=1e-9)


def test_nearest_centroid_is_exact_at_the_data():
    # At t = 0, x_0_hat = x: with balls of one radius the formula is then Bayes' rule.
    world = GaussianMixture(
        PRIOR, CENTROIDS, torch.eye(DIM, dtype=torch.float64).repeat(3, 1, 1) * 0.49
    )
    x, _ = world.sample(BATCH, torch.Generator().manual_seed(1))
    t = torch.zeros(BATCH, dtype=torch.float64)
    router = NearestCentroid(itself, CENTROIDS, PRIOR, temperature=0.7)
    carry = router.observe(x, t, Prediction(world.velocity(x, t)), None)
    torch.testing.assert_close(router.posterior(x, t, carry), world.posterior(x, t))


@pytest.mark.parametrize("feature_dtype", [torch.float32, torch.float64])
def test_nearest_centroid_speaks_the_dtype_of_the_state(feature_dtype, rng):
    x, t = states(rng)
    exact = NearestCentroid(itself, CENTROIDS, PRIOR, 0.7).posterior(x, t, x)
    router = NearestCentroid(lambda x0: x0.to(feature_dtype), CENTROIDS, PRIOR, 0.7)
    p = router.posterior(x.float(), t.float(), x.float())
    assert p.dtype == torch.float32
    torch.testing.assert_close(p.double(), exact, rtol=1e-4, atol=1e-6)


def test_nearest_centroid_never_asks_for_an_empty_cluster(rng):
    x, t = states(rng)
    prior = torch.tensor([0.0, 0.5, 0.5], dtype=torch.float64)
    router = NearestCentroid(itself, x[:3], prior, temperature=1e-3)
    for carry in (None, x):
        p = router.posterior(x, t, carry)
        assert p.isfinite().all() and not p[:, 0].any()


def test_the_exact_posterior_makes_experts_the_whole(rng):
    x, t = states(rng)
    experts = [WORLD.restrict((CLUSTERS == k).nonzero()[:, 0]) for k in range(3)]
    p = ROUTER_OF["exact"].posterior(x, t, ROUTER_OF["exact"].start(x, None))
    w, _ = Full()(p, t, torch.zeros_like(t), None)
    v = sum(w[:, k, None] * expert.velocity(x, t) for k, expert in enumerate(experts))
    torch.testing.assert_close(v, WORLD.velocity(x, t), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "options, missing",
    [
        (OPTIONS["nearest_centroid"], "encode"),
        (OPTIONS["nearest_centroid"], "centroids"),
        (OPTIONS["exact"], "mixture"),
        (OPTIONS["exact"], "cluster_of_component"),
        (OPTIONS["conditional_prior"], "label_counts"),
    ],
)
def test_a_missing_material_is_named(options, missing):
    inputs = dataclasses.replace(INPUTS, **{missing: None})
    with pytest.raises(ValueError, match=f"needs {missing}, got none"):
        options.build(inputs)


def test_what_is_bound_is_made_of_options_and_materials():
    def fields(router):
        return {f.name: getattr(router, f.name) for f in dataclasses.fields(router)}

    assert fields(ROUTER_OF["prior"]) == {"prior": PRIOR}
    assert fields(ROUTER_OF["conditional_prior"]) == {"prior": PRIOR, "label_counts": COUNTS}
    assert fields(ROUTER_OF["density"]) == {"prior": PRIOR, "label_counts": COUNTS}
    confidence = {"prior": PRIOR, "temperature": 1.5, "label_counts": COUNTS}
    assert fields(ROUTER_OF["confidence"]) == confidence
    centroid = {"encode": itself, "centroids": CENTROIDS, "prior": PRIOR, "temperature": 0.7}
    assert fields(ROUTER_OF["nearest_centroid"]) == centroid
    exact = {"mixture": WORLD, "cluster_of_component": CLUSTERS, "num_experts": 3}
    assert fields(ROUTER_OF["exact"]) == exact


def test_training_free_routers_need_only_the_prior():
    for name in ("prior", "uniform", "oracle_label", "confidence", "density"):
        OPTIONS[name].build(RouterInputs(PRIOR))


@pytest.mark.parametrize("prior", [[0.5, 0.6], [1.5, -0.5], [float("nan"), 1.0], [0.5, 0.4]])
def test_a_prior_that_is_none_is_refused(prior):
    with pytest.raises(ValueError, match="prior must be >= 0 and sum to 1, got"):
        RouterInputs(torch.tensor(prior))


@pytest.mark.parametrize("options", [NearestCentroidOptions, ConfidenceOptions])
@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_temperature_must_be_positive(options, temperature):
    with pytest.raises(ValueError, match="temperature must be > 0, got"):
        options(temperature)

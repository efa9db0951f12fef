import dataclasses

import pytest
import torch
from router_inputs import (
    BATCH,
    CENTROIDS,
    CLUSTERS,
    COUNTS,
    DIM,
    LABELS,
    PRIOR,
    WORLD,
    itself,
    logits,
    states,
)

from routing.ensemble.routers import (
    ROUTERS,
    ConditionalLearnedRouter,
    ConditionalPriorOptions,
    ConfidenceOptions,
    DensityOptions,
    ExactOptions,
    LearnedRouter,
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
def test_rows_are_distributions_and_the_cost_is_declared(name, rng):
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
def test_a_missing_input_is_named(options, missing):
    inputs = dataclasses.replace(INPUTS, **{missing: None})
    with pytest.raises(ValueError, match=f"needs {missing}, got none"):
        options.build(inputs)


def test_routers_are_built_from_options_and_inputs():
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
def test_an_invalid_prior_raises(prior):
    with pytest.raises(ValueError, match="prior must be >= 0 and sum to 1, got"):
        RouterInputs(torch.tensor(prior))


@pytest.mark.parametrize("options", [NearestCentroidOptions, ConfidenceOptions])
@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_temperature_must_be_positive(options, temperature):
    with pytest.raises(ValueError, match="temperature must be > 0, got"):
        options(temperature)

import pytest
import torch
from exact_mixtures import CLUSTERS, NUM_CLUSTERS, exact_experts, labelled, states
from torch.autograd.functional import jacobian

from routing.ensemble.guidance import GUIDANCE, Guidance
from routing.ensemble.policies import Full, Sticky, TopK
from routing.ensemble.routed_field import RoutedField
from routing.ensemble.routers import Exact, Router
from routing.ensemble.routers.exact_labelled import ExactLabelled
from routing.flow.conditions import Condition
from routing.flow.exact_worlds import GaussianMixture, LabelledMixture
from routing.flow.samplers import SAMPLERS

BATCH, STEPS = 12, 10
TIMES = [1.0, 0.8, 0.5, 0.2, 0.0]
SCALES = [0.0, 0.5, 1.0, 3.0, 7.5]
OPTIONS = {"none": [{}], "conditional": [{}]} | {
    name: [{"scale": scale} for scale in SCALES] for name in ("separate", "shared")
}
SPECS = [(name, options) for name, several in OPTIONS.items() for options in several]


def labels(num=BATCH):
    return Condition(torch.arange(num) % 3)


def maker(world=None, policy=Full(), router=None, rng=None, **options):  # noqa: B008
    """`make` of exact experts and, unless another router is given, exact posteriors."""
    world = labelled() if world is None else world
    router = ExactLabelled(world, CLUSTERS, NUM_CLUSTERS) if router is None else router
    uniforms = torch.rand(BATCH, STEPS, generator=rng or torch.Generator().manual_seed(5))

    def make(condition):
        make.fields.append(
            RoutedField(
                exact_experts(world), router, policy, uniforms, condition=condition, **options
            )
        )
        return make.fields[-1]

    make.fields = []
    return make


def guided(world, x, t, condition, scale):
    """The guided velocity of the monolith, a model of all the data."""
    v = world.velocity(x, t)
    return v + scale * (world.velocity(x, t, condition) - v)


def all_velocities(world, x, t, condition=None):
    """Velocities of all experts [batch experts dim]."""
    return torch.stack([expert(x, t, condition) for expert in exact_experts(world)], dim=1)


def posterior(world, x, t, condition=None):
    return world.cluster_posterior(x, t, CLUSTERS, NUM_CLUSTERS, condition)


def weighted_sum(w, v):
    return torch.einsum("bk,bkd->bd", w, v)


def test_the_specs_are_the_table():
    assert OPTIONS.keys() == GUIDANCE.keys()
    assert not GUIDANCE["none"].is_conditional
    assert all(GUIDANCE[name].is_conditional for name in GUIDANCE if name != "none")


@pytest.mark.parametrize(("name", "options"), SPECS)
def test_each_kind_of_guidance_by_its_definition(name, options, rng):
    """Velocity, trace, cost and router inputs along a trajectory, by the definitions."""
    world, condition, make = labelled(), labels(), maker(keep_states=True)
    kind = GUIDANCE[name](**options)
    assert isinstance(kind, Guidance)
    field = kind.field(make, condition)
    x, _ = states(world.mixture, BATCH, 1.0, rng)
    scale = {"none": 0.0, "conditional": 1.0}.get(name, options.get("scale"))
    for step, time in enumerate(TIMES):
        t = torch.full((BATCH,), time, dtype=x.dtype)
        v = field(x, t, step)
        if name == "shared":
            p, v_null = posterior(world, x, t), all_velocities(world, x, t)
            each = v_null + scale * (all_velocities(world, x, t, condition) - v_null)
            expected = weighted_sum(p, each)  # as Paris does: guidance per expert, then the sum
        else:
            expected = guided(world, x, t, condition, scale)
        assert (v - expected).abs().max() < 1e-12
        given = condition if name in ("conditional", "separate") and scale > 0 else None
        torch.testing.assert_close(field.posteriors[-1], posterior(world, x, t, given))
        assert torch.equal(field.weights[-1], field.posteriors[-1])
        assert torch.equal(field.states[-1], x) and torch.equal(field.times[-1], t)
        x = x - 0.2 * v
    assert field.steps == list(range(len(TIMES)))
    # The posterior of a label is 0 for the clusters without it: 3, 2 or 1 experts are evaluated.
    null, given = BATCH * NUM_CLUSTERS, BATCH // 3 * (3 + 2 + 1)
    evaluations = {"none": null, "conditional": given}
    evaluations["separate"] = null * (scale != 1) + given * (scale != 0)
    evaluations["shared"] = null * (
        1 if scale in (0, 1) else 2
    )  # the null posterior has all experts
    assert field.expert_evaluations.sum().item() == len(TIMES) * evaluations[name]
    assert len(make.fields) == 1 + (name == "separate" and scale not in (0, 1))
    assert sum(len(branch.states) for branch in make.fields) == len(TIMES)  # not twice


@pytest.mark.parametrize("t", TIMES)
@pytest.mark.parametrize("scale", SCALES)
def test_separate_is_the_guided_monolith_and_shared_is_not(scale, t, rng):
    world, condition = labelled(), labels()
    x, t = states(world.mixture, BATCH, t, rng)
    separate, shared = (
        GUIDANCE[name](scale).field(maker(), condition)(x, t, 0) for name in ("separate", "shared")
    )
    assert (separate - guided(world, x, t, condition, scale)).abs().max() < 1e-12
    change = posterior(world, x, t) - posterior(world, x, t, condition)
    error = scale * weighted_sum(change, all_velocities(world, x, t, condition))
    torch.testing.assert_close(shared - separate, error, rtol=0, atol=1e-12)
    if scale == 0:
        assert torch.equal(shared, separate)
    else:  # at t = 0 all velocities are v = -x, and no weights matter
        assert (error.abs().max() > 0.05) == bool(t[0] > 0)


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_shared_equals_separate_if_labels_and_clusters_are_independent(scale, rng):
    """Clusters along one axis, labels along the other, shares of both independent."""
    across, along = torch.tensor([0.2, 0.3, 0.5]).double(), torch.tensor([0.6, 0.4]).double()
    means = torch.cartesian_prod(torch.tensor([-2.0, 0.0, 2.5]), torch.tensor([-1.0, 1.0]))
    covs = torch.diag_embed(torch.tensor([0.3, 0.2])).double().repeat(6, 1, 1)
    mixture = GaussianMixture((across[:, None] * along).flatten(), means.double(), covs)
    world = LabelledMixture(mixture, torch.tensor([0, 1] * 3), 2)
    condition = Condition(torch.arange(BATCH) % 2)
    x, t = states(mixture, BATCH, 0.5, rng)
    assert torch.allclose(posterior(world, x, t), posterior(world, x, t, condition))
    v = GUIDANCE["shared"](scale).field(maker(world), condition)(x, t, 0)
    torch.testing.assert_close(v, guided(world, x, t, condition, scale), rtol=0, atol=1e-12)
    conditional = GUIDANCE["conditional"]().field(maker(world), condition)(x, t, 0)
    assert torch.allclose(v, conditional) == (scale == 1)


@pytest.mark.parametrize("sampler", [SAMPLERS["heun"](10), SAMPLERS["dpmpp_2m"](10)])
def test_guided_samples_are_those_of_the_monolith(sampler, rng):
    world, condition, scale = labelled(), labels(), 3.0
    x, _ = states(world.mixture, BATCH, 1.0, rng)

    def samples(name):
        return sampler(GUIDANCE[name](scale).field(maker(), condition), x)

    monolith = sampler(lambda x, t, step: guided(world, x, t, condition, scale), x)
    torch.testing.assert_close(samples("separate"), monolith, rtol=0, atol=1e-9)
    assert (samples("shared") - monolith).abs().max() > 0.1


def test_branches_have_their_own_posteriors_and_carries(rng):
    """A sticky policy draws once per branch, from the same number and another posterior."""
    world, condition, make = labelled(), labels(), maker(policy=Sticky())
    field = GUIDANCE["separate"](2.0).field(make, condition)
    x, t = states(world.mixture, BATCH, 1.0, rng)
    for step, time in enumerate((1.0, 0.5)):
        v = field(x, t * time, step)
        w, w_null = field.weights[step], field.null_weights[step]
        v_null = weighted_sum(w_null, all_velocities(world, x, t * time))
        v_c = weighted_sum(w, all_velocities(world, x, t * time, condition))
        torch.testing.assert_close(v, v_null + 2 * (v_c - v_null))
        x = x - 0.5 * v
    assert torch.equal(field.weights[0], field.weights[1])
    assert torch.equal(field.null_weights[0], field.null_weights[1])
    assert not torch.equal(field.weights[0], field.null_weights[0])
    u = make.fields[0].uniforms[:, 0]
    assert torch.equal(make.fields[1].uniforms[:, 0], u)
    for p, w in ((field.posteriors, field.weights), (field.null_posteriors, field.null_weights)):
        drawn = (p[0].cumsum(1) <= u[:, None]).sum(1)
        assert torch.equal(w[0].argmax(1), drawn)
        assert p[1].isnan().all()


@pytest.mark.parametrize("scale", [0.5, 1.0, 4.0])
def test_the_shared_weights_are_those_of_the_policy(scale, rng):
    world, condition, policy = labelled(), labels(), TopK(2)
    field = GUIDANCE["shared"](scale).field(maker(policy=policy), condition)
    x, t = states(world.mixture, BATCH, 0.4, rng)
    v = field(x, t, 0)
    w, _ = policy(posterior(world, x, t), t, t, None)
    v_null = all_velocities(world, x, t)
    expected = weighted_sum(w, v_null + scale * (all_velocities(world, x, t, condition) - v_null))
    torch.testing.assert_close(v, expected, rtol=0, atol=1e-12)
    assert torch.equal(field.weights[0], w)
    assert field.expert_evaluations.sum() == BATCH * 2 * (1 if scale == 1 else 2)


class Reader(Router):
    """Keeps what it observes; one network per posterior."""

    network_calls = 1

    def __init__(self, reads, world):
        self.reads, self.unconditional = reads, Exact(world.mixture, CLUSTERS, NUM_CLUSTERS)
        self.observed = []

    def posterior(self, x, t, carry):
        return self.unconditional.posterior(x, t, carry)

    def observe(self, x, t, prediction, carry):
        self.observed.append(prediction)


@pytest.mark.parametrize("reads", [None, "velocities"])
@pytest.mark.parametrize("scale", [1.0, 3.0])
@pytest.mark.parametrize("name", ["separate", "shared"])
def test_routers_observe_the_guided_velocity_and_their_branch(name, scale, reads, rng):
    world, condition = labelled(), labels()
    reader = Reader(reads, world)
    field = GUIDANCE[name](scale).field(maker(router=reader), condition)
    x, t = states(world.mixture, BATCH, 0.4, rng)
    v = field(x, t, 0)
    null, given = all_velocities(world, x, t), all_velocities(world, x, t, condition)
    branches = [null, given] if name == "separate" and scale != 1 else [given]
    branches = [null] if name == "shared" else branches
    assert len(reader.observed) == len(branches)
    for prediction, branch in zip(reader.observed, branches, strict=True):
        assert torch.equal(prediction.v, v)
        assert (prediction.velocities is None) == (reads is None)
        assert reads is None or torch.equal(prediction.velocities, branch)
    assert field.router_evaluations == BATCH * len(branches)
    is_single = scale == 1 and not (name == "shared" and reads)
    assert field.expert_evaluations.tolist() == [BATCH * (1 if is_single else 2)] * NUM_CLUSTERS
    # Both branches of both kinds have these weights, so that here they are one velocity.
    p = posterior(world, x, t)
    torch.testing.assert_close(
        v, weighted_sum(p, null + scale * (given - null)), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("name", GUIDANCE)
def test_gradients_pass_through_the_weights(name, rng):
    """The Jacobian of a guided ensemble, against autograd on the formula."""
    world, condition = labelled(), labels()
    x, t = states(world.mixture, BATCH, 0.4, rng)
    kind = GUIDANCE[name](**OPTIONS[name][-1])

    def formula(x):
        if name != "shared":
            scale = {"none": 0.0, "conditional": 1.0, "separate": SCALES[-1]}[name]
            return guided(world, x, t, condition, scale).sum(0)
        null, given = all_velocities(world, x, t), all_velocities(world, x, t, condition)
        return weighted_sum(posterior(world, x, t), null + SCALES[-1] * (given - null)).sum(0)

    got = jacobian(lambda x: kind.field(maker(), condition)(x, t, 0).sum(0), x)
    torch.testing.assert_close(got, jacobian(formula, x), rtol=1e-9, atol=1e-9)


def test_a_change_of_experts_in_one_branch_counts(rng):
    class Scripted(Router):
        def start(self, x, cluster, condition=None):
            return condition is None

        def posterior(self, x, t, is_null):
            rows = torch.zeros(BATCH, dtype=torch.long)
            rows[0 if is_null else 1] = 2 * (t[0] < 0.5)
            return torch.eye(NUM_CLUSTERS, dtype=x.dtype)[rows]

    x, t = states(labelled().mixture, BATCH, 1.0, rng)
    for name, changed in (("separate", [0, 1]), ("shared", [0]), ("conditional", [1])):
        options = {} if name == "conditional" else {"scale": 2.0}
        field = GUIDANCE[name](**options).field(maker(router=Scripted()), labels())
        field(x, t, 0)
        assert not field.expert_set_changed().any()
        field(x, 0.4 * t, 1)
        assert field.expert_set_changed().nonzero()[:, 0].tolist() == changed
        field(x, 0.3 * t, 2)
        assert not field.expert_set_changed().any()


@pytest.mark.parametrize("name", ["conditional", "separate", "shared"])
def test_a_broken_conditional_branch_names_the_seeds(name, rng):
    def expert(x, t, condition=None):
        v = exact_experts(labelled())[1](x, t, condition)
        return v if condition is None else v.masked_fill(condition.label[:, None] == 1, torch.inf)

    def make(condition):
        field = maker()(condition)
        field.experts[1], field.checks.seeds = expert, torch.arange(BATCH) + 50
        return field

    x, t = states(labelled().mixture, BATCH, 0.6, rng)
    field = GUIDANCE[name](**({} if name == "conditional" else {"scale": 2.0}))
    with pytest.raises(ValueError, match=r"velocity of expert 1 .*\(seeds 51, 54, 57, 60\)"):
        field.field(make, labels())(x, t, 0)


@pytest.mark.parametrize("name", GUIDANCE)
def test_samples_do_not_see_each_other(name, rng):
    x, _ = states(labelled().mixture, BATCH, 1.0, rng)
    uniforms = torch.rand(BATCH, STEPS, generator=rng)
    kind, world = GUIDANCE[name](**OPTIONS[name][-1]), labelled()

    def samples(rows):
        def make(condition):
            router = ExactLabelled(world, CLUSTERS, NUM_CLUSTERS)
            given = {"condition": condition}
            return RoutedField(exact_experts(world), router, Sticky(0.8), uniforms[rows], **given)

        return SAMPLERS["euler"](STEPS)(kind.field(make, labels()[rows]), x[rows])

    parts = [slice(0, 1), slice(1, 5), slice(5, BATCH)]
    together = samples(slice(None))
    torch.testing.assert_close(torch.cat([samples(rows) for rows in parts]), together)


@pytest.mark.parametrize(("name", "options"), SPECS)
def test_a_missing_condition_raises(name, options):
    kind = GUIDANCE[name](**options)
    if not kind.is_conditional:
        assert kind.field(maker(), None).condition is None
        return
    with pytest.raises(ValueError, match=f"guidance {name} needs a condition") as error:
        kind.field(maker(), None)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("scale", [-0.5, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["separate", "shared"])
def test_an_invalid_scale_raises(name, scale):
    with pytest.raises(ValueError, match=f"guidance {name}: scale must be") as error:
        GUIDANCE[name](scale)
    assert "\n" not in str(error.value)

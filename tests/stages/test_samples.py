"""The samples stage: sample i is its own, the bill adds up, and every arm of the default draws."""

from dataclasses import dataclass

import arms
import numpy as np
import pytest
import torch
import yaml
from arms import FULL, LABELLED, TOP1, draw, spec
from places import ROOT
from stages import WORLD, make, refused

from routing.ensemble.policies import POLICIES, Policy
from routing.flow.conditions import Condition, ConditionedNetwork
from routing.flow.samplers import SAMPLERS
from routing.loading import models, sampling_cost
from routing.loading.feature_encoders import fitted_encoders
from routing.metrics.formulas.category_shares import chi_square_p_value
from routing.networks.dit import flop_per_sample
from routing.stages import samples
from routing.workflow import artifacts, seeds

DEFAULT = yaml.safe_load((ROOT / "workflow_config.yaml").read_text())
SHARES = np.array([1.0, 2, 3, 4]) / 10
ASKED = {"guidance": {"name": "conditional"}}
CONDITIONAL = {"name": "learned", "condition": "label"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return arms.networks(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """Networks that are told a label, the router at temperatures of its own."""
    folder = tmp_path_factory.mktemp("told")
    return arms.networks(folder, "label", [0.5, 1.0, 2.0, 4.0])


@pytest.fixture(scope="module")
def exact(tmp_path_factory):
    """The monolith and its four components."""
    return arms.exact(tmp_path_factory.mktemp("exact"))


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """The same world with labels, which experts are told."""
    return arms.exact(tmp_path_factory.mktemp("labelled"), LABELLED, "label")


SEPARATE, SHARED = {"name": "separate", "scale": 2.0}, {"name": "shared", "scale": 2.0}
BUDGET = {"name": "budget", "mean_experts": 1.6}
DRAWN, HEUN = {"name": "ancestral", "num_steps": 4}, {"name": "heun", "num_steps": 2}
KINDS = {  # inputs, router, policy, and what is not the default
    "networks top1": ("trained", "learned", TOP1, {}),
    "networks each step": ("trained", "learned", {"name": "sample_each_step"}, {}),
    "networks density": ("trained", "density", TOP1, {}),
    "exact sticky": ("exact", "exact", {"name": "sticky"}, {}),
    "confidence budget": ("exact", "confidence", BUDGET, {"sampler": DRAWN}),
    "told separate": ("told", CONDITIONAL, {"name": "sample_each_step"}, {"guidance": SEPARATE}),
    "told shared": ("told", CONDITIONAL, BUDGET, {"guidance": SHARED, "sampler": DRAWN}),
    "labelled separate": ("labelled", "exact", TOP1, {"guidance": SEPARATE, "sampler": HEUN}),
    "labelled density": ("labelled", "density", FULL, {"guidance": SEPARATE, "sampler": HEUN}),
    "labelled confidence": ("labelled", "confidence", FULL, ASKED | {"sampler": DRAWN}),
    "labelled sticky": ("labelled", "conditional_prior", {"name": "sticky"}, ASKED),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_depends_on_neither_batch_nor_shard(kind, tmp_path, request):
    name, router, policy, more = KINDS[kind]
    inputs = request.getfixturevalue(name)
    inputs = inputs.get("components", inputs)
    whole = draw(tmp_path / "w", inputs, spec(router, policy, num_trajectories=11, **more))
    pieces = [
        draw(
            tmp_path / str(first),
            inputs,
            spec(
                router, policy, 4, 8, first_seed=first, batch_size=3, num_trajectories=11, **more
            ),
        )
        for first in (0, 8)
    ]
    assert ("requested" in whole["samples"]) == ("guidance" in more)
    for file, arrays in (f for f in whole.items() if f[0] in ("samples", "trace", "trajectories")):
        for key, values in arrays.items():
            if key == "times":
                assert all(np.array_equal(piece[file][key], values) for piece in pieces)
                continue
            joined = np.concatenate([piece[file][key] for piece in pieces])
            if key in ("seeds", "requested"):
                assert np.array_equal(joined, values)
            np.testing.assert_allclose(joined, values, rtol=1e-5, atol=1e-5)
    assert whole["samples"]["seeds"].tolist() == list(range(16))
    assert whole["trajectories"]["seeds"].tolist() == list(range(11))
    sums = [piece["cost"][["evaluations", "flop"]] for piece in pieces]
    np.testing.assert_allclose((sums[0] + sums[1]) / 2, whole["cost"][["evaluations", "flop"]])
    assert whole["samples"]["samples"].std(0).min() > 0.01


@pytest.mark.parametrize("name", SAMPLERS)
def test_trajectories_begin_at_the_noise_and_end_at_the_sample(name, trained, tmp_path):
    sampler = {"name": name, "num_steps": 3}
    found = draw(tmp_path, trained, spec(num=5, sampler=sampler, batch_size=2))
    states, drawn = found["trajectories"]["states"], found["samples"]["samples"]
    num_evaluations = SAMPLERS[name](num_steps=3).num_evaluations
    assert states.shape == (3, num_evaluations + 1, 1, 4, 4) and drawn.shape == (5, 1, 4, 4)
    assert np.array_equal(states[:, -1], drawn[:3])
    assert np.array_equal(states[:, 0], seeds.normals(7, "noise", range(3), (1, 4, 4)))
    assert found["trace"]["weights"].shape == (5, num_evaluations, 5)
    assert found["trace"]["times"].shape == (num_evaluations,) and found["trace"]["times"][0] == 1
    assert artifacts.read_provenance(found["files"]["samples"])["levels"] == 16


@pytest.mark.parametrize("num", [0, 100])
def test_any_number_of_trajectories_is_kept(num, trained, tmp_path):
    found = draw(tmp_path, trained, spec(num=4, first_seed=2, num_trajectories=num))
    kept = min(num, 4)
    assert found["trajectories"]["states"].shape == (kept, 5, 1, 4, 4)
    assert found["trajectories"]["seeds"].tolist() == [2, 3, 4, 5][:kept]


def test_noise_and_routing_numbers_are_those_of_the_seed(exact, tmp_path):
    arms = [
        ("prior", {"name": "sample_each_step"}),
        ("exact", FULL),
        ("uniform", {"name": "sample_each_step"}),
    ]
    found = [
        draw(tmp_path / str(n), exact["components"], spec(*arm, num_trajectories=16))
        for n, arm in enumerate(arms)
    ]
    noise = [arm["trajectories"]["states"][:, 0] for arm in found]
    assert np.array_equal(noise[0], noise[1]) and np.array_equal(noise[0], noise[2])
    chosen = found[0]["trace"]["weights"].argmax(-1)
    u = seeds.uniforms(7, "routing", range(16), 4)
    assert np.array_equal(chosen, (u[..., None] >= np.cumsum(SHARES)).sum(-1))
    parts = spec("prior", num_trajectories=16, seed=8)
    other = draw(tmp_path / "o", exact["components"], parts)
    assert not np.isin(other["trajectories"]["states"][:, 0], noise[0]).any()


def test_the_full_ensemble_of_exact_experts_draws_what_the_monolith_draws(exact, tmp_path):
    whole = draw(tmp_path / "a", exact["monolith"], spec("exact", num=64, steps=20))
    parts = draw(tmp_path / "b", exact["components"], spec("exact", num=64, steps=20))
    np.testing.assert_allclose(
        parts["samples"]["samples"], whole["samples"]["samples"], rtol=1e-9, atol=1e-9
    )
    means = np.array(WORLD["means"])  # and these are samples of the world
    drawn = parts["samples"]["samples"]
    nearest = np.sqrt(((drawn[:, None] - means) ** 2).sum(-1)).min(1)
    assert (nearest < 4 * 0.8).all() and nearest.mean() < 1.5


def test_the_trace_holds_the_posterior_of_the_states(exact, tmp_path):
    found = draw(tmp_path, exact["components"], spec("exact", TOP1, num_trajectories=16))
    arrays = [artifacts.read_arrays(p) for p in exact["components"]["experts"]]
    world = models.load_mixture({k: np.concatenate([a[k] for a in arrays]) for k in arrays[0]})
    assert found["trace"]["times"].tolist() == [1.0, 0.75, 0.5, 0.25]
    for call, time in enumerate(found["trace"]["times"]):
        x = torch.from_numpy(found["trajectories"]["states"][:, call])
        p = world.posterior(x, torch.full((16,), time)).float().numpy()
        np.testing.assert_allclose(found["trace"]["posteriors"][:, call], p, atol=1e-6)
        weights = found["trace"]["weights"][:, call]
        assert np.array_equal(weights.argmax(1), p.argmax(1)) and (weights.max(1) == 1).all()


@pytest.mark.parametrize(
    ("router", "policy", "requested"),
    [
        ("learned", {"name": "top_k", "k": 2}, 4),
        ("learned", {"name": "nucleus", "mass": 0.6}, 4),
        ("learned", {"name": "sticky"}, 1),
        ("uniform", FULL, 0),
    ],
)
def test_the_bill_is_the_support_of_the_weights(router, policy, requested, trained, tmp_path):
    found = draw(tmp_path, trained, spec(router, policy, num=10, batch_size=4))
    table, bill = found["trace"]["weights"], found["cost"]
    assert list(bill) == ["component", "expert_index", "evaluations", "flop", "seconds"]
    experts, router_row, total = bill[:5], bill.iloc[5], bill.iloc[6]
    np.testing.assert_allclose(experts["evaluations"], (table > 0).sum((0, 1)) / 10)
    path = trained["experts"][0]
    net = models.load(artifacts.read_arrays(path), artifacts.read_provenance(path))
    np.testing.assert_allclose(experts["flop"], experts["evaluations"] * flop_per_sample(net))
    path = trained["router"][0]
    net = models.load(artifacts.read_arrays(path), artifacts.read_provenance(path))
    assert router_row["component"] == "router" and router_row["evaluations"] == requested
    assert router_row["flop"] == requested * flop_per_sample(net)
    assert (
        total["component"] == "total" and total["seconds"] > 0 and bill["seconds"][:6].isna().all()
    )
    assert total["evaluations"] == pytest.approx(experts["evaluations"].sum())
    assert total["flop"] == pytest.approx(experts["flop"].sum() + router_row["flop"])
    has_posterior = ~np.isnan(found["trace"]["posteriors"]).all((0, 2))
    assert router == "uniform" or has_posterior.sum() == requested


def test_closed_forms_are_billed_by_evaluation_and_not_by_flop(exact, tmp_path):
    bill = draw(tmp_path, exact["components"], spec("exact", num=8))["cost"]
    assert bill["evaluations"].tolist() == [4.0, 4, 4, 4, 0, 16] and (bill["flop"] == 0).all()


def test_oracle_labels_have_the_frequencies_of_the_prior(exact, tmp_path):
    parts = spec("oracle_label", num=3000, steps=2, batch_size=900)
    found = draw(tmp_path, exact["components"], parts)
    chosen = found["trace"]["weights"]
    assert (chosen.max(-1) == 1).all() and np.array_equal(chosen[:, 0], chosen[:, 1])
    counts = torch.from_numpy(chosen[:, 0].sum(0)[None])
    assert chi_square_p_value(counts, torch.from_numpy(SHARES)) > 1e-3
    u = seeds.uniforms(7, "oracle_label", range(3000), 1)
    assert np.array_equal(chosen[:, 0].argmax(1), (u >= np.cumsum(SHARES)).sum(1))


@pytest.mark.parametrize("name", DEFAULT["arms"])
def test_every_arm_of_the_default_experiment_draws(name, trained, tmp_path):
    arm = DEFAULT["arms"][name]
    sampler = DEFAULT["samplers"][arm["sampler"]] | {"num_steps": 4}
    policy, router = DEFAULT["policies"][arm["policy"]], DEFAULT["routers"][arm["router"]]
    found = draw(tmp_path, trained, spec(router, policy, num=6, sampler=sampler))
    weights = found["trace"]["weights"]
    assert np.isfinite(found["samples"]["samples"]).all()
    assert found["samples"]["samples"].std(0).min() > 0.01
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)
    support = (weights > 0).sum(-1)
    counts = {"top_k": policy.get("k"), "sample_each_step": 1, "sticky": 1}
    if policy["name"] in counts:
        assert (support == counts[policy["name"]]).all()
    elif policy["name"] == "full":
        wanted = 1 if router["name"] == "oracle_label" else 5
        assert (support == wanted).all()
        np.testing.assert_allclose(weights, found["trace"]["posteriors"], atol=1e-6)
    elif policy["name"] == "switch":
        early, late = (5, 1) if policy["early"] == FULL else (1, 5)
        time = found["trace"]["times"]
        assert (support == np.where(time > 0.5, early, late)).all()
    if router["name"] in ("prior", "nearest_centroid"):
        prior = np.array([0.1, 0.2, 0.3, 0.25, 0.15])
        np.testing.assert_allclose(found["trace"]["posteriors"][:, 0], prior[None].repeat(6, 0))


def test_nan_in_an_expert_names_expert_step_and_samples(trained, tmp_path):
    weights = trained["experts"][3]
    arrays, note = artifacts.read_arrays(weights), artifacts.read_provenance(weights)
    arrays["final_layer.linear.bias"][:] = np.nan
    broken = make("experts", tmp_path / "b.safetensors", arrays, model=note["model"], levels=16)
    inputs = trained | {"experts": [*trained["experts"][:3], broken, trained["experts"][4]]}
    with refused(r"the velocity of expert 3 must be finite, .* at step 0, .* \(seeds 20, 21"):
        draw(tmp_path, inputs, spec(num=4, first_seed=20))
    files = list(tmp_path.glob("*"))
    assert files == [broken]


def test_nan_in_a_router_is_refused(trained, tmp_path):
    (weights,) = trained["router"]
    arrays, note = artifacts.read_arrays(weights), artifacts.read_provenance(weights)
    arrays["head.4.bias"][:] = np.inf
    broken = make("router", tmp_path / "b.safetensors", arrays, model=note["model"])
    with refused("the posterior of the router 'learned' must be finite, .* at step 0"):
        draw(tmp_path, trained | {"router": [broken]}, spec(num=4))


@dataclass(frozen=True)
class Heavy(Policy):
    """A policy whose weights sum to 4.5."""

    def __call__(self, p, t, u, carry):
        """Return wrong weights."""
        return 4.5 * p, carry


def test_weights_that_do_not_sum_to_one_are_refused(trained, tmp_path, monkeypatch):
    monkeypatch.setitem(POLICIES, "heavy", Heavy)
    message = "the weights of policy 'heavy': wanted rows that sum to 1, got the sum 4.5 at step 0"
    with refused(message):
        draw(tmp_path, trained, spec(policy={"name": "heavy"}, num=4))
    assert not list(tmp_path.glob("*"))


def test_a_router_without_its_materials_is_refused(trained, tmp_path):
    with refused("exact needs mixture, got none"):
        draw(tmp_path, trained, spec("exact"))


def test_flop_is_that_of_networks_alone():
    assert sampling_cost.flop(None) == 0 == sampling_cost.flop(lambda x, t: x)


def test_a_finished_sample_that_is_not_finite_is_named():
    x = torch.zeros(4, 1, 2, 2)
    x[1, 0, 0, 1], x[3] = np.inf, np.nan
    with refused(r"nan or inf after the last step in 2 samples \(seeds 11, 13\)"):
        samples.check_finite(x, np.arange(10, 14))
    samples.check_finite(x[:1], np.arange(10, 11))


# What is asked for.


def asked_of(inputs, numbers, root=7):
    """Labels of the training images that these seeds ask for, by their definition."""
    index = artifacts.read_table(inputs["index"])
    train = index[index["split"] == "train"]
    u = seeds.uniforms(root, "condition", numbers, 1)[:, 0].astype(float)
    return train.iloc[np.floor(u * len(train)).astype(int)], np.unique(train["label"])


def test_what_is_asked_for_is_of_the_seed_and_the_same_in_all_arms(labelled, tmp_path):
    inputs = labelled["components"]
    kinds = [
        spec("exact", num=400, steps=1, guidance=SEPARATE),
        spec("prior", TOP1, num=400, steps=1, batch_size=77, guidance=SHARED),
        spec("exact", {"name": "sample_each_step"}, num=400, steps=2, sampler=DRAWN, **ASKED),
    ]
    found = [draw(tmp_path / str(n), inputs, parts) for n, parts in enumerate(kinds)]
    rows, names = asked_of(inputs, range(400))
    for arm in found:
        assert np.array_equal(names[arm["samples"]["requested"]], rows["label"])
    assert "requested" not in draw(tmp_path / "n", inputs, spec("exact", num=4))["samples"]
    counts = torch.from_numpy(np.bincount(found[0]["samples"]["requested"])[None].astype(float))
    assert chi_square_p_value(counts, torch.tensor([0.4, 0.2, 0.4], dtype=torch.float64)) > 1e-3


def test_labels_are_ranks_where_they_are_not_numbers_from_zero(told, tmp_path):
    found = draw(tmp_path, told, spec(CONDITIONAL, num=30, steps=1, **ASKED))
    rows, names = asked_of(told, range(30))
    assert names.tolist() == [2, 5, 8]
    assert np.array_equal(names[found["samples"]["requested"]], rows["label"])


def test_a_router_is_told_the_prompt_and_speaks_at_its_temperature(told, tmp_path):
    found = draw(tmp_path, told, spec(CONDITIONAL, num_trajectories=16, **ASKED))
    (path,) = told["router"]
    net = ConditionedNetwork(
        models.load(artifacts.read_arrays(path), artifacts.read_provenance(path))
    )
    condition = Condition(label=torch.from_numpy(found["samples"]["requested"]))
    for call, time in enumerate([1.0, 0.75, 0.5, 0.25]):
        x = torch.from_numpy(found["trajectories"]["states"][:, call])
        bin_temperature = [0.5, 1.0, 2.0, 4.0][min(3, int(time * 4))]
        p = (net(x, torch.full((16,), time), condition) / bin_temperature).softmax(1)
        np.testing.assert_allclose(found["trace"]["posteriors"][:, call], p.detach(), atol=1e-5)
    unasked = draw(tmp_path / "n", told, spec(CONDITIONAL, num_trajectories=16))
    p = net(torch.from_numpy(unasked["trajectories"]["states"][:, 0]), torch.ones(16)) / 4.0
    np.testing.assert_allclose(
        unasked["trace"]["posteriors"][:, 0], p.softmax(1).detach(), atol=1e-5
    )


def test_sticky_draws_from_the_prior_given_the_label(labelled, tmp_path):
    inputs = labelled["halves"]
    parts = spec("conditional_prior", {"name": "sticky"}, num=600, steps=2, batch_size=600)
    found = draw(tmp_path, inputs, parts | ASKED)
    counts = artifacts.read_arrays(inputs["centroids"])["label_counts"]
    p = (counts / counts.sum(0)).T[found["samples"]["requested"]]
    np.testing.assert_allclose(found["trace"]["posteriors"][:, 0], p, atol=1e-6)
    u = seeds.uniforms(7, "routing", range(600), 2)[:, 0]
    chosen = found["trace"]["weights"]
    assert np.array_equal(chosen[:, 0].argmax(1), (u >= p[:, 0]).astype(int))
    assert np.array_equal(chosen[:, 0], chosen[:, 1])
    low, between, high = np.unique(p[:, 0])  # labels: in one, in both, in the other
    assert low == 0 and 0.2 < between < 0.3 and high == 1


@pytest.mark.parametrize("guidance", [{"name": "conditional"}, SEPARATE], ids=str)
def test_exact_experts_guided_apart_draw_what_the_guided_monolith_draws(
    guidance, labelled, tmp_path
):
    parts = spec("exact", num=64, steps=20, guidance=guidance)
    whole, halves = (draw(tmp_path / n, labelled[n], parts) for n in ("monolith", "halves"))
    drawn = halves["samples"]["samples"]
    np.testing.assert_allclose(drawn, whole["samples"]["samples"], rtol=1e-9, atol=1e-9)
    requested = halves["samples"]["requested"]
    means, labels = np.array(WORLD["means"]), np.array(LABELLED["labels"])
    nearest = np.sqrt(((drawn[:, None] - means) ** 2).sum(-1)).argmin(1)
    assert np.array_equal(labels[nearest], requested)
    shared = draw(tmp_path / "s", labelled["halves"], parts | {"guidance": SHARED})
    assert np.abs(shared["samples"]["samples"] - drawn).max() > 0.1
    blind = draw(tmp_path / "b", labelled["halves"], spec("exact", num=64, steps=20))
    assert np.abs(blind["samples"]["samples"] - drawn).max() > 0.1


# The bill of what costs more.


@pytest.mark.parametrize(
    ("router", "guidance", "each", "requested"),
    [
        ("uniform", SEPARATE, 2 * 4, 0),
        ("uniform", SHARED, 2 * 4, 0),
        ("uniform", {"name": "conditional"}, 4, 0),
        ("density", {"name": "none"}, 4 * (1 + 2 * 2), 0),  # two dimensions, two products
        ("density", SEPARATE, 2 * 4 * (1 + 2 * 2), 0),
        ("density", SHARED, 4 * (1 + 2 * 2) + 4, 0),
    ],
    ids=str,
)
def test_both_branches_and_what_routers_read_are_billed(
    router, guidance, each, requested, labelled, tmp_path
):
    parts = spec(router, num=6, batch_size=4, guidance=guidance)
    bill = draw(tmp_path, labelled["halves"], parts)["cost"]
    assert bill["evaluations"].tolist() == [each, each, requested, 2 * each]
    assert (bill["flop"] == 0).all()


@pytest.mark.parametrize(
    ("guidance", "requested"), [(SEPARATE, 8), (SHARED, 4), ({"name": "none"}, 4)], ids=str
)
def test_a_router_speaks_once_for_every_branch_that_it_weighs(guidance, requested, told, tmp_path):
    bill = draw(tmp_path, told, spec(CONDITIONAL, num=6, guidance=guidance))["cost"]
    assert bill["evaluations"][5] == requested and bill["flop"][5] > 0
    (path,) = told["router"]
    net = models.load(artifacts.read_arrays(path), artifacts.read_provenance(path))
    assert bill["flop"][5] == requested * flop_per_sample(net)


def test_a_text_is_billed_with_its_tokens(tmp_path):
    inputs = arms.networks(tmp_path, "text")
    learned = {"name": "learned", "condition": "text"}
    found = draw(tmp_path / "d", inputs, spec(learned, num=12, batch_size=5, **ASKED))
    rows, _ = asked_of(inputs, range(12))
    longest = max(len(caption.split()) for caption in rows["caption"])
    assert longest == 4  # "a digit 8 again", the others have three words
    bill = found["cost"]
    for table, path in ((bill[:5], inputs["experts"][0]), (bill[5:6], inputs["router"][0])):
        net = models.load(artifacts.read_arrays(path), artifacts.read_provenance(path))
        np.testing.assert_allclose(
            table["flop"], table["evaluations"] * flop_per_sample(net, longest)
        )
    assert flop_per_sample(net, longest) > flop_per_sample(net, 1)
    untold = draw(tmp_path / "u", inputs, spec(learned, num=12, guidance={"name": "none"}))
    table = untold["cost"][5:6]
    np.testing.assert_allclose(table["flop"], table["evaluations"] * flop_per_sample(net, 1))


def test_every_draw_has_a_stream_of_its_own(trained, monkeypatch, tmp_path):
    """Seen at its source: which numbers are drawn, for whom, and at which step."""
    calls, real = [], seeds.normals

    def recorded(root, name, numbers, shape, *index):
        calls.append((root, name, tuple(numbers), tuple(shape), *index))
        return real(root, name, numbers, shape, *index)

    monkeypatch.setattr(seeds, "normals", recorded)
    draw(tmp_path / "d", trained, spec("density", steps=2, num=3, first_seed=5))
    who = (5, 6, 7), arms.SHAPE
    assert sorted(calls) == [(7, "divergence", *who), (7, "noise", *who)]
    calls.clear()
    sampler = {"name": "ancestral", "num_steps": 3}
    draw(tmp_path / "a", trained, spec(num=3, first_seed=5, sampler=sampler))
    steps = {(7, "sampler_noise", *who, step) for step in range(3)}
    assert set(calls) == steps | {(7, "noise", *who)} and len(calls) <= 4


def test_a_router_by_distance_pays_for_the_network_that_embeds(tmp_path, monkeypatch):
    """Once for each sample and call but the first, where nothing has been predicted yet."""
    inputs, plain = arms.networks(tmp_path), fitted_encoders.load

    class Deep:
        flop_per_image, dim, block_size, device = 1000, 16, 64, "cpu"

        def __init__(self, arrays, notes):
            self.encode = plain(arrays, notes)

        def __call__(self, values):
            return self.encode(values)

        def outputs(self, values):
            return {"features": self(values)}

    costs = {}
    for name, load in (("product", plain), ("network", Deep)):
        monkeypatch.setattr(fitted_encoders, "load", load)
        drawn = draw(tmp_path / name, inputs, spec("nearest_centroid", steps=4, num=6))
        costs[name] = drawn["cost"].set_index("component")
    assert costs["product"].loc["router", ["evaluations", "flop"]].tolist() == [0, 0]
    found = costs["network"].loc["router", ["evaluations", "flop"]].tolist()
    assert found == [3, 3000]
    total = costs["network"].loc["total", "flop"] - costs["product"].loc["total", "flop"]
    assert total == found[1]

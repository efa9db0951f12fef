"""The samples stage: sample i is its own, the bill adds up, and every arm of the default draws."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from stages import make, refused, run
from test_data import WORLD

from routing import models, samples, seeds, store
from routing.dit import flop_per_sample
from routing.samplers import SAMPLERS
from routing.shares import chi_square_p_value

DEFAULT = yaml.safe_load((Path(__file__).parent.parent / "workflow_config.yaml").read_text())
SHARES = np.array([1.0, 2, 3, 4]) / 10
FULL, TOP1 = {"name": "full"}, {"name": "top_k", "k": 1}


def spec(router="learned", policy=FULL, steps=4, num=16, **more):
    sampler = {"name": "euler", "num_steps": steps}
    sizes = {"first_seed": 0, "num_seeds": num, "batch_size": 64, "num_trajectories": 3}
    router = {"name": router} if isinstance(router, str) else router
    parts = {"arm_name": "arm", "router": router, "policy": policy, "sampler": sampler}
    return {"seed": 7} | parts | sizes | more


def network(path, stage, generator, num_logits=None):
    """A network whose weights are all random: fresh ones say zero."""
    options = {"patch_size": 2, "width": 16, "depth": 1, "num_heads": 2}
    note = models.architecture((1, 4, 4), **options, num_logits=num_logits)
    net = models.new_network(note)
    arrays = {
        name: 0.2 * torch.randn(p.shape, generator=generator).numpy()
        for name, p in net.named_parameters()
    }
    return make(stage, path, arrays, model=note, levels=16)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Five networks, their router, a prior, centroids and an encoder."""
    folder, rng = tmp_path_factory.mktemp("trained"), torch.Generator().manual_seed(5)
    numpy = np.random.default_rng(0)
    division = {
        "centroids": numpy.normal(size=(5, 16)).astype(np.float32),
        "sizes": np.array([10, 20, 30, 25, 15]),
    }
    encoder = {"mean": np.zeros(16), "projection": np.eye(16)}
    return {
        "experts": [network(folder / f"{k}.safetensors", "experts", rng) for k in range(5)],
        "router": [network(folder / "r.safetensors", "router", rng, num_logits=5)],
        "centroids": make("partition", folder / "c.safetensors", division),
        "encoder": make("embed", folder / "e.safetensors", encoder),
    }


@pytest.fixture(scope="module")
def exact(tmp_path_factory):
    """Inputs of the closed-form world by partition: the monolith and its four components."""
    folder = tmp_path_factory.mktemp("exact")
    world = run("data", folder, {"seed": 1, "source": WORLD, "heldout": 0.5})
    embedded = run("embed", folder, {"seed": 1, "encoder": {"name": "identity"}}, **world)
    methods = {
        "monolith": {"name": "kmeans", "num_clusters": 1},
        "components": {"name": "labels", "num_clusters": 4},
    }
    made = {}
    for name, method in methods.items():
        num = method["num_clusters"]
        parts = {"seed": 1, "partition": name, "method": method, "num_clusters": num}
        inputs = {"index": world["index"], "features": embedded["features"]}
        divided = run("partition", folder / name, parts, **inputs)
        inputs = world | {"assignments": divided["assignments"]}
        parts = {"seed": 1, "partition": name, "expert": {"name": "exact"}, "num_experts": num}
        weights = [
            run("experts", folder / name / str(k), parts | {"cluster": k}, **inputs)["weights"]
            for k in range(num)
        ]
        made[name] = {
            "experts": weights,
            "router": [],
            "centroids": divided["centroids"],
            "encoder": embedded["encoder"],
        }
    return made


def draw(folder, inputs, parts):
    """Arrays of all outputs and the bill; the router's weights only go to arms that learned it."""
    if parts["router"]["name"] != "learned":
        inputs = inputs | {"router": []}
    files = run("samples", folder, parts, **inputs)
    found = {n: store.read_arrays(files[n]) for n in ("samples", "trace", "trajectories")}
    return found | {"bill": store.read_table(files["bill"]), "files": files}


@pytest.mark.parametrize("kind", ["trained", "exact"])
@pytest.mark.parametrize("policy", [TOP1, {"name": "sample"}, {"name": "sticky"}], ids=str)
def test_a_sample_depends_on_neither_batch_nor_shard(kind, policy, tmp_path, request):
    inputs = request.getfixturevalue(kind)
    inputs, router = (inputs, "learned") if kind == "trained" else (inputs["components"], "exact")
    whole = draw(tmp_path / "w", inputs, spec(router, policy, num_trajectories=11))
    pieces = [
        draw(
            tmp_path / str(first),
            inputs,
            spec(router, policy, 4, 8, first_seed=first, batch_size=3, num_trajectories=11),
        )
        for first in (0, 8)
    ]
    for name, key in (
        ("samples", "samples"),
        ("samples", "seeds"),
        ("trace", "weights"),
        ("trace", "posteriors"),
        ("trace", "seeds"),
        ("trajectories", "states"),
        ("trajectories", "seeds"),
    ):
        joined = np.concatenate([piece[name][key] for piece in pieces])
        if key in ("weights", "seeds"):
            assert np.array_equal(joined, whole[name][key])
        np.testing.assert_allclose(joined, whole[name][key], rtol=1e-5, atol=1e-5)
    assert np.array_equal(pieces[1]["trace"]["times"], whole["trace"]["times"])
    assert whole["samples"]["seeds"].tolist() == list(range(16))
    assert whole["trajectories"]["seeds"].tolist() == list(range(11))
    sums = [piece["bill"][["evaluations", "flop"]] for piece in pieces]
    np.testing.assert_allclose((sums[0] + sums[1]) / 2, whole["bill"][["evaluations", "flop"]])


@pytest.mark.parametrize("name", SAMPLERS)
def test_trajectories_begin_at_the_noise_and_end_at_the_sample(name, trained, tmp_path):
    sampler = {"name": name, "num_steps": 3}
    found = draw(tmp_path, trained, spec(num=5, sampler=sampler, batch_size=2))
    states, drawn = found["trajectories"]["states"], found["samples"]["samples"]
    num_calls = SAMPLERS[name](num_steps=3).num_calls
    assert states.shape == (3, num_calls + 1, 1, 4, 4) and drawn.shape == (5, 1, 4, 4)
    assert np.array_equal(states[:, -1], drawn[:3])
    assert np.array_equal(states[:, 0], seeds.normals(7, "noise", range(3), (1, 4, 4)))
    assert found["trace"]["weights"].shape == (5, num_calls, 5)
    assert found["trace"]["times"].shape == (num_calls,) and found["trace"]["times"][0] == 1
    assert store.read_provenance(found["files"]["samples"])["levels"] == 16


@pytest.mark.parametrize("num", [0, 100])
def test_any_number_of_trajectories_is_kept(num, trained, tmp_path):
    found = draw(tmp_path, trained, spec(num=4, first_seed=2, num_trajectories=num))
    kept = min(num, 4)
    assert found["trajectories"]["states"].shape == (kept, 5, 1, 4, 4)
    assert found["trajectories"]["seeds"].tolist() == [2, 3, 4, 5][:kept]


def test_noise_and_routing_numbers_are_those_of_the_seed(exact, tmp_path):
    arms = [("prior", {"name": "sample"}), ("exact", FULL), ("uniform", {"name": "sample"})]
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
    arrays = [store.read_arrays(p) for p in exact["components"]["experts"]]
    world = models.mixture({k: np.concatenate([a[k] for a in arrays]) for k in arrays[0]})
    assert found["trace"]["times"].tolist() == [1.0, 0.75, 0.5, 0.25]
    for call, time in enumerate(found["trace"]["times"]):
        x = torch.from_numpy(found["trajectories"]["states"][:, call])
        p = world.posterior(x, torch.full((16,), time)).float().numpy()
        np.testing.assert_allclose(found["trace"]["posteriors"][:, call], p, atol=1e-6)
        weights = found["trace"]["weights"][:, call]
        assert np.array_equal(weights.argmax(1), p.argmax(1)) and (weights.max(1) == 1).all()


@pytest.mark.parametrize(
    ("router", "policy", "asked"),
    [
        ("learned", {"name": "top_k", "k": 2}, 4),
        ("learned", {"name": "nucleus", "mass": 0.6}, 4),
        ("learned", {"name": "sticky"}, 1),
        ("uniform", FULL, 0),
    ],
)
def test_the_bill_is_the_support_of_the_weights(router, policy, asked, trained, tmp_path):
    found = draw(tmp_path, trained, spec(router, policy, num=10, batch_size=4))
    table, bill = found["trace"]["weights"], found["bill"]
    assert list(bill) == ["part", "number", "evaluations", "flop", "seconds"]
    experts, router_row, total = bill[:5], bill.iloc[5], bill.iloc[6]
    np.testing.assert_allclose(experts["evaluations"], (table > 0).sum((0, 1)) / 10)
    path = trained["experts"][0]
    net = models.load(store.read_arrays(path), store.read_provenance(path))
    np.testing.assert_allclose(experts["flop"], experts["evaluations"] * flop_per_sample(net))
    path = trained["router"][0]
    net = models.load(store.read_arrays(path), store.read_provenance(path))
    assert router_row["part"] == "router" and router_row["evaluations"] == asked
    assert router_row["flop"] == asked * flop_per_sample(net)
    assert total["part"] == "total" and total["seconds"] > 0 and bill["seconds"][:6].isna().all()
    assert total["evaluations"] == pytest.approx(experts["evaluations"].sum())
    assert total["flop"] == pytest.approx(experts["flop"].sum() + router_row["flop"])
    has_posterior = ~np.isnan(found["trace"]["posteriors"]).all((0, 2))
    assert router == "uniform" or has_posterior.sum() == asked


def test_closed_forms_are_billed_by_evaluation_and_not_by_flop(exact, tmp_path):
    bill = draw(tmp_path, exact["components"], spec("exact", num=8))["bill"]
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
    counts = {"top_k": policy.get("k"), "sample": 1, "sticky": 1}
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
    arrays, note = store.read_arrays(weights), store.read_provenance(weights)
    arrays["final_layer.linear.bias"][:] = np.nan
    broken = make("experts", tmp_path / "b.safetensors", arrays, model=note["model"], levels=16)
    inputs = trained | {"experts": [*trained["experts"][:3], broken, trained["experts"][4]]}
    with refused(r"the velocity of expert 3 must be finite, .* at step 0, .* \(seeds 20, 21"):
        draw(tmp_path, inputs, spec(num=4, first_seed=20))
    files = list(tmp_path.glob("*"))
    assert files == [broken]


def test_nan_in_a_router_is_refused(trained, tmp_path):
    (weights,) = trained["router"]
    arrays, note = store.read_arrays(weights), store.read_provenance(weights)
    arrays["head.4.bias"][:] = np.inf
    broken = make("router", tmp_path / "b.safetensors", arrays, model=note["model"])
    with refused("the posterior of the router must be finite, .* at step 0"):
        draw(tmp_path, trained | {"router": [broken]}, spec(num=4))


def test_a_router_without_its_materials_is_refused(trained, tmp_path):
    with refused("exact needs mixture, got none"):
        draw(tmp_path, trained, spec("exact"))


def test_flop_is_that_of_networks_alone():
    assert samples.flop(None) == 0 == samples.flop(lambda x, t: x)


def test_a_finished_sample_that_is_not_finite_is_named():
    x = torch.zeros(4, 1, 2, 2)
    x[1, 0, 0, 1], x[3] = np.inf, np.nan
    with refused(r"nan or inf after the last step in 2 samples \(seeds 11, 13\)"):
        samples.refuse_broken(x, np.arange(10, 14))
    samples.refuse_broken(x[:1], np.arange(10, 11))

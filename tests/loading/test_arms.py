"""An arm from its artifacts: what it is made of, asked for, and what its policy is bound to."""

import arms
import numpy as np
import pandas as pd
import pytest
import torch
from arms import FULL, LABELLED, draw, spec, whole_world
from stages import refused

from routing.data import pixel_values, probe_states
from routing.data.conditioners import LabelConditioner
from routing.ensemble.guidance import GUIDANCE
from routing.ensemble.policies import Budget, Full, Nucleus, Threshold, TopK
from routing.ensemble.routers import (
    ConditionalLearnedRouter,
    Exact,
    ExactLabelled,
    LearnedRouter,
    Prior,
)
from routing.flow.conditions import Condition, ConditionedNetwork
from routing.flow.samplers import Euler
from routing.loading import models, policy_calibration
from routing.loading.arms import Arm, PartitionEncoder, load_arm, oracle_clusters
from routing.loading.policy_calibration import NUM_PILOT_SAMPLES
from routing.workflow import artifacts, seeds
from routing.workflow.job import Job

BUDGET = {"name": "budget", "mean_experts": 1.25}
GATE = {"name": "disagreement_gated", "threshold": 0.01, "few": 1, "many": 2}
SEPARATE, SHARED = {"name": "separate", "scale": 2.0}, {"name": "shared", "scale": 2.0}
CONDITIONAL = {"name": "learned", "condition": "label"}


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    return arms.networks(tmp_path_factory.mktemp("told"), "label", [0.5, 1.0, 2.0, 4.0])


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labelled")
    return arms.exact(folder, LABELLED, "label", ["halves", "components"])


@pytest.fixture
def piloted(monkeypatch):
    """Pilots by the order in which arms are bound to them."""
    found = []
    real = policy_calibration.bind_pilot
    monkeypatch.setattr(
        policy_calibration, "bind_pilot", lambda p, pilot: found.append(pilot) or real(p, pilot)
    )
    return found


def job_of(inputs, parts):
    """A job of the stage samples that never ends."""
    if parts["router"]["name"] != "learned":
        inputs = inputs | {"router": []}
    files = {n: [p] if not isinstance(p, list) else p for n, p in inputs.items()}
    return Job("samples", files, {}, parts)


def assembled(inputs, **more):
    return load_arm(job_of(inputs, spec(**more)))


def kept_states(inputs, part=probe_states.CALIBRATE):
    """The states of a part of the probe, and the rows of the index that they are of."""
    tables = [artifacts.read_table(path) for path in inputs["states"]]
    table = pd.concat(tables, ignore_index=True)
    chosen = table[table["split"] == part]
    notes, arrays = (
        artifacts.read_provenance(inputs["images"]),
        artifacts.read_arrays(inputs["images"]),
    )
    values = pixel_values.to_values(arrays["samples"], notes["levels"])
    index = artifacts.read_table(inputs["index"])
    return (
        probe_states.states(chosen, values[chosen["row"]], arms.ROOT),
        index.iloc[chosen["row"]],
        chosen,
    )


# The pilot.


def branches(guidance):
    """Whether the router is told, in each branch that has weights of its own."""
    return {"none": [False], "shared": [False], "conditional": [True], "separate": [False, True]}[
        guidance["name"]
    ]


@pytest.mark.parametrize(
    "guidance", [{"name": "none"}, {"name": "conditional"}, SEPARATE, SHARED], ids=str
)
def test_a_router_without_memory_is_asked_on_the_calibrate_states(
    guidance, labelled, piloted, tmp_path
):
    inputs = labelled["halves"]
    draw(tmp_path, inputs, spec("exact", BUDGET, num=2, guidance=guidance))
    (pilot,) = piloted
    held, rows, _ = kept_states(inputs)
    assert 700 < len(held) < 900  # 0.4 of 2000, in two shards
    x, t = held.x.double(), held.t.double()
    label = Condition(label=torch.tensor(rows["label"].to_numpy()))
    world, cluster = whole_world(inputs), torch.tensor(arms.CLUSTERS)
    wanted = [
        world.cluster_posterior(x, t, cluster, 2, label if is_told else None)
        for is_told in branches(guidance)
    ]
    torch.testing.assert_close(pilot.t, t.repeat(len(wanted)))
    torch.testing.assert_close(pilot.posteriors, torch.cat(wanted))
    assert pilot.disagreement is None  # nobody wants it


@pytest.mark.parametrize("is_asked", [False, True])
def test_a_learned_router_is_asked_with_its_temperature_as_its_arm_asks(
    is_asked, told, piloted, monkeypatch, tmp_path
):
    monkeypatch.setattr(policy_calibration, "BATCH_SIZE", 50)  # in more than one go
    guidance = {"name": "conditional" if is_asked else "none"}
    draw(tmp_path, told, spec(CONDITIONAL, BUDGET, num=2, guidance=guidance))
    held, rows, _ = kept_states(told)
    (path,) = told["router"]
    net = ConditionedNetwork(
        models.load(artifacts.read_arrays(path), artifacts.read_provenance(path))
    )
    label = Condition(label=torch.tensor(np.searchsorted([2, 5, 8], rows["label"])))
    logits = net(held.x, held.t, label if is_asked else None)
    temperature = torch.tensor([0.5, 1.0, 2.0, 4.0])[(held.t * 4).long().clamp(max=3)]
    torch.testing.assert_close(
        piloted[0].posteriors, (logits / temperature[:, None]).softmax(1), rtol=1e-5, atol=1e-5
    )
    torch.testing.assert_close(piloted[0].t, held.t)


def test_an_oracle_is_asked_for_the_clusters_of_the_states_numbers(labelled, piloted, tmp_path):
    inputs = labelled["components"]
    policy = {"name": "switch", "early": FULL, "late": GATE, "t_switch": 0.5}
    inner = BUDGET | {"mean_experts": 1.0, "by": {"name": "threshold", "min_p": 0.5}}
    draw(tmp_path, inputs, spec("oracle_label", policy | {"late": inner}, num=2))
    _, _, chosen = kept_states(inputs)
    u = seeds.uniforms(arms.ROOT, "oracle_label", chosen["state"].tolist(), 1)[:, 0]
    prior = artifacts.read_arrays(inputs["centroids"])["sizes"]
    cluster = (u[:, None] >= np.cumsum(prior / prior.sum())).sum(1)
    assert np.array_equal(piloted[0].posteriors.argmax(1), cluster)


@pytest.mark.parametrize(
    ("router", "sampler"), [("density", "heun"), ("confidence", "ancestral")], ids=str
)
def test_a_router_that_remembers_is_heard_along_pilot_trajectories(
    router, sampler, labelled, piloted, tmp_path
):
    sampler = {"name": sampler, "num_steps": 3, "shift": 2.0}
    more = {"sampler": sampler, "guidance": {"name": "conditional"}}
    draw(tmp_path / "b", labelled["halves"], spec(router, BUDGET, num=2, **more))
    root = seeds.integer(arms.ROOT, "pilot", 0)
    parts = spec(router, FULL, num=NUM_PILOT_SAMPLES, batch_size=NUM_PILOT_SAMPLES, **more)
    full = draw(tmp_path / "f", labelled["halves"], parts | {"seed": root})["trace"]
    (pilot,) = piloted
    wanted = full["posteriors"].reshape(-1, 2)
    np.testing.assert_allclose(pilot.posteriors, wanted, atol=1e-6)
    np.testing.assert_allclose(pilot.t, np.tile(full["times"], NUM_PILOT_SAMPLES))
    assert np.ptp(full["posteriors"][:, -1], axis=0).max() > 0.5


def test_disagreement_is_that_of_the_gram_by_time(told, piloted, tmp_path):
    draw(tmp_path, told, spec(CONDITIONAL, GATE, num=2))
    (pilot,) = piloted
    assert pilot.posteriors is None and pilot.t is None  # nobody wants them
    gram = np.concatenate([artifacts.read_arrays(path)["gram"] for path in told["gram"]])
    t = np.concatenate([artifacts.read_table(path)["t"] for path in told["states"]])
    for b in range(10):
        of_bin = gram[(t >= b / 10) & (t < (b + 1) / 10)]
        assert len(of_bin) > 10
        for i in range(5):
            for j in range(5):
                apart = of_bin[:, i, i] + of_bin[:, j, j] - 2 * of_bin[:, i, j]
                got = pilot.disagreement[b, i, j].item()
                assert got == pytest.approx(apart.mean(), rel=1e-4, abs=1e-6)


def test_what_was_found_is_noted_in_the_bill(labelled, piloted, tmp_path):
    by = {"name": "threshold", "min_p": 0.0}
    inner = BUDGET | {"by": by}
    policy = {"name": "switch", "early": FULL, "late": inner, "t_switch": 0.5}
    found = draw(tmp_path, labelled["halves"], spec("exact", policy, num=40))
    noted = artifacts.read_provenance(found["files"]["cost"])["policy"]
    pilot = piloted[0]
    late = Budget(1.25, Threshold(0.0)).with_pilot(pilot.split(0.5)[1])
    assert noted == {
        "policy": "Switch",
        "early": {"policy": "Full"},
        "late": {"policy": "Threshold", "min_p": late.min_p},
        "t_switch": 0.5,
    }
    p, w = (
        found["trace"][n][:, found["trace"]["times"] <= 0.5] for n in ("posteriors", "weights")
    )
    kept = (p >= late.min_p) | (p == p.max(-1, keepdims=True))
    assert np.array_equal(w > 0, kept) and (found["trace"]["weights"][:, 0] > 0).all()


def test_a_bound_gate_is_noted_without_its_tensor(told, tmp_path):
    found = draw(tmp_path, told, spec(CONDITIONAL, GATE, num=2))
    noted = artifacts.read_provenance(found["files"]["cost"])["policy"]
    assert {key: noted[key] for key in ("threshold", "few", "many")} == {
        key: GATE[key] for key in ("threshold", "few", "many")
    }


@pytest.mark.parametrize("router", ["exact", "density"])
@pytest.mark.parametrize("mean", [1.2, 1.5, 1.8])
def test_the_budget_is_kept_on_the_pilot_and_nearly_on_trajectories(
    router, mean, labelled, piloted, tmp_path
):
    parts = spec(router, BUDGET | {"mean_experts": mean}, num=200, steps=20, batch_size=200)
    found = draw(tmp_path, labelled["halves"], parts)
    noted = artifacts.read_provenance(found["files"]["cost"])["policy"]
    assert noted["policy"] == "Nucleus"
    pilot = piloted[0]
    w, _ = Nucleus(noted["mass"])(pilot.posteriors, pilot.t, torch.zeros_like(pilot.t), None)
    on_pilot = (w > 0).double().sum(1).mean().item()
    assert mean - 0.01 < on_pilot <= mean
    requested = (found["trace"]["weights"] > 0).sum(-1).mean()
    assert requested == pytest.approx(mean, abs=0.15)


def test_a_policy_that_wants_nothing_reads_no_probe(labelled, tmp_path):
    inputs = labelled["halves"] | {"gram": [], "states": [], "images": []}
    draw(tmp_path / "a", inputs, spec("exact", num=2))
    with refused("input 'states': wanted file number 1, got 0; add it to --in states=PATH"):
        draw(tmp_path / "b", inputs, spec("exact", BUDGET, num=2))


def test_a_budget_out_of_reach_on_the_pilot_is_one_line(labelled, tmp_path):
    with refused(r"budget: mean_experts must be in \[1.0, 1.0\], which Nucleus.* got 1.25"):
        draw(tmp_path, labelled["halves"], spec("oracle_label", BUDGET, num=2))


def test_posteriors_on_the_probe_must_be_probabilities(labelled, tmp_path, monkeypatch):
    real = ExactLabelled.posterior
    monkeypatch.setattr(ExactLabelled, "posterior", lambda *given: 2 * real(*given))
    message = r"posterior of the router 'exact' on the probe: wanted rows that sum to 1, got .* 2 "
    with refused(message):
        draw(tmp_path, labelled["halves"], spec("exact", BUDGET, num=2))


# The parts.


def test_routers_are_made_of_their_artifacts(told, labelled):
    assert type(assembled(labelled["halves"], router="exact").router) is ExactLabelled
    assert type(assembled(labelled["halves"], router="prior").router) is Prior
    made = assembled(told, router=CONDITIONAL)
    assert type(made.router) is ConditionalLearnedRouter
    assert made.router.temperatures.tolist() == [0.5, 1.0, 2.0, 4.0]
    assert made.dtype == torch.float32 and made.shape == arms.SHAPE and made.levels == 16
    assert (
        all(type(expert) is ConditionedNetwork for expert in made.experts)
        and len(made.experts) == 5
    )
    np.testing.assert_allclose(made.prior, arms.SIZES / 100)
    made = assembled(labelled["halves"], router="exact", policy={"name": "top_k", "k": 2})
    assert made.dtype == torch.float64 and made.shape == (2,) and made.policy == TopK(2)
    assert made.sampler == Euler(4) and made.levels is None


def test_routers_that_are_told_nothing(tmp_path):
    plain = arms.networks(tmp_path / "networks")
    made = assembled(plain)
    assert type(made.router) is LearnedRouter and made.router.temperatures is None
    assert made.conditioner is None
    world = arms.exact(tmp_path / "exact", names=["halves"])["halves"]
    assert type(assembled(world, router="exact").router) is Exact


def an_arm(guidance, num_train):
    train = pd.DataFrame({"label": np.arange(num_train) % 7, "caption": ["a"] * num_train})
    return Arm(
        experts=[],
        router=Prior(torch.ones(1)),
        policy=Full(),
        guidance=guidance,
        sampler=Euler(1),
        shape=(1,),
        levels=None,
        autoencoder=None,
        encoder=PartitionEncoder(Job("samples", {}, {}, {})),
        prior=np.array([0.25, 0.75]),
        dtype=torch.float32,
        conditioner=LabelConditioner.of(train["label"].to_numpy(), []),
        train_index=train,
        device=torch.device("cpu"),
    )


def test_the_last_random_number_asks_for_the_last_image(monkeypatch):
    """In single precision: its product with a number of images is below that number."""
    largest = np.float32(1) - np.float32(2) ** -24
    monkeypatch.setattr(seeds, "uniforms", lambda *_: np.full((1, 1), largest, np.float32))
    for num in (1025, 4097, 2**17 + 1):
        condition, requested = an_arm(GUIDANCE["conditional"](), num).draw_conditions(7, [0])
        assert requested["requested"].tolist() == condition.label.tolist() == [(num - 1) % 7]
        assert requested["prompts"].tolist() == [num - 1]


@pytest.mark.parametrize("name", GUIDANCE)
def test_the_branches_are_those_that_guidance_makes(name):
    options = {"scale": 2.0} if name in ("separate", "shared") else {}
    condition = Condition(label=torch.tensor([1, 2, 0]))
    found = an_arm(GUIDANCE[name](**options), 9).router_conditions(3, condition)
    assert [of is condition for of in found] == branches({"name": name})


@pytest.mark.parametrize(("scale", "is_told"), [(0.0, False), (1.0, True)])
def test_a_scale_that_leaves_one_branch_asks_the_router_there(scale, is_told):
    condition = Condition(label=torch.tensor([1]))
    (told,) = an_arm(GUIDANCE["separate"](scale), 9).router_conditions(1, condition)
    assert (told is condition) == is_told


def test_an_oracle_draws_from_the_prior():
    u = seeds.uniforms(3, "oracle_label", range(50), 1)[:, 0]
    got = oracle_clusters(an_arm(GUIDANCE["none"](), 9), 3, list(range(50)))
    assert got.tolist() == (u >= 0.25).astype(int).tolist()

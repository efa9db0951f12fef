"""Where networks are computed: on a GPU that is none, stages say what they say on the CPU."""

import math

import numpy as np
import pandas as pd
import pytest
import simulated_gpu
import torch
from simulated_gpu import GPUTensor, MixedDevices, SimulatedGPU
from stages import make, make_data, refused, run
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from routing.data import conditioners
from routing.ensemble.guidance import GUIDANCE
from routing.ensemble.objectives import OBJECTIVES, Batch
from routing.ensemble.policies import POLICIES
from routing.ensemble.routers import ROUTERS
from routing.flow.conditions import Condition
from routing.flow.samplers import SAMPLERS
from routing.loading import models
from routing.networks.classifier import Classifier, ClassifierShape
from routing.training import loop
from routing.training.batches import noise_batch
from routing.training.loop import TrainingId, train
from routing.training.schedule import Schedule
from routing.workflow import artifacts, devices
from routing.workflow.job import Job

pytestmark = pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter")  # it does
ROOT, NUM, K, SHAPE, LEVELS = 7, 48, 3, (1, 4, 4), 16
SMALL = {"patch_size": 2, "width": 16, "depth": 1, "num_heads": 2}
SHORT = {"steps": 3, "learning_rate": 0.01, "warmup_steps": 1, "ema": 0.5}
WHO = TrainingId("expert test/0", 11, (5, 0))
CONDITIONS = ["none", "label", "text"]


@pytest.fixture
def gpu(monkeypatch):
    """A GPU that `best` finds."""
    monkeypatch.setattr(devices, "best_device", lambda: SimulatedGPU.device)
    with SimulatedGPU() as device:
        yield device


def assert_same(found, expected, device="meta"):
    """The same numbers, and provenance that says where from."""
    assert found.keys() == expected.keys()
    for name, path in found.items():
        assert artifacts.read_provenance(path)["device"] == device
        assert artifacts.read_provenance(expected[name])["device"] == "cpu"
        if path.suffix == ".parquet":
            a, b = (
                artifacts.read_table(p).drop(columns="seconds", errors="ignore")
                for p in (path, expected[name])
            )
            pd.testing.assert_frame_equal(a, b, rtol=1e-5, atol=1e-6)
        else:
            a, b = artifacts.read_arrays(path), artifacts.read_arrays(expected[name])
            assert a.keys() == b.keys()
            for key in a:
                assert a[key].dtype == b[key].dtype
                np.testing.assert_allclose(a[key], b[key], rtol=1e-5, atol=1e-6)


# The GPU that is none.


def test_tensors_of_two_devices_do_not_mix():
    with SimulatedGPU() as gpu:
        there, here = torch.ones(3, device=gpu.device), torch.arange(3.0)
        assert (
            type(there) is GPUTensor
            and there.device == SimulatedGPU.device
            and type(here) is Tensor
        )
        for mix in (
            lambda: there + here,
            lambda: torch.stack([there, here]),
            lambda: torch.where(here > 1, there, 0.0),
            lambda: there.index_add(0, here.long(), there),
            lambda: here[there > 0],
            lambda: here.add_(there),
            lambda: here.index_copy_(0, torch.arange(3), there),
        ):
            with pytest.raises(MixedDevices):
                mix()
        with pytest.raises((RuntimeError, TypeError)):
            there.numpy()
        with pytest.raises((RuntimeError, TypeError)):
            np.asarray(there)


def test_what_cuda_allows_is_allowed():
    with SimulatedGPU() as gpu:
        here = torch.arange(3.0)
        there = here.to(gpu.device)
        assert (there * torch.tensor(2.0)).tolist() == [0, 2, 4]
        assert there[torch.tensor([2, 0])].tolist() == [2, 0]
        written = torch.tensor([1, 2], device=gpu.device)
        assert type(written) is GPUTensor and written.tolist() == [1, 2]
        assert there.new_tensor([1, 2]).tolist() == [1.0, 2.0]
        assert there.sum().item() == 3 and type(there.cpu()) is Tensor
        there[:] = torch.ones(3)  # a copy
        assert there.tolist() == [1, 1, 1] and here.tolist() == [0, 1, 2]
        back = there.to("cpu")
        there += 1
        assert back.tolist() == [1, 1, 1]


def test_gradients_are_those_of_the_cpu():
    def steps(device):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).to(device)
        x = torch.arange(6.0).reshape(2, 3).to(device)
        optimiser = torch.optim.AdamW(net.parameters(), lr=0.1)
        for _ in range(3):
            optimiser.zero_grad()
            net(x).square().mean().backward()
            optimiser.step()
        return [p.detach().to("cpu") for p in net.parameters()]

    with SimulatedGPU() as gpu:
        found = steps(gpu.device)
    assert all(map(torch.equal, found, steps("cpu")))


# The choice of a device, and the move to it.


def see_gpus(monkeypatch, num):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: num > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: num)


@pytest.mark.parametrize(
    ("num", "variable", "expected"),
    [
        (0, None, "cpu"),
        (0, "", "cpu"),
        (0, "cpu", "cpu"),
        (2, None, "cuda"),
        (2, "cpu", "cpu"),
        (2, "cuda", "cuda"),
        (2, "cuda:1", "cuda:1"),
    ],
)
def test_a_gpu_is_taken_where_there_is_one(num, variable, expected, monkeypatch):
    see_gpus(monkeypatch, num)
    monkeypatch.delenv("ROUTING_DEVICE", raising=False)
    if variable is not None:
        monkeypatch.setenv("ROUTING_DEVICE", variable)
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    was = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = True
    try:
        assert str(devices.best_device()) == expected
        is_tf32 = expected == "cpu"  # where it says nothing
        assert products.allow_tf32 == convolutions.allow_tf32 == is_tf32
    finally:
        products.allow_tf32, convolutions.allow_tf32 = was


@pytest.mark.parametrize(
    ("num", "variable", "there"),
    [
        (0, "cuda", "cpu"),
        (0, "gpu", "cpu"),
        (2, "cuda:2", "cpu or cuda or cuda:0 or cuda:1"),
        (1, "cpu:0", "cpu or cuda or cuda:0"),
        (1, "cuda:", "cpu or cuda or cuda:0"),
        (1, "mps", "cpu or cuda or cuda:0"),
    ],
)
def test_a_device_that_is_not_there_is_refused(num, variable, there, monkeypatch):
    see_gpus(monkeypatch, num)
    monkeypatch.setenv("ROUTING_DEVICE", variable)
    with refused(f"device: wanted {there}, got ROUTING_DEVICE='{variable}'; unset or change it"):
        devices.best_device()


def test_the_device_goes_into_the_provenance(tmp_path, monkeypatch):
    see_gpus(monkeypatch, 3)
    monkeypatch.setenv("ROUTING_DEVICE", "cuda:2")
    with Job("experts", {}, {"made": tmp_path / "a.parquet"}, {}) as job:
        assert devices.use_best_device(job) == torch.device("cuda", 2)
        job.write_table("made", pd.DataFrame({"a": [1]}))
    assert artifacts.read_provenance(tmp_path / "a.parquet")["device"] == "cuda:2"


def test_all_tensors_that_are_held_are_moved():
    x, p = torch.arange(6.0).reshape(3, 2), torch.full((3,), 1 / 3)
    told = Condition(torch.arange(3), torch.ones(3, 1, 2), torch.ones(3, 1, dtype=torch.bool))
    batch = Batch(x, x[:, 0], torch.arange(3), x, p[:2], p, projections=torch.ones(3, 1, 2))
    held = {"a": [x, 5, None, "text"], "b": (batch, told, np.ones(2))}
    with SimulatedGPU() as gpu:
        there = devices.to_device(held, gpu.device)
        back = devices.to_device(there, devices.CPU)
    assert type(there["a"][0]) is GPUTensor and there["a"][1:] == [5, None, "text"]
    assert there["b"][2] is held["b"][2] and type(there["b"]) is tuple
    for i, whole in enumerate((batch, told)):
        for name, part in vars(whole).items():
            moved, returned = (vars(h["b"][i])[name] for h in (there, back))
            assert (moved is None) if part is None else (type(moved) is GPUTensor)
            assert part is None or torch.equal(returned, part)
    assert devices.to_device(x, devices.CPU) is x


# Training.


class Regression:
    """A loss that goes where the network is, and notes how often the GPU has been read."""

    def __init__(self, device, bad_step=None, die_before=None):
        self.device, self.bad_step, self.die_before = device, bad_step, die_before
        self.reads = []

    def __call__(self, net, rng):
        if len(self.reads) == self.die_before:
            raise KeyboardInterrupt
        self.reads.append(simulated_gpu.num_reads())
        x = torch.from_numpy(rng.standard_normal((4, 3), np.float32)).to(self.device)
        scale = math.inf if len(self.reads) == self.bad_step else 1.0
        return (net(x) - x.sum(1, keepdim=True)).square().mean() * scale


def fit(path, device, steps=30, **options):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).to(device)
    loss = Regression(device, **options)
    schedule = Schedule(steps, 4, 0.05, warmup_steps=5, ema=0.9)
    return *train(net, loss, schedule, WHO, path, {"a": 1}), loss


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    return fit(tmp_path_factory.mktemp("unbroken") / "s.state", "cpu")


def assert_trained_as(found, expected):
    for name, array in expected[0].items():
        assert type(found[0][name]) is np.ndarray and np.array_equal(found[0][name], array)
    pd.testing.assert_frame_equal(found[1], expected[1], check_exact=True)


@pytest.mark.parametrize("every", [1, 7, 10, 1000])
def test_a_gpu_is_read_every_so_many_steps(every, gpu, unbroken, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "READ_EVERY", every)
    found = fit(tmp_path / "s.state", gpu.device)
    assert_trained_as(found, unbroken)
    reads = np.diff(found[2].reads)  # before step n + 2 and after the one before
    assert reads.tolist() == [int((n + 1) % every == 0) for n in range(29)]


@pytest.mark.parametrize("bad", [1, 3, 10, 11, 29, 30])
def test_a_loss_that_is_not_finite_is_named_late_but_rightly(bad, gpu, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "READ_EVERY", 10)
    with refused(rf"expert test/0: loss is inf at step {bad}; lower learning_rate \(now 0.05\)"):
        fit(tmp_path / "s.state", gpu.device, bad_step=bad)
    assert not list(tmp_path.iterdir())


def test_a_state_is_saved_before_a_loss_that_is_not_finite_and_not_after(
    gpu, unbroken, tmp_path, monkeypatch
):
    monkeypatch.setattr(loop, "SAVE_EVERY_S", 0.0)
    with refused("loss is inf at step 12"):
        fit(tmp_path / "s.state", gpu.device, bad_step=12)
    found = fit(tmp_path / "s.state", gpu.device)
    assert_trained_as(found, unbroken)
    assert len(found[2].reads) == 30 - 11


@pytest.mark.parametrize("first", ["cpu", "meta"])
@pytest.mark.parametrize("then", ["cpu", "meta"])
def test_a_run_goes_on_elsewhere(first, then, gpu, unbroken, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "SAVE_EVERY_S", 0.0)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "s.state", first, die_before=13)
    found = fit(tmp_path / "s.state", then)
    assert_trained_as(found, unbroken)
    assert len(found[2].reads) == 17


def test_a_saved_state_is_of_no_device(gpu, tmp_path):
    fit(tmp_path / "s.state", gpu.device, steps=2)
    content = (tmp_path / "s.state").read_bytes()[32:]
    (tmp_path / "bare").write_bytes(content)
    state = torch.load(tmp_path / "bare", weights_only=True)
    moments = [m for one in state["optimiser"]["state"].values() for m in one.values()]
    tensors = [*state["net"].values(), *state["average"].values(), *moments]
    assert len(tensors) == 4 + 4 + 12 and {type(tensor) for tensor in tensors} == {Tensor}


# Stages.


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Images in three clusters, with labels that are not the clusters."""
    rng = np.random.default_rng(0)
    stored = rng.integers(LEVELS + 1, size=(NUM, *SHAPE)).astype(np.uint8)
    labels, clusters = np.array([2, 5, 8])[np.arange(NUM) % 3], np.arange(NUM) // 5 % K
    is_train = np.arange(NUM) % 3 < 2
    is_train[:9] = [True, False, True] * 3  # every label in both parts
    folder = tmp_path_factory.mktemp("data")
    made = make_data(folder, stored, is_train, labels, clusters, LEVELS)
    division = {
        "centroids": rng.normal(size=(K, 16)).astype(np.float32),
        "sizes": np.array([20, 30, 50]),
        "label_counts": rng.integers(1, 9, size=(K, 3)),
    }
    linear = {"mean": np.zeros(16), "projection": np.eye(16)}
    note = {"kind": "linear", "shape": list(SHAPE)}
    return made | {
        "centroids": make("partition", folder / "c.safetensors", division),
        "encoder": make("fit_encoder", folder / "e.safetensors", linear, encoder=note),
    }


@pytest.fixture(scope="module")
def worlds(data, tmp_path_factory):
    """Random experts, their router and their probe, by what they are told."""
    made = {}
    for condition in CONDITIONS:
        folder = tmp_path_factory.mktemp(condition)
        index = artifacts.read_table(data["index"])
        conditioner = conditioners.make(condition, index[index["split"] == "train"])
        rng = torch.Generator().manual_seed(5)
        experts = [network(folder / f"{k}.safetensors", rng, conditioner) for k in range(K)]
        router = network(folder / "r.safetensors", rng, conditioner, K)
        made[condition] = {"experts": experts, "router": [router], "conditioner": conditioner}
        made[condition] |= run("probe", folder, probe_spec(48), **probe_inputs(data, experts))
    return made


def network(path, rng, conditioner, num_logits=None):
    """A network whose weights are all random: fresh ones say zero."""
    told = conditioner.options() if conditioner else {}
    note = models.dit_config(SHAPE, **SMALL, num_logits=num_logits, **told)
    arrays = {
        name: 0.2 * torch.randn(p.shape, generator=rng).numpy()
        for name, p in models.build_dit(note).named_parameters()
    }
    more = {"temperatures": [0.5, 1.0, 2.0, 4.0]} if num_logits else {}
    return make(
        "router" if num_logits else "experts",
        path,
        arrays,
        model=note,
        levels=LEVELS,
        conditioner=conditioners.to_metadata(conditioner),
        **more,
    )


def probe_spec(num):
    sizes = {"num_states": num, "shard_size": num, "num_directions": 2, "fit_fraction": 0.4}
    return {
        "seed": ROOT,
        "partition": "p",
        "probe": sizes | {"calibration_fraction": 0.3},
        "first_state": 0,
    }


def probe_inputs(data, experts):
    return {"samples": data["samples"], "index": data["index"], "experts": experts}


@pytest.fixture
def twice(tmp_path, monkeypatch):
    """Runs a stage on the CPU and on the GPU that is none; the files of the latter, compared."""

    @sdpa_kernel(SDPBackend.MATH)  # the fused ones are of a device, and Adam enlarges rounding
    def both(stage, spec, device="meta", **inputs):
        expected = run(stage, tmp_path / "cpu", spec, **inputs)
        with monkeypatch.context() as patch, SimulatedGPU():
            patch.setattr(devices, "best_device", lambda: SimulatedGPU.device)
            found = run(stage, tmp_path / "gpu", spec, **inputs)
        assert_same(found, expected, device)
        return found

    return both


@pytest.mark.parametrize("condition", CONDITIONS)
def test_an_expert_learns_elsewhere_what_it_learns_here(condition, data, twice):
    kind = {"name": "transformer", "total_batch": 4 * K, "drop": 0.5} | SMALL | SHORT
    spec = {"seed": ROOT, "partition": "p", "cluster": 1, "training_seed": 0, "expert": kind}
    inputs = {name: data[name] for name in ("samples", "index", "assignments")}
    files = twice("experts", spec | {"num_experts": K, "condition": condition}, **inputs)
    assert artifacts.read_table(files["loss"])["loss"].nunique() == 3


@pytest.mark.parametrize("condition", CONDITIONS)
def test_experts_answer_elsewhere_what_they_answer_here(condition, data, worlds, twice):
    twice("probe", probe_spec(11), **probe_inputs(data, worlds[condition]["experts"]))


OPTIONS = {"velocity_topk": {"max_k": 3}}


TRAINING_SEEDS = [
    *((name, "label") for name in OBJECTIVES),
    ("velocity", "none"),
    ("cluster", "text"),
]


@pytest.mark.parametrize(("objective", "condition"), TRAINING_SEEDS)
def test_a_router_learns_elsewhere_what_it_learns_here(objective, condition, data, worlds, twice):
    kind = {"name": "learned", "objective": {"name": objective} | OPTIONS.get(objective, {})}
    kind |= SMALL | SHORT | {"batch_size": 8, "condition": condition, "temperature": "nll"}
    spec = {"seed": ROOT, "partition": "p", "router_name": "r", "router": kind, "training_seed": 0}
    names = ("samples", "index", "assignments")
    inputs = {name: data[name] for name in names} | {
        name: worlds[condition][name] for name in ("gram", "states")
    }
    twice("router", spec | {"num_experts": K}, **inputs)


def test_a_router_goes_on_elsewhere_from_another_one(data, worlds, twice):
    kind = {"name": "learned", "objective": {"name": "cluster"}, "batch_size": 8, "start": "s"}
    spec = {
        "seed": ROOT,
        "partition": "p",
        "router_name": "r",
        "training_seed": 0,
        "num_experts": K,
    }
    inputs = {name: data[name] for name in ("samples", "index", "assignments")}
    inputs |= {name: worlds["none"][name] for name in ("gram", "states")}
    for steps in (0, 2):
        options = {"router": kind | SMALL | SHORT | {"steps": steps}}
        twice("router", spec | options, start=worlds["none"]["router"], **inputs)


def test_a_classifier_learns_and_answers_elsewhere(data, twice):
    kind = {"name": "classifier", "width": 4, "dim": 8, "batch_size": 8, "steps": 3}
    spec = {"seed": ROOT, "classifier_name": "digits", "classifier": kind}
    made = twice("classifier", spec, samples=data["samples"], index=data["index"])
    spec = {"set": "arm", "autoencoder": None, "shard_size": NUM}
    twice("sample_features", spec, samples=data["samples"], classifier=made["weights"])
    files = twice(
        "sample_features", spec, device="cpu", samples=data["samples"], encoder=data["encoder"]
    )
    assert artifacts.read_arrays(files["features"])["features"].shape == (NUM, 16)


# Samples: every kind of everything that an arm is made of.

EULER = {"name": "euler", "num_steps": 2}
NOISY = {"name": "ancestral", "num_steps": 3}
SAMPLING = {
    "euler": EULER,
    "heun": {"name": "heun", "num_steps": 2},
    "rk4": {"name": "rk4", "num_steps": 1},
    "dpmpp_2m": {"name": "dpmpp_2m", "num_steps": 3, "history": "reset"},
    "ancestral": NOISY,
}
GUIDED = {
    "none": {"name": "none"},
    "conditional": {"name": "conditional"},
    "separate": {"name": "separate", "scale": 2.0},
    "shared": {"name": "shared", "scale": 2.0},
}
TOP2, GATE = {"name": "top_k", "k": 2}, {"name": "disagreement_gated", "threshold": 0.05}
RULES = {
    "full": {},
    "top_k": {"k": 2},
    "nucleus": {"mass": 0.8},
    "threshold": {"min_p": 0.2},
    "sample_each_step": {},
    "sticky": {"t_star": 0.7, "before": TOP2},
    "hysteresis": {"margin": 0.05},
    "entropy_gated": {"threshold": 0.8},
    "disagreement_gated": {"threshold": 0.05},
    "budget": {"mean_experts": 1.5, "by": GATE},
    "switch": {"early": GATE, "late": {"name": "sample_each_step"}, "t_switch": 0.6},
}
TEMPERED = {"nearest_centroid": {"temperature": 2.0}, "confidence": {"temperature": 2.0}}
# Those that have no use for networks are of closed forms, which stay where they are.
OF_NETWORKS = [name for name in ROUTERS if name != "exact"]


def test_nothing_of_the_tables_is_left_out():
    assert SAMPLING.keys() == SAMPLERS.keys() and GUIDED.keys() == GUIDANCE.keys()
    assert RULES.keys() == POLICIES.keys()


def arm(data, world, router, policy, sampler, guidance, **more):
    """Spec and inputs of a job of the stage samples."""
    needs_noise = router in ROUTERS and ROUTERS[router].needs_noise
    spec = {
        "seed": ROOT,
        "arm_name": "arm",
        "router": {"name": router} | TEMPERED.get(router, {}),
        "policy": {"name": policy} | RULES[policy],
        "sampler": NOISY if needs_noise else sampler,
        "guidance": guidance,
        "first_seed": 0,
        "num_seeds": 5,
        "batch_size": 3,
        "num_trajectories": 4,
    }
    inputs = {name: data[name] for name in ("centroids", "encoder", "index")}
    inputs |= {name: world[name] for name in ("experts", "gram", "states")}
    inputs |= {"images": data["samples"], "router": world["router"] if router == "learned" else []}
    return spec | more, inputs


ARMS = [*(("learned", policy) for policy in POLICIES), *((name, "sticky") for name in OF_NETWORKS)]


@pytest.mark.parametrize(("router", "policy"), ARMS)
def test_every_router_and_policy_draw_elsewhere_what_they_draw_here(
    router, policy, data, worlds, twice
):
    spec, inputs = arm(data, worlds["label"], router, policy, EULER, GUIDED["separate"])
    files = twice("samples", spec, **inputs)
    assert np.ptp(artifacts.read_arrays(files["samples"])["samples"]) > 0.1


WAYS = [
    *((name, "separate", "learned") for name in SAMPLERS),
    *(("heun", name, "density") for name in GUIDANCE),
]


@pytest.mark.parametrize(("sampler", "guidance", "router"), WAYS)
def test_every_sampler_and_guidance_draw_elsewhere_what_they_draw_here(
    sampler, guidance, router, data, worlds, twice
):
    told = "none" if guidance == "none" else "text" if router == "learned" else "label"
    parts = SAMPLING[sampler], GUIDED[guidance]
    spec, inputs = arm(data, worlds[told], router, "sample_each_step", *parts)
    twice("samples", spec, **inputs)


def test_closed_forms_stay_where_they_are(data, tmp_path, twice):
    rng = np.random.default_rng(1)
    experts = []
    for k in range(K):
        world = {
            "weights": np.full(2, 1 / 6),
            "means": rng.normal(size=(2, 2)),
            "stds": np.ones(2),
        }
        path = tmp_path / f"{k}.safetensors"
        experts.append(make("experts", path, world, model={"name": "mixture"}, levels=None))
    points = rng.normal(size=(NUM, 2))
    is_train = np.arange(NUM) % 3 < 2
    made = make_data(tmp_path, points, is_train) | {"centroids": data["centroids"]}
    made["encoder"] = data["encoder"]  # never asked
    probed = twice("probe", probe_spec(32), device="cpu", **probe_inputs(made, experts))
    world = probed | {"experts": experts, "router": []}
    spec, inputs = arm(made, world, "exact", "budget", EULER, GUIDED["none"])
    files = twice("samples", spec, device="cpu", **inputs)
    assert artifacts.read_arrays(files["samples"])["samples"].dtype == np.float64


def test_a_sample_that_is_not_finite_is_named_elsewhere_too(data, worlds, tmp_path, gpu):
    arrays = artifacts.read_arrays(worlds["none"]["experts"][0])
    notes = artifacts.read_provenance(worlds["none"]["experts"][0])
    arrays = {name: np.full_like(array, np.nan) for name, array in arrays.items()}
    notes = {name: notes[name] for name in ("model", "levels", "conditioner")}
    broken = make("experts", tmp_path / "b.safetensors", arrays, **notes)
    world = worlds["none"] | {"experts": [broken] * K}
    spec, inputs = arm(data, world, "uniform", "full", EULER, GUIDED["none"])
    with refused(r"the velocity of expert 0 must be finite.* in 3 samples \(seeds 0, 1, 2\)"):
        run("samples", tmp_path, spec, **inputs)


def test_a_classifier_and_its_input_are_of_one_device():
    with SimulatedGPU() as gpu:
        net = Classifier(ClassifierShape(1, 4, 4, 8, 3)).to(gpu.device)
        with pytest.raises(MixedDevices):
            net(torch.zeros(2, 1, 4, 4))


# A GPU that is one.


def test_without_a_gpu_nothing_is_recorded():
    net, x = nn.Linear(3, 2), torch.zeros(4, 3)
    assert devices.as_cuda_graphs(net, x) is net and "forward" not in vars(net)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="wants a CUDA GPU")
@pytest.mark.parametrize("is_recorded", [False, True])
def test_recorded_passes_train_as_others_do(is_recorded, tmp_path):
    def fit(device):
        torch.manual_seed(0)
        model = models.dit_config((3, 8, 8), patch_size=4, width=32, depth=2, num_heads=2)
        net = models.build_dit(model).to(device)
        if is_recorded:
            x = torch.zeros(6, 3, 8, 8, device=device)
            net = devices.as_cuda_graphs(net, x, x.new_zeros(6))

        def loss(net, rng):
            _, eps, t = noise_batch(9, (3, 8, 8), 6, rng)
            eps, t = devices.to_device((eps, t), device)
            return (net(eps, t) - eps).square().mean()

        schedule = Schedule(20, 6, 0.01, warmup_steps=3, ema=0.5)
        return train(net, loss, schedule, WHO, tmp_path / f"{device}.state", {})

    here, there = fit(torch.device("cpu")), fit(torch.device("cuda"))
    for name in here[0]:
        np.testing.assert_allclose(there[0][name], here[0][name], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(there[1]["loss"], here[1]["loss"], rtol=1e-3)

"""Stage router: train the posterior p(expert k | x_t, t) that is asked during sampling.

One backbone (a small DiT with a CLS token), one table of objectives
(routing/ensemble/objectives.py). An
objective that reads images gets fresh noisings of the training images, as in DDM; one that reads
the probe gets the stored states of its part `fit` with what the experts said there, so that no
router ever asks an expert. With a condition the router is told the prompt of the image, but for
the share `drop` of a batch (of a probe, where the experts were told nothing).

After training, a temperature for each time bin is fitted on the part `calibrate` of the probe, by
the cluster's likelihood and by the ensemble's error; `temperature` says which one the sampler
uses, if any. The `report` on the part `report`, on which nothing was fitted, compares them all.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
import torch

from routing.data import probe_states, prompts, shards
from routing.ensemble.calibration import fit_temperatures, fit_temperatures_error
from routing.ensemble.objectives import OBJECTIVES, Batch, Objective
from routing.flow import paths
from routing.flow.conditions import Condition, Told
from routing.loading import networks
from routing.loading.router_reports import reliability_table, report_table
from routing.partitions.membership import memberships
from routing.training.loop import Identity, Schedule, noise_batch, train
from routing.workflow import choices, code_digest, devices, seeds

NUM_TIME_BINS = 10
ASKED_AT_ONCE = 2048  # states
Draw = Callable[[np.random.Generator], tuple[Batch, Condition | None]]


@dataclass(frozen=True)
class Learned:
    """A DiT with logits, trained by `objective`; from the weights of the router `start`, if any.

    With `start` and no steps it is that router, with a temperature of its own. `temperature` is
    fitted per time bin by likelihood ("nll") or by the ensemble's squared error ("error").
    """

    objective: Objective
    steps: int
    batch_size: int
    patch_size: int = 2
    width: int = 64
    depth: int = 2
    num_heads: int = 4
    learning_rate: float = 1.0e-3
    warmup_steps: int = 100
    weight_decay: float = 0.01
    ema: float = 0.999
    condition: Literal["none", "label", "text"] = "none"
    drop: float = 0.2
    start: str | None = None
    temperature: Literal["none", "nll", "error"] = "none"

    # As of `routing.routers.Options`, which is not in sight here: who edits a router that is not
    # trained shall not train this one again.
    learned: ClassVar[bool] = True
    wants_noise: ClassVar[bool] = False
    counts_labels: ClassVar[bool] = False
    tables: ClassVar[dict] = {"objective": ("objectives", OBJECTIVES)}

    def __post_init__(self):
        """Refuse what cannot be trained."""
        if not 0 <= self.drop < 1:
            raise ValueError(f"drop: wanted a share in [0, 1), got {self.drop}; 0 drops nothing")
        if self.steps == 0 and self.start is None:
            raise ValueError("steps: wanted 1 or more without `start`, got 0; raise it")
        if self.steps:
            self.schedule()

    def schedule(self) -> Schedule:
        """How long and how fast it is trained; ValueError if that cannot be."""
        names = "steps batch_size learning_rate warmup_steps weight_decay ema"
        return Schedule(**{name: getattr(self, name) for name in names.split()})


LEARNED: dict[str, type] = {"learned": Learned}


def run(job) -> None:
    """Write `weights`, the `loss` curve, the `report` and the `reliability` of one router."""
    spec = job.spec
    where = f"routers.{spec['router_name']}"
    kind = choices.build(choices.with_plugins("routers", LEARNED), spec["router"], where)
    data = Data(job, kind.condition)
    model = networks.architecture(
        data.values.shape,
        patch_size=kind.patch_size,
        width=kind.width,
        depth=kind.depth,
        num_heads=kind.num_heads,
        num_logits=spec["num_experts"],
        **(data.prompter.options() if data.prompter else {}),
    )
    device = devices.use(job)
    weights, curve = fit(kind, model, data, device, job)
    net = Told(networks.load(weights, {"model": model}).to(device))
    calibrated, reported = (
        Asked(net, data, part, device) for part in (probe_states.CALIBRATE, probe_states.REPORT)
    )
    temperatures = {
        "nll": fit_temperatures(*calibrated.clusters(), NUM_TIME_BINS),
        "error": fit_temperatures_error(*calibrated.grams(), NUM_TIME_BINS),
    }
    used = temperatures.get(kind.temperature)
    versions = {"raw": None} | temperatures
    job.write_arrays(
        "weights",
        weights,
        model=model,
        prompts=prompts.note(data.prompter),
        temperatures=None if used is None else used.tolist(),
    )
    job.write_table("loss", curve)
    job.write_table("report", report_table(reported, versions, data.prior, NUM_TIME_BINS))
    job.write_table("reliability", reliability_table(reported, versions))


class Data:
    """What a router may be trained on: training images with their clusters, and the probe."""

    def __init__(self, job, condition: str):
        """Read the inputs of the job."""
        self.job, self.root = job, job.spec["seed"]
        self.index, self.assignments = job.table("index"), job.table("assignments")
        self.values = shards.values(job, self.index)
        self.members = torch.tensor(memberships(self.assignments))  # [images, clusters of each]
        distances = self.assignments.filter(like="distance_").to_numpy(np.float32)
        self.distances = torch.tensor(distances)
        self.train = np.flatnonzero((self.index["split"] == "train").to_numpy())
        members = self.members[self.train].flatten()
        sizes = members.bincount(minlength=job.spec["num_experts"])
        self.prior = sizes / sizes.sum()
        train = self.index.iloc[self.train]
        self.prompter = prompts.make(condition, train, prompts.captions_of(job))

    def cluster(self, rows: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        """A cluster of each of these images: of several, each as often."""
        members = self.members[rows]
        if members.shape[1] == 1:
            return members[:, 0]
        picked = rng.integers(members.shape[1], size=len(members))
        return members[torch.arange(len(members)), torch.from_numpy(picked)]

    def told(self, rows: np.ndarray, is_dropped: np.ndarray) -> Condition | None:
        """The prompts of these images; None where the router takes none."""
        if self.prompter is None:
            return None
        of = self.index.iloc[rows]
        return self.prompter(of["label"].to_numpy(), of["caption"].tolist(), is_dropped)

    def probe(
        self, part: str
    ) -> tuple[pd.DataFrame, probe_states.States, dict[str, torch.Tensor]]:
        """Table, states and stored arrays of one part of the probe."""
        num = self.job.count("states")
        tables = [self.job.table("states", i) for i in range(num)]
        arrays = [self.job.arrays("gram", i) for i in range(num)]
        table = pd.concat(tables, ignore_index=True)
        mine = np.flatnonzero((table["split"] == part).to_numpy())
        stored = {
            name: torch.from_numpy(np.concatenate([a[name] for a in arrays])[mine])
            for name in arrays[0]
        }
        chosen = table.iloc[mine].reset_index(drop=True)
        held = probe_states.states(chosen, self.values.take(chosen["row"].to_numpy()), self.root)
        return chosen, held, stored


class Asked:
    """What a router says on a part of the probe, beside what the experts said; on the CPU."""

    @torch.no_grad()
    def __init__(self, net: Told, data: Data, part: str, device: torch.device):
        """Ask it on all states of the part."""
        _, held, stored = data.probe(part)
        logits = []
        for first in range(0, len(held), ASKED_AT_ONCE):
            rows = slice(first, first + ASKED_AT_ONCE)
            told = data.told(held.row[rows], held.is_null[rows])
            asked = devices.moved((held.x[rows], held.t[rows], told), device)
            logits.append(devices.moved(net(*asked), devices.CPU))
        self.t, self.gram = held.t, stored["gram"]
        self.logits = torch.cat(logits).double()
        # Of an image in several clusters one is drawn for each of its states.
        self.cluster = data.cluster(held.row, seeds.stream(data.root, "membership", 0))

    def clusters(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits, true clusters, times."""
        return self.logits, self.cluster, self.t

    def grams(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits, Gram matrices, times."""
        return self.logits, self.gram.double(), self.t


def fit(
    kind: Learned, model: dict, data: Data, device: torch.device, job
) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
    """Train on what the objective reads."""
    spec, objective = job.spec, kind.objective
    name = choices.describe(choices.with_plugins("objectives", OBJECTIVES), objective)["name"]
    # A router that goes on from another one of its objective shall not see its batches again.
    purpose = f"{name} from {kind.start}" if kind.start else name
    identity = (seeds.number(spec["partition"]), seeds.number(purpose), spec["training_seed"])
    torch.manual_seed(seeds.integer(spec["seed"], "initial_weights", *identity))
    net = networks.new_network(model)
    if job.count("start"):
        begin(net, job, model)
    if kind.steps == 0:
        weights = {name: p.detach().numpy() for name, p in net.named_parameters()}
        return weights, pd.DataFrame({"step": [], "images": [], "loss": []})
    if objective.reads not in BATCHES:
        raise ValueError(
            f"routers.{spec['router_name']}.objective: {name!r} wants to read "
            f"{objective.reads!r}, there are {', '.join(BATCHES)}; correct its `reads`"
        )
    draw = BATCHES[objective.reads](kind, data)

    def loss(net: torch.nn.Module, rng: np.random.Generator) -> torch.Tensor:
        batch, told = devices.moved(draw(rng), device)

        def logits(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            """At the batch, or at several points of each of its states, batch after batch."""
            many = told and told[torch.arange(len(x), device=x.device) % len(told)]
            return Told(net)(x, t, many)

        return objective(logits, batch)

    who = Identity(f"router {spec['partition']}/{spec['router_name']}", spec["seed"], identity)
    key = {"spec": spec, "inputs": job.digests(), "code": code_digest.stage_digest("router")}
    return train(net.to(device), loss, kind.schedule(), who, job.unfinished("weights"), key)


def begin(net: torch.nn.Module, job, model: dict) -> None:
    """Start from another router's weights; ValueError if its architecture is another one."""
    other = job.metadata("start")["model"]
    if differ := sorted(key for key in model if model[key] != other.get(key)):
        raise ValueError(
            f"routers.{job.spec['router_name']}.start: wanted a router of the same architecture, "
            f"got another {differ[0]} ({other.get(differ[0])}, here {model[differ[0]]}); make "
            f"them equal"
        )
    arrays = job.arrays("start")
    net.load_state_dict({name: torch.from_numpy(a) for name, a in arrays.items()}, strict=True)


def image_batches(kind: Learned, data: Data) -> Draw:
    """Fresh noisings of training images."""
    values = data.values

    def draw(rng: np.random.Generator) -> tuple[Batch, Condition | None]:
        picked, eps, t = noise_batch(len(data.train), values.shape, kind.batch_size, rng)
        rows = data.train[picked]
        is_dropped = rng.random(len(rows)) < kind.drop
        uniforms = torch.from_numpy(rng.random(len(rows), np.float32))
        x = paths.noised(torch.from_numpy(values.take(rows)), eps, t)
        cluster, distances = data.cluster(rows, rng), data.distances[rows]
        batch = Batch(x, t, cluster, distances, data.prior, uniforms=uniforms)
        return batch, data.told(rows, is_dropped)

    return draw


def probe_batches(kind: Learned, data: Data) -> Draw:
    """Stored states of the part `fit`, drawn with replacement."""
    chosen, held, stored = data.probe(probe_states.FIT)
    num = stored["projections"].shape[1]
    along = probe_states.directions(chosen, num, data.values.shape, data.root)
    drawn = seeds.stream(data.root, "membership", 1)
    cluster, distances = data.cluster(held.row, drawn), data.distances[held.row]

    def draw(rng: np.random.Generator) -> tuple[Batch, Condition | None]:
        rows = torch.from_numpy(rng.integers(len(held), size=kind.batch_size))
        uniforms = torch.from_numpy(rng.random(len(rows), np.float32))
        one = [int(rng.integers(num))]  # direction at a time: of one state they say much the same
        batch = Batch(
            held.x[rows],
            held.t[rows],
            cluster[rows],
            distances[rows],
            data.prior,
            gram=stored["gram"][rows],
            directions=along[rows][:, one],
            projections=stored["projections"][rows][:, one],
            uniforms=uniforms,
        )
        picked = rows.numpy()
        return batch, data.told(held.row[picked], held.is_null[picked])

    return draw


BATCHES = {"images": image_batches, "probe": probe_batches}  # by what an objective reads

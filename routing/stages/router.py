"""Stage router: train the posterior p(expert k | x_t, t) that sampling evaluates.

The network is a small DiT with a CLS token and one logit per expert. It is trained by one of the
objectives of `routing.ensemble.objectives`, on training images or on the stored states of the
probe's part "fit" (`routing.loading.router_data`); no expert is evaluated. With a condition, the
router gets the prompt of the image. The prompt is dropped for the fraction `drop` of a batch of
images, and for the states of the probe that the experts had evaluated without it.

After training, temperatures by time bin are fitted on the part "calibrate" of the probe, once by
the likelihood of the true cluster and once by the error of the ensemble; `temperature` says which
of them sampling uses, if any. The `report` compares them on the part "report", on which nothing
was fitted.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
import torch

from routing.data import conditioners, probe_states
from routing.ensemble.calibration import fit_temperatures, fit_temperatures_error
from routing.ensemble.objectives import OBJECTIVES, Objective
from routing.flow.conditions import ConditionedNetwork
from routing.loading import models
from routing.loading.router_data import BATCH_SOURCES, RouterData
from routing.loading.router_evaluation import evaluate_router, reliability_table, report_table
from routing.training.loop import TrainingId, train
from routing.training.schedule import Schedule
from routing.workflow import choices, code_digest, devices, seeds

NUM_TIME_BINS = 10


@dataclass(frozen=True)
class Learned:
    """A DiT with one logit per expert, trained by `objective`.

    `start` names a router whose weights it starts from; with `start` and no steps, it is that
    router with temperatures of its own. `temperature` is fitted per time bin by likelihood
    ("nll") or by the squared error of the ensemble ("error").
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

    # As in routing.ensemble.routers.RouterOptions, which is not inherited, so that an edit of a
    # training-free router does not retrain this one.
    learned: ClassVar[bool] = True
    needs_noise: ClassVar[bool] = False
    uses_label_counts: ClassVar[bool] = False
    tables: ClassVar[dict] = {"objective": ("objectives", OBJECTIVES)}

    def __post_init__(self):
        """Validate the options."""
        if not 0 <= self.drop < 1:
            raise ValueError(
                f"drop: wanted a fraction in [0, 1), got {self.drop}; 0 drops nothing"
            )
        if self.steps == 0 and self.start is None:
            raise ValueError("steps: wanted 1 or more without `start`, got 0; raise it")
        if self.steps:
            self.schedule()

    def schedule(self) -> Schedule:
        """Return the training schedule. Raises ValueError if it is invalid."""
        names = "steps batch_size learning_rate warmup_steps weight_decay ema"
        return Schedule(**{name: getattr(self, name) for name in names.split()})


LEARNED: dict[str, type] = {"learned": Learned}


def run(job) -> None:
    """Write `weights`, the `loss` curve, the `report` and the `reliability` of one router."""
    spec = job.spec
    where = f"routers.{spec['router_name']}"
    kind = choices.build(choices.with_plugins("routers", LEARNED), spec["router"], where)
    data = RouterData(job, kind.condition)
    model = models.dit_config(
        data.values.shape,
        patch_size=kind.patch_size,
        width=kind.width,
        depth=kind.depth,
        num_heads=kind.num_heads,
        num_logits=spec["num_experts"],
        **(data.conditioner.options() if data.conditioner else {}),
    )
    device = devices.use_best_device(job)
    weights, curve = fit(kind, model, data, device, job)
    net = ConditionedNetwork(models.load(weights, {"model": model}).to(device))
    calibration = evaluate_router(net, data, probe_states.CALIBRATE, device)
    held_back = evaluate_router(net, data, probe_states.REPORT, device)
    temperatures = {
        "nll": fit_temperatures(
            calibration.logits, calibration.cluster, calibration.t, NUM_TIME_BINS
        ),
        "error": fit_temperatures_error(
            calibration.logits, calibration.gram.double(), calibration.t, NUM_TIME_BINS
        ),
    }
    used = temperatures.get(kind.temperature)
    versions = {"raw": None} | temperatures
    job.write_arrays(
        "weights",
        weights,
        model=model,
        conditioner=conditioners.to_metadata(data.conditioner),
        temperatures=None if used is None else used.tolist(),
    )
    job.write_table("loss", curve)
    job.write_table("report", report_table(held_back, versions, data.prior, NUM_TIME_BINS))
    job.write_table("reliability", reliability_table(held_back, versions))


def fit(
    kind: Learned, model: dict, data: RouterData, device: torch.device, job
) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
    """Return the trained weights and the loss curve; without steps, those of the start router."""
    spec, objective = job.spec, kind.objective
    table = choices.with_plugins("objectives", OBJECTIVES)
    name = choices.describe(table, objective)["name"]
    # A router that starts from another one of the same objective must draw other batches.
    purpose = f"{name} from {kind.start}" if kind.start else name
    identity = (
        seeds.name_to_int(spec["partition"]),
        seeds.name_to_int(purpose),
        spec["training_seed"],
    )
    torch.manual_seed(seeds.integer(spec["seed"], "initial_weights", *identity))
    net = models.build_dit(model)
    if job.count("start"):
        load_start(net, job, model)
    if kind.steps == 0:
        weights = {name: p.detach().numpy() for name, p in net.named_parameters()}
        return weights, pd.DataFrame({"step": [], "images": [], "loss": []})
    if objective.reads not in BATCH_SOURCES:
        raise ValueError(
            f"routers.{spec['router_name']}.objective: wanted `reads` of {name!r} to be one of "
            f"{', '.join(BATCH_SOURCES)}, got {objective.reads!r}; correct its class"
        )
    draw_batch = BATCH_SOURCES[objective.reads](data, kind.batch_size, kind.drop)

    def loss(net: torch.nn.Module, rng: np.random.Generator) -> torch.Tensor:
        batch, condition = devices.to_device(draw_batch(rng), device)

        def logits(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            """Return the logits at one or several points of each state, batch after batch."""
            repeated = condition
            if condition is not None:
                rows = torch.arange(len(x), device=x.device) % len(condition)
                repeated = condition[rows]
            return ConditionedNetwork(net)(x, t, repeated)

        return objective(logits, batch)

    who = TrainingId(f"router {spec['partition']}/{spec['router_name']}", spec["seed"], identity)
    key = {"spec": spec, "inputs": job.digests(), "code": code_digest.stage_digest("router")}
    return train(net.to(device), loss, kind.schedule(), who, job.unfinished("weights"), key)


def load_start(net: torch.nn.Module, job, model: dict) -> None:
    """Load the weights of the router `start`. Raises ValueError if its architecture differs."""
    other = job.metadata("start")["model"]
    if differ := sorted(key for key in model if model[key] != other.get(key)):
        raise ValueError(
            f"routers.{job.spec['router_name']}.start: wanted a router of the same architecture, "
            f"got another {differ[0]} ({other.get(differ[0])}, here {model[differ[0]]}); make "
            f"them equal"
        )
    arrays = job.arrays("start")
    net.load_state_dict({name: torch.from_numpy(a) for name, a in arrays.items()}, strict=True)

"""Stage experts: one velocity field per cluster, each trained alone.

Flow matching: minimise  E || v_theta(x_t, t) - (eps - x_0) ||^2  over the cluster's training
images, t ~ U(0, 1), eps ~ N(0, I) (Lipman et al. 2023, arXiv:2210.02747). FLOP-matched as in DDM
(arXiv:2501.05450): every partition has the same number of steps, and its experts share the batch
equally, so that K experts together see as many images as the monolith (the one expert of the
partition with one cluster). Experts of a partition with a condition get the prompt of each image;
it is dropped for a random fraction `drop` of the batch (classifier-free guidance, Ho & Salimans
2022, arXiv:2207.12598). The kind `exact` is not trained: it is the closed-form velocity of a
Gaussian mixture.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import torch

from routing.data import conditioners, shards
from routing.data.conditioners import Conditioner, LabelConditioner
from routing.data.shards import Shards
from routing.flow import paths
from routing.flow.conditions import ConditionedNetwork
from routing.loading import models
from routing.networks.dit import DiT
from routing.partitions.membership import is_member
from routing.training.batches import noise_batch
from routing.training.loop import TrainingId, train
from routing.training.schedule import Schedule
from routing.workflow import choices, code_digest, devices, seeds


@dataclass(frozen=True)
class Transformer:
    """A DiT trained from random weights; the experts of a partition share `total_batch`."""

    steps: int
    total_batch: int
    patch_size: int = 2
    width: int = 64
    depth: int = 3
    num_heads: int = 4
    modulation: Literal["adaln", "adaln_single"] = "adaln_single"
    learning_rate: float = 1.0e-3
    warmup_steps: int = 100
    weight_decay: float = 0.0
    ema: float = 0.999
    drop: float = 0.2

    def __post_init__(self):
        """Validate the options."""
        if not 0 < self.drop < 1:
            raise ValueError(
                f"drop: wanted a fraction in (0, 1), so that experts learn with and without the "
                f"condition, got {self.drop}; 0.1 or 0.2 is usual"
            )

    def batch_size(self, num_experts: int) -> int:
        """Return the batch size of one expert. Raises ValueError if it is no whole number."""
        if self.total_batch % num_experts:
            raise ValueError(
                f"total_batch: wanted a multiple of {num_experts} (experts of one partition, so "
                f"that all partitions see equally many images), got {self.total_batch}"
            )
        return self.total_batch // num_experts


@dataclass(frozen=True)
class Exact:
    """The closed-form velocity of the mixture components in the cluster; nothing is trained."""


EXPERTS = {"transformer": Transformer, "exact": Exact}


def run(job) -> None:
    """Write `weights` and the `loss` curve of one expert."""
    kind = choices.build(choices.with_plugins("experts", EXPERTS), job.spec["expert"], "experts")
    index = job.table("index")
    train = index["split"] == "train"
    is_in_cluster = train & is_member(job.table("assignments"), job.spec["cluster"])
    metadata = job.metadata("samples")
    conditioner = conditioners.make(
        job.spec["condition"], index[train], conditioners.read_caption_table(job)
    )
    if isinstance(kind, Exact):
        weights, model = closed_form(
            metadata["world"], index[train], index[is_in_cluster], conditioner
        )
        curve = pd.DataFrame({"step": [], "images": [], "loss": []})
    else:
        values = shards.values(job, index[is_in_cluster])
        weights, model, curve = fit(kind, values, index[is_in_cluster], conditioner, job)
    job.write_arrays(
        "weights",
        weights,
        model=model,
        conditioner=conditioners.to_metadata(conditioner),
        levels=metadata["levels"],  # of its samples, as of the data
        autoencoder=metadata.get("autoencoder"),
    )
    job.write_table("loss", curve)


def fit(
    kind: Transformer, values: Shards, index: pd.DataFrame, conditioner: Conditioner | None, job
) -> tuple[dict, dict, pd.DataFrame]:
    """Train one DiT on the images `values` [images, channels, height, width].

    `index` has their rows. Returns the weights, the `model` metadata and the loss curve.
    """
    spec = job.spec
    root = spec["seed"]
    identity = (seeds.name_to_int(spec["partition"]), spec["cluster"], spec["training_seed"])
    model = models.dit_config(
        values.shape,
        patch_size=kind.patch_size,
        width=kind.width,
        depth=kind.depth,
        num_heads=kind.num_heads,
        modulation=kind.modulation,
        **(conditioner.options() if conditioner else {}),
    )
    torch.manual_seed(seeds.integer(root, "initial_weights", *identity))
    device = devices.use_best_device(job)
    net = models.build_dit(model).to(device)
    schedule = Schedule(
        steps=kind.steps,
        batch_size=kind.batch_size(spec["num_experts"]),
        learning_rate=kind.learning_rate,
        warmup_steps=kind.warmup_steps,
        weight_decay=kind.weight_decay,
        ema=kind.ema,
    )
    if conditioner is None:  # a text has another length in each batch
        x = torch.zeros(schedule.batch_size, *values.shape, device=device)
        net = devices.as_cuda_graphs(net, x, x.new_zeros(len(x)))
    who = TrainingId(f"expert {spec['partition']}/{spec['cluster']}", root, identity)
    labels, captions = index["label"].to_numpy(), index["caption"].to_numpy()

    def loss(net: DiT, rng: np.random.Generator) -> torch.Tensor:
        rows, eps, t = noise_batch(len(values), values.shape, schedule.batch_size, rng)
        x0, condition = torch.from_numpy(values.take(rows)), None
        if conditioner:
            is_dropped = rng.random(len(rows)) < kind.drop
            condition = conditioner(labels[rows], captions[rows].tolist(), is_dropped)
        x0, eps, t, condition = devices.to_device((x0, eps, t, condition), device)
        v = ConditionedNetwork(net)(paths.add_noise(x0, eps, t), t, condition)
        return (v - paths.velocity(x0, eps)).square().mean()

    key = {"spec": spec, "inputs": job.digests(), "code": code_digest.stage_digest("experts")}
    state = job.unfinished("weights")
    weights, curve = train(net, loss, schedule, who, state, key)
    return weights, model, curve


def closed_form(
    world: dict | None, train: pd.DataFrame, cluster: pd.DataFrame, conditioner: Conditioner | None
) -> tuple[dict, dict]:
    """Return arrays and `model` metadata of the mixture of the cluster's components.

    With a label condition, the arrays have the label of each component.
    """
    arrays, model = exact_components(world, train, cluster), {"name": "mixture"}
    if conditioner is None:
        return arrays, model
    if not isinstance(conditioner, LabelConditioner):
        raise ValueError(
            f"experts: 'exact' wants condition 'label' or 'none', got {conditioner.kind!r}; "
            f"change the condition of the partition"
        )
    of_component = cluster.groupby("component")["label"].first()  # in the order of the components
    condition = conditioner(of_component.to_numpy(), [""] * len(of_component))
    arrays["labels"] = condition.label.numpy()
    return arrays, model | {"num_labels": conditioner.options()["num_classes"]}


def exact_components(world: dict | None, train: pd.DataFrame, cluster: pd.DataFrame) -> dict:
    """Return weights, means and standard deviations of the components in this cluster.

    Raises ValueError if the data are no Gaussian mixture, or if the points of a component are in
    several clusters: the velocity of the cluster would then have no closed form.
    """
    if world is None:
        raise ValueError(
            "experts: 'exact' wants data.source 'mixture', got a source without a closed form; "
            "train experts instead"
        )
    components = np.unique(cluster["component"])
    for c in components:
        if (cluster["component"] == c).sum() != (train["component"] == c).sum():
            raise ValueError(
                f"experts: 'exact' wants every component inside one cluster, got component {c} "
                f"split; use the partition method 'labels'"
            )
    return {
        "weights": np.asarray(world["weights"], np.float64)[components],
        "means": np.asarray(world["means"], np.float64)[components],
        "stds": np.asarray(world["stds"], np.float64)[components],
    }

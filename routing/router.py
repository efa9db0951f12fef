"""Stage router: train the posterior p(expert k | x_t, t) that is asked during sampling.

One backbone (a small DiT with a CLS token), one table of objectives. An objective is a function
`loss(net, x_t, t, cluster) -> scalar`; to add one, write it and give it a row in OBJECTIVES.

    cluster    cross-entropy  E[-log p_k(x_t, t)],  k the cluster of x_0  (DDM, arXiv:2501.05450)

Beside the weights go the loss curve and a report on the held-out split: accuracy, negative
log-likelihood and expected calibration error by time.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from routing import choices, code, images, models, paths, seeds
from routing.routers import ROUTERS
from routing.training import Identity, Schedule, noise_batch, train

NUM_TIME_BINS = 10
NUM_EVALUATIONS = 8  # noisings of every held-out image


def cluster_cross_entropy(
    net: torch.nn.Module, x: torch.Tensor, t: torch.Tensor, cluster: torch.Tensor
) -> torch.Tensor:
    """Mean of -log softmax(net(x_t, t))[cluster]."""
    return F.cross_entropy(net(x, t), cluster)


OBJECTIVES = {"cluster": cluster_cross_entropy}


@dataclass(frozen=True)
class Learned:
    """A DiT with logits, trained on (x_t, t) of the training images by `objective`."""

    objective: Literal[tuple(OBJECTIVES)]
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
    seed: int = 0

    learned: ClassVar[bool] = True


TABLE = ROUTERS | {"learned": Learned}


def run(job) -> None:
    """Write `weights`, the `loss` curve and the held-out `report` of one learned router."""
    spec = job.spec
    where = f"routers.{spec['router_name']}"
    kind = choices.build(choices.rows("routers", TABLE), spec["router"], where)
    index, notes = job.table("index"), job.notes("samples")
    values = images.to_values(job.arrays("samples")["samples"], notes["levels"])
    clusters = job.table("assignments")["cluster"].to_numpy()
    is_train = (index["split"] == "train").to_numpy()
    model = models.architecture(
        values.shape[1:],
        patch_size=kind.patch_size,
        width=kind.width,
        depth=kind.depth,
        num_heads=kind.num_heads,
        num_logits=spec["num_experts"],
    )
    weights, curve = fit(kind, model, values[is_train], clusters[is_train], job)
    net = models.load(weights, {"model": model})
    report = evaluate(net, values[~is_train], clusters[~is_train], spec["seed"])
    job.write_arrays("weights", weights, model=model)
    job.write_table("loss", curve)
    job.write_table("report", report)


def fit(
    kind: Learned, model: dict, values: np.ndarray, clusters: np.ndarray, job
) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
    """Train on `values` [images, ...] with their `clusters`."""
    spec = job.spec
    identity = (seeds.number(spec["partition"]), seeds.number(kind.objective), kind.seed)
    torch.manual_seed(seeds.integer(spec["seed"], "initial_weights", *identity))
    schedule = Schedule(
        steps=kind.steps,
        batch_size=kind.batch_size,
        learning_rate=kind.learning_rate,
        warmup_steps=kind.warmup_steps,
        weight_decay=kind.weight_decay,
        ema=kind.ema,
    )
    data, target = torch.from_numpy(values), torch.from_numpy(clusters)
    objective = OBJECTIVES[kind.objective]

    def loss(net: torch.nn.Module, rng: np.random.Generator) -> torch.Tensor:
        rows, eps, t = noise_batch(data, kind.batch_size, rng)
        return objective(net, paths.noised(data[rows], eps, t), t, target[rows])

    who = Identity(f"router {spec['partition']}/{spec['router_name']}", spec["seed"], identity)
    key = {"spec": spec, "inputs": job.digests(), "code": code.code_digest("router")}
    state = job.unfinished("weights")
    return train(models.new_network(model), loss, schedule, who, state, key)


@torch.no_grad()
def evaluate(
    net: torch.nn.Module, values: np.ndarray, clusters: np.ndarray, root: int
) -> pd.DataFrame:
    """Accuracy, nll (nats) and ece of `net` on noised `values`, by time bin.

    Every image is noised NUM_EVALUATIONS times in every bin. The expected calibration error is
    over 10 equal bins of the largest probability (Guo et al. 2017, arXiv:1706.04599).
    """
    rng = seeds.stream(root, "evaluation")
    rows = []
    x0 = torch.from_numpy(values).repeat_interleave(NUM_EVALUATIONS, 0)
    target = torch.from_numpy(clusters).repeat_interleave(NUM_EVALUATIONS)
    for b in range(NUM_TIME_BINS):
        t = torch.from_numpy((b + rng.random(len(x0), np.float32)) / NUM_TIME_BINS)
        eps = torch.from_numpy(rng.standard_normal(x0.shape, np.float32))
        logp = F.log_softmax(net(paths.noised(x0, eps, t), t).double(), -1)
        confidence, said = logp.exp().max(-1)
        right = (said == target).double()
        rows.append(
            {
                "t_low": b / NUM_TIME_BINS,
                "t_high": (b + 1) / NUM_TIME_BINS,
                "accuracy": right.mean().item(),
                "nll": F.nll_loss(logp, target).item(),
                "ece": calibration_error(confidence, right),
                "num_states": len(target),
            }
        )
    return pd.DataFrame(rows)


def calibration_error(confidence: torch.Tensor, right: torch.Tensor, num_bins: int = 10) -> float:
    """Mean |accuracy - confidence| over equal bins of confidence, weighted by their counts."""
    bins = (confidence * num_bins).long().clamp(max=num_bins - 1)
    gaps = torch.zeros(num_bins, dtype=torch.float64).index_add(0, bins, right - confidence)
    return (gaps.abs().sum() / len(confidence)).item()

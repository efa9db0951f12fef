"""An arm from its artifacts: experts, router, policy, guidance and sampler, ready to sample.

An arm is one row of a comparison: partition x router x policy x sampler x guidance. `load_arm`
builds it from the inputs of the stage samples. A policy whose numbers are found on a pilot run is
completed by `routing.loading.policy_calibration`.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch

from routing.data import conditioners
from routing.ensemble.guidance import GUIDANCE, Guidance
from routing.ensemble.policies import POLICIES, Policy
from routing.ensemble.routed_field import RoutedField
from routing.ensemble.routers import (
    ROUTERS,
    ConditionalLearnedRouter,
    LearnedRouter,
    Router,
    RouterInputs,
)
from routing.flow.conditions import Condition, ConditionedNetwork
from routing.flow.exact_worlds import GaussianMixture, LabelledMixture
from routing.flow.samplers import SAMPLERS, Sampler
from routing.loading import models
from routing.loading.feature_encoders import fitted_encoders
from routing.networks.dit import DiT
from routing.workflow import choices, devices, seeds


class PartitionEncoder:
    """The encoder of the partition's feature space, for tensors; loaded at its first call.

    `evaluations` counts evaluations of a pretrained network; a linear encoder counts none.
    """

    def __init__(self, job):
        """Hold the job; nothing is read yet."""
        self.job, self.evaluations = job, 0

    @cached_property
    def fitted(self) -> fitted_encoders.FittedEncoder:
        """The fitted encoder."""
        return fitted_encoders.load(self.job.arrays("encoder"), self.job.metadata("encoder"))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return the features of samples, on their device."""
        self.evaluations += len(x) * bool(self.fitted.flop_per_image)
        return torch.from_numpy(self.fitted(x.cpu().numpy())).to(x.device)

    @property
    def flop(self) -> int:
        """FLOPs of all evaluations so far."""
        return self.evaluations * self.fitted.flop_per_image if self.evaluations else 0


@dataclass(frozen=True)
class Arm:
    """Everything that sampling needs."""

    experts: list
    router: Router
    policy: Policy
    guidance: Guidance
    sampler: Sampler
    shape: tuple[int, ...]  # of one sample
    levels: int | None
    autoencoder: dict | None  # decodes the samples, if they are latents
    encoder: PartitionEncoder
    prior: np.ndarray  # [experts]: fraction of the training images in each cluster
    dtype: torch.dtype
    device: torch.device
    conditioner: conditioners.Conditioner | None
    train_index: pd.DataFrame  # index rows of the training images: the source of prompts
    router_name: str = "router"  # of the rows, for errors
    policy_name: str = "policy"

    def draw_conditions(
        self, root: int, numbers: list[int]
    ) -> tuple[Condition | None, dict[str, np.ndarray]]:
        """Return the condition of the samples `numbers`, and arrays that identify it.

        Each condition is the prompt of a training image drawn with the sample's seed. The arrays
        are `requested`, ranks of the labels, and `prompts`, positions of the images in the index.
        Without conditional guidance, return None and no arrays.
        """
        if not self.guidance.is_conditional:
            return None, {}
        u = seeds.uniforms(root, "condition", numbers, 1)[:, 0]
        rows = self.train_index.iloc[(u * len(self.train_index)).astype(int)]
        labels = rows["label"].to_numpy()
        rank = np.searchsorted(np.unique(self.train_index["label"]), labels)
        condition = self.conditioner(labels, rows["caption"].tolist())
        requested = {"requested": rank, "prompts": rows.index.to_numpy(np.int64)}
        return devices.to_device(condition, self.device), requested

    def router_conditions(self, num: int, condition: Condition | None) -> list[Condition | None]:
        """Return what the router is conditioned on, for `num` samples of this `condition`.

        There is one entry for each guidance branch with weights of its own.
        """
        conditions = []

        def make_field(of: Condition | None) -> RoutedField:
            conditions.append(of)
            uniforms = torch.empty(num, 0, device=self.device)
            return RoutedField(self.experts, self.router, self.policy, uniforms, condition=of)

        self.guidance.field(make_field, condition)
        return conditions


def load_arm(job) -> Arm:
    """Return the arm of a job of the stage samples; its policy may still need a pilot run."""
    spec = job.spec
    index = job.table("index")
    arrays = [job.arrays("experts", k) for k in range(job.count("experts"))]
    metadata = [job.metadata("experts", k) for k in range(job.count("experts"))]
    experts = [models.load(a, m) for a, m in zip(arrays, metadata, strict=True)]
    is_exact = not isinstance(experts[0], DiT)
    device = devices.CPU if is_exact else devices.use_best_device(job)
    partition = job.arrays("centroids")
    prior = partition["sizes"] / partition["sizes"].sum()
    conditioner = conditioners.from_metadata(
        metadata[0].get("conditioner"), conditioners.read_caption_table(job)
    )
    has_labels = conditioner is not None and conditioner.kind == "label"
    known = {"prior": prior, "centroids": partition["centroids"]}
    known |= {"label_counts": partition["label_counts"]} if has_labels else {}
    encoder = PartitionEncoder(job)
    router_inputs = RouterInputs(
        **{name: torch.from_numpy(array).to(device) for name, array in known.items()},
        encode=encoder,
        **(exact_router_inputs(arrays, metadata) if is_exact else {}),
    )

    def choice(table: choices.Table, key: str, where: str):
        return choices.build(table, spec[key], where)

    return Arm(
        experts=[
            net.velocity if is_exact else ConditionedNetwork(net.to(device)) for net in experts
        ],
        router=load_router(job, router_inputs, device),
        policy=choice(choices.with_plugins("policies", POLICIES), "policy", "policies"),
        guidance=choice(choices.with_plugins("guidances", GUIDANCE), "guidance", "guidances"),
        sampler=choice(choices.with_plugins("samplers", SAMPLERS), "sampler", "samplers"),
        shape=sample_shape(experts[0]),
        levels=metadata[0].get("levels"),
        autoencoder=metadata[0].get("autoencoder"),
        encoder=encoder,
        prior=prior,
        dtype=torch.float64 if is_exact else torch.float32,
        device=device,
        conditioner=conditioner,
        train_index=index[index["split"] == "train"],
        router_name=spec["router"]["name"],
        policy_name=spec["policy"]["name"],
    )


def load_router(job, inputs: RouterInputs, device: torch.device) -> Router:
    """Return the arm's router: a learned one from its weights, or one built from `inputs`."""
    if not job.count("router"):
        table = choices.with_plugins("routers", ROUTERS)
        return choices.build(table, job.spec["router"], "routers").build(inputs)
    metadata = job.metadata("router")
    net = models.load(job.arrays("router"), metadata).to(device)
    temperatures = metadata.get("temperatures")
    if temperatures is not None:
        temperatures = torch.tensor(temperatures, dtype=torch.float64, device=device)
    if metadata.get("conditioner") is None:
        return LearnedRouter(net, temperatures)
    return ConditionalLearnedRouter(ConditionedNetwork(net), temperatures)


def exact_router_inputs(arrays: list[dict], metadata: list[dict]) -> dict:
    """Return the mixture of all closed-form experts, and the cluster of each component."""
    joined = {key: np.concatenate([a[key] for a in arrays]) for key in arrays[0]}
    cluster = np.repeat(np.arange(len(arrays)), [len(a["weights"]) for a in arrays])
    return {
        "mixture": models.load(joined, metadata[0]),
        "cluster_of_component": torch.from_numpy(cluster),
    }


def sample_shape(expert: DiT | GaussianMixture | LabelledMixture) -> tuple[int, ...]:
    """Return the shape of one sample of this expert."""
    if isinstance(expert, DiT):
        a = expert.architecture
        return (a.channels, a.image_size, a.image_size)
    mixture = expert.mixture if isinstance(expert, LabelledMixture) else expert
    return (mixture.means.shape[1],)


def oracle_clusters(arm: Arm, root: int, numbers: list[int]) -> torch.Tensor:
    """Return the target cluster of each sample, drawn from the prior with the sample's seed.

    The router `oracle_label` sends the sample to the expert of this cluster.
    """
    u = seeds.uniforms(root, "oracle_label", numbers, 1)[:, 0]
    rank = np.searchsorted(np.cumsum(arm.prior)[:-1], u, side="right")
    return torch.from_numpy(rank).to(arm.device)

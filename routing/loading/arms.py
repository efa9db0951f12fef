"""An arm from its artifacts: experts, router, policy, guidance and sampler, ready to draw.

The stage `samples` gets files; this makes the callables of them. A policy that holds a number to
be found (a budget) is bound here to the `Pilot` of the arm's own router: its posteriors on the
probe's states of the part "calibrate", told the image's prompt in the branches of the guidance
that are told one, with the disagreement of the experts by time. A router that remembers its
trajectory has no posterior on a lone state; its pilot is a trajectory of NUM_PILOTS samples under
the policy `full`, from a root of their own (of two branches, the conditional one).
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
import torch

from routing.data import probe_states, prompts, shards
from routing.ensemble.gram_matrix import disagreement, mean_by_time
from routing.ensemble.guidance import GUIDANCE, Guidance
from routing.ensemble.policies import POLICIES, Full, Pilot, Policy, bind, wants
from routing.ensemble.routed_field import RoutedField
from routing.ensemble.routers import ROUTERS, ConditionalNetwork, Materials, Network, Router
from routing.flow.conditions import Condition, Told
from routing.flow.exact_worlds import LabelledMixture, Mixture
from routing.flow.samplers import SAMPLERS, Sampler
from routing.loading import networks
from routing.loading.feature_encoders import fitted_encoders
from routing.networks.dit import DiT
from routing.workflow import choices, devices, seeds

NUM_PILOTS = 128
NUM_TIME_BINS = 10
ASKED_AT_ONCE = 2048  # states


@dataclass(frozen=True)
class Arm:
    """Everything that draws samples."""

    experts: list
    router: Router
    policy: Policy
    guidance: Guidance
    sampler: Sampler
    shape: tuple[int, ...]
    levels: int | None
    autoencoder: dict | None  # what decodes its samples, if they are latents
    encode: "Encoder"
    prior: np.ndarray
    dtype: torch.dtype
    device: torch.device
    prompter: prompts.Prompter | None
    train: pd.DataFrame  # the training images, whose prompts are asked for

    def requested(
        self, root: int, numbers: list[int]
    ) -> tuple[Condition | None, dict[str, np.ndarray]]:
        """Prompts of training images drawn with the samples' seeds, and what they are.

        `asked` are the ranks of their labels, `prompts` their places in the index; None and
        nothing where the arm asks for nothing.
        """
        if not self.guidance.is_conditional:
            return None, {}
        u = seeds.uniforms(root, "condition", numbers, 1)[:, 0]
        rows = self.train.iloc[(u * len(self.train)).astype(int)]
        labels = rows["label"].to_numpy()
        rank = np.searchsorted(np.unique(self.train["label"]), labels)
        told = self.prompter(labels, rows["caption"].tolist())
        requested = {"requested": rank, "prompts": rows.index.to_numpy(np.int64)}
        return devices.moved(told, self.device), requested

    def branches(self, num: int, condition: Condition | None) -> list[Condition | None]:
        """What the router is told of `num` samples in each branch that has weights of its own."""
        told = []

        def make(of: Condition | None) -> RoutedField:
            told.append(of)
            uniforms = torch.empty(num, 0, device=self.device)
            return RoutedField(self.experts, self.router, self.policy, uniforms, condition=of)

        self.guidance.field(make, condition)
        return told


def assemble(job) -> Arm:
    """Load the arm of a job of the stage samples; its policy may still be unbound."""
    spec = job.spec
    index = job.table("index")
    loaded = [job.arrays("experts", k) for k in range(job.count("experts"))]
    notes = [job.metadata("experts", k) for k in range(job.count("experts"))]
    nets = [networks.load(a, n) for a, n in zip(loaded, notes, strict=True)]
    is_exact = not isinstance(nets[0], DiT)
    device = devices.CPU if is_exact else devices.use(job)
    division = job.arrays("centroids")
    prior = division["sizes"] / division["sizes"].sum()
    prompter = prompts.of_note(notes[0].get("prompts"), prompts.captions_of(job))
    is_labelled = prompter is not None and prompter.kind == "label"
    known = {"prior": prior, "centroids": division["centroids"]}
    known |= {"label_counts": division["label_counts"]} if is_labelled else {}
    encode = Encoder(job)
    materials = Materials(
        **{name: torch.from_numpy(array).to(device) for name, array in known.items()},
        encode=encode,
        **(exact_materials(loaded, notes) if is_exact else {}),
    )

    def choice(group: str, table: dict, key: str):
        return choices.build(choices.with_plugins(group, table), spec[key], group)

    return Arm(
        experts=[net.velocity if is_exact else Told(net.to(device)) for net in nets],
        router=make_router(job, materials, device),
        policy=choice("policies", POLICIES, "policy"),
        guidance=choice("guidances", GUIDANCE, "guidance"),
        sampler=choice("samplers", SAMPLERS, "sampler"),
        shape=sample_shape(nets[0]),
        levels=notes[0].get("levels"),
        autoencoder=notes[0].get("autoencoder"),
        encode=encode,
        prior=prior,
        dtype=torch.float64 if is_exact else torch.float32,
        device=device,
        prompter=prompter,
        train=index[index["split"] == "train"],
    )


def make_router(job, materials: Materials, device: torch.device) -> Router:
    """The arm's router: a learned one from its weights, else bound to the `materials`."""
    if not job.count("router"):
        table = choices.with_plugins("routers", ROUTERS)
        return choices.build(table, job.spec["router"], "routers").bind(materials)
    notes = job.metadata("router")
    net = networks.load(job.arrays("router"), notes).to(device)
    temperatures = notes.get("temperatures")
    if temperatures is not None:
        temperatures = torch.tensor(temperatures, dtype=torch.float64, device=device)
    if notes.get("prompts") is None:
        return Network(net, temperatures)
    return ConditionalNetwork(Told(net), temperatures)


def exact_materials(loaded: list[dict], notes: list[dict]) -> dict:
    """The whole world of closed-form experts, and which expert owns each component."""
    whole = {key: np.concatenate([a[key] for a in loaded]) for key in loaded[0]}
    owner = np.repeat(np.arange(len(loaded)), [len(a["weights"]) for a in loaded])
    return {
        "mixture": networks.load(whole, notes[0]),
        "cluster_of_component": torch.from_numpy(owner),
    }


class Encoder:
    """The encoder of the partition's space for tensors; it is loaded when it is first asked.

    `evaluations` counts what a pretrained network has been asked; a product costs nothing.
    """

    def __init__(self, job):
        """Nothing is read yet."""
        self.job, self.evaluations = job, 0

    @cached_property
    def loaded(self) -> fitted_encoders.FittedEncoder:
        """The encoder."""
        return fitted_encoders.load(self.job.arrays("encoder"), self.job.metadata("encoder"))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Features of samples, beside them."""
        self.evaluations += len(x) * bool(self.loaded.flop_per_image)
        return torch.from_numpy(self.loaded(x.cpu().numpy())).to(x.device)

    @property
    def flop(self) -> int:
        """Of all evaluations."""
        return self.evaluations * self.loaded.flop_per_image if self.evaluations else 0


def sample_shape(expert: DiT | Mixture | LabelledMixture) -> tuple[int, ...]:
    """Shape of one sample of this expert."""
    if isinstance(expert, DiT):
        a = expert.architecture
        return (a.channels, a.image_size, a.image_size)
    world = expert.mixture if isinstance(expert, LabelledMixture) else expert
    return (world.means.shape[1],)


def bound(arm: Arm, job, trajectories) -> Arm:
    """`arm` with a policy that can speak.

    `trajectories(arm, numbers, root)` gives the trace of samples of that arm, for routers that
    remember. Raises ValueError (one line) if the pilot cannot be had or the policy refuses it.
    """
    wanted = wants(arm.policy)
    if not wanted:
        return arm
    num = max(1, job.count("states"))  # of none the first is missed
    table = pd.concat([job.table("states", i) for i in range(num)])
    gram = np.concatenate([job.arrays("gram", i)["gram"] for i in range(num)])
    t = torch.tensor(table["t"].to_numpy())
    edges = torch.linspace(0, 1, NUM_TIME_BINS + 1, dtype=torch.float64)
    apart = mean_by_time(disagreement(torch.from_numpy(gram)), t, edges)
    apart = apart.to(arm.device, arm.dtype)
    times, p = None, None
    if "posteriors" in wanted:
        times, p = lone_posteriors(arm, job, table) or traced(arm, job, trajectories)
    pilot = Pilot(times, p, apart if "disagreement" in wanted else None)
    return replace(arm, policy=bind(arm.policy, pilot))


@torch.no_grad()
def lone_posteriors(arm: Arm, job, table: pd.DataFrame) -> tuple[torch.Tensor, ...] | None:
    """t and p of a router that remembers nothing, on the probe; None for another one."""
    if type(arm.router).observe is not Router.observe:
        return None
    chosen = table[table["split"] == probe_states.CALIBRATE]
    index, root, times, parts = job.table("index"), job.spec["seed"], [], []
    images = shards.values(job, index, "images")
    held = probe_states.states(chosen, images.take(chosen["row"].to_numpy()), root)
    for first in range(0, len(held), ASKED_AT_ONCE):
        rows = slice(first, first + ASKED_AT_ONCE)
        x, t = (of[rows].to(arm.device, arm.dtype) for of in (held.x, held.t))
        prompt = None
        if arm.prompter is not None:
            of = index.iloc[held.row[rows]]
            prompt = arm.prompter(of["label"].to_numpy(), of["caption"].tolist())
            prompt = devices.moved(prompt, arm.device)
        cluster = oracle_clusters(arm, root, chosen["state"].tolist()[rows])
        for told in arm.branches(len(x), prompt):
            times.append(t)
            parts.append(arm.router.posterior(x, t, arm.router.start(x, cluster, told)))
    return torch.cat(times), torch.cat(parts)


def traced(arm: Arm, job, trajectories) -> tuple[torch.Tensor, torch.Tensor]:
    """t and p along pilot trajectories under the full ensemble."""
    root = seeds.integer(job.spec["seed"], "pilot", 0)
    found = trajectories(replace(arm, policy=Full()), np.arange(NUM_PILOTS), root)
    p, times = (
        torch.from_numpy(found[n]).to(arm.device, arm.dtype) for n in ("posteriors", "times")
    )
    p, times = p.flatten(0, 1), times.repeat(NUM_PILOTS)
    return times, p / p.sum(1, keepdim=True)


def oracle_clusters(arm: Arm, root: int, numbers: list[int]) -> torch.Tensor:
    """The cluster that each sample is meant to be from, drawn from the prior with its seed."""
    u = seeds.uniforms(root, "oracle_label", numbers, 1)[:, 0]
    rank = np.searchsorted(np.cumsum(arm.prior)[:-1], u, side="right")
    return torch.from_numpy(rank).to(arm.device)

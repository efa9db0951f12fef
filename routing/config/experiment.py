"""The config of an experiment, typed.

`Config` has a field for every key at the top; sections with keys of their own are in
`routing.config.sections`. `resolve` fills in every default, checks what no single key can show
(`routing.config.checks`) and adds `plan`, what the Snakemake rules must know about the choices
(`routing.config.plan`). Stages never import this package: they get their part of the resolved
config as JSON.
"""

from typing import Any

from pydantic import Field, ValidationError

from routing.config import checks, messages
from routing.config.plan import plan
from routing.config.registries import choice
from routing.config.sections.arms import Arm
from routing.config.sections.base import Name, Section
from routing.config.sections.data import Data
from routing.config.sections.metrics import Metrics
from routing.config.sections.partitions import Partition
from routing.config.sections.probe import Probe
from routing.config.sections.samples import Samples

Autoencoder, TextEncoder, Encoder = map(choice, ("autoencoders", "text_encoders", "encoders"))
Experts, Router, Policy = map(choice, ("experts", "routers", "policies"))
Sampler, Guidance = map(choice, ("samplers", "guidances"))
Classifier, FigureChoice = map(choice, ("classifiers", "figures"))


class Config(Section):
    """One experiment, called a run. All its files are under results/<run>/."""

    run: Name
    """Name of the run and of its folder under results/."""
    seed: int = Field(ge=0, lt=2**63)
    """Root seed; all random numbers are derived from it (routing/workflow/seeds.py)."""
    num_training_seeds: int = Field(default=1, ge=1)
    """How often all experts and routers are trained, each time with other random numbers."""
    data: Data
    """The images, and the fraction that is held out from training."""
    autoencoder: Autoencoder | None = None
    """The autoencoder in whose latents experts and routers work. Null: they work on pixels."""
    text_encoder: TextEncoder = {"name": "words"}
    """How captions become tokens, for experts and routers with condition `text`."""
    encoders: dict[Name, Encoder]
    """Image encoders by name. Images are partitioned, and metrics computed, in their features."""
    partitions: dict[Name, Partition]
    """Divisions of the training images, by name. The monolith is a partition with one cluster: a
    single expert, trained on all images."""
    experts: Experts
    """How every expert is trained: a row of the table in routing/stages/experts.py."""
    probe: Probe = Probe()
    """Noised held-out images on which all experts of a partition are evaluated once. Routers are
    trained and calibrated on the stored results."""
    routers: dict[Name, Router]
    """Routers by name. A router gives a posterior over experts from the state x_t, the time t
    and, optionally, the condition."""
    policies: dict[Name, Policy]
    """Policies by name. A policy turns the posterior into the weights of the experts."""
    samplers: dict[Name, Sampler]
    """Samplers by name: ODE or SDE solvers with their time grids."""
    guidances: dict[Name, Guidance] = {}
    """Guidances by name: how strongly samples follow their condition."""
    arms: dict[Name, Arm]
    """The rows of the comparison. An arm combines a partition, a router, a policy, a sampler and,
    optionally, a guidance."""
    samples: Samples
    """How many samples every arm draws."""
    classifiers: dict[Name, Classifier] = {}
    """Classifiers that are trained on the labels, by name. Metrics are computed in their
    features."""
    metrics: Metrics
    """What is measured."""
    figures: dict[Name, FigureChoice]
    """Figures and tables by file name: rows of the table in routing/figures/registry.py."""


def resolve(raw: Any) -> dict:
    """Return the config with all defaults and its `plan`.

    Raises ValueError, one line that begins with the key, if the config cannot run.
    """
    try:
        spec = Config.model_validate(raw).model_dump()
    except ValidationError as error:
        raise ValueError(messages.first_error(error, Config)) from None
    checks.check(spec)
    return spec | {"plan": plan(spec)}

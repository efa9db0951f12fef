"""The config, typed: one experiment file becomes a resolved plan, or one clear line.

The models below say what every key means. `resolve` fills in every default, checks what no
single key can show (`routing.config.checks`) and adds `plan`: the jobs' facts that the rules need
(K of every partition, which routers are trained). The JSON schema is generated from the models
and the tables of choices; a test holds it in step, and this renews it:

    python -m routing.config.experiment > workflow_config.schema.json

This file sees all tables of choices; stages never import it, they get their part as JSON.
"""

import json
import re
from types import UnionType
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.functional_validators import PlainValidator
from pydantic.json_schema import WithJsonSchema

from routing.config import checks
from routing.config.checks import ROUTERS
from routing.data.decoding import ImageRule
from routing.data.sources import SOURCES
from routing.ensemble.guidance import GUIDANCE
from routing.ensemble.objectives import OBJECTIVES
from routing.ensemble.policies import POLICIES, wants
from routing.figures.table import FIGURES
from routing.flow.samplers import SAMPLERS
from routing.metrics.table import METRICS
from routing.pretrained.autoencoders import AUTOENCODERS
from routing.pretrained.text_encoders import TEXT_ENCODERS
from routing.stages.classifier import CLASSIFIERS
from routing.stages.experts import EXPERTS
from routing.stages.fit_encoder import ENCODERS
from routing.stages.partition import METHODS
from routing.workflow import choices

TABLES = {
    "sources": SOURCES,
    "autoencoders": AUTOENCODERS,
    "text_encoders": TEXT_ENCODERS,
    "encoders": ENCODERS,
    "partitions": METHODS,
    "experts": EXPERTS,
    "routers": ROUTERS,
    "objectives": OBJECTIVES,
    "policies": POLICIES,
    "guidances": GUIDANCE,
    "samplers": SAMPLERS,
    "classifiers": CLASSIFIERS,
    "metrics": METRICS,
    "figures": FIGURES,
}


def choice(group: str) -> Any:
    """The type of a key that holds a choice from the table `group`."""
    table = choices.with_plugins(group, TABLES[group])
    return Annotated[
        dict,
        PlainValidator(lambda value: choices.resolve(table, value, "@")),
        WithJsonSchema({"table": group}),  # `schema` points it to the table's definition
    ]


Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Autoencoder, TextEncoder = choice("autoencoders"), choice("text_encoders")
Source, Encoder, Method = choice("sources"), choice("encoders"), choice("partitions")
Experts, Router, Policy = choice("experts"), choice("routers"), choice("policies")
Sampler, Guidance = choice("samplers"), choice("guidances")
Classifier, Metric, FigureChoice = choice("classifiers"), choice("metrics"), choice("figures")


class Model(BaseModel):
    """A closed part of the config: unknown keys and loose types are errors."""

    model_config = ConfigDict(
        extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Image(Model):
    """The rule by which encoded images become squares of one size (routing/data/decoding.py)."""

    size: int = Field(ge=1)
    """Side in pixels."""
    filter: Literal["lanczos", "area", "bicubic"] = "lanczos"
    """Resampling filter, antialiased."""
    min_side: int = Field(default=8, ge=1)
    """Smallest side of an image that is not rejected."""
    max_pixels: int = Field(default=89_478_485, ge=1)
    """Most pixels of an image that is not rejected."""


class Data(Model):
    """Where the images come from and how many nobody is trained on."""

    source: Source
    """The source, a row of the table in routing/data/sources/."""
    heldout_fraction: float = Field(gt=0, lt=1)
    """Share of every label that is held out from all training."""
    image: Image | None = None
    """How encoded images are cut and resized; without, samples are stored as they come."""
    num_shards: int = Field(default=1, ge=1, le=100_000)
    """Shards, a job each; memory is that of a few images, time that of one shard."""
    max_rejected_fraction: float = Field(default=0.01, ge=0, lt=1)
    """Largest share of images that may be rejected; more stop the run."""


class Partition(Model):
    """One division of the training images."""

    encoder: Name
    """The encoder in whose feature space the images are divided."""
    method: Method
    """The method, a row of the table in routing/stages/partition.py."""
    condition: Literal["none", "label", "text"] = "none"
    """What its experts are told beside the state; a share of the batch is told nothing."""


class Probe(Model):
    """The noised held-out states on which all experts of a partition are asked once."""

    num_states: int = Field(default=8192, ge=1)
    """States per partition and training; every held-out image gets as many, spread over t."""
    shard_size: int = Field(default=8192, ge=1)
    """States per job; must divide num_states."""
    num_directions: int = Field(default=2, ge=1)
    """Random projections of the velocities kept per state (for label-free consistency)."""
    fit_fraction: float = Field(default=0.6, gt=0, lt=1)
    """Share of the held-out images on whose states routers are trained."""
    calibration_fraction: float = Field(default=0.2, gt=0, lt=1)
    """Share for temperatures; the rest is for reports that nothing was fitted on."""


class Arm(Model):
    """One row of a comparison; its key is its name in files, tables and legends."""

    partition: Name
    """Whose experts speak."""
    router: Name
    """Who says which expert fits the state."""
    policy: Name
    """How the router's posterior becomes weights."""
    sampler: Name
    """Which solver integrates the ensemble's velocity."""
    guidance: Name | None = None
    """How the condition steers the sample; without, it is asked for nothing."""


class Samples(Model):
    """How many samples every arm draws, and in what pieces."""

    num_samples: int = Field(ge=2)
    """Samples per arm; sample i comes from seed i in every arm."""
    shard_size: int = Field(ge=1)
    """Samples per job."""
    batch_size: int = Field(default=256, ge=1)
    """Samples in memory at once; changes no result beyond rounding."""
    num_trajectories: int = Field(default=64, ge=0)
    """Seeds whose whole trajectory is stored."""


class Lpips(Model):
    """The network of LPIPS, and which pairs its diversity is a mean over."""

    net: Literal["alex", "vgg"] = "alex"
    """The trunk."""
    weights: str | None = None
    """File of the trunk, or an id of the manifest; null: the manifest's for `net`."""
    sha256: choices.Sha256 | None = None
    """What the file must be; null: what the manifest says. Of a file without it, or that must be
    another, metrics are called lpips_<net>_other."""
    within: Literal["all", "condition"] = "all"
    """All pairs, or those that were asked for the same prompt or class (then in the name)."""


class Metrics(Model):
    """What is measured, in which feature spaces, with which intervals."""

    feature_space: Name
    """The classifier or encoder in whose features is measured what names no other `space`."""
    reference_arm: Name
    """The arm that all others are compared with, paired by seed."""
    shares_partition: Name
    """The partition whose clusters the cluster shares count."""
    num_blocks: int = Field(ge=2)
    """Blocks of seeds of the jackknife intervals; must divide num_samples."""
    num_bootstrap: int = Field(default=200, ge=0)
    """Draws of the paired bootstrap over seeds; 0: none (1 has no spread)."""
    num_references: int | None = Field(default=None, ge=8)
    """Training images that pairs are made with (kernels, neighbours); null: all."""
    lpips: Lpips | None = None
    """The network of the metric lpips."""
    list: Annotated[list[Metric], Field(min_length=1)]
    """The metrics, rows of the table in routing/metrics/table/."""


class Config(Model):
    """One experiment: everything under results/<run>/ follows from it."""

    run: Name
    """Name of the run and of its folder under results/."""
    seed: int = Field(ge=0, lt=2**63)
    """Root of every random stream."""
    num_training_seeds: int = Field(default=1, ge=1)
    """How often all experts and routers are trained, each time from other random numbers."""
    data: Data
    """The images."""
    autoencoder: Autoencoder | None = None
    """The autoencoder in whose latents experts and routers work; without, in pixels."""
    text_encoder: TextEncoder = {"name": "words"}
    """What becomes of captions where experts or routers are told them."""
    encoders: dict[Name, Encoder]
    """Encoders by name: where partitions are made and cluster shares counted."""
    partitions: dict[Name, Partition]
    """Partitions by name; the monolith is the partition with one cluster."""
    experts: Experts
    """How every expert is made."""
    probe: Probe = Probe()
    """What all experts say on one fixed set of noised held-out states."""
    routers: dict[Name, Router]
    """Routers by name: posterior sources, trained where they are learned."""
    policies: dict[Name, Policy]
    """Policies by name: from a posterior to weights."""
    samplers: dict[Name, Sampler]
    """Samplers by name: solvers with their grids."""
    guidances: dict[Name, Guidance] = {}
    """Guidances by name: how a condition steers the samples."""
    arms: dict[Name, Arm]
    """The comparison."""
    samples: Samples
    """Sample counts."""
    classifiers: dict[Name, Classifier] = {}
    """Trained feature classifiers by name."""
    metrics: Metrics
    """Measurements."""
    figures: dict[Name, FigureChoice]
    """Figures and tables by file name."""


def resolve(raw: Any) -> dict:
    """The config with all defaults and its `plan`. Raises ValueError: one line, key first."""
    try:
        spec = Config.model_validate(raw).model_dump()
    except ValidationError as error:
        raise ValueError(" ".join(_line(error).split())) from None
    checks.check(spec)
    return spec | {"plan": plan(spec)}


def plan(spec: dict) -> dict:
    """What the rules must know about the choices, so that they need not import them."""
    routers = choices.with_plugins("routers", ROUTERS)
    policies = choices.with_plugins("policies", POLICIES)
    drawn = choices.with_plugins("figures", FIGURES)
    figures = {name: drawn[figure["name"]] for name, figure in spec["figures"].items()}
    image, texts = spec["data"]["image"], choices.with_plugins("text_encoders", TEXT_ENCODERS)
    return {
        "images": ImageRule(**image).name if image else "native",
        "tabled_texts": sorted(name for name, text in texts.items() if text.is_table),
        "num_experts": checks.num_experts(spec["partitions"]),
        "learned": sorted(n for n, r in spec["routers"].items() if routers[r["name"]].learned),
        "piloted": sorted(
            n
            for n, p in spec["policies"].items()
            if wants(choices.build(policies, p, f"policies.{n}"))
        ),
        "needs": {name: list(figure.needs) for name, figure in figures.items()},
        "feature_spaces": checks.measured(spec),
        "clip_captions": checks.phrased(spec),
        "formats": {name: list(figure.formats) for name, figure in figures.items()},
    }


def schema() -> dict:
    """The JSON schema of a config, with a definition per table of choices."""
    text = json.dumps(Config.model_json_schema())
    made = json.loads(re.sub(r'"table": "(\w+)"', r'"$ref": "#/$defs/\1"', text))
    for group, own in TABLES.items():
        made["$defs"][group] = choices.schema(own, f"#/$defs/{group}")
    for key in made["properties"].values():
        if "patternProperties" in key:
            key["additionalProperties"] = False
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | made


def _line(error: ValidationError) -> str:
    # A misspelt key is unknown and its right spelling missing: the first says more.
    detail = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    where = ".".join(str(part) for part in detail["loc"] if part != "[key]") or "the config"
    if detail["type"] == "value_error":
        return str(detail["ctx"]["error"]).replace("@", where, 1)
    if detail["type"] == "extra_forbidden":
        return f"{where}: unknown key" + choices.suggest_names(
            detail["loc"][-1], _keys(detail["loc"])
        )
    if detail["type"] == "missing":
        return f"{where}: this key is missing; add it"
    return f"{where}: {choices.wanted_and_got(detail)}"


def _keys(loc: tuple) -> list[str]:
    """The valid keys beside the one at `loc`."""
    kind: Any = Config
    for part in loc[:-1]:
        fields = getattr(kind, "model_fields", None)
        kind = fields[part].annotation if fields else kind.__args__[-1]
        if isinstance(kind, UnionType):  # X | None
            kind = kind.__args__[0]
    return [*kind.model_fields]


if __name__ == "__main__":
    print(json.dumps(schema(), indent=2))

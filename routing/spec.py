"""The config, typed: one experiment file becomes a resolved plan, or one clear line.

The models below say what every key means; the JSON schema (`schema.json`) is generated from
them, a test holds it in step. `resolve` fills in every default, checks what no single key can
show (an arm that names a missing partition, k > K, blocks that do not divide), and adds `plan`:
the jobs' facts that the rules need (K of every partition, which routers are trained).
This file sees all tables of choices; stages never import it, they get their part as JSON.
"""

import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.functional_validators import PlainValidator
from pydantic.json_schema import WithJsonSchema

from routing import choices
from routing.data import SOURCES
from routing.embed import ENCODERS
from routing.experts import EXPERTS, Transformer
from routing.extractor import EXTRACTORS
from routing.figures import FIGURES
from routing.intervals import seed_blocks
from routing.metrics import METRICS
from routing.partition import METHODS
from routing.policies import POLICIES
from routing.router import TABLE as ROUTERS
from routing.samplers import SAMPLERS

TABLES = {
    "sources": SOURCES,
    "encoders": ENCODERS,
    "partitions": METHODS,
    "experts": EXPERTS,
    "routers": ROUTERS,
    "policies": POLICIES,
    "samplers": SAMPLERS,
    "extractors": EXTRACTORS,
    "metrics": METRICS,
    "figures": FIGURES,
}


def choice(group: str) -> Any:
    """The type of a key that holds a choice from the table `group`."""
    table = choices.rows(group, TABLES[group])
    reference = f"#/$defs/{group}"
    return Annotated[
        dict,
        PlainValidator(lambda value: choices.resolve(table, value, "@")),
        WithJsonSchema({"$ref": reference}),
    ]


Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Source, Encoder, Method = choice("sources"), choice("encoders"), choice("partitions")
Experts, Router, Policy = choice("experts"), choice("routers"), choice("policies")
Sampler, Extractor, Metric = choice("samplers"), choice("extractors"), choice("metrics")
FigureChoice = choice("figures")


class Model(BaseModel):
    """A closed part of the config: unknown keys and loose types are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)


class Data(Model):
    """Where the images come from and how many nobody is trained on."""

    source: Source
    """The source, a row of the table in routing/data.py."""
    heldout: float = Field(gt=0, lt=1)
    """Share of every label that is held out from all training."""


class Partition(Model):
    """One division of the training images."""

    encoder: Name
    """The encoder in whose feature space the images are divided."""
    method: Method
    """The method, a row of the table in routing/partition.py."""


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


class Metrics(Model):
    """What is measured, in which feature space, with which intervals."""

    extractor: Name
    """The extractor or encoder whose features are compared."""
    reference_arm: Name
    """The arm that all others are compared with, paired by seed."""
    shares_partition: Name
    """The partition whose clusters the cluster shares count."""
    num_blocks: int = Field(ge=2)
    """Blocks of seeds of the jackknife intervals; must divide num_samples."""
    list: list[Metric]
    """The metrics, rows of the table in routing/metrics.py."""


class Config(Model):
    """One experiment: everything under results/<run>/ follows from it."""

    run: Name
    """Name of the run and of its folder under results/."""
    seed: int = Field(ge=0, lt=2**63)
    """Root of every random stream."""
    data: Data
    """The images."""
    encoders: dict[Name, Encoder]
    """Encoders by name: where partitions are made and cluster shares counted."""
    partitions: dict[Name, Partition]
    """Partitions by name; the monolith is the partition with one cluster."""
    experts: Experts
    """How every expert is made."""
    routers: dict[Name, Router]
    """Routers by name: posterior sources, trained where they are learned."""
    policies: dict[Name, Policy]
    """Policies by name: from a posterior to weights."""
    samplers: dict[Name, Sampler]
    """Samplers by name: solvers with their grids."""
    arms: dict[Name, Arm]
    """The comparison."""
    samples: Samples
    """Sample counts."""
    extractors: dict[Name, Extractor] = {}
    """Trained feature extractors by name."""
    metrics: Metrics
    """Measurements."""
    figures: dict[Name, FigureChoice]
    """Figures and tables by file name."""


def resolve(raw: dict) -> dict:
    """The config with all defaults and its `plan`. Raises ValueError: one line, key first."""
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        raise ValueError(_line(error)) from None
    plain = config.model_dump()
    _check_references(config)
    plan = _plan(config)
    _check_numbers(config, plan)
    return plain | {"plan": plan}


def schema() -> dict:
    """The JSON schema of a config, with a definition per table of choices."""
    made = Config.model_json_schema()
    for group, own in TABLES.items():
        made["$defs"][group] = choices.schema(own, f"#/$defs/{group}")
    made["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return json.loads(json.dumps(made))


def _line(error: ValidationError) -> str:
    detail = error.errors()[0]
    where = ".".join(str(part) for part in detail["loc"] if part != "[key]")
    if detail["type"] == "value_error":
        return str(detail["ctx"]["error"]).replace("@", where, 1)
    if detail["type"] == "extra_forbidden":
        model: Any = Config
        for part in detail["loc"][:-1]:
            inner = model.model_fields.get(part) if hasattr(model, "model_fields") else None
            model = _model_of(inner.annotation) if inner else model
        return f"{where}: unknown key" + choices.nearest(detail["loc"][-1], [*model.model_fields])
    hint = ""
    if isinstance(detail["input"], str) and "number" in detail["msg"]:
        hint = " (YAML reads 1e-3 as text; write 1.0e-3)"
    wanted = detail["msg"][:1].lower() + detail["msg"][1:]
    if detail["type"] == "missing":
        return f"{where}: this key is missing; add it"
    return f"{where}: {wanted}, got {detail['input']!r}{hint}"


def _model_of(annotation: Any) -> Any:
    arguments = getattr(annotation, "__args__", ())
    return arguments[-1] if arguments else annotation


def _check_references(config: Config) -> None:
    spaces = [*config.extractors, *config.encoders]
    if shared := sorted(set(config.extractors) & set(config.encoders)):
        raise ValueError(f"extractors.{shared[0]}: an encoder has this name too; rename one")
    for name, partition in config.partitions.items():
        _named(f"partitions.{name}.encoder", partition.encoder, config.encoders)
        if "like" in partition.method:
            where = f"partitions.{name}.method.like"
            _named(where, partition.method["like"], config.partitions)
            if "like" in config.partitions[partition.method["like"]].method:
                raise ValueError(f"{where}: wanted a partition that is not itself random")
    for name, arm in config.arms.items():
        if name in ("heldout", "data"):
            raise ValueError(f"arms.{name}: this name stands for real images; rename the arm")
        for key in ("partition", "router", "policy", "sampler"):
            table = getattr(config, {"policy": "policies"}.get(key, f"{key}s"))
            _named(f"arms.{name}.{key}", getattr(arm, key), table)
    metrics = config.metrics
    _named("metrics.extractor", metrics.extractor, spaces)
    _named("metrics.reference_arm", metrics.reference_arm, config.arms)
    _named("metrics.shares_partition", metrics.shares_partition, config.partitions)


def _named(where: str, name: str, valid: Any) -> None:
    if name not in valid:
        raise ValueError(f"{where}: nothing is named {name!r}" + choices.nearest(name, [*valid]))


def _check_numbers(config: Config, plan: dict) -> None:
    samples = config.samples
    if samples.num_samples % samples.shard_size:
        raise ValueError(
            f"samples.shard_size: wanted a divisor of {samples.num_samples} (num_samples), got "
            f"{samples.shard_size}; change one of them"
        )
    try:
        seed_blocks(samples.num_samples, config.metrics.num_blocks)
    except ValueError as error:
        raise ValueError(f"metrics.{error}") from None
    experts = choices.build(choices.rows("experts", EXPERTS), config.experts, "experts")
    for name, arm in config.arms.items():
        num = plan["num_experts"][arm.partition]
        table = choices.rows("policies", POLICIES)
        policy = choices.build(table, config.policies[arm.policy], f"policies.{arm.policy}")
        if policy.least_experts > num:
            raise ValueError(
                f"arms.{name}: policy {arm.policy!r} wants at least {policy.least_experts} "
                f"experts (k), partition {arm.partition!r} has {num}; lower k or take another "
                f"partition"
            )
        if isinstance(experts, Transformer):
            try:
                experts.batch_size(num)
            except ValueError as error:
                raise ValueError(f"experts.{error}") from None


def _plan(config: Config) -> dict:
    methods = {name: p.method for name, p in config.partitions.items()}
    routers = choices.rows("routers", ROUTERS)
    drawn = choices.rows("figures", FIGURES)
    return {
        "num_experts": {
            name: methods[method.get("like", name)]["num_clusters"]
            for name, method in methods.items()
        },
        "learned": sorted(n for n, r in config.routers.items() if routers[r["name"]].learned),
        "needs": {n: list(drawn[f["name"]].needs) for n, f in config.figures.items()},
        "formats": {n: list(drawn[f["name"]].formats) for n, f in config.figures.items()},
    }

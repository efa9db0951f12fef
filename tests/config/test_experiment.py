"""The config: everything right is written out in full, everything wrong is one clear line."""

import copy
import dataclasses
import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from places import ROOT

from routing.config import cache, experiment
from routing.config.checks.arms import PARTS
from routing.config.checks.metric_names import row_names
from routing.config.registries import TABLES
from routing.config.schema import schema
from routing.config.sections.arms import Arm
from routing.config.sections.base import Section
from routing.ensemble.objectives import OBJECTIVES
from routing.networks.dit import MODULATIONS
from routing.workflow import choices

FILES = [ROOT / "workflow_config.yaml", *sorted((ROOT / "experiments").glob("*.yaml"))]
SCHEMA = ROOT / "workflow_config.schema.json"
DIGITS, ORACLE = (
    yaml.safe_load(path.read_text()) for path in (FILES[0], ROOT / "experiments" / "oracle.yaml")
)
# Changes to the router `learned` shall not be about the one that starts from it.
DIGITS["routers"].pop("aligned")
DIGITS["arms"] = {n: a for n, a in DIGITS["arms"].items() if a["router"] != "aligned"}
DELETE = object()
LONGEST = 500  # of a line: some tables have many names
LEARNED = {"name": "learned", "objective": "cluster", "steps": 9, "batch_size": 8}
CODEC = {"name": "autoencoder_kl", "folder": "x"}
FOLDER = {"name": "image_folder", "path": "x", "licence_text": "MIT"}
GATED = {"name": "entropy_gated", "threshold": 0.5, "few": 1, "many": 3}


class Loader(yaml.SafeLoader):
    """YAML as the configs are read, with the two abbreviations of wrong_configs.txt."""


def arm(loader, node):
    return copy.deepcopy(DIGITS["arms"]["top1"]) | loader.construct_mapping(node)


Loader.add_constructor("!delete", lambda loader, node: DELETE)
Loader.add_constructor("!arm", arm)


def wrong_configs():
    """(key, value, beginning of the line, whether the schema knows) for every row of the file."""
    is_known = False
    for row in (Path(__file__).parent / "wrong_configs.txt").read_text().splitlines():
        if row.startswith("#"):
            is_known = row.startswith("# in the schema")
        elif row:
            where, value, beginning = row.split(" | ", 2)
            goes_on = beginning.startswith((":", "."))
            yield where, yaml.load(value, Loader), where * goes_on + beginning, is_known


WRONG = list(wrong_configs())


def changed(raw, where, value):
    """A copy of `raw` in which the key at the path `where` ("a.b.0.c") has `value`."""
    raw = copy.deepcopy(raw)
    *path, last = [int(p) if p.isdigit() else p for p in where.split(".")] if where else [None]
    inner = raw
    for part in path:
        inner = inner[part]
    if value is DELETE:
        del inner[last]
    elif isinstance(last, int) and last == len(inner):
        inner.append(value)
    else:
        inner[last] = value
    return raw


def refusal(raw):
    with pytest.raises(ValueError) as caught:
        experiment.resolve(raw)
    line = str(caught.value)
    assert "\n" not in line and len(line) < LONGEST and "  " not in line and "@" not in line, line
    return line


@pytest.mark.parametrize("where, value, beginning, _", WRONG, ids=[row[0] for row in WRONG])
def test_a_wrong_config_is_one_line(where, value, beginning, _):
    line = refusal(changed(DIGITS, where, value))
    assert line.startswith(beginning)
    if "did you mean" in line:
        assert "valid names: " in line


def test_the_wrong_configs_are_many():
    """A broken reader of the file would leave every line of this module green."""
    assert len(WRONG) > 120 and len({(row[0], str(row[1])) for row in WRONG}) == len(WRONG)
    assert {row[0].split(".")[0] for row in WRONG} >= set(experiment.Config.model_fields)


def test_a_wrong_figure_is_one_line():
    name, figure = next(iter(DIGITS["figures"].items()))
    where, kind = f"figures.{name}", figure["name"]
    line = refusal(changed(DIGITS, f"{where}.name", kind + "x"))
    assert line.startswith(f"{where}: unknown name '{kind}x'; did you mean '{kind}'?")
    line = refusal(changed(DIGITS, f"{where}.zzz", 1))
    assert line.startswith(f"{where}: unknown option 'zzz' of '{kind}'; ")


def test_names_of_more_than_one_line():
    for where in ("encoders.two\nlines", "arms.two\nlines"):
        line = refusal(changed(DIGITS, where, "pca"))
        assert line.startswith(f"{where.split('.')[0]}.two lines: wanted")
    for name in ("a\nb", "digits\n"):
        assert refusal(changed(DIGITS, "run", name)).startswith("run: wanted a name of a-z")


WORLD = [
    ("data.source.weights", [0.1, 0.2, 0.3, "0.4"], ".3: wanted a valid number, got '0.4' (text"),
    ("data.source.weights", [0.1, 0.2, 0.3, True], ".3: wanted a valid number, got True"),
    ("data.source.means.2", [1.0], ".1: wanted one more item, got [1.0]"),
    ("data.source.means.2.1", "1e-3", ": wanted a valid number, got '1e-3' (YAML reads 1e-3"),
    ("data.source.stds", 0.5, ": wanted a valid tuple, got 0.5"),
    ("data.source.num_points", 4e3, ": wanted a valid integer, got 4000.0"),
    ("experts", {"name": "transformer", "steps": 9, "total_batch": 8}, ": 'transformer' needs im"),
]


@pytest.mark.parametrize("where, value, beginning", WORLD, ids=[row[0] for row in WORLD])
def test_a_wrong_world_is_one_line(where, value, beginning):
    assert refusal(changed(ORACLE, where, value)).startswith(where + beginning)


def test_lists_of_different_lengths():
    line = refusal(changed(ORACLE, "data.source.weights", [0.1, 0.2, 0.7]))
    assert line.startswith(
        "data.source: mixture: wanted as many weights as means and stds, got 3, 4"
    )


def test_networks_want_images():
    line = refusal(changed(ORACLE, "autoencoder", CODEC))
    assert line.startswith(
        "autoencoder: wanted images, got points (data.source 'mixture'); remove it"
    )
    line = refusal(changed(ORACLE, "routers.exact", LEARNED))
    assert line.startswith(
        "arms.monolith.router: 'exact' (learned) needs images, got points (data."
    )
    experiment.resolve(changed(ORACLE, "routers.spare", LEARNED))  # no arm asks for it
    raw = changed(ORACLE, "classifiers", {"digits": "classifier"})
    experiment.resolve(raw)  # nobody measures in it
    line = refusal(changed(raw, "metrics.feature_space", "digits"))
    assert line.startswith("metrics.feature_space: 'digits' (classifier) needs images, got points")


# What takes more than one change; the last one is at fault.

ASKED = [("partitions.semantic.condition", "label"), ("guidances", {"guided": "conditional"})]
TEXT_ENCODERS = [
    ("partitions.semantic.condition", "text"),
    ("guidances", {"guided": "conditional"}),
]
DISTANCE = [("metrics.list.5", {"name": "lpips"})]
FILES_OF = [("data.source", FOLDER), ("data.image", {"size": 30})]
PAIR = [("routers.first", LEARNED), ("routers.second", LEARNED | {"start": "first"})]
TOGETHER = [
    (
        [("metrics.num_references", 8), ("metrics.list.2.k_density", 8)],
        "metrics.list.2.k_density: wanted less than 8 (metrics.num_references), got 8; ",
    ),
    (
        ASKED[1:] + [("arms.top1.guidance", "guided")],
        "arms.top1.guidance: 'guided' (conditional) needs conditional experts, partition "
        "'semantic' has condition 'none'; change it to 'label' or 'text'",
    ),
    (
        ASKED + [("arms.top1.guidance", "guidde")],
        "arms.top1.guidance: unknown name 'guidde'; did you mean 'guided'? valid names: guid",
    ),
    (
        TEXT_ENCODERS + [("routers.learned.condition", "label")],
        "arms.top1.router: 'learned' has condition 'label', the experts of partition "
        "'semantic' have 'text'; make them equal",
    ),
    (
        ASKED + [("routers.learned.condition", "text")],
        "arms.top1.router: 'learned' has condition 'text', the experts of partition "
        "'semantic' have 'label'; make them equal",
    ),
    (
        TEXT_ENCODERS + [("routers.centroid", "conditional_prior")],
        "arms.centroid_top1.router: 'centroid' (conditional_prior) needs a partition with "
        "condition 'label', got 'text'; choose another router",
    ),
    (
        TEXT_ENCODERS
        + [("arms.top1.guidance", "guided"), ("routers.learned", {"name": "density"})],
        "arms.top1.router: 'learned' (density) needs p(k | label), the samples have a text "
        "and no label; choose another router or guidance 'none'",
    ),
    (
        PAIR + [("routers.first.start", "second")],
        "routers.second.start: wanted a router that does not start from this one, got 'first'; ",
    ),
    (
        PAIR + [("routers.third", LEARNED | {"start": "fist"})],
        "routers.third.start: unknown name 'fist'; did you mean 'first'? valid names: ",
    ),
    (
        PAIR + [("routers.second.width", 32)],
        "routers.second.start: wanted a router with the same width (32), got 'first' with 64; ",
    ),
    (
        ASKED + PAIR + [("routers.second.condition", "label")],
        "routers.second.start: wanted a router with the same condition ('label'), got 'first' ",
    ),
    (
        [("policies.top1", {"name": "budget", "mean_experts": 3.5, "by": GATED})],
        "policies.top1: budget: mean_experts must be in [1, 3] by ",
    ),
    (
        DISTANCE + [("metrics.lpips", {"net": "vgg"})],
        "metrics.lpips.net: 'vgg' needs images with sides of at least 16 pixels, got 8; "
        "remove 'lpips' from metrics.list",
    ),
    (
        DISTANCE + FILES_OF + [("metrics.lpips", {})],
        "metrics.lpips.net: 'alex' needs images with sides of at least 31 pixels, got 30; use "
        "net 'vgg' (16)",
    ),
    (
        DISTANCE + FILES_OF + ASKED + [("metrics.lpips", {"net": "vgg", "within": "condition"})],
        "metrics.lpips.within: 'condition' needs arms whose samples have a label or a text, "
        "got arm 'monolith' without guidance; use 'all', or give the arm a guidance",
    ),
]


@pytest.mark.parametrize("changes, beginning", TOGETHER, ids=[row[1][:40] for row in TOGETHER])
def test_what_does_not_go_together_is_one_line(changes, beginning):
    raw = DIGITS
    for where, value in changes:
        raw = changed(raw, where, value)
    assert refusal(raw).startswith(beginning)


def test_what_goes_together():
    """The neighbours of those lines."""
    raw = changed(changed(DIGITS, *ASKED[0]), *ASKED[1])
    raw = changed(raw, "arms.top1.guidance", "guided")
    experiment.resolve(raw)
    experiment.resolve(changed(raw, "routers.learned.condition", "label") | one_arm(raw, "top1"))
    for router in ("density", "conditional_prior", "exact"):
        given = changed(raw, "routers.learned", router) | one_arm(raw, "top1")
        if router == "exact":
            assert refusal(given).startswith("arms.top1.router: 'learned' (exact) needs experts")
        else:
            experiment.resolve(given)
    chain = raw
    for where, value in [*PAIR, ("routers.third", LEARNED | {"start": "second", "steps": 0})]:
        chain = changed(chain, where, value)
    assert experiment.resolve(chain)["routers"]["third"]["start"] == "second"
    text = changed(raw, "partitions.semantic.condition", "text")
    unasked = changed(text, "arms.top1.guidance", DELETE)
    experiment.resolve(changed(unasked, "routers.learned", "density"))


def test_lpips_takes_what_its_network_takes():
    raw = DIGITS
    for where, value in [*DISTANCE, *FILES_OF, ("metrics.lpips", {"net": "vgg"})]:
        raw = changed(raw, where, value)
    experiment.resolve(changed(raw, "data.image.size", 16))
    experiment.resolve(changed(changed(raw, "data.image.size", 31), "metrics.lpips.net", "alex"))
    refusal(changed(raw, "data.image.size", 15))
    small = changed(changed(raw, "data.image.size", 16), "metrics.lpips.net", "alex")
    assert refusal(small).endswith("got 16; use net 'vgg' (16)")
    experiment.resolve(changed(changed(raw, "data.image.size", 15), "metrics.list.5", DELETE))
    world = changed(ORACLE, "metrics.lpips", {})
    place = len(world["metrics"]["list"])
    line = refusal(changed(world, f"metrics.list.{place}", {"name": "lpips"}))
    assert line.startswith(f"metrics.list.{place}: 'lpips' needs images, got points (data.source")
    for where, value in ASKED:
        raw = changed(raw, where, value)
    raw = changed(changed(raw, "data.image.size", 16), "metrics.lpips.within", "condition")
    raw = changed(raw, "arms.top1.guidance", "guided")
    experiment.resolve(raw | one_arm(raw, "top1"))
    unasked = changed(raw, "guidances.guided", "none")
    assert refusal(unasked | one_arm(raw, "top1")).startswith(
        "metrics.lpips.within: 'condition' need"
    )


def test_centroids_are_where_the_router_looks():
    """Of latents, if there is a autoencoder; and encoded images have their rule."""
    raw = changed(changed(DIGITS, "data.source", FOLDER), "data.image", {"size": 16})
    plan = experiment.resolve(raw)["plan"]
    assert (
        plan["image_rule"] == "center_lanczos_16"
        and experiment.resolve(DIGITS)["plan"]["image_rule"] == "native"
    )
    latent = changed(raw, "autoencoder", CODEC)
    assert "choose an encoder that reads latents" in refusal(latent)
    experiment.resolve(changed(latent, "encoders.pixels_pca.reads", "latents"))
    experiment.resolve(changed(latent, "routers.centroid", "prior"))


def one_arm(raw, name):
    """The keys of a config that has this arm alone."""
    metrics = raw["metrics"] | {"reference_arm": name}
    return {"arms": {name: raw["arms"][name]}, "metrics": metrics}


def test_exact_experts_are_told_labels_alone():
    raw = changed(ORACLE, "partitions.components.condition", "label")
    experiment.resolve(raw)
    line = refusal(changed(ORACLE, "partitions.components.condition", "text"))
    assert line.startswith("partitions.components.condition: wanted 'none' or 'label', the condi")
    experiment.resolve(changed(ORACLE, "partitions.spare", raw["partitions"]["components"]))


def test_confidence_wants_the_noise_of_the_sampler():
    raw = changed(ORACLE, "routers.exact", "confidence")
    assert refusal(raw).startswith(
        "arms.monolith.router: 'exact' (confidence) needs a stochastic sampler ('ancestral'), "
        "got 'euler'; change one of them"
    )
    raw["arms"] = {"full": ORACLE["arms"]["full"] | {"sampler": "drawn"}}
    experiment.resolve(changed(raw, "samplers.drawn", {"name": "ancestral", "num_steps": 4}))


def test_a_chain_of_random_partitions_is_refused():
    raw = changed(DIGITS, "partitions.other", copy.deepcopy(DIGITS["partitions"]["random"]))
    experiment.resolve(raw)
    for first, second in (("other", "random"), ("random", "other")):
        line = refusal(changed(raw, f"partitions.{first}.method.like", second))
        assert line.startswith(
            f"partitions.{first}.method.like: wanted a partition without `like`"
        )
    cycle = changed(raw, "partitions.other.method.like", "random")
    refusal(changed(cycle, "partitions.random.method.like", "other"))


@pytest.mark.parametrize("raw", [None, [], "text", 3, {}], ids=str)
def test_what_is_no_config(raw):
    assert refusal(raw).startswith(
        "run: this key" if raw == {} else "the config: wanted keys with"
    )


def test_a_misspelt_key_comes_before_the_key_it_leaves_missing():
    raw = changed(DIGITS, "smaples", DIGITS["samples"])
    del raw["samples"]
    assert refusal(raw).startswith("smaples: unknown key; did you mean 'samples'?")
    raw = changed(DIGITS, "arms.top1.ruoter", "learned")
    del raw["arms"]["top1"]["router"]
    assert refusal(raw).startswith("arms.top1.ruoter: unknown key; did you mean 'router'?")


def leaves(raw, path=()):
    items = raw.items() if isinstance(raw, dict) else enumerate(raw)
    for key, value in items:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from leaves(value, (*path, key))


JUNK = [{"zzz": [1]}, 1.5j, {3: 4}, b"x", [[]], {"name": {}}]


@pytest.mark.slow
@pytest.mark.parametrize("first", range(2))
@pytest.mark.parametrize("raw", [DIGITS, ORACLE], ids=["digits", "oracle"])
def test_junk_at_any_key_is_one_line(raw, first):
    """Whatever stands anywhere: no traceback, and the line names the place."""
    for i, path in enumerate(leaves(raw), first):
        where = ".".join(map(str, path))
        with pytest.raises(ValueError) as caught:
            experiment.resolve(changed(raw, where, JUNK[i % len(JUNK)]))
        line = str(caught.value)
        assert "\n" not in line and len(line) < LONGEST, line
        assert line.startswith(str(path[0])), (where, line)


# What is right.


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_resolved_is_a_fixed_point_and_plain(path):
    full = experiment.resolve(yaml.safe_load(path.read_text()))
    plan = full.pop("plan")
    assert experiment.resolve(full) == full | {"plan": plan}
    text = json.dumps(full | {"plan": plan}, allow_nan=False)
    assert json.loads(text) == full | {"plan": plan}
    assert yaml.safe_load(yaml.safe_dump(full)) == full  # it can be written down and used again


@pytest.mark.parametrize(
    "metric", ["class_share_3", "cluster_share_0", "recall_pixels_pca_cluster_worst"]
)
def test_figures_show_one_class_or_cluster_too(metric):
    listed = [
        *DIGITS["metrics"]["list"],
        {"name": "cluster_recall", "feature_space": "pixels_pca"},
    ]
    raw = changed(DIGITS, "metrics.list", listed)
    experiment.resolve(changed(raw, "figures.quality.metric", metric))


@pytest.mark.parametrize(("within", "word"), [("all", ""), ("condition", "_within_condition")])
def test_rows_of_lpips_say_what_pairs_share(within, word):
    lpips = {"net": "vgg", "within": within, "weights": None, "sha256": None}
    metrics = {"classifier": "x", "reference_arm": "one", "lpips": lpips}
    found = row_names({"name": "lpips"}, metrics, "metrics.list.0")
    assert found == [f"lpips_vgg_diversity{word}", "lpips_vgg_to_one"]


@pytest.mark.parametrize("num_splits", [0, 1025])
def test_splits_of_the_inception_score_have_samples(num_splits):
    raw = changed(DIGITS, "encoders.inception", {"name": "inception", "weights": "x.pth"})
    raw["encoders"]["inception_other"] = raw["encoders"].pop("inception")
    entry = {"name": "inception_score", "feature_space": "inception_other"}
    experiment.resolve(changed(raw, "metrics.list.5", entry | {"num_splits": 1024}))
    line = refusal(changed(raw, "metrics.list.5", entry | {"num_splits": num_splits}))
    assert (
        line.startswith("metrics.list.5")
        and f"num_splits >= 1, got {num_splits}" in line
        or (line.startswith("metrics.list.5.num_splits: wanted at most 1024 (samples), got 1025;"))
    )


def test_a_metric_is_in_the_list_twice_where_the_names_differ():
    again = [
        {"name": "neighbours", "k_precision": 10, "k_density": 3},
        {"name": "cluster_recall", "k_precision": 10, "k_density": 3},
        {"name": "frechet", "num_samples": 512},
        {"name": "frechet", "feature_space": "pixels_pca"},
    ]
    listed = [*DIGITS["metrics"]["list"], *again]
    experiment.resolve(changed(DIGITS, "metrics.list", listed))
    for choice in again:
        assert "would write" in refusal(changed(DIGITS, "metrics.list", [*listed, choice]))


def test_defaults_are_written_out():
    full = experiment.resolve(DIGITS)
    assert full["experts"]["ema"] == 0.999 and full["experts"]["modulation"] in MODULATIONS
    assert full["policies"]["sticky"] == {
        "name": "sticky",
        "t_star": 1.0,
        "before": {"name": "full"},
    }
    plain = {"feature_space": None, "num_samples": None}
    near = {"name": "neighbours", "k_precision": 3, "k_density": 5}
    assert full["metrics"]["list"][2] == near | plain
    assert (
        experiment.resolve(changed(DIGITS, "samples.batch_size", DELETE))["samples"]["batch_size"]
        == 256
    )
    assert experiment.resolve(ORACLE)["classifiers"] == {}
    for key in DIGITS:
        assert key in full and list(full) == [*experiment.Config.model_fields, "plan"]


def test_the_order_of_the_config_is_kept():
    """Arms stand in figures and tables in the order in which they are written."""
    assert list(experiment.resolve(DIGITS)["arms"]) == list(DIGITS["arms"])
    turned = changed(DIGITS, "arms", dict(reversed(DIGITS["arms"].items())))
    assert list(experiment.resolve(turned)["arms"]) == list(reversed(DIGITS["arms"]))


def test_integers_serve_as_numbers_and_names_as_choices():
    raw = changed(DIGITS, "experts.learning_rate", 1)
    assert experiment.resolve(raw)["experts"]["learning_rate"] == 1.0
    assert experiment.resolve(changed(DIGITS, "policies.full", "full")) == experiment.resolve(
        DIGITS
    )


@pytest.mark.parametrize(
    "where, value",
    [
        ("samples.shard_size", 256),
        ("samples.num_trajectories", 0),
        ("metrics.num_blocks", 1024),
        ("metrics.feature_space", "pixels_pca"),
        ("metrics.reference_arm", "top1"),
        ("experts.total_batch", 5),
        ("policies.top3.k", 5),
        ("policies.spare", {"name": "top_k", "k": 9}),  # no arm has it
        ("partitions.semantic.method.num_clusters", 4),
        ("partitions.two", DIGITS["partitions"]["random"]),
        ("arms", {"heldout_like": DIGITS["arms"]["top1"], "monolith": DIGITS["arms"]["monolith"]}),
        ("classifiers.more", "classifier"),
        ("seed", 2**63 - 1),
        ("run", "a"),
    ],
)
def test_the_edges_of_what_is_right(where, value):
    raw = changed(DIGITS, where, value)
    if where == "metrics.feature_space":
        raw["figures"] = {}  # they show fd_digits
        raw["metrics"]["list"] = [m for m in raw["metrics"]["list"] if m["name"] != "class_shares"]
    experiment.resolve(raw)


def test_the_plan():
    plan = experiment.resolve(DIGITS)["plan"]
    assert plan["num_experts"] == {"monolith": 1, "semantic": 5, "random": 5}
    assert plan["learned_routers"] == ["learned"] and plan["pilot_policies"] == []
    assert (
        plan["figure_inputs"].keys() == plan["figure_formats"].keys() == DIGITS["figures"].keys()
    )
    assert experiment.resolve(ORACLE)["plan"]["num_experts"] == {"monolith": 1, "components": 4}
    assert experiment.resolve(ORACLE)["plan"]["learned_routers"] == []


def test_what_is_resolved_is_not_changed():
    raw = copy.deepcopy(DIGITS)
    experiment.resolve(raw)
    assert raw == DIGITS


@pytest.mark.parametrize("group", TABLES)
def test_rows_can_be_choices(group):
    """Documented for the schema, and no option that hides the name."""
    for name, row in TABLES[group].items():
        assert row.__doc__ and not row.__doc__.startswith(f"{row.__name__}("), name
        assert "name" not in row.__dataclass_fields__ and row.__dataclass_params__.frozen, name
        kinds = {type(field.default) for field in dataclasses.fields(row)}
        assert list not in kinds and dict not in kinds, name


def test_reserved_names_and_parts_are_those_of_an_arm():
    assert list(PARTS) == list(Arm.model_fields)
    assert set(PARTS.values()) < set(experiment.Config.model_fields)


# The schema.


def test_the_schema_is_in_step():
    remedy = "renew it: python -m routing.config schema > workflow_config.schema.json"
    assert SCHEMA.read_text() == json.dumps(schema(), indent=2) + "\n", remedy


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_configs_name_and_keep_the_schema(path):
    up = "../" * (len(path.relative_to(ROOT).parts) - 1)
    first = path.read_text().splitlines()[0]
    assert first == f"# yaml-language-server: $schema={up}workflow_config.schema.json"
    raw, known = yaml.safe_load(path.read_text()), json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(known)
    jsonschema.validate(raw, known)
    full = experiment.resolve(raw)
    full.pop("plan")
    jsonschema.validate(full, known)


def test_the_schema_refuses_what_it_can_know():
    """An editor marks what is wrong with a key by itself, before anything is run."""
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    known = [(where, value) for where, value, _, is_known in WRONG if is_known]
    assert len(known) > 90
    for where, value in known:
        assert not validator.is_valid(changed(DIGITS, where, value)), (where, value)


def test_choices_within_choices_have_definitions_of_their_own():
    defs = schema()["$defs"]
    assert defs.keys() >= TABLES.keys()
    rows = {row["properties"]["name"]["const"]: row for row in defs["routers"]["oneOf"][:-1]}
    assert rows["learned"]["properties"]["objective"] == {"$ref": "#/$defs/objectives"}
    named = [row["properties"]["name"]["const"] for row in defs["objectives"]["oneOf"][:-1]]
    assert named == list(OBJECTIVES)
    for group in TABLES:
        for row in TABLES[group].values():
            for option, (other, table) in getattr(row, "tables", {}).items():
                assert option in {field.name for field in dataclasses.fields(row)}
                assert TABLES[other] is table


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_can_be_chosen(objective):
    """With its defaults written out, and so in the schema."""
    raw = changed(DIGITS, "routers.learned.objective", objective)
    full = experiment.resolve(raw)["routers"]["learned"]["objective"]
    assert full["name"] == objective
    assert full.keys() - {"name"} == {f.name for f in dataclasses.fields(OBJECTIVES[objective])}
    jsonschema.validate(changed(raw, "routers.learned.objective", full), schema())


def test_the_plan_knows_which_policies_want_a_pilot():
    raw = changed(DIGITS, "policies.top2", {"name": "budget", "mean_experts": 2.0})
    inner = {"name": "switch", "early": "full", "late": raw["policies"]["top2"]}
    raw = changed(raw, "policies.nested", inner)
    gate = {"name": "disagreement_gated", "threshold": 0.1}
    assert experiment.resolve(changed(raw, "policies.gate", gate))["plan"]["pilot_policies"] == [
        "gate",
        "nested",
        "top2",
    ]


def test_every_key_has_its_sentence():
    def described(model, path=()):
        for name, field in model.model_fields.items():
            assert field.description and field.description.endswith("."), (*path, name)
        assert model.__doc__

    models = [experiment.Config, *Section.__subclasses__()]
    assert len(models) > 6
    for model in models:
        described(model)


@pytest.mark.parametrize("path", [*FILES, SCHEMA], ids=lambda path: path.stem)
def test_files_named_in_comments_exist(path):
    folders = "routing|rules|experiments|docs|profiles|envs|benchmarks"
    for name in re.findall(rf"\b(?:{folders})/[\w./-]*[\w/]", path.read_text()):
        assert (ROOT / name).exists(), name


# The cache for the Snakefile.


def test_the_answer_is_remembered_and_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    calls, real = [], experiment.resolve
    monkeypatch.setattr(experiment, "resolve", lambda raw: calls.append(1) or real(raw))
    first, second = cache.resolved(ORACLE), cache.resolved(ORACLE)
    assert first == second == real(ORACLE) and len(calls) == 1
    turned = changed(ORACLE, "arms", dict(reversed(ORACLE["arms"].items())))
    assert list(cache.resolved(turned)["arms"]) == list(turned["arms"]) and len(calls) == 2
    monkeypatch.setattr(cache.code_digest, "module_digest", lambda module: "edited")
    cache.resolved(ORACLE)
    assert len(calls) == 3


def test_an_error_is_not_remembered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        with pytest.raises(ValueError, match="polices: unknown key"):
            cache.resolved({"polices": {3: 4, "a": 1}} | DIGITS)
    assert not list(tmp_path.rglob("*.json"))


def test_a_row_of_another_package_counts(monkeypatch):
    """`rows` is asked at every use, so that an installed row is valid in a config."""

    class Entry:
        name, value = "mine", "package:Mine"

        def load(self):
            return TABLES["policies"]["full"]

    def installed(group):
        return [Entry()] if group == "routing.policies" else []

    monkeypatch.setattr("importlib.metadata.entry_points", installed)
    assert "mine" in choices.with_plugins("policies", TABLES["policies"])
    assert "mine" not in choices.with_plugins("samplers", TABLES["samplers"])

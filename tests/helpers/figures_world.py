"""A synthetic run for the tests of figures: every file that a figure may read, from memory."""

import functools
from unittest import mock

import numpy as np
import pandas as pd
import torch

from routing.figures.registry import FIGURES
from routing.figures.shared.figure_inputs import FigureInputs
from routing.stages.metric_tables import comparison_table, difference_table, metric_table
from routing.workflow import choices

FULL, TOP1 = {"name": "full"}, {"name": "top_k", "k": 1}
POLICIES = {
    "full": FULL,
    "top1": TOP1,
    "top2": {"name": "top_k", "k": 2},
    "top3": {"name": "top_k", "k": 3},
    "nucleus": {"name": "nucleus", "mass": 0.9},
    "each_step": {"name": "sample_each_step"},
    "sticky": {"name": "sticky", "t_star": 1.0, "before": FULL},
    "full_then_top1": {"name": "switch", "early": FULL, "late": TOP1, "t_switch": 0.5},
    "top1_then_full": {"name": "switch", "early": TOP1, "late": FULL, "t_switch": 0.5},
    "inert": {"name": "hysteresis", "margin": 0.2},
    "gated": {"name": "entropy_gated", "threshold": 0.5, "few": 1, "many": None},
    "disagreeing": {"name": "disagreement_gated", "threshold": 0.1, "few": 1, "many": None},
    "thrifty": {"name": "budget", "mean_experts": 2.0, "by": {"name": "nucleus", "mass": 0.9}},
    "of_others": {"name": "mine_alone"},
}


def learned(objective, temperature="none"):
    return {"name": "learned", "objective": {"name": objective}, "temperature": temperature}


ROUTERS = {
    "learned": learned("cluster"),
    "cluster": learned("cluster", "nll"),
    "soft": learned("soft_cluster"),
    "error": learned("expert_error"),
    "velocity": learned("velocity", "error"),
    "consistent": learned("consistency"),
    "uniform": {"name": "uniform"},
    "prior": {"name": "prior"},
}
GUIDANCES = {
    "requested": {"name": "conditional"},
    "separate_2": {"name": "separate", "scale": 2.0},
    "separate_4": {"name": "separate", "scale": 4.0},
    "shared_1": {"name": "shared", "scale": 1.0},
    "shared_2": {"name": "shared", "scale": 2.0},
    "shared_4": {"name": "shared", "scale": 4.0},
}
SAMPLERS = {
    "euler": {"name": "euler", "num_steps": 8},
    "heun": {"name": "heun", "num_steps": 4},
    "dpmpp": {"name": "dpmpp_2m", "num_steps": 8},
}
PARTITIONS = {
    "monolith": {"encoder": "pca", "method": {"name": "kmeans", "num_clusters": 1}},
    "semantic": {"encoder": "pca", "method": {"name": "kmeans", "num_clusters": 5}},
    "random": {"encoder": "pca", "method": {"name": "random", "like": "semantic"}},
}
SIZES = (2, 4, 8)
FAMILIES = {kind: [f"{kind}_{num}" for num in SIZES] for kind in ("plain", "balanced", "random")}
FAMILIES |= {"overlapping": ["overlapping_4"], "other_encoder": ["other_2", "other_8"]}
for family, method in (
    ("plain", "kmeans"),
    ("balanced", "balanced_kmeans"),
    ("overlapping", "overlapping"),
    ("other", "kmeans"),
):
    PARTITIONS |= {
        f"{family}_{num}": {"encoder": family, "method": {"name": method, "num_clusters": num}}
        for num in SIZES
    }
PARTITIONS |= {
    f"random_{num}": {"encoder": "pca", "method": {"name": "random", "like": f"plain_{num}"}}
    for num in SIZES
}
ARMS = {
    "monolith": "monolith prior full euler",
    "top1": "semantic learned top1 euler",
    "top2": "semantic learned top2 euler",
    "full": "semantic learned full euler",
    "uniform_full": "semantic uniform full euler",
    "sticky": "semantic prior sticky euler",
    "random_top1": "random learned top1 euler",
    "random_full": "random learned full euler",
    "monolith_heun": "monolith prior full heun",
    "monolith_dpmpp": "monolith prior full dpmpp",
    "top1_heun": "semantic learned top1 heun",
}
KEYS = ("partition", "router", "policy", "sampler", "guidance")
ABLATION = {"monolith": "monolith prior full euler"} | {
    f"{router}_{policy}": f"semantic {router} {policy} euler"
    for router in ("cluster", "soft", "error", "velocity", "consistent", "uniform")
    for policy in ("full", "top1", "top2", "nucleus")
    if (router, policy) != ("uniform", "top2")
}
GUIDED = {"cluster_full": "semantic cluster full euler", "monolith": "monolith prior full euler"}
GUIDED |= {f"full_{name}": f"semantic cluster full euler {name}" for name in GUIDANCES}
GUIDED |= {
    f"monolith_{name}": f"monolith prior full euler {name}"
    for name in ("requested", "separate_2", "separate_4")
}
DIVIDED = {"monolith": "monolith prior full euler"} | {
    f"{partition}_{policy}": f"{partition} cluster {policy} euler"
    for policy in ("full", "top1")
    for partition in sum(FAMILIES.values(), [])
}
EVERY = ARMS | ABLATION | GUIDED | DIVIDED
DIM, NUM_BLOCKS, NUM_PROBED = 4, 8, 300  # of cluster features; blocks of seeds; states per shard
WORLD = {
    "weights": [0.1, 0.2, 0.3, 0.2, 0.2],
    "means": [[-3, 2], [2.5, 2.5], [-2, -2.5], [3, -1.5], [0, 0]],
    "stds": [0.5, 0.7, 0.6, 0.8, 0.5],
}
CASES = {
    "grids": {},
    "quality": {"metric": "fd_digits"},
    "differences": {"metric": "fd_digits"},
    "frontier": {"metric": "fd_digits"},
    "routing": {"arms": ["top1", "full", "sticky", "top1_heun", "random_full", "monolith"]},
    "clusters": {"partition": "semantic"},
    "losses": {},
    "calibration": {},
    "reliability": {},
    "shares": {"partition": "semantic", "of": "cluster"},
    "results": {},
    "densities": {},
    "trajectories": {},
    "router_table": {"metric": "fd_digits", "partition": "semantic", "sampler": "euler"},
    "router_matrix": {"metric": "fd_digits", "partition": "semantic", "sampler": "euler"},
    "gains": {"metric": "fd_digits", "baseline": "learned"},
    "weights_by_time": {"partition": "semantic", "sampler": "euler", "baseline": "learned"},
    "switching": {},
    "expert_errors": {"partition": "semantic"},
    "guidance": {"metrics": ["fd_digits", "agreement_digits"]},
    "departure": {},
    "exposure": {},
    "partition_quality": {"metric": "fd_digits", "families": FAMILIES, "sampler": "euler"},
    "partition_table": {"metric": "fd_digits", "sampler": "euler"},
    "partition_report": {},
    "contact_sheet": {"partition": "semantic"},
    "imbalance": {"metric": "fd_digits", "families": FAMILIES, "sampler": "euler"},
    "agreement": {},
    "critical_difference": {"metric": "fd_digits"},
    "comparison": {"metric": "fd_digits"},
    "distinguishable": {"metric": "fd_digits"},
}
OF_DIVISIONS = {
    "partition_quality", "partition_table", "partition_report", "imbalance", "agreement",
}  # fmt: skip
IN_PLANE = {"densities", "trajectories"}


class FakeJob:
    """What Inputs asks of a job, from memory."""

    def __init__(self, spec, files):
        self.spec, self.files = spec, files

    def table(self, name, index=0, columns=None):
        table = self.files[name][index]
        return table if columns is None else table[columns]

    arrays = mapped = table

    def count(self, name):
        return len(self.files[name])

    def metadata(self, name, index=0):
        if f"{name} notes" in self.files:
            return self.files[f"{name} notes"][index]
        return {"spec": self.whose(name, index)}

    def whose(self, name, index):
        """What the file says it is, in the order in which make_job made the files."""
        spec = getattr(self, "made", self.spec)
        if name == "losses":
            return dict(zip(("partition", "cluster"), spec["experts"][index], strict=True))
        if name in ("router_losses", "router_reports", "reliability"):
            place, training = divmod(index, len(self.files[name]) // len(spec["routers"]))
            pair = dict(zip(("partition", "router_name"), spec["routers"][place], strict=True))
            return pair | {"training_seed": training}
        if name in ("partitions", "centroids", "reports"):
            return {"partition": list(spec["num_experts"])[index]}
        if name == "grams":
            place, training = divmod(index // spec["num_probe_shards"], spec["num_training_seeds"])
            return {"partition": spec["probed"][place], "training_seed": training}
        return {
            "arm_name": list(spec["arms"])[index // (len(self.files[name]) // len(spec["arms"]))]
        }


@functools.cache
def make_job(
    kind="digits", names=tuple(ARMS), partitions=tuple(PARTITIONS), num_shards=2, trainings=1
):
    rng = np.random.default_rng(7)
    chosen = {n: dict(zip(KEYS, [*EVERY[n].split(), None][:5], strict=True)) for n in names}
    num_experts = {p: num_clusters(p) for p in partitions}
    pairs = {(of["partition"], of["router"]) for of in chosen.values()}
    spec = {
        "arms": chosen,
        "num_experts": num_experts,
        "partitions": {p: PARTITIONS[p] for p in partitions},
        "policies": POLICIES,
        "samplers": SAMPLERS,
        "guidances": GUIDANCES,
        "all_routers": ROUTERS,
        "experts": [[p, k] for p in partitions for k in range(num_experts[p])],
        "routers": [list(p) for p in sorted(pairs) if ROUTERS[p[1]]["name"] == "learned"],
        "probed": [p for p in partitions if p != "monolith"],
        "num_shards": num_shards,
        "autoencoder": None,
        "num_probe_shards": 2,
        "num_training_seeds": trainings,
        "shares_partition": "semantic",
    }
    files = real_files(kind, rng, num_experts) | training_files(spec, rng)
    files |= probe_files(spec, files, rng)
    for name in ("costs", "traces", "samples", "trajectories", "cluster_features"):
        files[name] = []
    for of in chosen.values():
        features = []
        for training in range(trainings):
            for shard in range(num_shards):
                parts = arm_files(rng, kind, of, num_experts[of["partition"]], shard, files)
                features.append(parts.pop("cluster_features"))
                if training > 0:
                    del parts["samples"], parts["trajectories"]
                for name, part in parts.items():
                    files[name].append(part)
        files["cluster_features"].append({"features": np.concatenate(features)})
    found = replicates(chosen, rng, trainings)
    sizes, notes = (
        {arm: dict.fromkeys(values, fact) for arm, values in found.items()} for fact in (80, "")
    )
    nothing = {arm: {} for arm in found}  # no bootstrap, no numbers of single samples
    files["metrics"] = [metric_table("digits", found, nothing, sizes, notes)]
    files["differences"] = [difference_table("digits", found, nothing, sizes, names[0])]
    pairs = comparison_table("digits", found, nothing, nothing, nothing, names[0], 0)
    files["comparisons"] = [pairs]
    files["replicates"] = [replicate_table(found)]
    return FakeJob(spec, files)


def ablation(trainings=3):
    """Six routers under four policies, and the monolith."""
    return make_job("digits", tuple(ABLATION), ("monolith", "semantic"), 2, trainings)


def guided(trainings=1):
    """One router, one policy, seven guidances."""
    return make_job("digits", tuple(GUIDED), ("monolith", "semantic"), 2, trainings)


def divided():
    """Five families of partitions under two policies, and the monolith."""
    return make_job("digits", tuple(DIVIDED), ("monolith", *sum(FAMILIES.values(), [])), 1)


def num_clusters(partition):
    method = PARTITIONS[partition]["method"]
    return method["num_clusters"] if "num_clusters" in method else num_clusters(method["like"])


def real_files(kind, rng, num_experts):
    from sklearn.datasets import load_digits

    digits = load_digits()
    num = 900
    labels, stored = digits.target[:num], digits.images[:num, None].astype(np.uint8)
    levels, world = 16, None
    if kind == "plane":
        labels, levels, world = np.sort(rng.choice(5, num, p=WORLD["weights"])), None, WORLD
        means, stds = np.array(WORLD["means"])[labels], np.array(WORLD["stds"])[labels]
        stored = (means + stds[:, None] * rng.standard_normal((num, 2))).astype(np.float32)
    if kind == "colour":
        stored, levels = rng.integers(0, 256, (num, 3, 6, 5)).astype(np.uint8), 255
    split = np.where(np.arange(num) % 5 == 0, "heldout", "train")
    own = {p: assigned(labels, p, k, rng) for p, k in num_experts.items()}
    if kind == "colour":
        labels = np.array([f"kind of fruit {label % 3}{label}" for label in range(num)])
        labels[: num // 2] = "apple"
    data, shard, row = in_shards(stored, rng)
    index = pd.DataFrame({"sample_id": range(num), "split": split, "label": labels})
    trained = {p: table[split == "train"] for p, table in own.items()}
    sizes = {p: members(trained[p], k) for p, k in num_experts.items()}
    return {
        "data": data,
        "data notes": [{"levels": levels, "world": world}] * len(data),
        "index": [index.assign(shard=shard, row=row)],
        "partitions": list(own.values()),
        "centroids": [
            {"sizes": sizes[p], "centroids": 3 * np.eye(max(k, DIM), DIM)[:k]}
            for p, k in num_experts.items()
        ],
        "reports": [partition_report(sizes[p], rng) for p in num_experts],
    }


def in_shards(stored, rng):
    """The samples in three files, each with a row more that the index does not know."""
    data, places = [], []
    for shard, rows in enumerate(np.array_split(np.arange(len(stored)), 3)):
        junk = rng.permutation(stored[:1].ravel()).reshape(stored[:1].shape)
        data.append({"samples": np.concatenate([junk, stored[rows]])})
        places += [(shard, 1 + i) for i in range(len(rows))]
    return data, *np.array(places).T


def assigned(labels, partition, num, rng):
    """As the stage writes it: clusters, the second where they overlap, distances."""
    cluster = (labels * 7 + rng.integers(0, 2, len(labels))) % num
    table = {"cluster": cluster}
    if PARTITIONS[partition]["method"]["name"] == "overlapping":
        table["second"] = (cluster + rng.integers(1, num, len(labels))) % num
    distances = rng.uniform(1, 2, (len(labels), num)).astype(np.float32)
    return pd.DataFrame(table | {f"distance_{k}": distances[:, k] for k in range(num)})


def members(table, num):
    """Images of each cluster, those of two in both."""
    return sum(
        np.bincount(table[name], minlength=num) for name in ("cluster", "second") if name in table
    )


def partition_report(sizes, rng):
    """Quantities of a partition as a whole (-1) and by cluster."""
    prior = sizes / sizes.sum()
    whole = {"size_ratio_train": sizes.max() / max(1, sizes.min())}
    if len(sizes) > 1:
        p = prior[prior > 0]
        whole["evenness_train"] = -(p * np.log(p)).sum() / np.log(len(sizes))
        whole |= dict(zip(("silhouette", "nmi", "purity"), rng.uniform(0, 1, 3), strict=True))
    whole |= {"within": 3.25, "between_mean": 12.5, "inertia": 9000.0}
    rows = [(quantity, -1, value) for quantity, value in whole.items()]
    rows += [("size_train", k, size) for k, size in enumerate(sizes)]
    rows += [("prior_train", k, share) for k, share in enumerate(prior)]
    rows += [("within", k, 3.0 + k) for k in range(len(sizes))]
    return pd.DataFrame(rows, columns=["quantity", "cluster", "value"]).astype({"value": float})


def training_files(spec, rng):
    steps = np.arange(1, 201)
    falling = 0.4 + np.exp(-steps / 30)

    def curve():
        loss = falling + 0.02 * rng.standard_normal(200)
        return pd.DataFrame({"step": steps, "images": steps * 64, "loss": loss})

    pairs, trainings = spec["routers"], range(spec["num_training_seeds"])
    return {
        "losses": [curve() for _ in spec["experts"]],
        "router_losses": [curve() for _ in pairs],
        "router_reports": [report(rng) for _ in pairs for _ in trainings],
        "reliability": [reliability(rng) for _ in pairs for _ in trainings],
    }


def report(rng):
    """As loading/router_evaluation.py writes it, for ten bins of t of which the last is empty."""
    low = np.arange(9) / 10
    skill = 1 - low + rng.uniform(-0.05, 0.05)
    parts = []
    for version, worse in (("raw", 0.08), ("nll", 0.01), ("error", 0.04), ("none", 0.0)):
        accuracy = 0.25 + 0.7 * skill
        error = 0.4 + 0.3 * low
        values = {
            "accuracy": accuracy,
            "nll": 1.5 * (1 - skill) + 2 * worse,
            "ece": worse + 0 * low,
            "ece_floor": 0.03 + worse / 10 + 0 * low,
        }
        values |= {"entropy": 1.6 * low + 0.05, "confidence": np.minimum(accuracy + worse, 0.99)}
        values |= {"error_full": error + worse * rng.uniform(0.1, 0.5, 9)}
        if version == "none":
            values = {"error_prior": error + 0.1, "error_simplex": error - 0.05}
        for quantity, value in values.items():
            part = {"version": version, "t_low": low, "t_high": low + 0.1, "num_states": 100}
            parts.append(pd.DataFrame(part | {"quantity": quantity, "value": value}))
    return pd.concat(parts, ignore_index=True)


def reliability(rng):
    """Ten bins of confidence, of which the first, below 1 / K, is empty."""
    parts = []
    for version, slope in (("raw", 0.8), ("nll", 0.97), ("error", 0.9)):
        part = pd.DataFrame({"version": version, "bin": range(10), "num_states": 20})
        part["confidence"] = (np.arange(10) + rng.uniform(0.3, 0.7, 10)) / 10
        part["accuracy"] = 0.2 + slope * (part["confidence"] - 0.2)
        part.loc[0, ["num_states", "confidence", "accuracy"]] = [0, np.nan, np.nan]
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def probe_files(spec, files, rng):
    heldout = np.flatnonzero(files["index"][0]["split"] == "heldout")
    grams, states = [], []
    for partition in spec["probed"]:
        cluster = files["partitions"][list(spec["num_experts"]).index(partition)]["cluster"]
        num = spec["num_experts"][partition]
        for shard in range(spec["num_training_seeds"] * spec["num_probe_shards"]):
            number = np.arange(NUM_PROBED) + NUM_PROBED * (shard % spec["num_probe_shards"])
            row, t = heldout[number % len(heldout)], rng.random(NUM_PROBED).astype(np.float32)
            own = np.eye(num)[cluster[row]][:, :, None]
            errors = 1 + (1 - own) * (0.2 + 0.6 * (1 - t)[:, None, None])
            errors = errors * rng.standard_normal((NUM_PROBED, num, 16))
            grams.append({"gram": (errors @ errors.swapaxes(1, 2) / 16).astype(np.float32)})
            table = {"state": number, "row": row, "t": t, "is_null": t > 2, "split": "fit"}
            states.append(pd.DataFrame(table))
    return {"grams": grams, "states": states}


def arm_files(rng, kind, of, num, shard, files):
    seeds, calls = 40, 8
    solver = SAMPLERS[of["sampler"]]["name"]
    grid = 1 - np.arange(8) / 8 if solver != "heun" else np.repeat(1 - np.arange(4) / 4, 2)
    own = np.random.default_rng(shard).integers(0, num, seeds)  # of the seed, in every arm
    logits = 6 * np.eye(num)[own][:, None] * (1 - grid)[None, :, None]
    logits = logits + rng.standard_normal((seeds, calls, num))
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p = (p / p.sum(-1, keepdims=True)).astype(np.float32)
    if of["router"] == "uniform":
        p[:] = 1 / num
    policy = POLICIES[of["policy"]]
    rank = np.argsort(np.argsort(-p, -1, kind="stable"), -1)
    kept = num if policy["name"] == "full" else policy.get("k", 1)
    w = np.where(rank < kept, p, 0)
    if policy["name"] == "nucleus":
        w = np.where(p > 0.05, p, 0)
    w = w / w.sum(-1, keepdims=True)
    requested = p.copy()
    if of["policy"] == "sticky":
        requested[:, 1:] = np.nan
    stored = np.concatenate([part["samples"] for part in files["data"]])
    rows = rng.integers(0, len(stored), seeds)
    x = stored[rows].astype(np.float32)
    if kind != "plane":
        x = x * (2 / files["data notes"][0]["levels"]) - 1 + 0.2 * rng.standard_normal(x.shape)
    kept = 16 if shard == 0 else 0
    start = rng.standard_normal((kept, 1, *x.shape[1:]))
    fade = np.linspace(1, 0, calls + 1).reshape(1, -1, *[1] * (x.ndim - 1))
    numbers = shard * seeds + np.arange(seeds)
    support = (w > 0).mean(0).sum(0)
    bill = pd.DataFrame({"component": ["expert"] * num + ["router", "total"]})
    bill["expert_index"] = [*range(num), 0, 0]
    bill["evaluations"] = [*support, float(calls), support.sum()]
    bill["flop"] = bill["evaluations"] * 1e6
    bill.loc[num, "flop"] = calls * 1e5
    bill.loc[num + 1, "flop"] = support.sum() * 1e6 + calls * 1e5
    bill["seconds"] = np.where(bill["component"] == "total", 2.5, np.nan)
    return {
        "samples": {"samples": x.astype(np.float32), "seeds": numbers},
        "traces": {"times": grid, "weights": w, "posteriors": requested, "seeds": numbers},
        "trajectories": {"states": fade * start + (1 - fade) * x[:kept, None]},
        "costs": bill,
        "cluster_features": 3 * np.eye(max(num, DIM), DIM)[own]
        + 1.2 * rng.standard_normal((seeds, DIM)),
    }


LEVELS = {"fd_digits": 20.0, "recall_digits": 0.6, "cluster_tv": 0.1, "agreement_digits": 0.6}
LEVELS |= {f"cluster_share_{k}": 0.2 for k in range(5)}
LEVELS |= {f"class_share_{c}": 0.1 for c in range(10)}


def replicates(arms, rng, trainings):
    """By arm and metric [trainings, 1 + blocks]; what the seeds have in common is in all arms."""
    common = rng.standard_normal((trainings, 1 + NUM_BLOCKS))
    found = {}
    for arm in ("heldout", *arms):
        is_asked = arm == "heldout" or arms[arm]["guidance"]
        found[arm] = {
            metric: torch.from_numpy(
                level * (rng.uniform(0.6, 1.4) + 0.02 * common)
                + 0.01 * level * rng.standard_normal(common.shape)
            )
            for metric, level in LEVELS.items()
            if is_asked or not metric.startswith("agreement")
        }
    return found


def best_of(inputs, metric, arms, sign):
    """The arm whose paired interval against every other one, from the replicates, is above 0."""
    from routing.statistics.jackknife import jackknife_difference

    values = {arm: torch.tensor(inputs.replicates(arm, metric)) for arm in arms}

    def wins(a, b):
        of = jackknife_difference(values[a], values[b])
        return min(sign * of.lo, sign * of.hi) > 0

    return [a for a in arms if all(wins(a, b) for b in arms if b != a)]


def make(name, **options):
    return choices.build(FIGURES, {"name": name} | CASES[name] | options, name)


@functools.cache
def drawn(name):
    return make(name).draw(FigureInputs(job_for(name)))


def job_for(name):
    """A run in which there is something to draw."""
    if name in ("guidance", "departure"):
        return guided()
    if name in OF_DIVISIONS:
        return divided()
    return make_job("plane" if name in IN_PLANE else "digits")


def texts_of(figure):
    """Every text that is really drawn (ticks beyond the limits are not), with its box."""
    from matplotlib.text import Text

    found, draw = [], Text.draw

    def watched(text, renderer):
        found.append(text)
        draw(text, renderer)

    figure.draw_without_rendering()
    with mock.patch.object(Text, "draw", watched):
        figure.draw_without_rendering()
    found = dict.fromkeys(t for t in found if t.get_visible() and t.get_text().strip())
    return [(t.get_text(), t.get_window_extent(), t.get_fontsize()) for t in found]


def replicate_table(found):
    """arm, metric, training, block (-1: all samples; b: all but those of block b), value."""
    parts = []
    for arm, values in found.items():
        for metric, replicates in values.items():
            trainings, blocks = replicates.shape
            part = {
                "training_seed": np.repeat(np.arange(trainings), blocks),
                "block": np.tile(np.arange(-1, blocks - 1), trainings),
                "value": replicates.flatten().double().numpy(),
            }
            parts.append(pd.DataFrame({"arm": arm, "metric": metric} | part))
    return pd.concat(parts, ignore_index=True)

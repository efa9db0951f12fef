"""Inputs of the stage samples: random networks, and Gaussian mixtures, by the real stages."""

import numpy as np
import pandas as pd
import torch
from stages import WORLD, embed, make, read, run

from routing.data import conditioners
from routing.loading import models
from routing.workflow import artifacts

ROOT = 7
SHAPE, LEVELS = (1, 4, 4), 16
SIZES = np.array([10, 20, 30, 25, 15])
NETWORK = {"patch_size": 2, "width": 16, "depth": 1, "num_heads": 2}
# Four components in two clusters, with labels that are not the clusters, and not all in each.
LABELS, CLUSTERS = [0, 1, 0, 2], [0, 0, 1, 1]
LABELLED = WORLD | {"labels": LABELS}
PARTITIONS = {  # by name: (method, number of clusters)
    "monolith": ({"name": "kmeans", "num_clusters": 1}, 1),
    "components": ({"name": "components", "num_clusters": 4, "clusters": [0, 1, 2, 3]}, 4),
    "halves": ({"name": "components", "num_clusters": 2, "clusters": CLUSTERS}, 2),
}
FULL, TOP1 = {"name": "full"}, {"name": "top_k", "k": 1}
SIZED = {"first_seed": 0, "num_seeds": 16, "batch_size": 64, "num_trajectories": 3}


def spec(router="learned", policy=FULL, steps=4, num=16, **more) -> dict:
    """The spec of a job of the stage samples."""
    router = {"name": router} if isinstance(router, str) else router
    parts = {"arm_name": "arm", "router": router, "policy": policy, "guidance": {"name": "none"}}
    parts |= {"sampler": {"name": "euler", "num_steps": steps}}
    return {"seed": ROOT} | parts | SIZED | {"num_seeds": num} | more


def draw(folder, inputs, parts) -> dict:
    """Run the stage samples; return arrays of all outputs and the cost.

    Only arms with a learned router get the weights of the router.
    """
    if parts["router"]["name"] != "learned":
        inputs = inputs | {"router": []}
    files = run("samples", folder, parts, **inputs)
    found = {n: artifacts.read_arrays(files[n]) for n in ("samples", "trace", "trajectories")}
    return found | {"cost": artifacts.read_table(files["cost"]), "files": files}


def network(path, stage, generator, num_logits=None, conditioner=None, **metadata):
    """A network whose weights are all random: initial ones give zero outputs."""
    conditioning = {} if conditioner is None else conditioner.options()
    config = models.dit_config(SHAPE, **NETWORK, num_logits=num_logits, **conditioning)
    net = models.build_dit(config)
    arrays = {
        name: 0.2 * torch.randn(p.shape, generator=generator).numpy()
        for name, p in net.named_parameters()
    }
    of = conditioners.to_metadata(conditioner)
    return make(stage, path, arrays, model=config, levels=LEVELS, conditioner=of, **metadata)


LINEAR = {"kind": "linear", "shape": [1, 4, 4]}


def networks(folder, condition=None, temperatures=None) -> dict:
    """Five networks, their router, a partition, an encoder, images, their index and a probe."""
    rng, numpy = torch.Generator().manual_seed(5), np.random.default_rng(0)
    num = 60
    split = np.where(np.arange(num) < 40, "train", "heldout").astype(object)
    labels = np.array([2, 5, 8])[numpy.integers(3, size=num)]
    index = pd.DataFrame({"sample_id": np.arange(num), "split": split, "label": labels})
    index["shard"], index["row"] = 0, np.arange(num)
    index["caption"] = [f"a digit {label}" + " again" * int(label == 8) for label in labels]
    conditioner = None
    if condition:
        train = index[split == "train"]
        conditioner = conditioners.CONDITIONERS[condition].of(
            train["label"].to_numpy(), train["caption"].tolist()
        )
    partition = {
        "centroids": numpy.normal(size=(5, 16)).astype(np.float32),
        "sizes": SIZES,
        "label_counts": numpy.integers(1, 9, size=(5, 3)),
    }
    encoder = {"mean": np.zeros(16), "projection": np.eye(16)}
    stored = numpy.integers(0, LEVELS + 1, size=(num, *SHAPE)).astype(np.uint8)
    made = {
        "experts": [
            network(folder / f"{k}.safetensors", "experts", rng, conditioner=conditioner)
            for k in range(5)
        ],
        "router": [
            network(
                folder / "r.safetensors", "router", rng, 5, conditioner, temperatures=temperatures
            )
        ],
        "centroids": make("partition", folder / "c.safetensors", partition),
        "encoder": make("fit_encoder", folder / "e.safetensors", encoder, encoder=LINEAR),
        "index": make("data", folder / "i.parquet", index),
        "images": make("data", folder / "x.safetensors", {"samples": stored}, levels=LEVELS),
    }
    return made | probe(folder, made, num_states=300, shard_size=150)


def probe(folder, made, num_states, shard_size=None) -> dict:
    """Run the stage probe on these experts."""
    shard_size = shard_size or num_states
    sizes = {"num_states": num_states, "shard_size": shard_size, "num_directions": 1}
    parts = {
        "seed": ROOT,
        "partition": "any",
        "probe": sizes | {"fit_fraction": 0.4, "calibration_fraction": 0.4},
    }
    inputs = {"samples": made["images"], "index": made["index"], "experts": made["experts"]}
    shards = [
        run("probe", folder / f"probe{i}", parts | {"first_state": i}, **inputs)
        for i in range(0, num_states, shard_size)
    ]
    return {name: [shard[name] for shard in shards] for name in ("gram", "states")}


def exact(folder, source=WORLD, condition="none", names=PARTITIONS) -> dict:
    """Inputs of the closed-form world by partition."""
    world = read(folder, source, heldout=0.5, seed=1)
    embedded = embed(folder, {"name": "identity"}, world, seed=1)
    made = {}
    for name in names:
        method, num = PARTITIONS[name]
        parts = {"seed": 1, "partition": name, "method": method, "num_clusters": num}
        inputs = {"index": world["index"], "features": embedded["features"]}
        divided = run("partition", folder / name, parts, **inputs)
        inputs = world | {"assignments": divided["assignments"]}
        parts = {"seed": 1, "partition": name, "expert": {"name": "exact"}, "num_experts": num}
        weights = [
            run(
                "experts",
                folder / name / str(k),
                parts | {"cluster": k, "condition": condition},
                **inputs,
            )["weights"]
            for k in range(num)
        ]
        made[name] = {
            "experts": weights,
            "router": [],
            "centroids": divided["centroids"],
            "encoder": embedded["encoder"],
            "index": world["index"],
            "images": world["samples"],
        }
        made[name] |= probe(folder / name, made[name], num_states=2000, shard_size=1000)
    return made


def whole_world(inputs):
    """Return the mixture of all experts of these inputs, with labels if they have them."""
    arrays = [artifacts.read_arrays(path) for path in inputs["experts"]]
    joined = {key: np.concatenate([a[key] for a in arrays]) for key in arrays[0]}
    return models.load(joined, artifacts.read_provenance(inputs["experts"][0]))

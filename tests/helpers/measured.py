"""Synthetic features of arms and real images, and the three stages that compute metrics."""

from pathlib import Path

import numpy as np
import pandas as pd
from stages import make, run

from routing.workflow import artifacts

NUM, NUM_REAL, NUM_HELDOUT = 40, 90, 26
LIST = [
    {"name": "frechet"},
    {"name": "kernel"},
    {"name": "neighbours"},
    {"name": "energy"},
    {"name": "class_shares"},
    {"name": "cluster_shares"},
    {"name": "agreement"},
]
MODES = np.array([[0.0, 0], [6, 0], [0, 6]])  # one cluster each
CENTROIDS = MODES.astype(np.float32)


class World:
    """Synthetic features with three modes; the logits of a sample give its class."""

    def __init__(self, folder: Path, arms: dict, seed: int = 0):
        """Draw the features."""
        folder.mkdir(exist_ok=True)
        self.folder, self.arms, rng = folder, arms, np.random.default_rng(seed)
        self.is_train = np.arange(NUM_REAL) % 7 < 5  # 26 held out
        self.is_train[np.flatnonzero(~self.is_train)[NUM_HELDOUT:]] = True
        self.labels = np.repeat([4, 5, 9], [45, 27, 18])
        modes = np.searchsorted([4, 5, 9], self.labels)
        self.position = (MODES[modes] + rng.normal(size=(NUM_REAL, 2))).astype(np.float32)
        self.real = self.make_features(self.position, modes, rng)
        self.drawn, self.arm_positions = {}, {}
        for name, (shares, scale, shift) in arms.items():
            modes = rng.permutation(np.repeat(range(3), (NUM * np.array(shares)).astype(int)))
            position = MODES[modes] + scale * rng.normal(size=(NUM, 2)) + shift
            self.arm_positions[name] = position.astype(np.float32)
            self.drawn[name] = self.make_features(self.arm_positions[name], modes, rng)

    @staticmethod
    def make_features(position, modes, rng):
        """Features that depend on the position, and logits that give the mode."""
        logits = np.eye(3)[modes] + 0.1 * rng.normal(size=(len(modes), 3))
        third = 0.3 * position.sum(1, keepdims=True) + 0.5 * rng.normal(size=(len(position), 1))
        features = np.concatenate([position, third], 1)
        return {k: v.astype(np.float32) for k, v in (("features", features), ("logits", logits))}

    def feature_metadata(self, name):
        """The metadata of features in a space."""
        return {"name": name, "extractor": name, "weights": None, "resize": None} | {
            "precision": "float32",
            "image": [1, 8, 8],
        }

    def inputs(self):
        """The input files of the stage reference_statistics, by space."""
        split = np.where(self.is_train, "train", "heldout").astype(object)
        index = pd.DataFrame({"split": split, "label": self.labels})
        index["caption"] = [f"a {label}" for label in self.labels]
        index["shard"], index["row"] = 0, np.arange(NUM_REAL)
        distance = np.linalg.norm(self.position[:, None] - CENTROIDS, axis=-1)
        divided = pd.DataFrame({"cluster": np.arange(NUM_REAL) % 3})  # not by the nearest
        for k in range(3):
            divided[f"distance_{k}"] = distance[:, k]
        here = self.folder
        return {
            "index": make("data", here / "i.parquet", index),
            "assignments": make("partition", here / "a.parquet", divided),
            "centroids": make("partition", here / "c.safetensors", {"centroids": CENTROIDS}),
        }

    def real_features(self, space, arrays):
        """The file of the real images in a space."""
        path = self.folder / f"real-{space}.safetensors"
        return make("sample_features", path, arrays, feature_space=self.feature_metadata(space))

    def reference_statistics(self, space, arrays, shared, **spec):
        """The files that the stage reference_statistics writes for one space."""
        real = self.real_features(space, arrays)
        folder = self.folder / space
        folder.mkdir(exist_ok=True)
        parts = {"run": "test", "seed": 7, "feature_space": space, "num_references": None}
        parts |= {"num_blocks": 8, "num_samples": NUM, "num_clusters": 3, "list": []}
        given = {"index": shared["index"], "assignments": shared["assignments"], "real": real}
        return run("reference_statistics", folder, parts | spec, **given)

    def fit_references(self, shared, **spec):
        """The references of both spaces, the one of the clusters first."""
        chosen = [m for m in spec.get("list", LIST) if m["name"] != "cluster_shares"]
        sizes = {key: spec[key] for key in ("num_blocks", "num_references") if key in spec}
        return {
            "position": self.reference_statistics(
                "position", {"features": self.position}, shared, **sizes
            ),
            "toy": self.reference_statistics("toy", self.real, shared, list=chosen, **sizes),
        }

    def features(self, arm):
        """The files of one arm, in the order of the spaces."""
        here = self.folder
        arrays = {"position": {"features": self.arm_positions[arm]}, "toy": self.drawn[arm]}
        return [
            make(
                "sample_features",
                here / f"{space[0]}-{arm}.safetensors",
                a,
                feature_space=self.feature_metadata(space),
            )
            for space, a in arrays.items()
        ]

    def arm_metrics(self, arm, fitted, shared, features=None, given=None, **spec):
        """The files that the stage arm_metrics writes for one arm."""
        folder = self.folder / "scores" / arm
        folder.mkdir(exist_ok=True, parents=True)
        parts = {"run": "test", "seed": 7, "arm": arm, "feature_spaces": ["position", "toy"]}
        parts |= {
            "shares_feature_space": "position",
            "caption_feature_spaces": [],
            "num_training_seeds": 1,
            "num_blocks": 8,
        }
        parts |= {"feature_space": "toy", "reference_arm": next(iter(self.arms)), "lpips": None}
        parts |= {
            "num_bootstrap": 20,
            "num_samples": NUM,
            "list": LIST,
            "nearest_feature_spaces": ["toy"],
        }
        return run(
            "arm_metrics",
            folder,
            parts | spec,
            index=shared["index"],
            features=features or self.features(arm),
            references=[fitted[space]["references"] for space in ("position", "toy")],
            centroids=shared["centroids"],
            **({"real": self.folder / "real-toy.safetensors"} | (given or {})),
        )

    def run(self, **more):
        """All three stages; the files of the last, its metrics and its differences."""
        shared = self.inputs()
        fitted = self.fit_references(shared, **more)
        unseen = [fitted[space]["heldout"] for space in ("position", "toy")]
        found = [self.arm_metrics("heldout", fitted, shared, unseen, **more)]
        found += [self.arm_metrics(arm, fitted, shared, **more) for arm in self.arms]
        parts = {"run": "test", "seed": 7, "arms": list(self.arms)}
        parts |= {"reference_arm": next(iter(self.arms))}
        names = ("replicates", "bootstrap", "scores")
        given = {name: [files[name] for files in found] for name in names}
        files = run("metric_tables", self.folder, parts, **given)
        return files, *(artifacts.read_table(files[n]) for n in ("metrics", "differences"))


ARMS = {
    "good": ([0.5, 0.3, 0.2], 1.0, 0.0),
    "shifted": ([0.5, 0.3, 0.2], 1.0, 1.5),
    "collapsed": ([0.6, 0.4, 0.0], 0.1, 0.0),
}

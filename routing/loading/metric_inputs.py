"""The samples of one arm as metrics read them: features, fitted references, captions and LPIPS.

`ArmReader` reads the inputs of the stage arm_metrics lazily, once per feature space, and returns
the `ArmSamples` of one metric and one training seed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from routing.data.shards import Shards
from routing.metrics import feature_space_names
from routing.metrics.protocol import ArmSamples, LPIPSDistances, Metric
from routing.statistics.bootstrap import bootstrap_counts
from routing.statistics.jackknife import jackknife_weights, seed_blocks
from routing.workflow import seeds

HELDOUT = "heldout"
BLOCK = 4096  # samples whose nearest centroid is found at a time
TRAIN_BLOCK = 2**14  # training images that are in memory at a time


@dataclass(frozen=True)
class FeatureSpace:
    """Features of the arm, and the fitted references, in one feature space."""

    features: dict[str, np.ndarray]  # of all training seeds, one after the other
    references: dict[str, np.ndarray]
    class_names: tuple[str, ...]
    num_train: int


class ArmReader:
    """Reads the inputs of the stage arm_metrics. `heldout` are the held-out real images."""

    def __init__(self, job):
        """Read what all metrics share: the number of samples and the cluster of each sample."""
        self.job, self.spec = job, job.spec
        self.is_heldout = self.spec["arm"] == HELDOUT
        self.num_training_seeds = 1 if self.is_heldout else self.spec["num_training_seeds"]
        self._spaces: dict[str, FeatureSpace] = {}
        self._rows: dict[int, Tensor] = {}
        self.num_samples = self.spec["num_samples"]
        if self.is_heldout:  # as many as there are
            self.num_samples = len(self.job.mapped("features")["features"])
        if not self.num_samples:
            path = job.inputs["features"][0]
            raise ValueError(f"{path}: wanted images, got none; raise data.heldout_fraction")
        features = self.feature_space(self.spec["shares_feature_space"]).features["features"]
        centroids = torch.from_numpy(job.arrays("centroids")["centroids"]).double()
        blocks = (features[i : i + BLOCK] for i in range(0, len(features), BLOCK))
        nearest = [torch.cdist(to_tensor(x).double(), centroids).argmin(1) for x in blocks]
        self.clusters = torch.cat(nearest)

    def feature_space(self, name: str) -> FeatureSpace:
        """Return features and references in a space. Raise ValueError if they do not match."""
        if name not in self._spaces:
            job, index = self.job, self.spec["feature_spaces"].index(name)
            metadata = job.metadata("references", index)
            path = job.inputs["features"][index]
            feature_space_names.check_same_space(
                metadata["feature_space"], job.metadata("features", index)["feature_space"], path
            )
            stored = job.mapped("features", index)
            arrays = {key: np.asarray(stored[key]) for key in {"features", *stored}}
            for key, array in arrays.items():
                self._check_rows(key, array, path)
            references = job.mapped("references", index)
            names, num_train = tuple(metadata["class_names"]), metadata["num_train"]
            self._spaces[name] = FeatureSpace(arrays, references, names, num_train)
        return self._spaces[name]

    def _check_rows(self, key: str, array: np.ndarray, path: object) -> None:
        if len(array) != (wanted := self.num_training_seeds * self.num_samples):
            raise ValueError(
                f"{path}: wanted {wanted} rows of {key} ({self.num_training_seeds} x "
                f"{self.num_samples} samples of arm {self.spec['arm']!r}), got {len(array)}; "
                f"delete it and run the same command again"
            )
        if bad := int((~np.isfinite(array)).any(1).sum()):
            raise ValueError(
                f"{path}: wanted finite {key}, got nan or inf in {bad} of {len(array)} rows; find "
                f"out what made them"
            )

    def weights(self, num: int) -> Tensor:
        """Return the jackknife weights of the first `num` samples, the same for all arms."""
        num_blocks = self.spec["num_blocks"]
        if self.is_heldout:
            num_blocks = min(num_blocks, num)
        return jackknife_weights(seed_blocks(num, num_blocks))

    def rows(self, num: int | None) -> Tensor:
        """Return the jackknife weights, followed by the counts of the bootstrap draws.

        Held-out images are not resampled.
        """
        size, draws = num or self.num_samples, self.spec["num_bootstrap"]
        if size not in self._rows:
            rows = self.weights(size)
            if draws and not self.is_heldout:
                rng = seeds.stream(self.spec["seed"], "bootstrap", size)
                rows = torch.cat([rows, bootstrap_counts(size, draws, rng)])
            self._rows[size] = rows
        return self._rows[size]

    def arm_samples(self, metric: Metric, choice: dict, training_seed: int) -> ArmSamples:
        """Return what `metric` reads of the arm from one training seed.

        `choice` is the entry of `metrics.list` that `metric` was built from.
        """
        name = choice.get("feature_space") or self.spec["feature_space"]
        space, num = self.feature_space(name), choice.get("num_samples") or self.num_samples
        first = training_seed * self.num_samples
        if num > self.num_samples:
            raise ValueError(
                f"metrics.list: wanted {num} samples, got {self.num_samples} of arm "
                f"{self.spec['arm']!r}; draw more or take the number out of the metric"
            )
        arrays = {key: to_tensor(a[first : first + num]) for key, a in space.features.items()}
        order = seeds.stream(self.spec["seed"], "extrapolation", num).permutation(num)
        references = space.references
        return ArmSamples(
            features=arrays["features"],
            reference=self._reference(metric, name),
            weights=self.weights(num),
            metric_name=self._metric_name(metric, name, choice.get("num_samples")),
            order=torch.from_numpy(order),
            class_names=space.class_names,
            class_shares=to_tensor(references["class_shares"]),
            cluster_shares=to_tensor(references["cluster_shares"]),
            predicted_classes=arrays["logits"].argmax(1) if "logits" in arrays else None,
            requested_classes=arrays["requested"][:, 0] if "requested" in arrays else None,
            clusters=self.clusters[first : first + num],
            point_clusters=to_tensor(references["point_clusters"]),
            num_train=space.num_train,
            inception_logits=arrays.get("inception_logits"),
            **self._caption_features(name, arrays),
            lpips=self._lpips(training_seed),
        )

    def _metric_name(self, metric: Metric, space: str, num: int | None) -> Callable[[str], str]:
        return lambda kind: feature_space_names.metric_name(
            kind, space, num, metric.name_suffixes(kind)
        )

    def _reference(self, metric: Metric, space: str) -> Any:
        if metric.reference_type is None:
            return None
        arrays = self.feature_space(space).references
        names = metric.reference_type.__dataclass_fields__
        prefix = f"{metric.reference_key()}/"
        fields = {
            key.removeprefix(prefix): to_field(array)
            for key, array in arrays.items()
            if key.startswith(prefix)
        }
        if "points" in names:
            fields["points"] = to_tensor(arrays["points"])
        if "train" in names:
            fields["train"] = self._train_blocks(space)
        return metric.reference_type(**fields)

    def _train_blocks(self, space: str) -> Callable[[], Iterator[Tensor]]:
        """Return a function that iterates over all training images in the space, in blocks."""
        job, spaces = self.job, self.spec["nearest_feature_spaces"]
        num_files = job.count("real") // len(spaces)
        first = spaces.index(space) * num_files
        index = self.spec["feature_spaces"].index(space)
        feature_space_names.check_same_space(
            job.metadata("references", index)["feature_space"],
            job.metadata("real", first)["feature_space"],
            job.inputs["real"][first],
        )
        table = job.table("index", columns=["split", "shard", "row"])
        files = range(first, first + num_files)
        train = Shards(job, "real", table[table["split"] == "train"], "features", files=files)
        return lambda: (torch.from_numpy(rows) for _, rows in train.blocks(TRAIN_BLOCK))

    def _caption_features(self, space: str, arrays: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the CLIP features of the caption that each sample is conditioned on.

        Once of the caption itself, once with the prefix of the CLIP score. An empty caption has no
        features: its row is nan. {} in a feature space without captions.
        """
        if space not in self.spec["caption_feature_spaces"] or "prompts" not in arrays:
            return {}
        index = self.spec["caption_feature_spaces"].index(space)
        captions = self.job.table("captions", index)["caption"]
        requested = self._captions.iloc[arrays["prompts"][:, 0].numpy()]
        rows = pd.Index(captions).get_indexer(requested)
        assert not requested[rows < 0].str.strip().any(), "every caption with words has features"
        stored = self.job.arrays("clip_score_captions", index)
        features = {
            "caption_features": to_tensor(stored["features"][rows]),
            "prefixed_caption_features": to_tensor(stored["depicted"][rows]),
        }
        for array in features.values():
            array[rows < 0] = torch.nan
        return features

    @cached_property
    def _captions(self) -> pd.Series:
        return self.job.table("index", columns=["caption"])["caption"]

    def _lpips(self, training_seed: int) -> LPIPSDistances | None:
        if not self.job.count("pairs"):
            return None
        pairs, scores = self.job.table("pairs"), self.job.table("lpips")
        pairs = pairs[pairs["training_seed"] == training_seed]
        num = pairs["block_b"].max() + 1
        total, num_pairs = np.zeros((2, num, num))
        total[pairs["block_a"], pairs["block_b"]] = pairs["total"]
        num_pairs[pairs["block_a"], pairs["block_b"]] = pairs["num_pairs"]
        is_mine = scores["training_seed"] == training_seed
        to_baseline = scores.loc[is_mine, "to_baseline"].to_numpy()
        return LPIPSDistances(
            net=feature_space_names.lpips_net(self.spec["lpips"]),
            total=torch.from_numpy(total),
            num_pairs=torch.from_numpy(num_pairs),
            to_baseline=None if np.isnan(to_baseline).any() else to_tensor(to_baseline),
            baseline=self.spec["reference_arm"],
            within=self.spec["lpips"]["within"],
        )


def to_tensor(array: np.ndarray) -> Tensor:
    """Return a copy as a tensor, since a memory-mapped array cannot be written to."""
    return torch.from_numpy(np.array(array))


def to_field(array: np.ndarray) -> Any:
    """Return a stored field of a reference: an int (a number of neighbours) or a tensor."""
    return int(array) if array.ndim == 0 and array.dtype.kind == "i" else to_tensor(array)

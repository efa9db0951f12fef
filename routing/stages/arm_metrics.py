"""Stage arm_metrics: every metric of one arm, with the replicates that intervals are made of.

`replicates` (metric, training, block, value, num_samples, note): block -1 is all samples, b all
but the b-th block of seeds; the note says what a number of so few samples is worth, and which
others of its metric were left out. `bootstrap` (metric, training, draw, value): the same draws of
seeds for all arms. `scores` (metric, training, seed, value): what is said of each sample by
itself, no row where nothing can be. Held-out real images are one more arm; what cannot be
measured with so few of them is left out, and said.

`real` are the features of the real images, shard by shard, in each space of `searched` in turn:
those in which some metric looks for the nearest of all training images.
"""

import sys
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
from routing.metrics.formulas.input_checks import prefix_errors
from routing.metrics.protocol import LPIPSDistances
from routing.metrics.table import METRICS, ArmSamples, Metric
from routing.statistics.bootstrap import bootstrap_counts
from routing.statistics.intervals import jackknife_weights, seed_blocks
from routing.statistics.too_few import TooFew
from routing.workflow import choices, seeds
from routing.workflow.progress import progress_bar

HELDOUT = "heldout"
BLOCK = 4096  # rows
SEARCHED = 2**14  # training images that are searched at a time
KINDS = {"metric": str, "value": float, "note": str}  # of columns; the others are whole numbers


def run(job) -> None:
    """Write `replicates`, `bootstrap` and `scores`."""
    spec = job.spec
    table = choices.with_plugins("metrics", METRICS)
    arm, found = Arm(job), Found()
    for choice in progress_bar(f"metrics {spec['arm']}", len(spec["list"]), spec["list"]):
        measure = choices.build(table, choice, "metrics.list")
        num = getattr(measure, "num_samples", None)
        if arm.is_heldout and (num or 0) > arm.num_samples:
            continue  # fewer real images than the name promises
        for training in range(arm.num_training_seeds):
            try:
                with prefix_errors(f"arm {spec['arm']!r}, metric {choice['name']!r}"):
                    view = arm.view(measure, choice, training)
                    found.add(measure, view, arm.rows(num), training)
            except TooFew as error:
                if not arm.is_heldout:
                    raise
                print(f"scores: left out, {error}", file=sys.stderr)
        for line in found.settled(arm.num_training_seeds):
            print(f"scores {spec['arm']}: {line}", file=sys.stderr, flush=True)
    job.write_table("replicates", found.table(found.replicates, "block", -1))
    job.write_table("bootstrap", found.table(found.draws, "draw", 0))
    said = found.table(found.scores, "seed", 0)
    job.write_table("scores", said.dropna(subset="value", ignore_index=True))


class Found:
    """Values by name and training, in the order in which they were found."""

    def __init__(self):
        """Nothing yet."""
        self.replicates, self.draws, self.scores = {}, {}, {}
        self.facts: dict[tuple[str, int], tuple[int, str]] = {}  # number of samples, note
        self._open: dict[str, None] = {}  # names of the metric that is measured

    def add(self, measure: Metric, view: ArmSamples, rows: Tensor, training: int) -> None:
        """All numbers of one metric after one training; ValueError if a name is taken."""
        values, drawn = measure.evaluate(view, rows)
        for name in values:
            if (name, training) in self.replicates:
                raise ValueError(f"metrics.list: {name} is measured twice; leave one out")
        note = measure.full_note(view)
        self.facts |= {(name, training): (view.weights.shape[1], note) for name in values}
        self._open |= dict.fromkeys(values)
        self.replicates |= {(name, training): v for name, v in values.items()}
        self.draws |= {(name, training): v for name, v in drawn.items()}
        self.scores |= {(name, training): v for name, v in measure.scores(view).items()}

    def settled(self, num_training_seeds: int) -> list[str]:
        """After all trainings of one metric: which of its names were left out, and why.

        What some training lacks does not pair with another arm, and what is not finite has no
        interval. The notes of the names that are kept say the same.
        """
        left_out: dict[str, list[str]] = {}
        for name in self._open:
            keys = [(name, r) for r in range(num_training_seeds) if (name, r) in self.replicates]
            values = torch.cat([self.replicates[key] for key in keys])
            broken = values[~values.isfinite()]
            if len(keys) < num_training_seeds:
                why = f"there after {len(keys)} of {num_training_seeds} trainings"
            elif len(broken):
                why = f"got {broken[0]:g}, which has no interval"
            else:
                continue
            left_out.setdefault(why, []).append(name)
            for key in keys:
                for found in (self.replicates, self.draws, self.scores, self.facts):
                    found.pop(key, None)
        lines = [f"{', '.join(names)} left out: {why}" for why, names in left_out.items()]
        for (name, training), (num, note) in self.facts.items():
            if name in self._open:
                self.facts[name, training] = num, "; ".join([note] * bool(note) + lines)
        self._open = {}
        return lines

    def table(self, values: dict, column: str, first: int) -> pd.DataFrame:
        """metric, training, `column` (counted from `first`), value, num_samples, note."""
        names = ["metric", "training_seed", column, "value", "num_samples", "note"]
        empty = {name: np.zeros(0, KINDS.get(name, np.int64)) for name in names}
        parts = []
        for (name, training), value in values.items():
            count = np.arange(first, first + len(value))
            row = [name, training, count, value.double().numpy(), *self.facts[name, training]]
            parts.append(pd.DataFrame(dict(zip(names, row, strict=True))))
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(empty)


@dataclass(frozen=True)
class Space:
    """What one space knows of the arm and of the real images."""

    features: dict[str, np.ndarray]  # of all trainings, one after the other
    references: dict[str, np.ndarray]
    class_names: tuple[str, ...]
    num_train: int


class Arm:
    """The features of one arm in every space, read as they are asked for."""

    def __init__(self, job):
        """Read what all metrics share."""
        self.job, self.spec = job, job.spec
        self.is_heldout = self.spec["arm"] == HELDOUT
        self.num_training_seeds = 1 if self.is_heldout else self.spec["num_training_seeds"]
        self._spaces: dict[str, Space] = {}
        self._rows: dict[int, Tensor] = {}
        self.num_samples = self.spec["num_samples"]
        if self.is_heldout:  # as many as there are
            self.num_samples = len(self.job.mapped("features")["features"])
        if not self.num_samples:
            path = job.inputs["features"][0]
            raise ValueError(f"{path}: wanted images, got none; raise data.heldout")
        place = self.space(self.spec["place"])
        centroids = torch.from_numpy(job.arrays("centroids")["centroids"]).double()
        where = place.features["features"]
        blocks = (tensor(where[i : i + BLOCK]).double() for i in range(0, len(where), BLOCK))
        self.clusters = torch.cat([torch.cdist(rows, centroids).argmin(1) for rows in blocks])

    def space(self, name: str) -> Space:
        """Features and references; ValueError (one line) if they do not belong together."""
        if name not in self._spaces:
            job, number = self.job, self.spec["feature_spaces"].index(name)
            notes = job.metadata("references", number)
            path = job.inputs["features"][number]
            feature_space_names.refuse_mismatch(
                notes["feature_space"], job.metadata("features", number)["feature_space"], path
            )
            stored = job.mapped("features", number)
            arrays = {key: np.asarray(stored[key]) for key in {"features", *stored}}
            for key, array in arrays.items():
                if len(array) != (wanted := self.num_training_seeds * self.num_samples):
                    raise ValueError(
                        f"{path}: wanted {wanted} rows of {key} ({self.num_training_seeds} x "
                        f"{self.num_samples} samples of arm {self.spec['arm']!r}), got "
                        f"{len(array)}; delete it and run the same command again"
                    )
                if bad := int((~np.isfinite(array)).any(1).sum()):
                    raise ValueError(
                        f"{path}: wanted finite {key}, got nan or inf in {bad} of {len(array)} "
                        f"rows; find out what made them"
                    )
            references = job.mapped("references", number)
            names, num_train = tuple(notes["class_names"]), notes["num_train"]
            self._spaces[name] = Space(arrays, references, names, num_train)
        return self._spaces[name]

    def weights(self, num: int) -> Tensor:
        """Of the jackknife over the first `num` samples; the same for all arms."""
        wanted = self.spec["num_blocks"]
        return jackknife_weights(seed_blocks(num, min(wanted, num) if self.is_heldout else wanted))

    def rows(self, num: int | None) -> Tensor:
        """The same, and below how often each sample counts in each draw of the bootstrap.

        Held-out images are not drawn again.
        """
        size, draws = num or self.num_samples, self.spec["num_bootstrap"]
        if size not in self._rows:
            rows = self.weights(size)
            if draws and not self.is_heldout:
                rng = seeds.stream(self.spec["seed"], "bootstrap", size)
                rows = torch.cat([rows, bootstrap_counts(size, draws, rng)])
            self._rows[size] = rows
        return self._rows[size]

    def view(self, measure: Metric, choice: dict, training: int) -> ArmSamples:
        """What `measure` sees of the arm after one training."""
        name = choice.get("feature_space") or self.spec["feature_space"]
        space, num = self.space(name), choice.get("num_samples") or self.num_samples
        first = training * self.num_samples
        if num > self.num_samples:
            raise ValueError(
                f"metrics.list: wanted {num} samples, got {self.num_samples} of arm "
                f"{self.spec['arm']!r}; draw more or take the number out of the metric"
            )
        of = {key: tensor(array[first : first + num]) for key, array in space.features.items()}
        order = seeds.stream(self.spec["seed"], "extrapolation", num).permutation(num)
        known = space.references
        return ArmSamples(
            features=of["features"],
            reference=self._reference(measure, name),
            weights=self.weights(num),
            metric_name=self._named(measure, name, choice.get("num_samples")),
            order=torch.from_numpy(order),
            class_names=space.class_names,
            class_shares=tensor(known["class_shares"]),
            cluster_shares=tensor(known["cluster_shares"]),
            predicted_classes=of["logits"].argmax(1) if "logits" in of else None,
            requested_classes=of["requested"][:, 0] if "requested" in of else None,
            clusters=self.clusters[first : first + num],
            point_clusters=tensor(known["point_clusters"]),
            num_train=space.num_train,
            inception_logits=of.get("inception_logits"),
            **self._texts(name, of),
            lpips=self._pairs(training),
        )

    def _named(self, measure: Metric, space: str, num: int | None) -> Callable[[str], str]:
        return lambda kind: feature_space_names.metric_name(
            kind, space, num, measure.name_suffixes(kind)
        )

    def _reference(self, measure: Metric, space: str) -> Any:
        if measure.reference_type is None:
            return None
        known, fields = self.space(space).references, measure.reference_type.__dataclass_fields__
        start = f"{measure.reference_key()}/"
        parts = {k.removeprefix(start): part(v) for k, v in known.items() if k.startswith(start)}
        if "points" in fields:
            parts["points"] = tensor(known["points"])
        if "train" in fields:
            parts["train"] = self._train(space)
        return measure.reference_type(**parts)

    def _train(self, space: str) -> Callable[[], Iterator[Tensor]]:
        """All training images in the space, a block at a time."""
        job, number = self.job, self.spec["searched"].index(space)
        num = job.count("real") // len(self.spec["searched"])
        index = self.spec["feature_spaces"].index(space)
        note = job.metadata("references", index)["feature_space"]
        path = job.inputs["real"][number * num]
        feature_space_names.refuse_mismatch(
            note, job.metadata("real", number * num)["feature_space"], path
        )
        index = job.table("index", columns=["split", "shard", "row"])
        files = range(number * num, (number + 1) * num)
        train = Shards(job, "real", index[index["split"] == "train"], "features", files=files)
        return lambda: (torch.from_numpy(rows) for _, rows in train.blocks(SEARCHED))

    def _texts(self, space: str, of: dict[str, Tensor]) -> dict[str, Tensor]:
        """The caption that each sample was asked for, in the space, if captions are there.

        As `texts`, and as `depicted` after "A photo depicts ". An empty one has no place there
        (routing.stages.clip_captions) and is nan.
        """
        if space not in self.spec["clip_captions"] or "prompts" not in of:
            return {}
        number = self.spec["clip_captions"].index(space)
        captions = self.job.table("captions", number)["caption"]
        requested = self._captions.iloc[of["prompts"][:, 0].numpy()]
        rows = pd.Index(captions).get_indexer(requested)
        assert not requested[rows < 0].str.strip().any(), "phrases have every caption with words"
        phrases = self.job.arrays("clip_captions", number)
        found = {"texts": tensor(phrases["features"][rows])}
        found["depicted"] = tensor(phrases["depicted"][rows])
        for texts in found.values():
            texts[rows < 0] = torch.nan
        return found

    @cached_property
    def _captions(self) -> pd.Series:
        return self.job.table("index", columns=["caption"])["caption"]

    def _pairs(self, training: int) -> LPIPSDistances | None:
        if not self.job.count("pairs"):
            return None
        pairs, scores = self.job.table("pairs"), self.job.table("lpips")
        mine = pairs[pairs["training_seed"] == training]
        num = mine["block_b"].max() + 1
        total, count = np.zeros((2, num, num))
        total[mine["block_a"], mine["block_b"]] = mine["total"]
        count[mine["block_a"], mine["block_b"]] = mine["num_pairs"]
        to = scores.loc[scores["training_seed"] == training, "to_baseline"].to_numpy()
        return LPIPSDistances(
            net=feature_space_names.lpips_net(self.spec["lpips"]),
            total=torch.from_numpy(total),
            count=torch.from_numpy(count),
            to_baseline=None if np.isnan(to).any() else tensor(to),
            baseline=self.spec["reference_arm"],
            within=self.spec["lpips"]["within"],
        )


def tensor(array: np.ndarray) -> Tensor:
    """A copy, since what is mapped cannot be written to."""
    return torch.from_numpy(np.array(array))


def part(array: np.ndarray) -> Any:
    """A field of a reference: a number of neighbours, or a tensor."""
    return int(array) if array.ndim == 0 and array.dtype.kind == "i" else tensor(array)

"""Stage arm_metrics: every metric of one arm, with the replicates that intervals are made of.

Writes three tables:

    replicates   metric, training_seed, block, value, num_samples, note, scale
    bootstrap    metric, training_seed, draw, value, num_samples, note
    scores       metric, training_seed, seed, value, num_samples, note

In `replicates`, block -1 is the value for all samples, block b the value without the b-th block of
seeds. `note` says how far the value can be trusted, and which other rows of the same metric were
left out. The draws of `bootstrap` are the same draws of seeds for all arms. `scores` has a value
per sample, for metrics that are means over the samples; a sample without value has no row. Of a
share, only the samples that are counted have a row.

`scale` is s where a value is s times a fraction of the samples, else nan: such values have the
intervals of proportions (routing/statistics/proportions.py).

The held-out real images are an arm too, `heldout`. A metric that needs more images than these is
left out of its tables, with a line in the log.

The input `real` are the features of the real images, shard by shard, in each of the feature spaces
`nearest_feature_spaces`: those in which a metric searches all training images for the nearest one.
"""

import sys

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from routing.loading.metric_inputs import ArmReader
from routing.metrics.formulas.input_checks import prefix_errors
from routing.metrics.protocol import ArmSamples, Metric
from routing.metrics.registry import METRICS
from routing.statistics.errors import TooFewSamples
from routing.workflow import choices
from routing.workflow.progress import progress_bar

DTYPES = {"metric": str, "value": float, "note": str}  # of columns; the others are integers


def run(job) -> None:
    """Write `replicates`, `bootstrap` and `scores`."""
    spec = job.spec
    label = f"arm_metrics {spec['arm']}"
    table = choices.with_plugins("metrics", METRICS)
    reader, values = ArmReader(job), MetricValues()
    for choice in progress_bar(label, len(spec["list"]), spec["list"]):
        metric = choices.build(table, choice, "metrics.list")
        num = getattr(metric, "num_samples", None)
        if reader.is_heldout and (num or 0) > reader.num_samples:
            continue  # the metric's name would promise more images than there are
        for training_seed in range(reader.num_training_seeds):
            try:
                with prefix_errors(f"arm {spec['arm']!r}, metric {choice['name']!r}"):
                    arm = reader.arm_samples(metric, choice, training_seed)
                    values.add(metric, arm, reader.rows(num), training_seed)
            except TooFewSamples as error:
                if not reader.is_heldout:
                    raise
                print(f"{label}: left out, {error}", file=sys.stderr)
        for line in values.drop_incomplete(reader.num_training_seeds):
            print(f"{label}: {line}", file=sys.stderr, flush=True)
    table = values.table(values.replicates, "block", -1)
    scale = [
        values.scales.get(key, np.nan)
        for key in zip(table["metric"], table["training_seed"], strict=True)
    ]
    job.write_table("replicates", table.assign(scale=np.array(scale, dtype=float)))
    job.write_table("bootstrap", values.table(values.draws, "draw", 0))
    job.write_table("scores", values.table(values.scores, "seed", 0))


class MetricValues:
    """Values by (metric name, training seed), in the order in which they were computed."""

    def __init__(self):
        """Start without values."""
        self.replicates, self.draws, self.scores = {}, {}, {}
        self.scales: dict[tuple[str, int], float] = {}
        self.facts: dict[tuple[str, int], tuple[int, str]] = {}  # number of samples, note
        self._current: dict[str, None] = {}  # names of the rows of the current metric

    def add(self, metric: Metric, arm: ArmSamples, rows: Tensor, training_seed: int) -> None:
        """Compute a metric for one training seed. Raise ValueError if a name is taken.

        `rows` are the jackknife weights, followed by the bootstrap counts.
        """
        values, draws = metric.evaluate(arm, rows)
        for name in values:
            if (name, training_seed) in self.replicates:
                raise ValueError(f"metrics.list: {name} is measured twice; leave one out")
        fact = arm.weights.shape[1], metric.full_note(arm)
        self._current |= dict.fromkeys(values)
        self.facts |= {(name, training_seed): fact for name in values}
        self.replicates |= {(name, training_seed): v for name, v in values.items()}
        self.draws |= {(name, training_seed): v for name, v in draws.items()}
        for name, scores in metric.scores(arm).items():
            if metric.sparse_scores:
                scores = scores.where(scores != 0, torch.nan)
            self.scores[name, training_seed] = scores
        self.scales |= {(name, training_seed): s for name, s in metric.count_scales(arm).items()}

    def drop_incomplete(self, num_training_seeds: int) -> list[str]:
        """Drop rows of the current metric that cannot be compared. Return which, and why.

        Call it after all training seeds of a metric. A row that some training seed lacks cannot be
        paired with another arm; a value that is not finite has no interval. The returned lines are
        appended to the notes of the metric's other rows.
        """
        dropped: dict[str, list[str]] = {}
        for name in self._current:
            keys = [(name, r) for r in range(num_training_seeds) if (name, r) in self.replicates]
            values = torch.cat([self.replicates[key] for key in keys])
            bad = values[~values.isfinite()]
            if len(keys) < num_training_seeds:
                reason = f"available for {len(keys)} of {num_training_seeds} training seeds"
            elif len(bad):
                reason = f"got {bad[0]:g}, which has no interval"
            else:
                continue
            dropped.setdefault(reason, []).append(name)
            for key in keys:
                for table in (self.replicates, self.draws, self.scores, self.facts):
                    table.pop(key, None)
        lines = [f"{', '.join(names)} left out: {reason}" for reason, names in dropped.items()]
        for (name, training_seed), (num, note) in self.facts.items():
            if name in self._current:
                full_note = "; ".join([note] * bool(note) + lines)
                self.facts[name, training_seed] = num, full_note
        self._current = {}
        return lines

    def table(self, values: dict, column: str, first: int) -> pd.DataFrame:
        """Return `values` as a long table; `column` numbers the values of a row from `first`."""
        names = ["metric", "training_seed", column, "value", "num_samples", "note"]
        parts = []
        for (name, training_seed), value in values.items():
            numbers = np.arange(first, first + len(value))
            facts = self.facts[name, training_seed]
            row = [name, training_seed, numbers, value.double().numpy(), *facts]
            part = pd.DataFrame(dict(zip(names, row, strict=True)))
            parts.append(part.dropna(subset="value") if column == "seed" else part)
        if not parts:
            return pd.DataFrame({name: np.zeros(0, DTYPES.get(name, np.int64)) for name in names})
        return pd.concat(parts, ignore_index=True)
